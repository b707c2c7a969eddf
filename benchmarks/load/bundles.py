"""The bundles that servers are measured with: two recipes of MovieLens 100K, and a million items.

They are trained once by the code there is and kept under build/bench/data/serve; `--fresh` makes them
anew.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ann_data import write_vectors
from environments import BUILD, python_of, variables

RECIPES = {"ids": "ml100k-ids", "joint": "ml100k-joint"}
MILLION = "million"
PLACE = BUILD / "data" / "serve"
SCALE = np.float32(12)  # what a learned temperature multiplies cosines by
ROWS_OF_ONE = 20
_TABLE = "query/user_id.id"
_TRAIN = "from shortlist.cli import main; main()"


def bundle(name: str, *, fresh: bool = False) -> Path:
    """The folder of a run, made if it is not there."""
    folder = PLACE / name
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    if not (folder / "bundle" / "manifest.json").exists():
        PLACE.mkdir(parents=True, exist_ok=True)
        print(f"training {RECIPES.get(name, 'the million')} ...", file=sys.stderr, flush=True)
        if name == MILLION:
            write_vectors(BUILD / "data" / "ann")
            command = [__file__, str(folder)]
        else:
            command = ["-c", _TRAIN, "train", RECIPES[name], "-o", str(folder), "--force", "--quiet"]
        subprocess.run(
            [str(python_of("project")), *command],
            check=True,
            env=variables("project"),
            stdout=subprocess.DEVNULL,
        )
    return folder / "bundle"


def make_million(folder: Path, vectors: Path) -> None:
    """A model of two tables with the vectors of `ann_data` in place of what was learned (users: the queries),
    a head that was trained for an epoch, and an index tuned on queries of its users to find 0.95 of the best
    100.

    What a user had are 20 items drawn at random. The ranker is that of ml100k-ids: layers of 64 and 32 over
    products of 32 numbers.
    """
    import shortlist as sl
    from shortlist.api.indexing import indexed

    items, queries = np.load(vectors / "items.npy"), np.load(vectors / "queries.npy") * SCALE
    model = sl.MultiTask(
        query=sl.Tower([sl.Id("user_id", items.shape[1])], combine="sum"),
        candidate=sl.Tower([sl.Id("item_id", items.shape[1])], combine="sum"),
        tasks=[sl.Retrieval(), sl.Rating("rating", hidden=[64, 32], interaction="product", dim=32)],
    )
    fitted = sl.fit(model, _split(len(items), len(queries)), epochs=1, batch_size=4096, seed=1)
    tables, ids = dict(fitted.scorer.tables), np.array([str(n) for n in range(len(queries))], object)
    (slots,) = fitted.scorer.encoder.query.encode({"user_id": ids}).values()
    table = np.array(tables[_TABLE])
    table[slots] = queries
    made: Any = replace(fitted, scorer=replace(fitted.scorer, tables=tables | {_TABLE: table}))
    recommender = made.recommender(rating_weight=0.1)
    represented = np.array(recommender.item_representations)  # vectors, and beside them biases of the head
    represented[:, : items.shape[1]] = items
    recommender = replace(recommender, item_vectors=items, item_representations=represented)
    indexed(recommender, "ann").save(folder / "bundle")


def _split(num_items: int, num_users: int) -> Any:
    import polars as pl

    import shortlist as sl

    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(num_users), ROWS_OF_ONE)
    rows = pl.DataFrame(
        {
            "user_id": users.astype(str),
            "item_id": rng.integers(num_items, size=len(users)).astype(str),
            "rating": rng.integers(1, 6, len(users)).astype(float),
            "timestamp": np.arange(len(users)) + 880_000_000,
        }
    ).unique(["user_id", "item_id"], maintain_order=True)
    ids = [
        pl.DataFrame({name: np.arange(num).astype(str)})
        for name, num in (("user_id", num_users), ("item_id", num_items))
    ]
    return sl.splits.random(sl.Dataset(rows, *ids, "a million items"), test=0.05, seed=1)


if __name__ == "__main__":
    make_million(Path(sys.argv[1]), BUILD / "data" / "ann")
