"""Sums over negatives made once a query: the same loss and gradients as made once a row."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from shortlist.specs.tasks import Retrieval
from shortlist.tasks import losses, retrieval
from shortlist.tasks.known import known_positives
from shortlist.tasks.retrieval import distinct, retrieval_loss

U, N, B, D = 7, 31, 40, 3


def both(task: Retrieval, whole: bool) -> list[tuple[Any, Any]]:
    """(loss, gradients by queries [U, d] and items [N, d]) by query, and by row."""
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, U, B).astype(np.int32), rng.integers(0, N // 2, B).astype(np.int32)
    queries, vectors = (jax.device_put(np.asarray(2 * rng.normal(size=(n, D)), np.float32)) for n in (U, N))
    weights = jax.device_put(
        np.asarray(np.where(np.arange(B) < B - 4, rng.uniform(0.5, 2, B), 0), np.float32)
    )
    log_q = jax.device_put(np.asarray(np.log(rng.dirichlet(np.ones(N))), np.float32))
    # rows are what the known positives are made of, and some users know more
    sets = [np.unique([*items[users == u], *rng.integers(0, N, u)]).astype(int) for u in range(U)]
    indptr = np.cumsum([0, *(len(s) for s in sets)])
    known = known_positives(indptr, np.concatenate(sets), N, whole=whole) if task.known_positives else None

    def loss(queries: Any, vectors: Any, row: Any) -> Any:
        columns = distinct(jax.device_put(items), weights > 0, N, whole=whole)
        given = queries if row is not None else queries[users]
        return retrieval_loss(
            task,
            given,
            vectors[columns.items],
            columns,
            weights,
            log_q,
            known=known,
            users=jax.device_put(users),
            query_row=row,
            key=jax.random.key(0),
        )

    return [
        jax.jit(jax.value_and_grad(lambda q, v, row=row: loss(q, v, row), (0, 1)))(queries, vectors)
        for row in (jax.device_put(users), None)
    ]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "task",
    [
        Retrieval(accidental_hits=False, log_q=False),
        Retrieval(accidental_hits=False),
        Retrieval(known_positives=True),
        Retrieval(known_positives=True, accidental_hits=False),
        Retrieval(loss="full", known_positives=True),
    ],
)
def test_by_query_is_by_row(task: Retrieval, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    plain = retrieval.grouped_softmax_loss
    monkeypatch.setattr(retrieval, "grouped_softmax_loss", lambda *a, **k: used.append(1) or plain(*a, **k))
    monkeypatch.setattr(losses, "BLOCK_ROWS", 4)  # the last block of queries is padded
    whole = whole or task.loss == "full"
    (value, slopes), (expected, expected_slopes) = both(task, whole)
    assert used == [1]
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    for one, other in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * float(np.abs(other).max()))


@pytest.mark.parametrize("task", [Retrieval(), Retrieval(known_positives=True, hard_negatives=3)])
def test_where_a_sum_a_query_is_not_enough_rows_are_summed(
    task: Retrieval, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "grouped_softmax_loss", None)
    (value, _), (expected, _) = both(task, True)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
