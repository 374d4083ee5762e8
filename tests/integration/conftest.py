"""Real programs that several tests share, because starting one takes its time."""

from collections.abc import Iterator

import pytest

from tests.integration.phoenix import Phoenix


@pytest.fixture(scope="session")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    """A Phoenix for all that this process runs; use a Phoenix project of your own."""
    with Phoenix(tmp_path_factory.mktemp("phoenix")) as running:
        yield running
