"""Everything the gateway says that is no exchange: start, stop, reload, a bug. One line each, by the same writer.

What is said while a request is served names it and its trace. The table `FIELDS` is what `docs/log.md` describes.
"""

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson

from gateway.settings import Log
from gateway.telemetry import access_log
from gateway.telemetry.escaping import encodable, escaped, escaped_json
from gateway.telemetry.exchange import Exchange
from gateway.telemetry.log_writer import LogWriter

FIELDS: dict[str, str] = {
    "time": "when it was said, RFC 3339, UTC",
    "level": "debug, info, warning, error, critical",
    "event": "log",
    "logger": "which part said it: gateway, or a library",
    "message": "what was said",
    "request_id": "the gateway's id of the exchange during which it was said",
    "trace_id": "W3C trace id of that exchange",
    "traceback": "where in the code it went wrong",
}

_QUIET = ("aiohttp.access", "aiohttp.server", "asyncio")

_served: ContextVar[Exchange | None] = ContextVar("served", default=None)
_serving: dict[object, Exchange] = {}  # by the task that serves it


@contextmanager
def speak_for(exchange: Exchange) -> Iterator[None]:
    """What the current task, and those it begins, say meanwhile is said on behalf of `exchange`."""
    before = _served.set(exchange)
    try:
        yield
    finally:
        _served.reset(before)


def serve(task: object, exchange: Exchange) -> None:
    """What `task` alone says is said on behalf of `exchange` until `served`; at a fifth of the cost."""
    _serving[task] = exchange


def served(task: object) -> None:
    _serving.pop(task, None)


def _spoken_for() -> Exchange | None:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        task = None
    return _serving.get(task) or _served.get()


def wants_json(log: Log) -> bool:
    """JSON unless text was asked for, or lines go to a terminal."""
    return log.format == "json" or (log.format == "auto" and (bool(log.file) or not sys.stdout.isatty()))


class AccessView:
    """The view that writes one line per exchange; those below the level asked for are left out.

    Exchanges for which no key was accepted get `without_key_rate` lines a second; `omitted` counts the rest.
    """

    def __init__(self, log: Log, writer: LogWriter) -> None:
        self.omitted = 0
        self._writer = writer
        self._line = access_log.json_line if wants_json(log) else access_log.text_line
        self._calm = logging.getLevelNamesMapping()[log.level.upper()] <= logging.INFO
        self._rate = log.without_key_rate
        self._second = 0  # in which the last exchange without a key ended
        self._written = 0  # lines of exchanges without a key in that second

    def __call__(self, exchange: Exchange) -> None:
        if not self._calm and not access_log.is_loud(exchange):
            return
        if exchange.client is None and not self._has_room(exchange):
            self.omitted += 1
            return
        self._writer.write(self._line(exchange))

    def _has_room(self, exchange: Exchange) -> bool:
        second = (exchange.ended or exchange.started) // 1_000_000_000
        if second != self._second:
            self._second, self._written = second, 0
        self._written += 1
        return self._written <= self._rate


def through(writer: LogWriter, log: Log) -> logging.Handler:
    """Send the standard library's logging, ours and the libraries', through `writer`; returns the handler installed."""
    handler = LineHandler(writer, as_json=wants_json(log))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(log.level.upper())
    for name in _QUIET:  # what clients can provoke at will stands in their exchange's line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return handler


class LineHandler(logging.Handler):
    """Each record as one line; a traceback stays within it."""

    def __init__(self, writer: LogWriter, *, as_json: bool) -> None:
        super().__init__()
        self._writer = writer
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        trace = self.formatter_of_traces.formatException(record.exc_info) if record.exc_info else None
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        served = _spoken_for()
        if not self._as_json:
            whose = f" request_id={served.id} trace_id={served.trace.trace_id}" if served else ""
            said = f"{when[11:23]} {record.levelname.lower()} {escaped(record.getMessage())}{whose}"
            # What an error says may have line ends: none of its lines looks like one of the log's own.
            lines = [said, *(f"    {escaped(line)}" for line in (trace or "").split("\n") if line)]
            self._writer.write("\n".join(lines).encode() + b"\n")
            return
        line = {
            "time": when,
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "log"),
            "logger": record.name,
            "message": encodable(record.getMessage()),
        }
        if served:
            line |= {"request_id": served.id, "trace_id": served.trace.trace_id}
        if trace:
            line["traceback"] = encodable(trace)
        self._writer.write(escaped_json(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE, default=str)))

    formatter_of_traces = logging.Formatter()
