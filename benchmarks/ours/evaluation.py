"""Exact evaluation: ranks by counting, raw and filtered, and every metric of ours over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from clock import emit, emit_seconds, extra_memory, folder, seconds_each

from shortlist.evaluation import metrics
from shortlist.index.ranks import product_ranks
from shortlist.state.seen import Seen
from shortlist.training import ranks

KS = (1, 5, 10, 50, 100)
MILLION, ASKED, DIM = 1_000_000, 2_000, 32


class _Rows:
    """20,000 test rows of MovieLens: vectors, true items, users and what these had seen in training."""

    def __init__(self) -> None:
        data: Any = np.load(folder() / "steps.npz")
        self.queries, self.items = data["queries"], data["items"]
        self.targets, self.users = data["test_items"], data["test_users"]
        self.num_users = int(data["train_users"].max()) + 1
        self.users = np.where(self.users < self.num_users, self.users, -1).astype(np.int32)
        self.seen = Seen.from_pairs(data["train_users"], data["train_items"], self.num_users)

    def figures(self, raw: Any, filtered: Any) -> dict[str, float]:
        """Hit rate, NDCG and MRR of rows, recall of users, at every cut-off, raw and filtered."""
        known = np.flatnonzero(self.users >= 0)
        first = known[metrics.first_rows(self.users[known], self.targets[known])]
        users, out = self.users[first].astype(np.int64), {}
        for policy, found in (("raw", raw), ("filtered", filtered)):
            for k in KS:
                out[f"{policy} hit_rate@{k}"] = metrics.hit(found, k).mean()
                out[f"{policy} ndcg@{k}"] = metrics.gain(found, k).mean()
                out[f"{policy} mrr@{k}"] = metrics.reciprocal_rank(found, k).mean()
                recall = metrics.user_recall(found[first], users, self.num_users, k)
                out[f"{policy} recall@{k} (user)"] = float(np.nanmean(recall))
        return {name: round(float(value), 6) for name, value in out.items()}


def evaluate() -> None:
    """With the compiled counter."""
    rows = _Rows()

    def whole() -> dict[str, float]:
        return rows.figures(*ranks.count_ranks(rows.queries, rows.items, rows.targets, rows.seen, rows.users))

    emit_seconds("evaluate", whole, repeats=15, figures=whole())


def evaluate_bundle() -> None:
    """With NumPy alone, as a bundle is evaluated."""
    rows = _Rows()

    def whole() -> dict[str, float]:
        found = product_ranks(rows.queries, rows.items, rows.targets, rows.seen, rows.users)
        return rows.figures(found.raw, found.filtered)

    emit_seconds("evaluate-bundle", whole, repeats=5, figures=whole())


def evaluate_million() -> None:
    """2,000 queries against 1,000,000 candidates of 32 numbers; nothing seen."""
    rng = np.random.default_rng(0)
    items = rng.standard_normal((MILLION, DIM), np.float32)
    queries = rng.standard_normal((ASKED, DIM), np.float32)
    targets = rng.integers(0, MILLION, ASKED).astype(np.int32)
    seen, users = Seen.from_pairs([], [], 1), np.full(ASKED, -1, np.int32)

    def whole() -> Any:
        return ranks.count_ranks(queries, items, targets, seen, users)[0]

    found = whole()
    seconds = seconds_each(whole, repeats=2, warm=0)
    emit(
        "evaluate-million",
        ASKED * MILLION / min(seconds),
        seconds=seconds,
        measured_extra_mib=extra_memory(whole),
        sum_of_ranks=float(found.sum()),
    )
