"""Keeping the linear algebra of small problems on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS on one thread within the block; nothing changes where SciPy or `threadpoolctl` is not installed.

    On matrices of a few thousand rows waiting threads cost more than they bring: EASE on 1,682 items
    took five times the CPU time on two threads, and longer by the clock as well. One thread also
    makes sums independent of the machine's number of cores.
    """
    try:
        import scipy.linalg  # noqa: F401  its BLAS can be limited only once it is loaded
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError:
        yield
        return
    with threadpool_limits(1, "blas"):
        yield
