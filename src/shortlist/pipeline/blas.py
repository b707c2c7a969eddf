"""How many threads NumPy's matrix products take: one, where threads of ours share the processors already."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np

_NAMES = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")
_LOCK = Lock()
_USERS: list[int] = []
"""How many threads there were when each block that now runs began."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Products on one thread while the block runs, in the whole process. Without effect where NumPy brings
    no OpenBLAS of its own: its threads wait by spinning, and others' do not. Blocks may overlap in any order,
    also in several threads: the last one that ends gives back what the first one found."""
    found = _switches()
    if found is None:
        yield
        return
    told, tell = found
    with _LOCK:
        _USERS.append(_USERS[0] if _USERS else told())
        tell(1)
    try:
        yield
    finally:
        with _LOCK:
            before = _USERS.pop()
            if not _USERS:
                tell(before)


@cache
def _switches() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """What tells and what sets the number of threads of the OpenBLAS beside NumPy."""
    package = Path(np.__file__).parent
    folders = (package.with_name("numpy.libs"), package / ".dylibs")
    for path in sorted(file for folder in folders if folder.is_dir() for file in folder.glob("*openblas*")):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for name in _NAMES:
            if hasattr(library, name.format("set")):
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None
