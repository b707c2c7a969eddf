"""A million made vectors, correlated and in groups, and queries to search them with.

Numbers of falling weight (the j-th of the 64 has the standard deviation j ** -0.5, turned at random) make the
centres of 1,000 groups, whose sizes fall off as a Zipf law, and what is an item's own. All vectors have
length 1. A query is someone who likes three items of one group, or of two: their mean, and noise of the
same kind. `group` stands for a column to filter by that goes along with the vectors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ITEMS, QUERIES, WIDTH, GROUPS = 1_000_000, 3_000, 64, 1_000
_BLOCK = 100_000
Floats = NDArray[np.float32]


def make_vectors(num_items: int = ITEMS, seed: int = 5) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Items [N, 64], queries [3000, 64], and the group of each item [N]."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0].astype(np.float32)
    basis = (np.arange(1, WIDTH + 1) ** -0.5).astype(np.float32)[:, None] * turn

    def drawn(size: int) -> Floats:
        return rng.standard_normal((size, WIDTH), np.float32) @ basis

    sizes = (np.arange(GROUPS) + 10.0) ** -0.8
    group = rng.choice(GROUPS, num_items, p=sizes / sizes.sum())
    centres, items = drawn(GROUPS), np.empty((num_items, WIDTH), np.float32)
    for start in range(0, num_items, _BLOCK):
        rows = slice(start, start + _BLOCK)
        items[rows] = _unit(0.6 * centres[group[rows]] + 0.8 * drawn(len(group[rows])))
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], np.arange(GROUPS + 1))
    liked = np.empty((QUERIES, 3), np.int64)
    for row in range(QUERIES):
        groups = group[rng.integers(num_items, size=2)][[0, 0, row % 2]]
        liked[row] = order[first[groups] + (rng.random(3) * np.diff(first)[groups]).astype(np.int64)]
    queries = _unit(items[liked].mean(axis=1) + 0.4 * _unit(drawn(QUERIES)))
    return items, queries, group


def write_vectors(folder: Path) -> None:
    """items.npy, queries.npy, group.npy and right.npy in the folder, unless they are there."""
    if (folder / "right.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(("items", "queries", "group"), make_vectors(), strict=True):
        np.save(folder / f"{name}.npy", array)
    write_right(folder)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def of_many_lengths(items: Floats, seed: int = 6) -> Floats:
    """The same vectors with lengths as towers may learn them: log-normal, spread by 0.5."""
    lengths = np.exp(0.5 * np.random.default_rng(seed).standard_normal((len(items), 1)))
    return (items * lengths).astype(np.float32)


def best(items: Floats, queries: Floats, k: int = 100) -> NDArray[np.int64]:
    """The exact best of each query, in any order."""
    parts = [queries[start : start + 20] @ items.T for start in range(0, len(queries), 20)]
    return np.concatenate([np.argpartition(part, -k, axis=1)[:, -k:] for part in parts])


def held_out(queries: Floats) -> Floats:
    """The queries that every side is measured on; the others are for tuning."""
    return queries[-1_000:]


def write_right(folder: Path, k: int = 100) -> None:
    """right.npy: the positions of the exact best 100 of every held-out query, in any order."""
    items, queries = np.load(folder / "items.npy"), held_out(np.load(folder / "queries.npy"))
    np.save(folder / "right.npy", best(items, queries, k).astype(np.int32))


def recall(found: NDArray[np.int64], right: NDArray[np.int32]) -> float:
    """Share of the right ones that were found."""
    pairs = zip(found, right, strict=True)
    return float(np.mean([len(np.intersect1d(one, other)) / len(other) for one, other in pairs]))
