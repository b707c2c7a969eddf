"""One writer at a time: a file that a process holds, and loses when it ends, however it ends."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from shortlist.errors import BundleError


@dataclass(eq=False)
class Lock:
    """A lock that is held."""

    path: Path
    handle: int

    @classmethod
    def take(cls, path: Path) -> Lock:
        """Hold a file, made where it is not there. BundleError where somebody else does."""
        import fcntl

        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            os.close(handle)
            raise BundleError(
                f"{path.parent.parent} is being changed by another"
                + (f" (process {owner})" if owner else ""),
                hint="one writer at a time; to read only: open_live(..., write=False)",
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        return cls(path, handle)

    def holds(self) -> bool:
        """Whether the file that is held is still the one at its path."""
        if self.handle < 0:
            return False
        mine = os.fstat(self.handle)
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def release(self) -> None:
        """Let go."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1
