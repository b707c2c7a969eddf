"""Making an index: which kind, and how many lists an approximate one must look into."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np

from shortlist._typing import Bools, Doubles, Floats, Index, Ints, Longs
from shortlist.errors import DataError, RequestError
from shortlist.index.ann import AnnIndex, Tuned
from shortlist.index.exact import ExactIndex
from shortlist.index.ivf import build_lists
from shortlist.index.rows import blocks
from shortlist.index.top import top_k

Kind = Literal["exact", "ann"]
EXACT_ITEMS = 100_000  # exact search answers in about a millisecond up to here
_NUMBERS_A_MS = 6e6  # numbers of item vectors an exact search reads in a millisecond, one query at a time
_SHARES = (1.0, 0.5, 0.2, 0.05, 0.015)  # of the items allowed, that the lists are tuned for
_FEW = 12_000  # items allowed that are faster searched exactly
_RECALL = 0.95
_MARGIN = 0.01  # above the target, since other queries will be asked; near 1 half of what is left to it
_DEPTH = 100  # the k of recall
_WORK = 2.5e8  # scores computed to tune on, and again to measure
_ROUNDING = 1e-5  # of a score
_FETCHED = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # for each result, scored exactly
_LOST = 0.005  # of recall, by fetching no more
_DRAWN = 2  # items a list, on average, in the sample that log sum exp is estimated from


def choose(num_items: int, width: int, wanted: str = "auto", latency_ms: float | None = None) -> Kind:
    """The kind of index: what is wanted; where "auto", exact as long as that is fast.

    latency_ms: how long one search may take, where it is known; else exact up to 100,000 items.
    Raises RequestError for another word, and for a latency that is not positive.
    """
    if latency_ms is not None and not 0 < latency_ms < np.inf:
        raise RequestError(f"latency_ms is {latency_ms}", hint="give a number of milliseconds above 0")
    if wanted == "exact":
        return "exact"
    if wanted == "ann":
        return "ann"
    if wanted != "auto":
        raise RequestError(f"no index is called {wanted!r}", hint="auto, exact or ann")
    if latency_ms is None:
        return "exact" if num_items <= EXACT_ITEMS else "ann"
    return "exact" if num_items * width <= latency_ms * _NUMBERS_A_MS else "ann"


def build(
    vectors: Floats,
    kind: str = "auto",
    *,
    queries: Floats | None = None,
    recall: float = _RECALL,
    latency_ms: float | None = None,
    removed: Longs | None = None,
    seed: int = 0,
) -> Index:
    """An index of item vectors float32 [N, d], which may be mapped: they are read in blocks, never copied.

    Args:
        vectors: row = catalogue position.
        kind: "auto", "exact" or "ann", see `choose`.
        queries: query vectors [n, d] as they will be asked; an approximate index is tuned on one half of
            them and measured on the other. Without any, vectors of items, moved a little, stand in for them.
        recall: share of the exact best 100 that an approximate index must find.
        latency_ms: see `choose`.
        removed: positions that are never returned; what is measured is what is found of the others.
        seed: of samples and k-means.

    Raises DataError for vectors that are not float32 or not finite, RequestError for a recall outside (0, 1),
    MissingExtra where faiss is not installed.
    """
    require_recall(recall)
    gone = np.zeros(0, np.int64) if removed is None else np.unique(removed)
    exact = ExactIndex.of(vectors).without(gone)
    left = len(exact) - len(gone)
    if choose(len(vectors), vectors.shape[1], kind, latency_ms) == "exact" or left < 2:
        return exact
    start = time.perf_counter()
    normalized = _require_vectors(vectors)
    lists = build_lists(vectors, seed=seed)
    rng = np.random.default_rng(seed)
    sample, stands_for = _sample(lists.list_of, lists.num_lists, rng)
    tuned = Tuned(
        target=recall,
        recall=0.0,
        k=min(_DEPTH, left // 2),
        probes=((1.0, lists.num_lists),),
        few=_FEW,
        queries="items" if queries is None else "given",
        log_z_error=0.0,
        normalized=normalized,
    )
    index = AnnIndex(exact, lists, tuned, sample, stands_for)
    asked = _queries(vectors, queries, rng)
    half = len(asked) // 2
    tuned = _tuned(index, asked[:half], rng)
    measured = _measured(_with(index, tuned), asked[half:])
    took = round(time.perf_counter() - start, 2)
    return _with(index, msgspec.structs.replace(measured, seconds=took))


def rebuilt(index: Index, vectors: Floats, *, queries: Floats | None = None) -> Index:
    """An index of other vectors of the same items [N, d], as this one was asked for: its kind, its target and
    what is removed from it. Raises as `build`, and DataError for another number of vectors."""
    if len(vectors) != len(index):
        raise DataError(f"the index is of {len(index)} items, but there are {len(vectors)} vectors")
    recall = index.describe().get("target", _RECALL)
    return build(vectors, index.kind, queries=queries, recall=recall, removed=index.removed)


def require_recall(recall: float) -> None:
    """Raises RequestError for a share outside (0, 1)."""
    if not 0 < recall < 1:
        raise RequestError(f"recall is {recall}; an approximate index finds a share between 0 and 1")


def _with(index: AnnIndex, tuned: Tuned) -> AnnIndex:
    return replace(index, tuned=tuned, _known={})


def _require_vectors(vectors: Floats) -> bool:
    """Whether all have one length. DataError where one is not finite."""
    least, most = np.inf, 0.0
    for part in blocks(len(vectors), 1 << 16):
        lengths = np.linalg.norm(vectors[part], axis=1)
        if not np.isfinite(lengths).all():
            row = part.start + int(np.argmin(np.isfinite(lengths)))
            raise DataError(f"item vector {row} is not finite", hint="look for a diverged training run")
        least, most = min(least, float(lengths.min())), max(most, float(lengths.max()))
    return most - least <= 1e-3 * most


def _sample(list_of: Ints, num_lists: int, rng: np.random.Generator) -> tuple[Longs, Doubles]:
    """A few positions of each list, of long ones more, and how many of its items each stands for."""
    mixed = rng.permutation(len(list_of))
    order = mixed[np.argsort(list_of[mixed], kind="stable")]
    counts = np.bincount(list_of, minlength=num_lists)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    taken = np.minimum(counts, np.maximum(1, np.rint(counts * (_DRAWN * num_lists / max(1, counts.sum())))))
    taken = taken.astype(np.int64)
    offsets = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
    sample = order[np.repeat(starts, taken) + offsets]
    weights = np.repeat(counts / np.maximum(taken, 1), taken)
    place = np.argsort(sample)
    return sample[place].astype(np.int64), weights[place]


def _queries(vectors: Floats, given: Floats | None, rng: np.random.Generator) -> Floats:
    """Queries to tune on and to measure on, as many as the work allows."""
    most = 2 * int(np.clip(_WORK / len(vectors), 32, 256))
    if given is not None:
        if given.ndim != 2 or given.shape[1] != vectors.shape[1] or len(given) < 2:
            raise DataError(f"queries to tune on must be [2 or more, {vectors.shape[1]}], not {given.shape}")
        return np.asarray(given[rng.permutation(len(given))[:most]], np.float32)
    one, other = rng.integers(len(vectors), size=(2, most))
    moved = 0.7 * vectors[np.sort(one)] + 0.3 * vectors[np.sort(other)][rng.permutation(most)]
    return np.asarray(moved[rng.permutation(most)], np.float32)


def _tuned(index: AnnIndex, queries: Floats, rng: np.random.Generator) -> Tuned:
    """How much to fetch, and the fewest lists that reach the target, for each share of items allowed."""
    size, k, target = len(index), index.tuned.k, index.tuned.target
    present, left = index.exact.rows.present, size - len(index.removed)
    masks = [None if share == 1 else present(rng.random(size) < share) for share in _SHARES]
    masks = [m for m in masks if m is None or np.count_nonzero(m) > max(index.tuned.few, 10 * k)]
    edges = _edges(index, queries, k, masks)
    index = _with(index, msgspec.structs.replace(index.tuned, fetched=_fetched(index, queries, edges[0])))
    probes: list[tuple[float, int]] = []
    for mask, right in zip(masks, edges, strict=True):
        least = probes[-1][1] if probes else 1
        share = 1.0 if mask is None else float(np.count_nonzero(mask)) / left
        probes.append((share, _fewest(index, queries, mask, right, least, _aimed(target))))
    return msgspec.structs.replace(index.tuned, probes=tuple(probes))


def _aimed(target: float) -> float:
    return target + min(_MARGIN, (1.0 - target) / 2)


def _fetched(index: AnnIndex, queries: Floats, right: Floats) -> float:
    """The least to fetch for each result that loses little of what as many lists hold as reach the target
    where much is fetched."""
    most = _with(index, msgspec.structs.replace(index.tuned, fetched=_FETCHED[-1]))
    lists = _fewest(most, queries, None, right, 1, _aimed(index.tuned.target))
    held = _recall(most, queries, None, right, lists)
    for fetched in _FETCHED:
        fewer = _with(index, msgspec.structs.replace(index.tuned, fetched=fetched))
        if _recall(fewer, queries, None, right, lists) >= held - _LOST:
            break
    return fetched


def _fewest(
    index: AnnIndex, queries: Floats, mask: Bools | None, right: Floats, least: int, target: float
) -> int:
    """The fewest lists that reach the target, to one in five or so; `least` or more."""
    most, high = index.lists.num_lists, least
    while high < most and _recall(index, queries, mask, right, high) < target:
        high = min(most, high + max(1, high // (5 if least > 1 else 1)))
    low = high // 2 if least == 1 else high
    while high - low > max(1, low // 20):
        middle = (low + high) // 2
        if _recall(index, queries, mask, right, middle) < target:
            low = middle
        else:
            high = middle
    return high


def _recall(index: AnnIndex, queries: Floats, mask: Bools | None, edges: Floats, nprobe: int) -> float:
    tuned = msgspec.structs.replace(index.tuned, probes=((1.0, nprobe),))
    return _reached(_with(index, tuned).by_lists(queries, index.tuned.k, mask), edges)


def _reached(scores: Floats, edges: Floats) -> float:
    """Share of found scores [b, k] that are at least the exact k-th best [b], rounding aside: of items that
    tie there any will do."""
    enough = edges - np.float32(_ROUNDING) * np.abs(edges)
    return float(np.mean(scores >= enough[:, None]))


def overlap(found: Ints, right: Ints) -> float:
    """Share of the right positions [b, k] that were found [b, k]; padding (-1) counts for nothing."""
    hits = sum(len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(found, right, strict=True))
    return float(hits / max(1, int(np.count_nonzero(right >= 0))))


def _edges(index: AnnIndex, queries: Floats, k: int, masks: list[Bools | None]) -> list[Floats]:
    """The exact k-th best score [b] under each mask, the scores computed once."""
    parts: list[list[Floats]] = [[] for _ in masks]
    present = index.exact.rows.present
    for part in blocks(len(queries), 16):
        scores = index.exact.rows.scores(queries[part])
        for found, mask in zip(parts, masks, strict=True):
            found.append(top_k(scores, k, present(None) if mask is None else mask)[1][:, -1])
    return [np.concatenate(found) for found in parts]


def _measured(index: AnnIndex, queries: Floats) -> Tuned:
    """What the lists find of the exact best, for queries they were not tuned on, and how far log_z is off."""
    k, tuned = index.tuned.k, index.tuned
    edges = _edges(index, queries, k, [None])[0]
    recall = _reached(index.by_lists(queries, k), edges)
    error = np.abs(index.log_z(queries) - index.exact.log_z(queries)).mean()
    return msgspec.structs.replace(tuned, recall=round(recall, 4), log_z_error=round(float(error), 4))
