"""What holds for the whole suite.

With GATEWAY_TEST_REQUIRE=all, as CI sets it, a test that is skipped has failed: nothing is left out unnoticed.
"""

import os
from collections.abc import Generator
from typing import Any
from unittest.mock import Mock

import aioresponses.core
import pytest
from aiohttp import ClientResponse

REQUIRED = os.environ.get("GATEWAY_TEST_REQUIRE") == "all"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", _reason(report.longrepr)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if REQUIRED and report.skipped:
        report.outcome, report.longrepr = "failed", _reason(report.longrepr)
    return report


def _reason(longrepr: object) -> str:
    reason = longrepr[2] if isinstance(longrepr, tuple) else longrepr
    return f"GATEWAY_TEST_REQUIRE=all: {reason}"


class _MockedResponse(ClientResponse):
    """aioresponses 0.7.9 makes responses as aiohttp did before 3.14, without a stream writer."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, stream_writer=Mock(), **named)


aioresponses.core.ClientResponse = _MockedResponse  # type: ignore[attr-defined]
