"""How many threads NumPy's matrix products take: one, where threads of ours share the processors already."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

_NAMES = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")


@contextmanager
def one_thread() -> Iterator[None]:
    """Products on one thread while the block runs, in the whole process. Without effect where NumPy brings
    no OpenBLAS of its own: its threads wait by spinning, and others' do not."""
    found = _switches()
    before = found[0]() if found else 0
    try:
        if found:
            found[1](1)
        yield
    finally:
        if found:
            found[1](before)


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
