"""What is told of the process is what the kernel says."""

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.telemetry import metric_table as table
from gateway.telemetry.process import Process


@pytest.fixture
def process() -> Process:
    return Process()


def test_open_descriptors_are_counted(process: Process) -> None:
    before = process.read()[table.OPEN_FDS]
    with ExitStack() as opened:
        for _ in range(25):
            opened.enter_context(Path(os.devnull).open("rb"))
        assert process.read()[table.OPEN_FDS] - before == pytest.approx(25, abs=3)


def test_threads_are_counted(process: Process) -> None:
    before = process.read()[table.THREADS]
    finish = threading.Event()
    threads = [threading.Thread(target=finish.wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    try:
        assert process.read()[table.THREADS] - before == 5
    finally:
        finish.set()
        for thread in threads:
            thread.join()


def test_time_spent_and_memory_taken_grow(process: Process) -> None:
    before = process.read()
    taken = bytearray(os.urandom(32 << 20))
    spent = time.process_time() + 0.02
    while time.process_time() < spent:
        pass
    after = process.read()
    assert after[table.CPU_SECONDS] > before[table.CPU_SECONDS]
    assert after[table.RESIDENT_MEMORY] - before[table.RESIDENT_MEMORY] > len(taken) / 2
    assert after[table.VIRTUAL_MEMORY] >= after[table.RESIDENT_MEMORY]


def test_it_started_before_now_and_not_long_ago(process: Process) -> None:
    started = process.read()[table.START_TIME]
    assert time.time() - 86_400 < started < time.time() + 1


@pytest.fixture
def no_limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    infinity = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda which: (infinity, infinity))
    yield


def test_no_limit_is_infinity(process: Process, no_limit: None) -> None:
    assert process.read()[table.MAX_FDS] == float("inf")


def test_without_proc_it_tells_what_it_can(tmp_path: Path) -> None:
    assert set(Process(tmp_path).read()) == {table.CPU_SECONDS, table.MAX_FDS}


def test_a_kernel_that_does_not_tell_the_number_of_descriptors_is_asked_for_each(tmp_path: Path) -> None:
    own = tmp_path / "self"
    own.mkdir()
    (own / "stat").write_bytes(b"1 (a) name) S " + b" ".join(str(number).encode() for number in range(1, 40)))
    threads = Path("/proc/self/task")  # a directory of that kind: its size is 0, however many are in it
    assert threads.stat().st_size == 0
    (own / "fd").symlink_to(threads)
    known = Process(tmp_path).read()
    assert known[table.OPEN_FDS] == len(list(threads.iterdir())) > 0
    assert known[table.THREADS] == 17
    assert table.START_TIME not in known
