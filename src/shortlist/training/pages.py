"""Huge pages for large tables: random rows of gigabytes are found through far fewer page-table entries."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import jax

HUGE = 2**21
"""Bytes of a huge page on x86-64 and on ARM with pages of 4 KiB."""
SMALLEST = 2**25
"""Arrays below this many bytes gain little: their page-table entries stay in the caches."""
_ADVISE, _COLLAPSE = 14, 25  # MADV_HUGEPAGE; MADV_COLLAPSE, since Linux 6.1


def use_huge_pages(arrays: Iterable[jax.Array]) -> int:
    """Ask the kernel to back large arrays on the CPU by huge pages now; the bytes that are.

    Contents and addresses stay. Where a kernel cannot, nothing happens. Costs a copy of the pages, about a
    second a gigabyte, once; row-sparse updates of tables of gigabytes then take less than half the time
    (benchmarks: tables-growth).
    """
    backed = 0
    madvise = _madvise()
    for array in arrays:
        if madvise is None or array.nbytes < SMALLEST or jax.default_backend() != "cpu":
            continue
        start = array.unsafe_buffer_pointer()
        first, end = -(-start // HUGE) * HUGE, (start + array.nbytes) // HUGE * HUGE
        if madvise(first, end - first, _ADVISE):
            continue
        for page in range(first, end, HUGE):
            if madvise(page, HUGE, _COLLAPSE):
                break  # an old kernel, or no free huge page left: the kernel's own thread may do the rest
            backed += HUGE
    return backed


@cache
def _madvise() -> Any:
    if sys.platform != "linux":
        return None
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    function.restype = ctypes.c_int
    return function
