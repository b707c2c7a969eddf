"""The rows of `out-of-core`: encoded already, made from a seed, written as `shortlist.encode` writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shortlist.features.batches import Catalogue
from shortlist.features.store import writing

ROWS, USERS, ITEMS, WIDTH, BLOCK = 2_400_000, 200_000, 50_000, 128, 1 << 18


def write_store(path: Path) -> None:
    """A user, an item, a rating and 128 numbers a row (what precomputed vectors are like)."""
    if path.exists():
        return
    with writing(path) as writer:
        for start in range(0, ROWS, BLOCK):
            n = min(BLOCK, ROWS - start)
            rng = np.random.default_rng([7, start])
            users = rng.integers(0, USERS, n).astype(np.int32)
            items = (ITEMS * rng.random(n) ** 2).astype(np.int32)  # some items are met more often
            vectors = rng.standard_normal((n, WIDTH), np.float32)
            rating = 3 + vectors[:, 0] + (users % 5 - 2) / 4 + rng.standard_normal(n, np.float32) / 2
            writer.append("query/user_id.id", users + np.int32(1))
            writer.append("query/page.vector", vectors)
            writer.append("candidates", items)
            writer.append("labels/rating", rating.astype(np.float32))
            writer.append("weights", np.ones(n, np.float32))
            writer.append("users", users)
        writer.finish("made by benchmarks/stream_data.py")


def catalogue() -> Catalogue:
    """The items; a ranker asks for no more than their features."""
    nothing = np.zeros(1, np.int32)
    log_q = np.zeros(ITEMS, np.float32)
    items = {"item_id.id": np.arange(1, ITEMS + 1, dtype=np.int32)}
    return Catalogue(items, log_q, np.zeros(USERS + 1, np.int32), nothing)
