"""Vectors: the same for the same text, of length 1."""

from __future__ import annotations

import math

import pytest

from gateway.mock_upstream.embeddings import dimensions, vector


def test_the_same_text_has_the_same_vector_and_another_text_another_one() -> None:
    assert vector("a", 8) == vector("a", 8)
    assert vector("a", 8) != vector("b", 8)


@pytest.mark.parametrize("count", [1, 8, 1536])
def test_a_vector_is_as_long_as_asked_for_and_of_length_one(count: int) -> None:
    values = vector("text", count)
    assert len(values) == count
    assert math.isclose(math.hypot(*values), 1, rel_tol=1e-6)


@pytest.mark.parametrize(("wanted", "count"), [(None, 8), (3, 3), (0, 8), (-1, 8), ("3", 8), (10**9, 4096)])
def test_the_number_of_dimensions_is_bounded(wanted: object, count: int) -> None:
    assert dimensions(wanted) == count
