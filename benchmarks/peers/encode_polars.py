"""The peer of `encode`: polars' own count of one id column over the same Parquet files.

`encode` is by the streaming engine, `encode-in-memory` by the other. It finds the distinct ids and their
counts; unlike ours it encodes no row.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import polars as pl
from clock import emit, folder, most_memory

ENGINES: dict[str, Any] = {"encode": "streaming", "encode-in-memory": "in-memory"}


def measure(name: str) -> None:
    """Rows counted a second."""
    files = sorted((folder() / "encode").glob("*.parquet"))
    with most_memory() as most:
        start = time.perf_counter()
        counts = pl.scan_parquet(files).group_by("user_id").len().collect(engine=ENGINES[name])
        seconds = time.perf_counter() - start
    rows = int(counts["len"].sum())
    emit(
        name,
        rows / seconds,
        rows=rows,
        seconds=seconds,
        distinct=counts.height,
        peak_anonymous_mib=most["RssAnon"],
    )


if __name__ == "__main__":
    for name in sys.argv[1:]:
        measure(name)
