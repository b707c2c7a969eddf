"""NumPy as the peer: `numpy_main.py evaluate-million` counts the same ranks in its fastest blocking."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from clock import emit, extra_memory, seconds_each

MILLION, ASKED, DIM = 1_000_000, 2_000, 32
BLOCKS = ((64, 16_384), (256, 4_096), (256, 16_384), (1_024, 2_048))


def counted(queries: Any, items: Any, targets: Any, rows: int, columns: int) -> Any:
    """1 + how many score higher + half of the others that score the same: float64 [n].

    The scores of a block stay in the caches; both comparisons write to one buffer, and a row of Booleans is
    counted by itself, which NumPy does with vector instructions (counting along an axis is slower).
    """
    own = np.einsum("nd,nd->n", queries, items[targets])
    greater, at_least = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.int64)
    scores, above = np.empty((rows, columns), np.float32), np.empty((rows, columns), np.bool_)
    for top in range(0, len(queries), rows):
        q, true = queries[top : top + rows], own[top : top + rows, None]
        for left in range(0, len(items), columns):
            c = items[left : left + columns]
            if len(q) == rows and len(c) == columns:
                block = np.matmul(q, c.T, out=scores)
                flags = above
            else:
                block = q @ c.T
                flags = np.empty(block.shape, np.bool_)
            for compare, total in ((np.greater, greater), (np.greater_equal, at_least)):
                compare(block, true, out=flags)
                total[top : top + len(q)] += [np.count_nonzero(row) for row in flags]
    return 1.0 + greater + (at_least - greater - 1) / 2


def evaluate_million() -> None:
    """2,000 queries against 1,000,000 candidates; the blocking is chosen on a tenth of the queries."""
    rng = np.random.default_rng(0)
    items = rng.standard_normal((MILLION, DIM), np.float32)
    queries = rng.standard_normal((ASKED, DIM), np.float32)
    targets = rng.integers(0, MILLION, ASKED)
    tried = {}
    for rows, columns in BLOCKS:
        start = time.perf_counter()
        counted(queries[: max(rows, 256)], items, targets[: max(rows, 256)], rows, columns)
        tried[f"{rows} x {columns}"] = max(rows, 256) * MILLION / (time.perf_counter() - start)
    rows, columns = (int(part) for part in max(tried, key=lambda name: tried[name]).split(" x "))

    def whole() -> Any:
        return counted(queries, items, targets, rows, columns)

    found = whole()
    seconds = seconds_each(whole, repeats=1, warm=0)
    emit(
        "evaluate-million",
        ASKED * MILLION / min(seconds),
        seconds=seconds,
        block=f"{rows} x {columns}",
        tried_scores_per_second=tried,
        measured_extra_mib=extra_memory(
            lambda: counted(queries[:rows], items, targets[:rows], rows, columns)
        ),
        sum_of_ranks=float(found.sum()),
    )


if __name__ == "__main__":
    for name in sys.argv[1:]:
        {"evaluate-million": evaluate_million}[name]()
