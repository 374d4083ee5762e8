"""A file that changes is noticed, however it was changed, and only once it has settled."""

import asyncio
from pathlib import Path

import pytest

from gateway.settings.file_state import FileState
from gateway.workers.file_watch import watched


async def test_a_file_that_is_written_replaced_removed_and_made_again_is_noticed_each_time(tmp_path: Path) -> None:
    path, changed = tmp_path / "keys", asyncio.Event()
    path.write_text("one")

    async def noticed() -> None:
        async with asyncio.timeout(5):
            await changed.wait()
        changed.clear()

    read = FileState.of(path)
    path.write_text("another")  # before it is watched: it was read before that
    async with watched(read, changed.set, every=0.01):
        await noticed()
        (tmp_path / "new").write_text("replaced")
        (tmp_path / "new").rename(path)
        await noticed()
        path.unlink()
        await noticed()
        path.write_text("again")
        await noticed()


async def test_a_file_that_stays_the_same_is_left_alone_and_none_is_looked_at_afterwards(tmp_path: Path) -> None:
    path, changes = tmp_path / "keys", []
    path.write_text("one")
    async with watched(FileState.of(path), lambda: changes.append(1), every=0.001):
        await asyncio.sleep(0.05)
    path.write_text("another")
    await asyncio.sleep(0.05)
    assert changes == []


async def test_a_file_that_is_still_being_written_is_read_once_it_has_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen, called_after = tmp_path / "keys", 0, []
    sizes = (1, 1, 2, 3, 3, 3, 4, 4)  # what each look finds; 1 is what was read

    def look(_: Path) -> FileState:
        nonlocal seen
        seen = min(seen + 1, len(sizes))
        return FileState(path, (sizes[seen - 1],))

    monkeypatch.setattr(FileState, "of", look)
    async with watched(FileState(path, (1,)), lambda: called_after.append(seen), every=0):
        async with asyncio.timeout(5):
            while len(called_after) < 2:
                await asyncio.sleep(0)
    assert called_after == [5, 8]
