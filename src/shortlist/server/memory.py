"""Memory that is free inside the process, given back to the system: Linux's allocator keeps what lies between
pieces in use, and every bundle that is loaded would leave some more behind."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache

_ARENA_MAX = -8  # of mallopt


def one_heap() -> None:
    """One heap for all threads, called before there are any: what the thread that loads bundles lets go of
    serves the others, and the other way round."""
    if (mallopt := _of_libc("mallopt", sys.platform)) is not None:
        mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Collect cycles, and return what is free. Does only the former where the allocator is another."""
    gc.collect()
    if (trim := _of_libc("malloc_trim", sys.platform)) is not None:
        trim(0)


@contextmanager
def unwatched() -> Iterator[None]:
    """No look for cycles while things are made that stay."""
    were = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if were:
            gc.enable()


@lru_cache
def _of_libc(name: str, platform: str) -> Callable[..., int] | None:
    if platform.startswith("linux"):
        with suppress(OSError, AttributeError):
            return getattr(ctypes.CDLL(None), name)  # type: ignore[no-any-return]
    return None
