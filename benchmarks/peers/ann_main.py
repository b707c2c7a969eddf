"""ScaNN and usearch on the vectors of `ann_data.py`: `ann_main.py MEASUREMENT ...`, one JSON line each.

Each looks into more and more of its index until it finds the target of the tuning queries' best, and is then
measured on the held-out ones, one query at a time, on one thread. Building may use every core.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ann_data import WIDTH, best, held_out, of_many_lengths, recall
from clock import STATUS, emit, folder, run_named

K, TARGET, TUNING = 100, 0.96, 200
Search = Callable[[Any, Any], Any]


class _Vectors:
    """What both are given, and the exact best of the queries they are tuned on."""

    def __init__(self) -> None:
        place = folder() / "ann"
        self.items = np.load(place / "items.npy")
        queries = np.load(place / "queries.npy")
        self.queries, self.right = held_out(queries), np.load(place / "right.npy")
        self.tuning = queries[:TUNING]
        self.best = best(self.items, self.tuning)


def _resident() -> float:
    """MiB of memory that no file backs."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))


def _measured(name: str, build: Callable[[Any], Search], sizes: Sequence[Any], **more: Any) -> None:
    vectors = _Vectors()
    before, start = _resident(), time.perf_counter()
    search = build(vectors.items)
    took, memory = time.perf_counter() - start, _resident() - before
    for size in sizes:
        tried = recall(np.stack([search(q, size) for q in vectors.tuning]), vectors.best)
        if tried >= TARGET:
            break
    found, seconds, used = [], [], []
    for query in vectors.queries:
        start, before = time.perf_counter(), time.thread_time()
        found.append(search(query, size))
        used.append((time.thread_time() - before) * 1e3)
        seconds.append(time.perf_counter() - start)
    emit(
        name,
        statistics.median(seconds),
        recall=round(recall(np.stack(found), vectors.right), 4),
        p50_ms=round(statistics.median(seconds) * 1e3, 4),
        p99_ms=round(float(np.quantile(seconds, 0.99)) * 1e3, 4),
        p50_cpu_ms=round(statistics.median(used), 4),
        p99_cpu_ms=round(float(np.quantile(used, 0.99)), 4),
        memory_mib=round(memory, 1),
        share_of_float32=round(memory * 2**20 / vectors.items.nbytes, 3),
        build_seconds=round(took, 1),
        cores_while_building=os.cpu_count(),
        setting=size,
        **more,
    )


def scann() -> None:
    """Tree, anisotropic hashing of pairs of numbers, and the best scored again in float32."""
    import scann as package

    def build(items: Any) -> Search:
        builder = package.scann_ops_pybind.builder(items, K, "dot_product")
        tree = builder.tree(num_leaves=2000, num_leaves_to_search=50, training_sample_size=100_000)
        made = tree.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(2_000).build()

        def search(query: Any, size: tuple[int, int]) -> Any:
            return made.search(query, leaves_to_search=size[0], pre_reorder_num_neighbors=size[1])[0]

        return search

    leaves = (60, 80, 100, 120, 150, 200, 300)
    sizes = sorted(((a, b) for a in leaves for b in (500, 1_000, 2_000)), key=lambda s: 25 * s[0] + s[1])
    _measured("ann-million", build, sizes, what="leaves searched of 2,000, and how many are scored again")


def usearch() -> None:
    """HNSW over bfloat16."""
    from usearch.index import Index

    def build(items: Any) -> Search:
        index = Index(ndim=WIDTH, metric="ip", dtype="bf16", connectivity=16, expansion_add=64)
        index.add(np.arange(len(items)), items)

        def search(query: Any, size: int) -> Any:
            index.expansion_search = size
            return index.search(query, K, threads=1).keys.astype(np.int64)

        return search

    sizes = (100, 130, 160, 200, 250, 300, 400, 500, 700, 1000)
    _measured(
        "usearch", build, sizes, what="expansion of the search; 16 neighbours, expansion 64 in building"
    )


def usearch_lengths() -> None:
    """The first 100,000 vectors, of one length and of many, in the same graph."""
    from usearch.index import Index

    place, found = folder() / "ann", {}
    items = np.load(place / "items.npy", mmap_mode="r")[:100_000]
    asked = held_out(np.load(place / "queries.npy"))[:TUNING]
    for name, vectors in (("one", np.asarray(items)), ("many", of_many_lengths(items))):
        index = Index(ndim=WIDTH, metric="ip", dtype="f32", connectivity=16, expansion_add=128)
        index.add(np.arange(len(vectors)), vectors)
        index.expansion_search = 200
        keys = np.stack([index.search(q, K, threads=1).keys for q in asked]).astype(np.int64)
        found[name] = round(recall(keys, best(vectors, asked)), 4)
    emit("usearch-lengths", found["many"], recall=found, setting=200)


if __name__ == "__main__":
    assert Path(os.environ["BENCH_DATA"]).exists()
    run_named({"ann-million": scann, "usearch": usearch, "usearch-lengths": usearch_lengths}, sys.argv[1:])
