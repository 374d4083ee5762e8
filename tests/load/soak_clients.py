"""Who asks in a soak, and what each must get: the whole answer to its own question, or an error that says so.

Each question carries a nonce of its own, and the mock's answer is foretold word by word: an answer that is another's,
or that lacks a piece and does not say so, cannot pass.
"""

import asyncio
import fcntl
import random
import secrets
import sys
import termios
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import orjson

from gateway.mock_upstream import Behaviour
from gateway.mock_upstream.answers import Question, answer
from gateway.mock_upstream.behaviour import from_model
from tests.running import KEY

CHAT = "/provider/mock/v1/chat/completions"
MODEL = "mock-model"
HEADERS = {"X-API-Key": KEY, "Content-Type": "application/json"}
FAULT_RATE = 0.05
FAULTS = ("fail=500", "fail=503", "fail=429", "cut-after=3", "error-after=3", "stall-after=3", "delay=4")
UNARY_FAULTS = tuple(fault for fault in FAULTS if not fault.startswith("error"))
LARGE = "words=300+width=4000+pace=0"
TOO_LARGE_TO_FLUSH = "words=4000+width=4000+pace=0"
STALL = 5.0  # seconds, more than the gateway has patience for
MOST_KEPT = 100  # of what was wrong

Kind = Callable[[aiohttp.ClientSession], Awaitable[str]]

WHOLE, ERROR, LEFT = "whole", "error", "left"


class Wrong(Exception):
    """What a client saw is neither its whole answer nor a proper error."""


class Tally:
    """What came of all requests."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, kind: str, outcome: str) -> None:
        self._counts[kind, outcome] += 1

    def was_wrong(self, kind: str, what: str) -> None:
        self._counts[kind, "wrong"] += 1
        if len(self.wrong) < MOST_KEPT:
            self.wrong.append(f"{kind}: {what}")

    @property
    def asked(self) -> int:
        return self._counts.total()

    def counts(self, kind: str) -> tuple[int, ...]:
        """Asked, whole, errors, left."""
        all_of = sum(count for (of, _), count in self._counts.items() if of == kind)
        return all_of, *(self._counts[kind, outcome] for outcome in (WHOLE, ERROR, LEFT))

    def line(self) -> str:
        """In short."""
        sums: Counter[str] = Counter()
        for (_, outcome), count in self._counts.items():
            sums[outcome] += count
        return (
            f"{self.asked} asked, {sums[WHOLE]} whole, {sums[ERROR]} errors, {sums[LEFT]} left, {sums['wrong']} wrong"
        )


async def go_on_asking(session: aiohttp.ClientSession, tally: Tally, number: int, until: float) -> None:
    """One client: asks in its own way, again and again, with short pauses."""
    name = WAYS[number % len(WAYS)]
    while time.monotonic() < until:
        try:
            tally.add(name, await KINDS[name](session))
        except Wrong as wrong:
            tally.was_wrong(name, str(wrong))
        except (aiohttp.ClientError, TimeoutError) as error:
            tally.was_wrong(name, f"no answer: {error!r}")
        await asyncio.sleep(random.uniform(0, 0.05))


# Who asks


async def ask_once(session: aiohttp.ClientSession) -> str:
    model, faulty = model_with(UNARY_FAULTS)
    body, expected = question(model, stream=False)
    async with session.post(CHAT, data=body, headers=HEADERS) as response:
        try:
            raw = await response.read()
        except aiohttp.ClientPayloadError:  # broken off, and not to be taken for whole
            return proper(faulty, f"{model} was broken off")
        return judged_document(response.status, raw, expected, faulty)


async def read_stream(session: aiohttp.ClientSession) -> str:
    model, faulty = model_with(FAULTS)
    body, expected = question(model, stream=True)
    async with session.post(CHAT, data=body, headers=HEADERS) as response:
        if response.status != 200:
            return judged_document(response.status, await response.read(), expected, faulty)
        return await judged_stream(response, expected, faulty)


async def leave(session: aiohttp.ClientSession) -> str:
    body, expected = question(MODEL + "+pace=0.005", stream=True)
    heard = b""
    async with session.post(CHAT, data=body, headers=HEADERS) as response:
        leaving = random.randrange(2000)
        async for piece in response.content.iter_any():
            heard += piece
            if len(heard) > leaving:
                break
        response.close()
    told(heard, expected)
    return LEFT


async def take_slowly(session: aiohttp.ClientSession) -> str:
    body, expected = question(f"{MODEL}+{LARGE}", stream=True)
    async with session.post(CHAT, data=body, headers=HEADERS) as response:
        await asyncio.sleep(random.uniform(0.2, 1.0))
        return await judged_stream(response, expected, faulty=False)


async def take_nothing(session: aiohttp.ClientSession) -> str:
    """The gateway has to end this: a client that takes nothing of what is there for it."""
    body, _ = question(f"{MODEL}+{TOO_LARGE_TO_FLUSH}", stream=True)
    async with session.post(CHAT, data=body, headers=HEADERS) as response:
        await until_nothing_more_fits(response)
        try:
            while await response.content.readany():
                pass
        except aiohttp.ClientPayloadError:
            return ERROR
    raise Wrong(f"took nothing for {STALL} s, and was served nevertheless")


async def until_nothing_more_fits(response: aiohttp.ClientResponse) -> None:
    """Wait until no more has arrived in the kernel for some seconds: whoever sends has had to wait as long."""
    assert response.connection is not None
    assert response.connection.transport is not None
    descriptor = response.connection.transport.get_extra_info("socket").fileno()
    arrived, since = -1, time.monotonic()
    while time.monotonic() - since < STALL:
        waiting = int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)
        if waiting != arrived:
            arrived, since = waiting, time.monotonic()
        await asyncio.sleep(0.1)


async def send_nothing(session: aiohttp.ClientSession) -> str:
    """The gateway has to refuse this: a body that does not go on."""
    body, _ = question(MODEL, stream=False)

    async def stalling() -> AsyncIterator[bytes]:
        yield body[:20]
        await asyncio.sleep(STALL)
        yield body[20:]

    async with session.post(CHAT, data=stalling(), headers=HEADERS | {"Content-Length": str(len(body))}) as response:
        return judged_document(response.status, await response.read(), "", faulty=True)


KINDS: dict[str, Kind] = {
    "ask": ask_once,
    "read a stream": read_stream,
    "leave in its middle": leave,
    "take it slowly": take_slowly,
    "take nothing": take_nothing,
    "send nothing": send_nothing,
}
WAYS = ("ask", "read a stream", "leave in its middle", "read a stream") * 3 + tuple(KINDS)[3:]
"""What one client after the other does."""


# What they must get


def model_with(faults: tuple[str, ...]) -> tuple[str, bool]:
    """A model's name, and whether one of `faults` was put into it."""
    if random.random() >= FAULT_RATE:
        return MODEL, False
    return f"{MODEL}+{random.choice(faults)}", True


