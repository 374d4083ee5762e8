"""Where log lines go: a bounded buffer and a thread that writes it out.

The event loop only appends. A disk that is full, a pipe that is closed or a reader that stalls costs lines, which are
counted, and nothing else. Several processes may write to one file or pipe: each batch is written under a lock on it,
since a pipe lets others' lines into the middle of what is longer than it takes at once.
"""

import fcntl
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

LINES = 20_000
BATCH_SECONDS = 0.05
STOP_SECONDS = 2.0
STDOUT = 1


class LogWriter:
    """Writes lines to a file, or to standard output where `path` is "". A context manager; `lost` counts lines."""

    def __init__(self, path: str = "", *, capacity: int = LINES) -> None:
        self.lost = 0
        self._path = path
        self._capacity = capacity
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._woken = False
        self._stopping = False
        self._reopen = False
        self._fd = self._open()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join(STOP_SECONDS)
        if self._path and not self._thread.is_alive():
            os.close(self._fd)

    def write(self, line: bytes) -> None:
        """Take `line`, which ends with a line feed. Never waits."""
        if len(self._lines) >= self._capacity:
            self.lost += 1
            return
        self._lines.append(line)
        if not self._woken:  # `is_set` is a call, and this is asked for every line
            self._woken = True
            self._wake.set()

    def reopen(self) -> None:
        """Follow a rotated file: the next batch goes to a newly opened one."""
        self._reopen = bool(self._path)

    def _open(self) -> int:
        if not self._path:
            return STDOUT
        return os.open(Path(self._path), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._wake.wait()
            if not self._stopping:
                pause.wait(BATCH_SECONDS)
            self._wake.clear()
            self._woken = False
            self._write_out()
            if self._stopping and not self._lines:
                return

    def _write_out(self) -> None:
        if self._reopen:
            self._reopen = False
            self._follow()
        count = len(self._lines)
        lines = [self._lines.popleft() for _ in range(count)]
        data = memoryview(b"".join(lines))
        try:
            with _locked(self._fd):
                while data:
                    data = data[os.write(self._fd, data) :]
        except OSError:
            self.lost += bytes(data).count(b"\n")

    def _follow(self) -> None:
        try:
            fd = self._open()
        except OSError:
            return  # the old file is still a file
        os.close(self._fd)
        self._fd = fd


@contextmanager
def _locked(fd: int) -> Iterator[None]:
    """Keep the other processes that write there waiting meanwhile; where there are no locks, do without."""
    with suppress(OSError):
        fcntl.lockf(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.lockf(fd, fcntl.LOCK_UN)
