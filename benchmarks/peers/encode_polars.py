"""The peer of `encode`: polars' own streaming count of one id column over the same Parquet files.

`encode_polars.py FOLDER [memory]`: by the streaming engine, or with everything in memory. It finds the
distinct ids and their counts; unlike ours it encodes no row. One JSON line.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import polars as pl


def main() -> None:
    """Count once and print what it took."""
    files = sorted(Path(sys.argv[1]).glob("*.parquet"))
    engine = "in-memory" if "memory" in sys.argv[2:] else "streaming"
    start = time.perf_counter()
    counts = pl.scan_parquet(files).group_by("user_id").len().collect(engine=engine)
    seconds = time.perf_counter() - start
    rows = int(counts["len"].sum())
    figures = {
        "rows_per_s": rows / seconds,
        "seconds": seconds,
        "rows": rows,
        "distinct": counts.height,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps({"measurement": f"encode-{engine}", **figures}))


if __name__ == "__main__":
    main()
