"""The in-batch softmax both sides compute: its rows, and a float64 reference in plain NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from clock import folder

DIM, BATCH, SMALL = 32, 8192, 512
SYNTHETIC_USERS, SYNTHETIC_ITEMS, KNOWN_EACH = 6_000, 20_000, 160
WIDE_USERS, WIDE_ITEMS = 6_000, 131_072  # for batches of more distinct items than the catalogue above holds


@dataclass(frozen=True)
class Case:
    """A batch over a catalogue of N items.

    users, rows: int [B], who and which item. known_users, known_items: int [n], the pairs that are no
    negatives of these users; each row's own pair is among them. log_q: float32 [N], log of the share of the
    log's rows. queries [B, 32] and table [N, 32], float32.
    """

    users: Any
    rows: Any
    known_users: Any
    known_items: Any
    log_q: Any
    queries: Any
    table: Any
    num_users: int


def catalogue(batch: int = BATCH) -> Case:
    """MovieLens 100K: the first rows of the training part (repeated for batches beyond 80,000)."""
    data: Any = np.load(folder() / "steps.npz")
    users, items = data["train_users"], data["train_items"]
    num_items = len(data["items"])
    counts = np.bincount(items, minlength=num_items)
    return _case(users, items, np.resize(np.arange(len(users)), batch), counts)


def distinct(batch: int = BATCH) -> Case:
    """A synthetic log of users who know about 160 items each; a batch that holds no item twice."""
    rng = np.random.default_rng(7)
    num_items = SYNTHETIC_ITEMS if batch <= SYNTHETIC_ITEMS // 2 else WIDE_ITEMS
    users = np.repeat(np.arange(SYNTHETIC_USERS), KNOWN_EACH)
    items = rng.integers(0, num_items, len(users))
    shuffled = rng.permutation(len(items))
    first = shuffled[np.unique(items[shuffled], return_index=True)[1]]  # a row for every item that occurs
    counts = np.bincount(items, minlength=num_items)
    return _case(users, items, rng.permutation(first)[:batch], counts)


def _case(users: Any, items: Any, chosen: Any, counts: Any) -> Case:
    rng = np.random.default_rng(1)
    keys = np.unique(users.astype(np.int64) * len(counts) + items)
    with np.errstate(divide="ignore"):
        log_q = np.log(counts / counts.sum()).astype(np.float32)
    return Case(
        users[chosen].astype(np.int32),
        items[chosen].astype(np.int32),
        (keys // len(counts)).astype(np.int32),
        (keys % len(counts)).astype(np.int32),
        np.maximum(log_q, np.float32(-30.0)),  # items without rows never stand in a batch
        rng.standard_normal((len(chosen), DIM), np.float32) * np.float32(0.5),
        rng.standard_normal((len(counts), DIM), np.float32) * np.float32(0.5),
        int(users.max()) + 1,
    )


def reference(case: Case) -> tuple[float, Any, Any]:
    """Summed loss, its gradients by queries and table: the whole B x B matrix, in float64, nothing clever."""
    q, t = case.queries.astype(np.float64), case.table.astype(np.float64)
    c = t[case.rows]
    known = np.zeros((case.num_users, len(t)), bool)
    known[case.known_users, case.known_items] = True
    scores = q @ c.T - case.log_q.astype(np.float64)[case.rows]
    removed = known[case.users][:, case.rows] | (case.rows[:, None] == case.rows[None, :])
    np.fill_diagonal(removed, False)
    scores[removed] = -np.inf
    top = scores.max(axis=1, keepdims=True)
    e = np.exp(scores - top)
    z = e.sum(axis=1, keepdims=True)
    loss = float((np.log(z[:, 0]) + top[:, 0] - np.diag(scores)).sum())
    p = e / z
    np.fill_diagonal(p, np.diag(p) - 1.0)
    d_table = np.zeros_like(t)
    np.add.at(d_table, case.rows, p.T @ q)
    return loss, p @ c, d_table


def errors(case: Case, loss: Any, d_queries: Any, d_table: Any) -> dict[str, float]:
    """Relative errors against the reference: of the loss, and of the gradients in the largest entry."""
    true, true_q, true_t = reference(case)
    return {
        "loss": abs(float(loss) - true) / abs(true),
        "queries": float(np.abs(d_queries - true_q).max() / np.abs(true_q).max()),
        "table": float(np.abs(d_table - true_t).max() / np.abs(true_t).max()),
    }
