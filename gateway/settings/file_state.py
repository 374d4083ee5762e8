"""A snapshot of a file's `stat`, to notice changes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class FileState:
    """What `stat` said of `path`, links followed: device, inode, size, time of the last change; () for no file.

    A mounted secret is replaced behind a symbolic link, an editor replaces the file, `echo >` writes into it: each of
    these changes one of them.
    """

    path: Path
    signature: tuple[int, ...]

    @classmethod
    def of(cls, path: Path) -> Self:
        try:
            status = path.stat()
        except OSError:
            return cls(path, ())
        return cls(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
