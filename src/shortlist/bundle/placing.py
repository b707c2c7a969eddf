"""A folder that appears in its place whole, or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from shortlist.errors import BundleError, what_to_do

_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


def written(path: Path, write: Callable[[Path], None]) -> None:
    """Write a folder beside `path`, then put it there; what was there is gone.

    Whoever is interrupted, or killed, leaves what was there before; of several who write at once the last
    one stays. Raises BundleError where the system refuses to write.
    """
    try:
        _written(path, write)
    except (OSError, Refused) as error:
        refused = error.error if isinstance(error, Refused) else error  # of a folder within this one
        raise Refused(path, refused) from refused


class Refused(BundleError):
    """The system refuses to write."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"cannot write {path}: {error.strerror or error}", hint=what_to_do(error))
        self.error = error


def _written(path: Path, write: Callable[[Path], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        write(fresh)
        fresh.chmod(0o755)  # mkdtemp's is private
        _flush(fresh)
        _put(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Have all of it on the disk before it takes its name: after a loss of power it is the old or the new."""
    for where, _, files in os.walk(folder):
        for name in (*files, "") if os.name == "posix" else files:  # "": the folder's own list of names
            handle = os.open(os.path.join(where, name), os.O_RDONLY if os.name == "posix" else os.O_RDWR)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _put(fresh: Path, path: Path) -> None:
    """Let `fresh` stand at `path`; what stood there may be left at `fresh`."""
    while True:
        try:
            os.replace(fresh, path)  # where there is nothing, or an empty folder
            return
        except OSError as error:
            if error.errno not in _TAKEN and not path.is_dir():
                raise
        if _exchange(fresh, path) or _swap(fresh, path):
            return


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two folders in one step, so that neither is missing for a moment; False where the system
    cannot."""
    here, exchange = -100, 2  # AT_FDCWD, and RENAME_EXCHANGE or RENAME_SWAP
    first, second = os.fsencode(a), os.fsencode(b)
    calls: dict[str, tuple[str, tuple[int | bytes, ...]]] = {
        "linux": ("renameat2", (here, first, here, second, exchange)),
        "darwin": ("renamex_np", (first, second, exchange)),
    }
    name, arguments = calls.get(sys.platform, ("", ()))
    call = getattr(ctypes.CDLL(None), name, None) if name else None
    return call is not None and bool(call(*arguments) == 0)


def _swap(fresh: Path, path: Path) -> bool:
    """The same in two steps; False where somebody else was faster."""
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        os.replace(path, old)
        os.replace(fresh, path)
        swapped = True
    except FileNotFoundError:
        swapped = False
    except OSError as error:
        if error.errno not in _TAKEN:
            os.replace(old, path)
            raise
        swapped = False
    shutil.rmtree(old, ignore_errors=True)
    return swapped
