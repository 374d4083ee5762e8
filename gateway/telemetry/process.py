"""What the kernel says of this process. On systems without /proc only the CPU time is known."""

import os
import resource
import time
from pathlib import Path

from gateway.telemetry import metric_table as table
from gateway.telemetry.metric_table import Metric

PROC = Path("/proc")

# Fields of /proc/PID/stat after the name in brackets (proc(5), counted from 0 there).
_THREADS, _START_TICKS, _VIRTUAL_BYTES, _RESIDENT_PAGES = 17, 19, 20, 21


class Process:
    """The figures customary among Prometheus clients, by metric."""

    def __init__(self, proc: Path = PROC) -> None:
        self._own = proc / "self"
        self._booted = _boot_time(proc / "stat")
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._page = resource.getpagesize()

    def read(self) -> dict[Metric, float]:
        """May take milliseconds where there are many descriptors. What cannot be read is left out."""
        known: dict[Metric, float] = {table.CPU_SECONDS: time.process_time()}
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        known[table.MAX_FDS] = float("inf") if soft == resource.RLIM_INFINITY else soft
        try:
            # The name may hold blanks and brackets; what follows the last bracket does not.
            fields = (self._own / "stat").read_bytes().rpartition(b")")[2].split()
            known[table.OPEN_FDS] = self._descriptors()
        except OSError:
            return known
        known[table.THREADS] = int(fields[_THREADS])
        known[table.VIRTUAL_MEMORY] = int(fields[_VIRTUAL_BYTES])
        known[table.RESIDENT_MEMORY] = int(fields[_RESIDENT_PAGES]) * self._page
        if self._booted is not None:
            known[table.START_TIME] = self._booted + int(fields[_START_TICKS]) / self._ticks
        return known

    def _descriptors(self) -> int:
        """Linux 6.2 tells their number as the directory's size, at once; before that they have to be listed."""
        folder = self._own / "fd"
        return folder.stat().st_size or sum(1 for _ in folder.iterdir())


def _boot_time(stat: Path) -> int | None:
    try:
        for line in stat.read_bytes().splitlines():
            if line.startswith(b"btime "):
                return int(line.split()[1])
    except OSError:
        pass
    return None
