"""Does a model show everyone the same? Sameness of lists, variety of items, scores without order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.evaluation.rows import Predictions, TestRows


@dataclass(frozen=True)
class Collapse:
    """How alike the top lists are: share of users given the commonest list, distinct items shown."""

    name: str
    identical_share: float
    distinct_items: int
    num_items: int
    constant_scores: bool
    warning: str


def check_collapse(entry: Predictions, rows: TestRows) -> Collapse | None:
    """None for an entrant that neither lists nor ranks."""
    if entry.top is None and entry.ranks is None:
        return None
    share, distinct = _sameness(entry)
    # all scores equal: every target ties with the whole catalogue and sits at its middle
    middle = (rows.num_items + 1) / 2
    constant = entry.ranks is not None and len(rows) > 1 and bool((entry.ranks.raw == middle).all())
    return Collapse(
        entry.name, share, distinct, rows.num_items, constant, _warning(entry, share, distinct, constant)
    )


def _sameness(entry: Predictions) -> tuple[float, int]:
    if entry.top is None or not len(entry.top):
        return float("nan"), 0
    counts = np.unique(entry.top, axis=0, return_counts=True)[1]
    shown = np.unique(entry.top)
    return float(counts.max() / len(entry.top)), int((shown >= 0).sum())


def _warning(entry: Predictions, share: float, distinct: int, constant: bool) -> str:
    if constant:
        return f"{entry.name} gives every item the same score: its order is the catalogue's"
    if entry.role == "model" and entry.top is not None and len(entry.top) > 1 and share >= 0.5:
        return (
            f"{entry.name} shows {share:.0%} of the users the same list of {entry.top.shape[1]} "
            f"({distinct} distinct items in all): it has hardly learned to tell users apart"
        )
    return ""
