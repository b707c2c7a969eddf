"""A million items searched by our approximate index and by our exact one, with filters and without."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ann_data import best, held_out, of_many_lengths, recall
from clock import emit, folder

from shortlist import index as indexes
from shortlist.index.build import build
from shortlist.index.exact import ExactIndex

K, TARGET, FILTERED = 100, 0.95, 200
SMALL = 100_000
SHARES = (0.5, 0.05, 0.005)
SCALE = np.float32(12)  # what a learned temperature multiplies cosines by; it moves log sum exp alone


def ann_million() -> None:
    """Built, saved, loaded mapped, then asked one query at a time."""
    place = folder() / "ann"
    items = np.asarray(np.load(place / "items.npy", mmap_mode="r"))
    queries, group = np.load(place / "queries.npy") * SCALE, np.load(place / "group.npy")
    asked, right = held_out(queries), np.load(place / "right.npy")
    start, before = time.perf_counter(), time.process_time()
    built = build(items, "ann", queries=queries[: -len(asked)], recall=TARGET)
    took, used = time.perf_counter() - start, time.process_time() - before
    with TemporaryDirectory(dir=place) as beside:
        built.save(Path(beside))
        start = time.perf_counter()
        index = indexes.load(Path(beside), items)
        loading, size = time.perf_counter() - start, sum(p.stat().st_size for p in Path(beside).iterdir())
        exact = ExactIndex.of(items)
        found, told = _asked(lambda q: index.search(q, K).positions[0], asked), index.describe()
        few = asked[:FILTERED]
        exactly, totals = _asked(lambda q: exact.search(q, K).positions[0], few), exact.log_z(few)
        emit(
            "ann-million",
            found["p50_ms"] / 1e3,
            recall=round(recall(np.stack(found.pop("found")), right), 4),
            **found,
            memory_mib=round(size / 2**20, 1),
            share_of_float32=round(size / items.nbytes, 3),
            build_seconds=round(took, 1),
            build_cpu_seconds=round(used, 1),
            load_seconds=round(loading, 4),
            setting=told["nprobe"],
            fetched=told["fetched"],
            codes="half a byte a number",
            what=f"lists searched of {told['lists']:,}; tuned, measured and saved in the build's time",
            exact={
                "recall": recall(np.stack(exactly.pop("found")), right[:FILTERED]),
                **exactly,
                "memory_mib": round(items.nbytes / 2**20, 1),
                "share_of_float32": 1.0,
                "build_seconds": 0.0,
            },
            log_z=_log_z(index, few, totals),
            lengths=_lengths(items[:SMALL], queries),
            filters=[
                *(_filtered(index, exact, few, share, None) for share in SHARES),
                *(_filtered(index, exact, few, share, group) for share in SHARES),
            ],
        )


def _asked(search: Callable[[Any], Any], queries: Any) -> dict[str, Any]:
    for query in queries[:20]:
        search(query[None])
    found, seconds, used = [], [], []
    for query in queries:
        start, before = time.perf_counter(), time.thread_time()
        found.append(search(query[None]))
        used.append((time.thread_time() - before) * 1e3)
        seconds.append((time.perf_counter() - start) * 1e3)
    return {
        "found": found,
        "p50_ms": round(statistics.median(seconds), 4),
        "p99_ms": round(float(np.quantile(seconds, 0.99)), 4),
        "p50_cpu_ms": round(statistics.median(used), 4),  # what a busy machine does not add to
        "p99_cpu_ms": round(float(np.quantile(used, 0.99)), 4),
    }


def _log_z(index: Any, queries: Any, right: Any) -> dict[str, float]:
    """With log sum exp of all scores beside what is found: its error, and the time of both."""
    found = _asked(lambda q: index.search(q, K, log_z=True).log_z[0], queries)
    error = np.abs(np.array(found.pop("found")) - right)
    return {
        "mean_error": round(float(error.mean()), 4),
        "largest_error": round(float(error.max()), 4),
        **found,
    }


def _lengths(items: Any, queries: Any) -> dict[str, Any]:
    """Vectors of one length and of many: the lists it takes, and what as many as for the first find."""
    asked, out = queries[-FILTERED:], {}
    for name, vectors in (("one", items), ("many", of_many_lengths(items))):
        index = build(vectors, "ann", queries=queries[:-FILTERED], recall=TARGET)
        right = best(vectors, asked)
        first = out.get("one", index.describe())["nprobe"]
        found = index.lists.probe(asked, int(K * index.describe()["fetched"]) + 16, first)
        scores = np.einsum("bd,bfd->bf", asked, vectors[found])
        found = np.take_along_axis(found, np.argsort(-scores, axis=1)[:, :K], 1)
        out[name] = {"nprobe": index.describe()["nprobe"], "recall_at_the_first": recall(found, right)}
    return out


def _filtered(index: Any, exact: Any, queries: Any, share: float, group: Any) -> dict[str, Any]:
    """A share of the items allowed: drawn one by one, or whole groups that lie together."""
    rng = np.random.default_rng(0)
    if group is None:
        allow = rng.random(len(index)) < share
    else:
        order = rng.permutation(group.max() + 1)
        sizes = np.cumsum(np.bincount(group)[order]) / len(index)
        allow = np.isin(group, order[: int(np.searchsorted(sizes, share)) + 1])
    allow.setflags(write=False)
    found = _asked(lambda q: index.search(q, K, allow=allow).positions[0], queries)
    right = exact.search(queries, K, allow=allow).positions
    got = np.stack(found.pop("found"))
    changing = _asked(lambda q: index.search(q, K, allow=allow.copy()).positions[0], queries[:50])
    return {
        "share": share,
        "allowed": int(allow.sum()),
        "drawn": "items" if group is None else "groups",
        "recall": round(recall(got, right), 4),
        "fewest": int((got >= 0).sum(axis=1).min()),
        **found,
        "p50_ms_of_new_masks": changing["p50_ms"],
    }
