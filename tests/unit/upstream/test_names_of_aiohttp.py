"""What both roads lean on in aiohttp, by name; what they promise is the contract's (`tests/contract`)."""

import asyncio
import inspect
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientRequest, ClientResponse, ClientSession, TCPConnector, helpers
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import StreamWriter
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from tests.aiohttp_names import made_by, moved, signature

CALLED_OR_OVERRIDDEN = [
    (TCPConnector, "close", "(self, abort_ssl=False)"),
    (TCPConnector, "connect", "(self, req, traces, timeout)"),
    (Connection, "close", "(self)"),
    (Connection, "release", "(self)"),
    (ResponseHandler, "set_exception", "(self, exc, exc_cause=...)"),
    (ResponseHandler, "connection_lost", "(self, exc)"),
    (ResponseHandler, "data_received", "(self, data)"),
    (ResponseHandler, "feed_data", "(self, data, size=0)"),
    (ResponseHandler, "force_close", "(self)"),
    (ResponseHandler, "read", "(self)"),
    (ResponseHandler, "resume_reading", "(self, resume_parser=True)"),
    (ResponseHandler, "_drain_helper", "(self)"),
    (ResponseHandler, "_pause_reading_for_buffer", "(self)"),
    (ResponseHandler, "_resume_reading_for_buffer", "(self)"),
    (StreamReader, "readany", "(self)"),
    (StreamReader, "is_eof", "(self)"),
    (StreamReader, "at_eof", "(self)"),
    (StreamReader, "exception", "(self)"),
    (StreamReader, "__init__", "(self, protocol, limit, timer=None, loop=None)"),
    (StreamReader, "feed_eof", "(self)"),
    (StreamReader, "set_exception", "(self, exc, exc_cause=...)"),
    (StreamReader, "feed_data", "(self, data, size=0)"),
    (StreamReader, "begin_http_chunk_receiving", "(self)"),
    (StreamReader, "end_http_chunk_receiving", "(self)"),
    (ClientRequest, "send", "(self, conn)"),
    (ClientRequest, "write_bytes", "(self, writer, conn, content_length=None)"),
    (
        ClientResponse,
        "__init__",
        "(self, method, url, writer, continue100, timer, request_info, traces, loop, session, stream_writer)",
    ),
    (ClientResponse, "_response_eof", "(self)"),
    (ClientResponse, "close", "(self)"),
    (ClientResponse, "release", "(self)"),
    (StreamWriter, "__init__", "(self, protocol, loop, on_chunk_sent=None, on_headers_sent=None)"),
    (StreamWriter, "enable_chunking", "(self)"),
    (helpers, "TimerNoop", "()"),
]

HELD = [
    (TCPConnector, "_acquired _conns _factory _keepalive_timeout _waiters limit"),
    (Connection, "_protocol protocol transport"),
    (
        ResponseHandler,
        "_buffer _buffer_paused _exception _loop _parser _paused _payload _read_bufsize _reading_paused _should_close "
        "_tail should_close transport",
    ),
    (StreamReader, "_buffer _eof _exception _waiter total_bytes"),
    (RawResponseMessage, "code headers raw_headers reason should_close upgrade version"),
    (ClientRequest, "connection_key loop method original_url request_info response response_class session"),
    (ClientResponse, "content headers raw_headers reason status"),
    (helpers, "_EXC_SENTINEL"),
]


def moved_here(owner: Any, what: str) -> str:
    return moved(owner, what, "upstream")


@pytest.mark.parametrize(
    ("owner", "name", "expected"), CALLED_OR_OVERRIDDEN, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_what_is_called_or_overridden_in_aiohttp_is_as_it_was(owner: Any, name: str, expected: str) -> None:
    function = getattr(owner, name, None)
    assert function is not None, moved_here(owner, name)
    assert signature(function) == expected, moved_here(owner, f"{name}{signature(function)}")


@pytest.mark.parametrize(("owner", "names"), HELD)
def test_what_is_looked_at_in_aiohttp_is_there(owner: Any, names: str) -> None:
    there = set(dir(owner)) | (made_by(owner) if isinstance(owner, type) else set())
    for name in names.split():
        assert name in there, moved_here(owner, name)


def test_a_session_takes_its_requests_and_responses_from_us_and_a_middleware_for_each() -> None:
    made = signature(ClientSession.__init__)
    assert "request_class=" in made and "response_class=" in made, moved_here(ClientSession, "__init__")
    assert "middlewares=None" in signature(ClientSession._request), moved_here(ClientSession, "request")


def test_a_response_lets_go_of_its_connection_in_the_method_that_is_overridden() -> None:
    hook = "on_eof(self._response_eof)"
    assert hook in inspect.getsource(ClientResponse.start), moved_here(ClientResponse, "_response_eof")


async def test_the_key_of_a_request_is_what_connections_are_kept_by() -> None:
    request = ClientRequest("GET", URL("http://x"), loop=asyncio.get_running_loop())
    assert request.connection_key.host == "x", moved_here(aiohttp, "ClientRequest.connection_key")
