"""TensorFlow's side of serving: `savedmodel_main.py MEASUREMENT ...`, a JSON line each."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from clock import emit, folder, peak_memory, run_named

REPEATS, WARM = 1500, 200


def start() -> None:
    """Load the SavedModel and rate one pair; everything since the interpreter started counts."""
    begun = time.perf_counter()
    import tensorflow as tf

    model = tf.saved_model.load(str(folder() / "serving" / "savedmodel"))
    row = {"user_id": ["42"], "title": ["Speed (1994)"], "timestamp": [880000000]}
    rating = _rating(model({name: tf.constant(values, _kind(tf, name)) for name, values in row.items()}))
    wall = time.perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_SELF)
    emit(
        "start",
        used.ru_utime + used.ru_stime,
        rss_mb=peak_memory(),
        wall_s=round(wall, 4),
        rating=float(rating[0]),
    )


def score_savedmodel() -> None:
    """Medians of calls at batches of 1 and of 100: the fastest of the ways to call, raw columns to tensors
    counted in all of them."""
    import numpy as np
    import tensorflow as tf

    # one thread is faster than several for a graph this small
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = tf.saved_model.load(str(folder() / "serving" / "savedmodel"))
    stored = np.load(folder() / "serving" / "rows.npz")
    columns: dict[str, Any] = {n: stored[n].astype(object) for n in ("user_id", "title")}
    columns["timestamp"] = stored["timestamp"]
    rank = model.signatures["rank"]
    names = set(rank.structured_input_signature[1])
    detail: dict[str, Any] = {}
    for count in (1, len(columns["timestamp"])):
        some = {name: values[:count] for name, values in columns.items() if name in names}

        def tensors(some: dict[str, Any] = some) -> dict[str, Any]:
            return {name: tf.constant(values, _kind(tf, name)) for name, values in some.items()}

        ready = tensors()
        ways: dict[str, Callable[[], Any]] = {
            "called with tensors": lambda: _rating(model(tensors())),
            "called with arrays": lambda some=some: _rating(model(some)),
            "signature": lambda: _rating(rank(**tensors())),
        }
        told = {name: _median(work) for name, work in ways.items()}
        told["signature, tensors ready"] = _median(lambda ready=ready: _rating(rank(**ready)))
        best = min(ways, key=lambda name: told[name] or 9e9)
        detail[f"batch_{count}"] = {"p50_us": told[best], "way": best, "ways": told}
    detail["ratings"] = _rating(rank(**tensors()))[:3].tolist()
    emit("score-savedmodel", detail["batch_1"]["p50_us"] * 1e-6, **detail)


def _rating(found: Any) -> Any:
    """Ratings [b] of a result: by name, alone, or after the two vectors, as the tutorials return them."""
    if isinstance(found, dict):
        found = found["rating"]
    return (found[-1] if isinstance(found, tuple) else found).numpy().ravel()


def _kind(tf: Any, name: str) -> Any:
    return tf.int64 if name == "timestamp" else tf.string


def _median(work: Callable[[], Any]) -> float | None:
    """p50 in microseconds; None where the model is not called this way."""
    try:
        work()
    except (TypeError, ValueError):
        return None
    from clock import seconds_each

    found = sorted(seconds_each(work, repeats=REPEATS, warm=WARM))
    return round(found[len(found) // 2] * 1e6, 2)


MEASUREMENTS: dict[str, Callable[[], None]] = {"start": start, "score-savedmodel": score_savedmodel}

if __name__ == "__main__":
    run_named(MEASUREMENTS, sys.argv[1:])
