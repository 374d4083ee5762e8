"""Every key under which applications and requests hold what others read, one line each."""

from collections.abc import Callable

from aiohttp import web

from gateway.access.clients import Client
from gateway.access.gate import Admission
from gateway.downstream.body_memory import HeldBody
from gateway.downstream.head import Told
from gateway.errors import GatewayError
from gateway.providers.provider import Dialect
from gateway.telemetry.exchange import Exchange
from gateway.telemetry.recorder import Recorder

ErrorFrame = Callable[[GatewayError], bytes]
"""What a running response shows of an error before it is broken off; b"" where its format has no words for one."""

RECORDER = web.AppKey("recorder", Recorder)
DIALECT = web.AppKey("dialect", Dialect)

EXCHANGE = web.RequestKey("exchange", Exchange)
TOLD = web.RequestKey("told", Told)  # by the request's head
CLIENT = web.RequestKey("client", Client)
ADMISSION = web.RequestKey("admission", Admission)  # where something is bounded for the client
STORED_BODY = web.RequestKey("stored_body", bytes)  # of the request that a browser's ticket stands for
HELD_BODY = web.RequestKey("held_body", HeldBody)  # of a request that is not recognised
STARTED = web.RequestKey("started", web.StreamResponse)  # the response whose head is out
