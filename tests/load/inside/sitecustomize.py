"""Found by every Python process that a soak starts: on SIGUSR1 it lets go of garbage and of what its allocator keeps
for later, and tells its asyncio tasks and its blocks of memory."""

import asyncio
import ctypes
import gc
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path


def tell(*_: object) -> None:
    gc.collect()
    with suppress(OSError, AttributeError):  # where the C library is another one, memory is only less exact
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    told = Path(os.environ["SOAK_FOLDER"], f"told-{os.getpid()}")
    beside = told.with_suffix(".new")
    beside.write_text(f"{len(asyncio.all_tasks())} {sys.getallocatedblocks()}")
    beside.rename(told)


signal.signal(signal.SIGUSR1, tell)