def question(model: str, *, stream: bool) -> tuple[bytes, str]:
    """A body with a nonce of its own, and the text that has to be answered to it."""
    text = f"Say {secrets.token_hex(16)}, and nothing else."
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}
    name, directives = from_model(model)
    behaviour = Behaviour().scripted(directives)
    return orjson.dumps(body), answer(Question(name, text), behaviour).text


def judged_document(status: int, raw: bytes, expected: str, faulty: bool) -> str:
    """Raises Wrong."""
    try:
        document: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Wrong(f"{status} with a body that is no JSON: {raw[:100]!r}") from None
    if status == 200:
        choice = document["choices"][0]
        if choice["message"]["content"] != expected or choice["finish_reason"] != "stop":
            raise Wrong(f"a document that answers something else: {raw[:200]!r}")
        if faulty:
            raise Wrong("a whole answer where a fault was asked for")
        return WHOLE
    if not isinstance(document.get("error"), dict) or not document["error"].get("message"):
        raise Wrong(f"{status} with a body that is no error: {raw[:100]!r}")
    return proper(faulty, f"{status}: {document['error']['message']}")


async def judged_stream(response: aiohttp.ClientResponse, expected: str, faulty: bool) -> str:
    """Raises Wrong."""
    heard, broken = b"", False
    try:
        async for piece in response.content.iter_any():
            heard += piece
    except aiohttp.ClientPayloadError:
        broken = True
    text, ending = told(heard, expected)
    if ending == WHOLE and not broken and text == expected:
        if faulty:
            raise Wrong("a whole stream where a fault was asked for")
        return WHOLE
    if ending != ERROR and not broken:
        raise Wrong(f"a stream that ends cleanly and is not whole: ...{heard[-100:]!r}")
    return proper(faulty, f"a stream that ends with {heard[-200:]!r}")


def told(heard: bytes, expected: str) -> tuple[str, str]:
    """The text of a stream's whole events, and how they end: whole, with an error, or not at all.

    Raises Wrong if it is not the beginning of what is expected.
    """
    text, ending = [], ""
    for event in heard.split(b"\n\n")[:-1]:
        payload = event.removeprefix(b"data: ")
        if payload == b"[DONE]":
            ending = WHOLE
            continue
        document = orjson.loads(payload)
        if "error" in document:
            ending = ERROR
        else:
            text += [choice["delta"].get("content") or "" for choice in document["choices"]]
    said = "".join(text)
    if not expected.startswith(said):
        raise Wrong(f"a stream that answers something else: {said[:200]!r}")
    return said, ending


def proper(faulty: bool, what: str) -> str:
    """An error is one where something was wrong."""
    if not faulty:
        raise Wrong(f"an error where nothing was wrong: {what}")
    return ERROR
