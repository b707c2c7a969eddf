"""The named figures of a report: which metric, which policy, averaged over what.

A name reads "filtered ndcg@10 (user)": seen items removed, NDCG at 10, averaged over users. Rating
figures are "rmse" and "mae", pooled over rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from shortlist._typing import Bools, Doubles, Longs
from shortlist.evaluation import metrics
from shortlist.evaluation.intervals import Tally
from shortlist.evaluation.rows import Predictions, TestRows

POLICIES = ("filtered", "raw")
_ROW_METRICS = {"hit_rate": metrics.hit, "ndcg": metrics.gain, "mrr": metrics.reciprocal_rank}
_USER_METRICS = {
    "hit_rate": metrics.user_hit,
    "recall": metrics.user_recall,
    "ndcg": metrics.user_ndcg,
    "mrr": metrics.user_reciprocal_rank,
}


def headline(ks: Sequence[int]) -> tuple[str, ...]:
    """The figures a verdict is given on, for the cut-offs of a report."""
    return (f"filtered ndcg@{min(ks)} (user)", f"filtered hit_rate@{max(ks)} (row)", "rmse")


def lower_is_better(figure: str) -> bool:
    """True of errors."""
    return figure in ("rmse", "mae")


def tallies(
    entry: Predictions, rows: TestRows, ks: Iterable[int], *, only: Bools | None = None
) -> Mapping[str, Tally]:
    """Every figure of one entrant, taken apart by user; `only` [n] keeps a slice of the rows."""
    keep = np.arange(len(rows)) if only is None else np.flatnonzero(only)
    distinct = keep[metrics.first_rows(rows.user_keys[keep], rows.targets[keep])]
    out: dict[str, Tally] = {}
    for policy in POLICIES:
        for k in sorted(set(ks)):
            if entry.ranks is not None:
                ranks = getattr(entry.ranks, policy)
                for name, row_metric in _ROW_METRICS.items():
                    values = row_metric(ranks[keep], k)
                    out[f"{policy} {name}@{k} (row)"] = _pooled(values, rows, keep)
            if entry.user_ranks is not None:
                ranks, users = getattr(entry.user_ranks, policy)[distinct], rows.user_keys[distinct]
                for name, user_metric in _USER_METRICS.items():
                    out[f"{policy} {name}@{k} (user)"] = _per_user(
                        user_metric(ranks, users, rows.num_users, k)
                    )
    return out | _rating_tallies(entry, rows, keep)


def _rating_tallies(entry: Predictions, rows: TestRows, keep: Longs) -> dict[str, Tally]:
    """Rows whose label is missing are left out."""
    if entry.ratings is None or rows.ratings is None:
        return {}
    rated = keep[np.isfinite(rows.ratings[keep])]
    predicted, actual = entry.ratings[rated], rows.ratings[rated]
    return {
        "rmse": _pooled(metrics.squared_error(predicted, actual), rows, rated, root=True),
        "mae": _pooled(metrics.absolute_error(predicted, actual), rows, rated),
    }


def _pooled(values: Doubles, rows: TestRows, keep: Longs, *, root: bool = False) -> Tally:
    keys = rows.user_keys[keep]
    tops = np.bincount(keys, weights=values, minlength=rows.num_users).astype(np.float64)
    return Tally(tops, np.bincount(keys, minlength=rows.num_users).astype(np.float64), root)


def _per_user(values: Doubles) -> Tally:
    present = np.isfinite(values)
    return Tally(np.where(present, values, 0.0), present.astype(np.float64))


CURVE_KS = (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200)


def hit_curve(entry: Predictions, num_items: int) -> dict[int, float]:
    """Filtered hit rate over rows at rising cut-offs, for the plot; empty without ranks."""
    if entry.ranks is None or not len(entry.ranks):
        return {}
    return {k: float((entry.ranks.filtered <= k).mean()) for k in CURVE_KS if k <= num_items}
