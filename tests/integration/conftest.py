"""Real programs that several tests share, because starting one takes its time."""

import os
from collections.abc import Iterator

import pytest

from tests.integration.phoenix import OwnPhoenix, Phoenix


@pytest.fixture(scope="session")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    """A Phoenix for all that this process runs; use a Phoenix project of your own. A deployment brings its own."""
    if "GATEWAY_TEST_PHOENIX" in os.environ:
        yield Phoenix(os.environ["GATEWAY_TEST_PHOENIX"])
        return
    with OwnPhoenix(tmp_path_factory.mktemp("phoenix")) as running:
        yield running
