"""A bundle at work: the first answer of a new process, and raw strings to ratings."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from typing import Any

from clock import emit, folder, peak_memory

HEAVY = ("jax", "polars", "pandas", "scipy", "onnx")
REPEATS, TURNS = 200, 15


def start() -> None:
    """Load the bundle and recommend to one user; everything since the interpreter started counts."""
    begun = time.perf_counter()
    import shortlist

    answer = shortlist.load(folder() / "serving" / "bundle").recommend({"user_id": "42"}, k=10)
    wall = time.perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_SELF)
    emit(
        "start",
        used.ru_utime + used.ru_stime,
        rss_mb=peak_memory(),
        wall_s=round(wall, 4),
        answers=len(answer),
        absent=[name for name in HEAVY if name not in sys.modules],
    )


def score_savedmodel() -> None:
    """Medians of calls at batches of 1 and of 100, in turn with the same in plain NumPy."""
    import numpy as np
    import onnxruntime
    import score_anchor

    rows = dict(np.load(folder() / "serving" / "rows.npz"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = folder() / "serving" / "bundle" / "model" / "rank.onnx"
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    plain = score_anchor.anchor(rows)
    columns = {
        name: values.astype(object) if values.dtype.kind == "U" else values
        for name, values in rows.items()
        if name in {put.name for put in session.get_inputs()}
    }
    detail: dict[str, Any] = {"ratings": session.run(None, columns)[0][:3].tolist()}
    for count in (1, len(columns["timestamp"])):
        some = {name: values[:count] for name, values in columns.items()}
        ours, numpy = _in_turn([lambda some=some: session.run(None, some), lambda some=some: plain(some)])
        detail |= {f"batch_{count}": _told(ours), f"numpy_batch_{count}": _told(numpy)}
    ratio = detail["batch_1"]["p50_us"] / detail["numpy_batch_1"]["p50_us"]
    detail |= {
        "of_numpy": round(ratio, 3),
        "of_numpy_prototype": score_anchor.PROTOTYPE,
        "of_prototype": round(ratio / score_anchor.PROTOTYPE, 3),
    }
    emit("score-savedmodel", detail["batch_1"]["p50_us"] * 1e-6, **detail)


def _in_turn(works: list[Any]) -> list[list[float]]:
    """Seconds of every call, the works taking turns."""
    found: list[list[float]] = [[] for _ in works]
    for _ in range(TURNS):
        for work, seconds in zip(works, found, strict=True):
            for _ in range(REPEATS // 10):
                work()
            for _ in range(REPEATS):
                begun = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - begun)
    return found


def _told(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50_us": round(statistics.median(ordered) * 1e6, 2),
        "p99_us": round(ordered[int(0.99 * len(ordered))] * 1e6, 2),
    }
