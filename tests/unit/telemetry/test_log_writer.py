"""Lines reach their file; when they cannot, they are counted and nothing else happens."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.telemetry import log_writer
from gateway.telemetry.log_writer import LogWriter


def until(true: object, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_lines_are_in_the_file_in_order_when_the_writer_is_left(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with LogWriter(str(path)) as writer:
        for number in range(1000):
            writer.write(b"%d\n" % number)
    assert path.read_bytes().split() == [b"%d" % number for number in range(1000)]
    assert writer.lost == 0


def test_lines_are_written_while_the_writer_runs(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with LogWriter(str(path)) as writer:
        writer.write(b"a\n")
        until(lambda: path.read_bytes() == b"a\n")


def test_a_file_that_was_moved_away_is_followed(tmp_path: Path) -> None:
    path, moved = tmp_path / "log", tmp_path / "log.1"
    with LogWriter(str(path)) as writer:
        writer.write(b"old\n")
        until(lambda: path.read_bytes() == b"old\n")
        path.rename(moved)
        writer.reopen()
        writer.write(b"new\n")
        until(lambda: path.exists() and path.read_bytes() == b"new\n")
    assert moved.read_bytes() == b"old\n"


def test_a_full_disk_loses_lines_and_counts_them() -> None:
    with LogWriter("/dev/full") as writer:
        writer.write(b"a\nb\n")
        until(lambda: writer.lost == 2)
        writer.write(b"c\n")
        until(lambda: writer.lost == 3)


def test_a_closed_pipe_loses_lines_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(log_writer, "STDOUT", writing)
    with LogWriter() as writer:
        writer.write(b"a\n")
        until(lambda: writer.lost == 1)
    os.close(writing)


def test_a_reader_that_stalls_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(log_writer, "STDOUT", writing)
    monkeypatch.setattr(log_writer, "STOP_SECONDS", 0.1)
    began = time.monotonic()
    with LogWriter(capacity=10) as writer:
        for _ in range(5):
            writer.write(b"x" * 100_000 + b"\n")
        for _ in range(50):
            writer.write(b"y\n")
        assert writer.lost > 0
    assert time.monotonic() - began < 5
    os.close(reading)
    writer._thread.join(5)  # else it would write to whatever gets the descriptor next
    os.close(writing)


LONG_LINES = """
import sys
from gateway.telemetry.log_writer import LogWriter

with LogWriter() as writer:
    for length in range(1, 300):
        writer.write(sys.argv[1].encode() * length * 100 + b"\\n")
"""


def test_lines_of_several_processes_in_one_pipe_stay_whole() -> None:
    reading, writing = os.pipe()
    commands = [[sys.executable, "-c", LONG_LINES, letter] for letter in "abc"]
    processes = [subprocess.Popen(command, stdout=writing) for command in commands]
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        lines = pipe.read().splitlines()
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert [set(line) for line in lines if len(set(line)) != 1] == []
    assert sorted(map(len, lines)) == sorted(3 * [length * 100 for length in range(1, 300)])
