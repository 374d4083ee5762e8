"""What the connections lean on in aiohttp, and what they promise apart from the wire (see `walk`)."""

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest
from aiohttp import helpers, http_writer, streams, web, web_protocol, web_server
from aiohttp.http import HttpRequestParser, RawRequestMessage, StreamWriter
from aiohttp.web_urldispatcher import UrlMappingMatchInfo

from gateway.downstream.connection import GuardedConnection
from gateway.downstream.connection_bounds import ConnectionBounds
from gateway.downstream.refusal import Malformed
from tests import aiohttp_names
from tests.guarded_app import GOOD, served
from tests.raw_http import RawClient, connected

HANDLER = web_protocol.RequestHandler
READER = streams.StreamReader

CALLED_OR_OVERRIDDEN = [
    (HANDLER, "close", "(self)"),
    (HANDLER, "connection_lost", "(self, exc)"),
    (HANDLER, "connection_made", "(self, transport)"),
    (HANDLER, "data_received", "(self, data)"),
    (HANDLER, "force_close", "(self)"),
    (HANDLER, "handle_error", "(self, request, status=500, exc=None, message=None)"),
    (HANDLER, "_pause_reading_for_buffer", "(self)"),
    (HANDLER, "_pause_transport_reading", "(self)"),
    (HANDLER, "_process_keepalive", "(self)"),
    (HANDLER, "_resume_reading_for_buffer", "(self)"),
    (HANDLER, "_resume_reading_if_drained", "(self)"),
    (HANDLER, "_resume_transport_reading", "(self)"),
    (HANDLER, "start", "(self)"),
    (web_protocol._ErrInfo, "__init__", "(self, status, exc, message)"),
    (READER, "_wait", "(self, func_name)"),
    (READER, "is_eof", "(self)"),
    (READER, "set_exception", "(self, exc, exc_cause=...)"),
    (UrlMappingMatchInfo, "__init__", "(self, match_dict, route)"),
    (UrlMappingMatchInfo, "add_app", "(self, app)"),
    (web.Request, "_prepare_hook", "(self, response)"),
    (web.Application, "_make_request", "(self, message, payload, protocol, writer, task, _cls=...)"),
    (web.AppRunner, "_make_server", "(self)"),
    (web_server.Server, "__call__", "(self)"),
    (web_server.Server, "shutdown", "(self, timeout=None)"),
    (web.StreamResponse, "prepare", "(self, request)"),
    (web.StreamResponse, "_prepare_headers", "(self)"),
    (web.StreamResponse, "_set_status", "(self, status, reason)"),
    (web.StreamResponse, "_write_headers", "(self)"),
    (web.StreamResponse, "write_eof", "(self, data=b'')"),
    (StreamWriter, "enable_chunking", "(self)"),
    (StreamWriter, "send_headers", "(self)"),
    (helpers, "must_be_empty_body", "(method, code)"),
    (helpers, "rfc822_formatted_time", "()"),
]

HELD = [
    (HANDLER, "_buffer_paused _close _current_request _force_close _loop _max_msg_queue_size _messages"),
    (HANDLER, "_msg_queue_resume_size _parser _read_bufsize _reading_paused _request_count _waiter peername transport"),
    (HANDLER, "_handler_waiter _keepalive_handle _keepalive_timeout _lingering_time _next_keepalive_close_time"),
    (HANDLER, "_request_factory _request_handler _request_in_progress _task_handler"),
    (UrlMappingMatchInfo, "_apps _current_app _frozen"),
    (HANDLER, "_drain_helper _paused"),
    (READER, "_buffer _eof _exception _protocol _size _waiter total_bytes"),
    (web.Request, "_match_info"),
    (RawRequestMessage, "_replace chunked headers method path raw_headers should_close upgrade version"),
    (HttpRequestParser, "feed_data message_consumed"),
    (web.StreamResponse, "_chunked _cookies _eof_sent _keep_alive _must_be_empty_body _payload_writer _req"),
    (web.StreamResponse, "_send_headers_immediately"),
    (StreamWriter, "length transport"),
]

SET_BY_INIT = [
    (web.BaseRequest, "_cache _client_max_fields _client_max_size _headers _loop _message _method _payload"),
    (web.BaseRequest, "_payload_writer _protocol _rel_url _state _task _transport_peername _transport_sockname"),
    (web.BaseRequest, "_transport_sslcontext _version"),
    (web.StreamResponse, "_headers _reason _state _status"),
    (StreamWriter, "_headers_buf _headers_written"),
    (web_server.Server, "_kwargs _loop"),
]


def moved(owner: Any, what: str) -> str:
    return aiohttp_names.moved(owner, what, "downstream")


@pytest.mark.parametrize(
    ("owner", "name", "expected"), CALLED_OR_OVERRIDDEN, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_what_is_called_or_overridden_in_aiohttp_is_as_it_was(owner: Any, name: str, expected: str) -> None:
    function = getattr(owner, name, None)
    assert function is not None, moved(owner, name)
    assert aiohttp_names.signature(function) == expected, moved(owner, f"{name}{aiohttp_names.signature(function)}")


@pytest.mark.parametrize(("owner", "names"), HELD)
def test_what_is_looked_at_in_aiohttp_is_there(owner: Any, names: str) -> None:
    for name in names.split():
        assert hasattr(owner, name), moved(owner, name)


@pytest.mark.parametrize(("owner", "names"), SET_BY_INIT)
def test_what_instances_of_aiohttp_are_given_is_given(owner: Any, names: str) -> None:
    source = inspect.getsource(owner.__init__) + inspect.getsource(owner)
    for name in names.split():
        assert f"self.{name} = " in source or f"self.{name}: " in source, moved(owner, name)


def test_the_writer_of_responses_is_the_one_whose_buffer_is_filled() -> None:
    assert web_protocol.StreamWriter is http_writer.StreamWriter is StreamWriter, moved(web_protocol, "StreamWriter")


async def test_every_connection_of_the_runner_is_guarded_and_set_up_as_production_needs_it() -> None:
    async with served() as it, connected(it.port) as client:
        await client.send(GOOD)
        assert (await client.response()).status == 200
        (connection,) = it.runner.server.connections
        assert isinstance(connection, GuardedConnection)
        assert it.runner.server.handler_cancellation is True
        assert connection.access_logger is None
        assert connection._lingering_time == 0


def test_bounds_that_the_parser_could_not_tell_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="must differ"):
        ConnectionBounds(max_target_bytes=1000, max_field_bytes=1000)


async def test_a_client_on_a_unix_socket_is_named_local(tmp_path: Path) -> None:
    async with served() as it:
        path = str(tmp_path / "gateway.sock")
        await web.UnixSite(it.runner, path).start()
        reader, writer = await asyncio.open_unix_connection(path)
        client = RawClient(reader, writer)
        await client.send("nonsense\r\n\r\n")
        assert (await client.response()).status == 400
        (malformed,) = it.malformed
        reason = "Invalid method encountered"
        assert malformed == Malformed(
            malformed.request_id, "local", 400, "malformed_request", reason, malformed.bytes_out
        )
        await client.close()
