"""What is held against a head that aiohttp's parser let through, and in which words its own errors are told."""

import asyncio
from unittest.mock import Mock

import pytest
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, InvalidURLError, LineTooLong

from gateway.downstream import request_head
from gateway.errors import HeadTooLarge, MalformedRequest, Overloaded, TargetTooLong, VersionNotSupported


async def parsed(head: bytes) -> RawRequestMessage:
    parser = HttpRequestParser(Mock(), asyncio.get_running_loop(), 2**16, max_line_size=8192, max_field_size=16384)
    messages, _, _ = parser.feed_data(head)
    return messages[0][0]


async def test_an_ordinary_head_is_not_objected_to() -> None:
    message = await parsed(
        b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: api.example.com:443\r\nContent-Length: 0\r\n\r\n"
    )
    assert request_head.objection_to(message) is None


@pytest.mark.parametrize("host", ["a", "a.b-c_d~e", "127.0.0.1:8080", "[::1]", "[2001:db8::1]:443", "a:", "%41"])
async def test_whatever_can_be_a_host_may_be_one(host: str) -> None:
    assert request_head.objection_to(await parsed(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())) is None


@pytest.mark.parametrize("host", ["", "a b", "a,b", "a/b", "a?b", "a#b", "u@a", "[::1", "::1", "a:b", "a:123456", "é"])
async def test_nothing_else_may(host: str) -> None:
    message = await parsed(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    objection = request_head.objection_to(message)
    assert objection is not None
    assert objection.error is MalformedRequest


@pytest.mark.parametrize(
    ("error", "expected", "reason"),
    [
        (LineTooLong(b"GET /secret", 8192), TargetTooLong, "the request line is too long"),
        (LineTooLong(b"secret: x", 16384), HeadTooLarge, "a field is too long"),
        (BadHttpMessage("Too many headers received"), HeadTooLarge, "too many fields"),
        (BadHttpMessage("Bad status line:\n  Invalid HTTP version:\n\n  b'GET secret'"), VersionNotSupported, None),
        (BadHttpMessage("Invalid header token:\n\n  b'secret'\n   ^"), MalformedRequest, "Invalid header token"),
        (BadHttpMessage("Duplicate 'Host' header found."), MalformedRequest, "Duplicate 'Host' header found."),
        (InvalidURLError("Secret"), MalformedRequest, "the target is not a path"),
        (BadHttpMessage("b'secret'"), MalformedRequest, "not HTTP"),
        (BadHttpMessage("Secret\r\n"), MalformedRequest, "not HTTP"),
        (BadHttpMessage("Secret" * 20), MalformedRequest, "not HTTP"),
    ],
)
def test_the_parsers_errors_are_told_without_what_they_quote(
    error: HttpProcessingError, expected: type[Exception], reason: str | None
) -> None:
    objection = request_head.objection_of_parser(error, 8192)
    assert objection.error is expected
    assert "ecret" not in objection.reason
    assert reason is None or objection.reason == reason


def test_only_a_full_gateway_asks_to_come_back() -> None:
    assert request_head.TOO_MANY_CONNECTIONS.raised().retry_after == 1
    assert isinstance(request_head.TOO_MANY_CONNECTIONS.raised(), Overloaded)
    assert request_head.HEAD_TIMEOUT.raised().retry_after is None


async def test_an_expectation_is_taken_out_and_nothing_else() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nEXPECT: 100-continue\r\nX: \xff\r\nx: 2\r\nContent-Length: 1\r\n\r\n"
    message = request_head.without_expectation(await parsed(head))
    assert message.raw_headers == ((b"Host", b"a"), (b"X", b"\xff"), (b"x", b"2"), (b"Content-Length", b"1"))
    assert "Expect" not in message.headers
    assert message.headers.getall("x") == ["\udcff", "2"]


async def test_the_size_of_a_head_is_that_of_all_its_parts() -> None:
    message = await parsed(b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\nHost: a\r\nX: " + b"b" * 1000 + b"\r\n\r\n")
    assert request_head.objection_to_size(message, 2100) is None
    assert request_head.objection_to_size(message, 1999) is request_head.HEAD_TOO_LARGE
