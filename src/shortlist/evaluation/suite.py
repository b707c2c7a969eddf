"""The baselines of a report: tuned on validation, refitted on everything before the test, judged on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import nullcontext

import numpy as np

from shortlist._typing import Array, Ints, Longs
from shortlist.baselines.interactions import Interactions
from shortlist.baselines.ratings import FittedRatings
from shortlist.baselines.threads import one_blas_thread
from shortlist.baselines.tuning import (
    RATING_GRIDS,
    RETRIEVAL_GRIDS,
    FittedScores,
    RatingBaseline,
    RetrievalBaseline,
    described,
    tune,
)
from shortlist.errors import DataError, MissingExtra
from shortlist.evaluation import metrics
from shortlist.evaluation.rows import Predictions, Skipped, TestRows
from shortlist.index.exact import block_rows, top_k
from shortlist.index.ranks import Ranks, count_ranks
from shortlist.state.seen import Seen

Progress = Callable[[str, int, int], None]
"""Called with the baseline about to run, how many are done, and how many there are."""

_TUNE_K = 10
SMALL_ITEMS = 5_000


def baseline_predictions(
    train: Interactions,
    validation: Interactions | None,
    rows: TestRows,
    *,
    refit: bool = True,
    progress: Progress | None = None,
    only: Collection[str] | None = None,
) -> list[Predictions | Skipped]:
    """Every baseline that can run on this data (or those named), as entrants for `evaluate`.

    Args:
        train: training rows without the validation rows.
        validation: rows to choose settings on, in the same index space as `train` (users of either);
            None or empty: the first settings of each grid are taken as they are.
        rows: the test rows; what a user has in the rows of the last fit is removed for filtered ranks.
        refit: whether the last fit takes the validation rows too (as a model refitted on both did), or train
            alone (as a model that never saw them).
        progress: told which baseline is about to run.

    A baseline that cannot run comes back as `Skipped` with the reason. Rating baselines take part
    where train and test rows have ratings. `seconds` is the CPU time of tuning, fitting and scoring.
    """
    chosen_on = validation if validation is not None and len(validation) else None
    fit_on = train.joined(chosen_on) if refit and chosen_on is not None else train
    rated = train.ratings is not None and rows.ratings is not None
    jobs: list[tuple[str, Callable[[], Predictions]]] = [
        (grid[0].name, lambda grid=grid: _retrieval(grid, train, chosen_on, fit_on, rows))  # type: ignore[misc]
        for grid in RETRIEVAL_GRIDS
    ]
    if rated:
        jobs += [
            (grid[0].name, lambda grid=grid: _rating(grid, train, chosen_on, fit_on, rows))  # type: ignore[misc]
            for grid in RATING_GRIDS
        ]
    jobs = [job for job in jobs if only is None or job[0] in only]
    found: list[Predictions | Skipped] = []
    for done, (name, job) in enumerate(jobs):
        if progress is not None:
            progress(name, done, len(jobs))
        try:
            with one_blas_thread() if rows.num_items <= SMALL_ITEMS else nullcontext():
                found.append(job())
        except (DataError, MissingExtra) as error:
            found.append(Skipped(name, f"{error} ({error.hint})" if error.hint else str(error)))
    if progress is not None:
        progress("", len(jobs), len(jobs))
    return found


def _retrieval(
    grid: tuple[RetrievalBaseline, ...],
    train: Interactions,
    validation: Interactions | None,
    fit_on: Interactions,
    rows: TestRows,
) -> Predictions:
    start = time.process_time()

    def judge(fitted: FittedScores) -> float:
        assert validation is not None
        users, targets = validation.users, validation.items
        ranks = ranks_by_user(fitted, users, targets, train.seen, train.num_items).filtered
        return float(np.nanmean(metrics.user_ndcg(ranks, users, train.num_users, _TUNE_K)))

    settings = grid[0]
    if validation is not None:
        settings = tune(grid, train, judge, lambda chosen, on: chosen.fit(on)).settings
    fitted = settings.fit(fit_on)
    ranks = ranks_by_user(fitted, rows.users, rows.targets, fit_on.seen, rows.num_items)
    top = top_lists(fitted, rows)
    seconds = time.process_time() - start
    return Predictions(settings.name, ranks=ranks, top=top, settings=described(settings), seconds=seconds)


def _rating(
    grid: tuple[RatingBaseline, ...],
    train: Interactions,
    validation: Interactions | None,
    fit_on: Interactions,
    rows: TestRows,
) -> Predictions:
    start = time.process_time()

    def judge(fitted: FittedRatings) -> float:
        assert validation is not None
        on = validation.rated()
        assert on.ratings is not None
        return float(metrics.squared_error(fitted.predict(on.users, on.items), on.ratings).mean() ** 0.5)

    settings = grid[0]
    if validation is not None and validation.ratings is not None:
        settings = tune(
            grid, train, judge, lambda chosen, on: chosen.fit(on), higher_is_better=False
        ).settings
    predicted = settings.fit(fit_on).predict(rows.users, rows.targets)
    seconds = time.process_time() - start
    return Predictions(settings.name, ratings=predicted, settings=described(settings), seconds=seconds)


def ranks_by_user(fitted: FittedScores, users: Longs, targets: Longs, seen: Seen, num_items: int) -> Ranks:
    """Ranks for a recommender that knows only who asks: each user is scored about once."""
    order = np.argsort(users, kind="stable")
    sorted_users = users[order]

    def scores_of(rows: slice) -> Array:
        distinct, which = np.unique(sorted_users[rows], return_inverse=True)
        return fitted.scores(distinct)[which]

    found = count_ranks(scores_of, targets[order], seen, sorted_users, num_items=num_items)
    back = np.argsort(order)
    return found[back]


def top_lists(fitted: FittedScores, rows: TestRows, k: int = 10) -> Ints:
    """The first k items for every test user [U', k], seen items left in."""
    first = np.unique(rows.user_keys, return_index=True)[1]
    users, block = rows.users[first], block_rows(rows.num_items)
    parts = [top_k(fitted.scores(users[at : at + block]), k)[0] for at in range(0, len(users), block)]
    return np.concatenate(parts) if parts else np.zeros((0, k), np.int32)
