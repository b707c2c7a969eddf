"""The learned bonus of what a user had before, in the softmax loss, against a naive double-precision one."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import numpy as np
import pytest

from shortlist.features import batches
from shortlist.features.batches import Pasts
from shortlist.specs.features import AsOf
from shortlist.specs.tasks import Retrieval
from shortlist.tasks.known import known_positives
from shortlist.tasks.past import SeenBefore, past_tables
from shortlist.tasks.retrieval import distinct, needs_whole_catalogue, retrieval_loss, takes_whole

B, D, U = 24, 3, 6
EXACT = 2e-5
"""Relative to the largest entry: what float32 may differ from the float64 reference by."""


class Case:
    """A batch whose users had some items, many rows' own among them; one row in five is padding."""

    def __init__(self, num_items: int) -> None:
        rng = np.random.default_rng(num_items)
        self.num_items = num_items
        share = rng.dirichlet(np.full(num_items, 0.5))
        self.log_q = np.log(share)
        self.items = rng.choice(num_items, B, p=share).astype(np.int32)
        self.queries, self.vectors = rng.normal(size=(B, D)), rng.normal(size=(num_items, D))
        self.weights = rng.uniform(0.5, 2, B)
        self.weights[-B // 5 :] = 0
        self.users = rng.integers(-1, U, B).astype(np.int32)
        self.lists = []
        for user in range(U):  # half of them items of the batch
            likely = np.where(np.isin(np.arange(num_items), self.items[self.users == user]), 20.0, 1.0)
            count = rng.integers(2, min(num_items, 12))
            self.lists.append(rng.choice(num_items, count, replace=False, p=likely / likely.sum()))
        self.past = np.zeros((B, 3), np.int32)
        for row, user in enumerate(self.users):
            if user >= 0:
                mine = self.lists[user]
                own = np.flatnonzero(mine == self.items[row])
                place = own[0] if len(own) else -1
                self.past[row] = rng.integers(0, len(mine) + 1), len(mine), place

    def had(self, row: int, as_of: AsOf) -> set[int]:
        user, (earlier, _, own) = self.users[row], self.past[row]
        mine = [] if user < 0 else self.lists[user].tolist()
        return set(mine[:earlier] if as_of == "row" else [i for k, i in enumerate(mine) if k != own])

    @property
    def pasts(self) -> Pasts:
        ends = np.cumsum([0, *map(len, self.lists)])
        return Pasts(ends.astype(np.int32), np.concatenate(self.lists).astype(np.int32), {}, {})


OPTIONS = {
    "in batch": Retrieval(seen="row"),
    "hits stay": Retrieval(seen="row", accidental_hits=False, log_q=False),
    "known": Retrieval(seen="leave-one-out", known_positives=True),
    "others, full": Retrieval(seen="leave-one-out", loss="full"),
    "hard": Retrieval(seen="row", hard_negatives=4),
}


def naive(case: Case, task: Retrieval, bonus: float) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Loss and gradients in float64, a loop over rows and over every entry of the sample."""
    real = np.flatnonzero(case.weights > 0)
    full = task.loss == "full"
    sample = list(range(case.num_items)) if full else case.items[real].tolist()
    log_q = case.log_q if task.log_q and not full else np.zeros(case.num_items)
    total, d_bonus = 0.0, 0.0
    d_queries, d_vectors = np.zeros_like(case.queries), np.zeros_like(case.vectors)
    for row in real:
        own, user, had = int(case.items[row]), case.users[row], case.had(row, task.seen or "row")
        others = list(sample)
        others.remove(own)  # the row's own entry is the positive
        if task.accidental_hits:
            others = [i for i in others if i != own]
        if task.known_positives and user >= 0:
            others = [i for i in others if i == own or i not in case.lists[user][::2]]
        score = {
            i: case.vectors[i] @ case.queries[row] - log_q[i] + bonus * (i in had) for i in {own, *others}
        }
        if task.hard_negatives:
            best = sorted(set(others), key=lambda i: -(score[i] + np.log(others.count(i))))
            others = [i for i in others if i in best[: task.hard_negatives]]
        entries = [own, *others]
        scores = np.array([score[i] for i in entries])
        p = np.exp(scores - scores.max())
        total += case.weights[row] * (np.log(p.sum()) + scores.max() - scores[0])
        slope = p / p.sum()
        slope[0] -= 1
        for item, s in zip(entries, case.weights[row] * slope, strict=True):
            d_queries[row] += s * case.vectors[item]
            d_vectors[item] += s * case.queries[row]
            d_bonus += s * (item in had)
    return total, d_queries, d_vectors, d_bonus


@cache
def compiled(task: Retrieval) -> Any:
    def loss(
        queries: Any, vectors: Any, bonus: Any, weights: Any, log_q: Any, columns: Any, users: Any, rest: Any
    ) -> Any:
        tables, past, known = rest
        whole = columns.items.shape[0] == log_q.shape[0]
        seen = SeenBefore(tables, past, None if whole else columns.items, task.seen or "row")
        key, chosen = jax.random.key(0), vectors[columns.items]
        more = {"known": known, "users": users, "seen": seen, "bonus": bonus, "key": key}
        return retrieval_loss(task, queries, chosen, columns, weights, log_q, **more)

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))


columns_of = jax.jit(distinct, static_argnums=2, static_argnames="whole")


def ours(case: Case, task: Retrieval, bonus: float) -> tuple[Any, ...]:
    given = (case.queries, case.vectors, bonus, case.weights, case.log_q)
    queries, vectors, added, weights, log_q = (jax.device_put(np.asarray(x, np.float32)) for x in given)
    whole = needs_whole_catalogue(task) or takes_whole(case.num_items, B)
    columns = columns_of(jax.device_put(case.items), weights > 0, case.num_items, whole=whole)
    known = None
    if task.known_positives:
        lists = [np.sort(items[::2]) for items in case.lists]
        ends = np.cumsum([0, *map(len, lists)])
        known = known_positives(ends, np.concatenate(lists), case.num_items, whole=whole)
    rest = past_tables(case.pasts, case.num_items), jax.device_put(case.past), known
    program = compiled(task)
    value, slopes = program(
        queries, vectors, added, weights, log_q, columns, jax.device_put(case.users), rest
    )
    return value, *slopes


TABLE, LISTS = batches.SPREAD_BYTES, 0
"""What users had as a table, and as lists."""


# A catalogue less than twice the batch is taken whole, a larger one's columns are sorted out.
@pytest.mark.parametrize(
    ("name", "num_items", "form"),
    [
        *((name, 20, TABLE) for name in OPTIONS),
        *((name, 70, LISTS) for name in ("in batch", "known")),
        ("in batch", 70, TABLE),
        ("others, full", 20, LISTS),
    ],
)
def test_values_and_gradients(name: str, num_items: int, form: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case, task = Case(num_items), OPTIONS[name]
    again = [r for r in range(B) if case.weights[r] > 0 and case.items[r] in case.had(r, "row")]
    assert len(again) > 2, "rows whose own item is one they had"
    monkeypatch.setattr(batches, "SPREAD_BYTES", form)
    for bonus in (-1.5, 0.7):
        expected = naive(case, task, bonus)
        assert abs(expected[3]) > 0.1
        for found, want in zip(ours(case, task, bonus), expected, strict=True):
            np.testing.assert_allclose(found, want, rtol=EXACT, atol=EXACT * np.abs(want).max())


@pytest.mark.parametrize("bonus", [60.0, -60.0])
def test_a_bonus_far_from_nothing_stays_finite(bonus: float) -> None:
    """Shifts that keep exp within float32 count the bonus too."""
    case, task = Case(20), OPTIONS["in batch"]
    for found, want in zip(ours(case, task, bonus), naive(case, task, bonus), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
