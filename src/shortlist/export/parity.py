"""When a graph counts as the same as the model it was made of."""

from __future__ import annotations

import numpy as np

from shortlist._typing import Array, Columns
from shortlist.errors import ExportError

TOLERANCE = 1e-5
"""The largest difference a graph may show: absolute up to 16, in proportion above.

From 16 on single precision's own steps are 2e-6 and more, so that a sum in another order, which no graph can
avoid, may differ by several of them; of a label in the hundreds a single step is 3e-5.
"""

_LARGE = 16.0


def require_equal(graph: str, output: str, want: Array, have: Array) -> None:
    """ExportError naming graph, output and the largest difference where two results differ by too much."""
    if want.shape != have.shape:
        raise ExportError(f"graph '{graph}' gives {output} of shape {have.shape}, JAX of shape {want.shape}")
    if not np.isfinite(want).all():
        raise ExportError(
            f"the model gives {output} that is not finite, so graph '{graph}' cannot be checked",
            hint="look for a diverged training run",
        )
    largest = difference(want, have)
    if largest > TOLERANCE:
        raise ExportError(
            f"graph '{graph}' differs from JAX by {largest:.2g} in {output}, more than {TOLERANCE:g}",
            hint="this is a bug of the export; a tower of your own may use an operation in an unusual way",
        )


def difference(want: Array, have: Array) -> float:
    """The largest difference of arrays of one shape, in proportion above 16; infinite where `have` is NaN."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(have - want) / np.maximum(1, np.abs(want) / _LARGE)
    return float(np.max(np.where(np.isnan(apart), np.inf, apart), initial=0))


def require_same_answers(want: Columns, have: Columns) -> None:
    """ExportError where the shortlist a graph gives one query is not the recommender's.

    want: item_id, score, retrieval_score and one column a head, best first. have: the graph's, "" where it
    gives no item. Items may change places where their scores are equal within the tolerance; one may be
    another, since the last that is ranked may be equal to the next.
    """
    count = len(want["item_id"])
    items = have["item_id"][:count]
    place = {item: rank for rank, item in enumerate(want["item_id"])}
    common = np.array([item in place for item in items], np.bool_)
    at = np.array([place[item] for item in items[common]], np.int64)
    given = np.flatnonzero(have["item_id"] != "")
    if not np.array_equal(given, np.arange(count)) or count - len(set(at.tolist())) > 1:
        raise ExportError("graph 'recommend' gives other items than the recommender does")
    for name, values in have.items():
        if name != "item_id":
            require_equal("recommend", name, want[name][at], values[:count][common])
    scores = want["score"][at]
    require_equal("recommend", "the order", np.minimum.accumulate(scores), scores)
