"""Reading a bundle that another process may replace meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from shortlist.bundle.manifest import MANIFEST
from shortlist.errors import BundleError

_TRIES = 10
T = TypeVar("T")


def of_one_moment(folder: Path, act: Callable[[], T], *, after: bool = True) -> T:
    """What `act` gives of a bundle, done again where the bundle was replaced while it failed.

    after: also where it was replaced while it succeeded, so that all that was read is of one bundle.

    Raises what `act` raises of a bundle that stays, and BundleError for one that is replaced all the time.
    """
    for _ in range(_TRIES):
        before = identity(folder)
        try:
            done = act()
        except (BundleError, OSError):
            if identity(folder) == before:
                raise
        else:
            if not after or identity(folder) == before:
                return done
    raise BundleError(f"{folder} is being replaced all the time", hint="try again later")


def identity(folder: Path) -> tuple[int, ...] | None:
    """What tells a bundle from one that took its place; None where there is none."""
    try:
        found = (folder / MANIFEST).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
