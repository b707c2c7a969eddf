"""evaluate(): entrants and test rows in, a Report out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shortlist._typing import Doubles
from shortlist.errors import DataError
from shortlist.evaluation.collapse import check_collapse
from shortlist.evaluation.figures import headline, hit_curve, lower_is_better, tallies
from shortlist.evaluation.intervals import Comparison, Estimate, Tally, bootstrap, estimate, verdict_on
from shortlist.evaluation.report import Entry, Report
from shortlist.evaluation.rows import Predictions, Skipped, TestRows
from shortlist.evaluation.slices import SliceFigures, size_of, slice_masks


def evaluate(
    predictions: Sequence[Predictions | Skipped],
    rows: TestRows,
    ks: Sequence[int] = (10, 100),
    seed: int = 42,
    resamples: int = 1000,
    *,
    protocol: Mapping[str, Any] | None = None,
    stages: Mapping[str, Any] | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
) -> Report:
    """Judge every entrant on the same rows, with intervals, slices and verdicts.

    Args:
        predictions: entrants, role "model" or "baseline"; `Skipped` ones are listed with their reason.
        rows: the test rows.
        ks: cut-offs; the headline is NDCG at the least and hit rate at the greatest of them.
        seed, resamples: of the bootstrap over users.
        protocol: what the figures rest on (split, seed, leaks, ...), printed as given.
        stages: figures of each stage, {"retrieval only": {figure: value}, "recall ceiling": value}.
        history: learning curves by name.

    Raises `DataError` when there are no rows, a cut-off is below 1, or an entrant does not fit the rows.
    """
    if not len(rows):
        raise DataError("there are no test rows to evaluate on", hint="use a larger test share")
    if not ks or min(ks) < 1:
        raise DataError(f"cut-offs must be at least 1, got {list(ks)}")
    entrants = [entry.check(rows) for entry in predictions if isinstance(entry, Predictions)]
    names = [entry.name for entry in entrants]
    if len(set(names)) < len(names):
        raise DataError(f"entrants need names of their own, got {names}")
    judged = _Judged([tallies(entry, rows, ks) for entry in entrants], rows.num_users, resamples, seed)
    checks = [check_collapse(entry, rows) for entry in entrants]
    return Report(
        protocol=_stated(protocol or {}, rows, seed, resamples),
        entries=tuple(
            Entry(e.name, e.role, e.settings, e.seconds, judged.figures(at), hit_curve(e, rows.num_items))
            for at, e in enumerate(entrants)
        ),
        headline=tuple(name for name in headline(ks) if any(name in found for found in judged.named)),
        verdicts=tuple(_verdicts(entrants, judged, headline(ks))),
        slices=tuple(_slices(entrants, rows, ks, resamples, seed)),
        collapse=tuple(check for check in checks if check is not None),
        skipped=tuple(entry for entry in predictions if isinstance(entry, Skipped)),
        stages=dict(stages or {}),
        history={name: tuple(float(v) for v in values) for name, values in (history or {}).items()},
    )


class _Judged:
    """Values and draws of every figure of every entrant, from the same draws of users."""

    def __init__(
        self, named: Sequence[Mapping[str, Tally]], num_users: int, resamples: int, seed: int
    ) -> None:
        self.named = named
        flat = [tally for found in named for tally in found.values()]
        self.values, self.draws = bootstrap(flat, num_users, resamples, seed)
        keys = [(at, name) for at, found in enumerate(named) for name in found]
        self.column = {key: column for column, key in enumerate(keys)}

    def of(self, at: int, name: str) -> tuple[float, Doubles]:
        column = self.column[at, name]
        return float(self.values[column]), self.draws[:, column]

    def figures(self, at: int) -> dict[str, Estimate]:
        return {name: estimate(*self.of(at, name)) for name in self.named[at]}


def _verdicts(entrants: Sequence[Predictions], judged: _Judged, names: Sequence[str]) -> list[Comparison]:
    """Each model against the baseline with the best point estimate, metric by metric."""
    found = []
    for name in names:
        has = [at for at in range(len(entrants)) if name in judged.named[at]]
        rivals = [at for at in has if entrants[at].role == "baseline" and np.isfinite(judged.of(at, name)[0])]
        if not rivals:
            continue
        sign = -1.0 if lower_is_better(name) else 1.0
        best = max(rivals, key=lambda at: sign * judged.of(at, name)[0])
        for at in (at for at in has if entrants[at].role == "model"):
            (mine, my_draws), (theirs, their_draws) = judged.of(at, name), judged.of(best, name)
            gap = estimate(mine - theirs, my_draws - their_draws)
            verdict = verdict_on(gap, lower_is_better=lower_is_better(name))
            found.append(Comparison(name, entrants[at].name, entrants[best].name, gap, verdict))
    return found


def _slices(
    entrants: Sequence[Predictions], rows: TestRows, ks: Sequence[int], resamples: int, seed: int
) -> list[SliceFigures]:
    found = []
    for name, mask in slice_masks(rows).items():
        wanted = headline(ks)
        named = [
            {key: tally for key, tally in tallies(entry, rows, ks, only=mask).items() if key in wanted}
            for entry in entrants
        ]
        judged = _Judged(named, rows.num_users, resamples, seed)
        figures = {entry.name: judged.figures(at) for at, entry in enumerate(entrants)}
        found.append(SliceFigures(name, *size_of(mask, rows), figures))
    return found


def _stated(protocol: Mapping[str, Any], rows: TestRows, seed: int, resamples: int) -> dict[str, Any]:
    """The rules behind the figures; what the caller states comes first."""
    rules = {
        "test rows": f"{len(rows):,} of {rows.num_users:,} users, among all {rows.num_items:,} items",
        "seen items": "filtered: the user's training items removed (headline); raw: they stay in",
        "averaging": "(row): over test rows, one positive each, hit rate@k is the tutorials' top-k accuracy; "
        "(user): over users, all their test positives against one list",
        "ties": "counted at their mean rank",
        "intervals": f"95 %, users resampled {resamples:,} times (seed {seed}); differences paired",
    }
    return {**protocol, **{name: rule for name, rule in rules.items() if name not in protocol}}
