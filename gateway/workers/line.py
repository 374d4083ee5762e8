"""Questions and answers between two processes over a Unix socket; both ends may ask.

A message is its length in four bytes and msgpack: a number, what is meant, and the content. An answer carries the
number of its question. Only processes of one gateway talk here, in a directory that nobody else may enter.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

HEAD: Final = 4
LONGEST: Final = 256 << 20
ANSWER: Final = ""

Answers = Callable[[str, Any], Awaitable[Any]]

logger = logging.getLogger("gateway")


class LineBroken(Exception):
    """The other side is gone, or did not answer in time."""


class Message(msgspec.Struct, frozen=True, array_like=True):
    """`about` is empty in an answer."""

    number: int
    about: str
    content: Any = None


class Line:
    """One end. `answers` is asked what to answer; each question is a task, so that none waits for another's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: Answers) -> None:
        self._reader = reader
        self._writer = writer
        self._answers = answers
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = asyncio.create_task(self._listen(), name="line")

    async def ask(self, about: str, content: Any = None, *, seconds: float) -> Any:
        """The other side's answer. Raises LineBroken if there is none within `seconds`."""
        self._number += 1
        number = self._number
        answered = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._send(Message(number, about, content))
                return await answered
        except TimeoutError:
            raise LineBroken(f"no answer to {about} within {seconds:g} s") from None
        finally:
            self._asked.pop(number, None)
            if answered.done() and not answered.cancelled():
                answered.exception()  # told by another way already

    async def ended(self) -> None:
        """Wait until the other side is gone."""
        await asyncio.wait({self._listening})

    async def close(self) -> None:
        """Hang up; who still waits for an answer gets LineBroken."""
        self._listening.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait({self._listening, *self._tasks})

    async def _send(self, message: Message) -> None:
        if self._listening.done():
            raise LineBroken("the other side is gone")
        packed = msgspec.msgpack.encode(message)
        self._writer.writelines((len(packed).to_bytes(HEAD, "big"), packed))
        try:
            await self._writer.drain()
        except ConnectionError:
            raise LineBroken("the other side is gone") from None

    async def _listen(self) -> None:
        try:
            while True:
                length = int.from_bytes(await self._reader.readexactly(HEAD), "big")
                if length > LONGEST:
                    raise ValueError("a message is too long")
                self._heard(_decode(await self._reader.readexactly(length)))
        except (OSError, EOFError):
            pass
        except (ValueError, msgspec.MsgspecError):
            logger.exception("a line between processes carried what is no message")
        finally:
            self._writer.close()
            for answered in self._asked.values():
                if not answered.done():
                    answered.set_exception(LineBroken("the other side is gone"))

    def _heard(self, message: Message) -> None:
        if message.about != ANSWER:
            task = asyncio.create_task(self._answer(message), name=f"line {message.about}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        answered = self._asked.get(message.number)
        if answered is not None and not answered.done():
            answered.set_result(message.content)

    async def _answer(self, question: Message) -> None:
        try:
            content = await self._answers(question.about, question.content)
        except Exception:  # a bug of ours: the asker runs into its time limit, the line stays
            logger.exception("a question between processes (%s) failed", question.about)
            return
        with suppress(LineBroken):
            await self._send(Message(question.number, ANSWER, content))


_decode = msgspec.msgpack.Decoder(Message).decode
