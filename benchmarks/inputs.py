"""The data both sides read: MovieLens 100K from the project's cache, as Parquet and as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

QUERIES, DIM = 20_000, 32


def write_inputs(folder: Path) -> None:
    """Write what the measuring processes read, unless it is there; the last file is the sign of a whole set.

    ratings.parquet: the 100,000 rows in the order of u.data, named as the tutorials name them.
    movies.parquet: the 1,682 titles in catalogue order, 18 of them twice. steps.npz: the 80,000 training and
    20,000 test rows of the split every figure of ours uses, as whole numbers, over both catalogues.
    """
    from shortlist.data.dataset import deduplicate_titles
    from shortlist.data.movielens import movielens
    from shortlist.data.splits import random

    done = folder / "steps.npz"
    data = movielens("100k")  # fetched into the project's cache where it is not yet there
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    titles = dict(zip(data.items["item_id"].to_list(), data.items["title"].to_list(), strict=True))
    rows = data.interactions
    named = rows.select("user_id", "timestamp", user_rating="rating", movie_title="item_id")
    named = named.with_columns(named["movie_title"].replace_strict(titles))
    named.write_parquet(folder / "ratings.parquet")
    data.items.select(movie_title="title").write_parquet(folder / "movies.parquet")
    split, by_title = random(data, seed=42), random(deduplicate_titles(data), seed=42)
    arrays = {}
    for part in ("train", "test"):
        ids = getattr(split, part)
        arrays |= {
            f"{part}_users": _places(ids["user_id"], data.users["user_id"]),
            f"{part}_items": _places(ids["item_id"], data.items["item_id"]),
            f"{part}_titles": _places(getattr(by_title, part)["item_id"], by_title.items["item_id"]),
            f"{part}_ratings": ids["rating"].to_numpy().astype(np.float32),
        }
    rng = np.random.default_rng(0)
    arrays["queries"] = rng.standard_normal((QUERIES, DIM), np.float32)
    arrays["items"] = rng.standard_normal((data.items.height, DIM), np.float32)
    temporary = folder / "writing.npz"
    np.savez(temporary, **arrays)
    temporary.replace(done)


def _places(ids: object, catalogue: object) -> np.ndarray:
    """Each id's row in the catalogue."""
    place = {name: row for row, name in enumerate(catalogue)}  # type: ignore[call-overload]
    return np.fromiter((place[name] for name in ids), np.int32)  # type: ignore[attr-defined]
