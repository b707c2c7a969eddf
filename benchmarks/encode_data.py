"""The rows of `encode`: 20 million seeded interactions with text ids, a few heavy and a million in all."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import numpy as np
import polars as pl

ROWS, USERS, ITEMS, FILES = 20_000_000, 1_000_000, 100_000, 10


def write_rows(folder: Path, rows: int = ROWS) -> Path:
    """Write the rows as Parquet into `folder`, unless they are there.

    user_id: half of the rows evenly over a million users, half by a law whose share falls as 1/rank; heavy
    users are spread over the numbers. item_id: the same law over 100,000. timestamp: the row's number.
    """
    if folder.exists():
        return folder
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    fresh.mkdir(parents=True)
    rng = np.random.default_rng(7)
    name_of = rng.permutation(USERS)
    try:
        for part in range(FILES):
            n = rows // FILES
            even = rng.random(n) < 0.5
            users = np.where(even, rng.integers(0, USERS, n), _falling(rng, USERS, n))
            frame = pl.DataFrame({"user_id": name_of[users], "item_id": _falling(rng, ITEMS, n)})
            frame.select(
                user_id="user_" + pl.col("user_id").cast(pl.String).str.zfill(8),
                item_id="item_" + pl.col("item_id").cast(pl.String),
                timestamp=pl.int_range(part * n, (part + 1) * n),
            ).write_parquet(fresh / f"{part:02}.parquet")
        os.replace(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _falling(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """n numbers below `count`, k about as often as 1 / (k + 1)."""
    return np.minimum(((count + 1) ** rng.random(n) - 1).astype(np.int64), count - 1)
