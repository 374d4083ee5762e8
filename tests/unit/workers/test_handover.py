"""Sockets that go from one gateway to the next."""

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.workers.handover import Handover, inherited
from gateway.workers.sockets import CannotServe, bound, close


@pytest.fixture
def listens() -> Iterator[list[socket.socket]]:
    sockets = bound("127.0.0.1", 0, "")
    yield sockets
    close(sockets)


async def test_the_next_one_accepts_from_the_same_queue(tmp_path: Path, listens: list[socket.socket]) -> None:
    path = str(tmp_path / "handover")
    handover = Handover(path, listens)
    handover.open()
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    got = await asyncio.to_thread(inherited, path)
    try:
        assert [each.getsockname() for each in got] == [each.getsockname() for each in listens]
        assert not any(each.get_inheritable() for each in got)
        with socket.create_connection(listens[0].getsockname()) as waiting:  # before the older one has left
            handover.close()
            close(listens)
            accepted, _ = got[0].accept()
            accepted.sendall(b"served")
            accepted.close()
            assert waiting.recv(100) == b"served"
    finally:
        close(got)


async def test_a_socket_blocks_nobody_however_often_it_is_passed_on(
    tmp_path: Path, listens: list[socket.socket]
) -> None:
    """Of two processes that are told of one connection the one that comes too late would wait for the next."""
    first = Handover(str(tmp_path / "first"), listens)
    first.open()
    got = await asyncio.to_thread(inherited, str(tmp_path / "first"))
    second = Handover(str(tmp_path / "second"), got)
    second.open()
    try:
        assert not os.get_blocking(listens[0].fileno())
        with pytest.raises(BlockingIOError):
            listens[0].accept()
    finally:
        second.close()
        first.close()
        close(got)


async def test_the_older_one_knows_whether_it_has_a_successor(tmp_path: Path, listens: list[socket.socket]) -> None:
    path = tmp_path / "handover"
    first, second = Handover(str(path), listens), Handover(str(path), listens)
    first.open()
    assert not first.is_succeeded
    second.open()
    assert first.is_succeeded
    assert not second.is_succeeded
    first.close()
    assert path.is_socket()
    second.close()
    assert not path.exists()


async def test_where_nobody_is_nothing_is_inherited(tmp_path: Path, listens: list[socket.socket]) -> None:
    path = tmp_path / "handover"
    assert inherited("") == inherited(str(path)) == inherited(str(path) + "x" * 200) == []
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    assert inherited(str(path)) == []
    handover = Handover(str(path), listens)  # takes the place of what is left
    handover.open()
    got = await asyncio.to_thread(inherited, str(path))
    assert len(got) == len(listens)
    close(got)
    handover.close()


async def test_without_a_path_nothing_is_offered(listens: list[socket.socket]) -> None:
    handover = Handover("", listens)
    handover.open()
    assert not handover.is_succeeded
    handover.close()


async def test_a_place_where_nothing_can_be_offered_is_told(tmp_path: Path, listens: list[socket.socket]) -> None:
    with pytest.raises(CannotServe, match="GATEWAY_HANDOVER"):
        Handover(str(tmp_path / ("x" * 200)), listens).open()
