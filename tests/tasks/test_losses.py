"""The softmax loss against a naive double-precision one with every duplicate written out."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shortlist.specs.tasks import Retrieval
from shortlist.tasks import losses
from shortlist.tasks.losses import Known, squared_error
from shortlist.tasks.retrieval import distinct, needs_whole_catalogue, retrieval_loss

N, D, U, LONGEST = 37, 4, 9, 12


class Case:
    """A batch of B rows over N items, most of them repeated, some never trained on, some rows padding."""

    def __init__(self, batch: int, seed: int = 0, num_items: int = N) -> None:
        rng = np.random.default_rng(seed)
        self.num_items = num_items
        share = rng.dirichlet(np.full(num_items, 0.3))
        share[-9:] = 0  # never in training
        share /= share.sum()
        self.items = rng.choice(num_items, batch, p=share).astype(np.int32)
        self.queries = rng.normal(size=(batch, D))
        self.vectors = rng.normal(size=(num_items, D))
        self.weights = rng.uniform(0.5, 2, batch)
        if batch > 3:
            self.weights[-max(1, batch // 5) :] = 0
        self.users = rng.integers(-1, U, batch).astype(np.int32)
        self.known = [
            np.sort(rng.choice(num_items, rng.integers(0, LONGEST + 1), replace=False)) for _ in range(U)
        ]
        with np.errstate(divide="ignore"):
            self.log_q = np.log(share)

    @property
    def csr(self) -> Known:
        lengths = [len(k) for k in self.known]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        items = np.full(U * LONGEST, 99, np.int32)  # one size for all cases; the end is never reached
        items[: sum(lengths)] = np.concatenate(self.known)
        return Known(jnp.asarray(self.users), jnp.asarray(indptr), jnp.asarray(items))


def ours(case: Case, task: Retrieval, *, key: Any = None, whole: bool = False) -> tuple[float, Any, Any]:
    """The loss and its gradients by queries [B, d] and item vectors [N, d]."""

    queries, vectors, weights, log_q = (
        jnp.asarray(x, jnp.float32) for x in (case.queries, case.vectors, case.weights, case.log_q)
    )
    whole = whole or needs_whole_catalogue(task)
    columns = columns_of(jnp.asarray(case.items), weights > 0, case.num_items, whole=whole)
    key = jax.random.key(0) if key is None else key
    program = compiled(task, losses.BLOCK)
    value, gradients = program(queries, vectors, weights, log_q, columns, case.csr, key)
    return float(value), *(np.asarray(g) for g in gradients)


columns_of = jax.jit(distinct, static_argnums=2, static_argnames="whole")


@cache
def compiled(task: Retrieval, block: int) -> Any:
    """One program for all cases of one shape; the block's size is read while it is traced."""

    def loss(
        queries: Any, vectors: Any, weights: Any, log_q: Any, columns: Any, known: Known, key: Any
    ) -> Any:
        chosen = vectors[columns.items]
        return retrieval_loss(
            task, queries, chosen, columns, weights, log_q, known=known, longest=LONGEST, key=key
        )

    return jax.jit(jax.value_and_grad(loss, (0, 1)))


def naive(
    case: Case, task: Retrieval, extra: np.ndarray | None = None
) -> tuple[float, np.ndarray, np.ndarray]:
    """The same in float64, a Python loop over rows and over every entry of the sample."""
    real = np.flatnonzero(case.weights > 0)
    sample = np.arange(case.num_items) if task.loss == "full" else case.items[real]
    log_q = np.where(np.isfinite(case.log_q), case.log_q, 0.0)
    if extra is not None:
        share = np.exp(case.log_q)
        mixture = (len(real) * share + len(extra) / case.num_items) / (len(real) + len(extra))
        log_q = np.log(mixture)
        sample = np.concatenate([sample, extra])
    if not task.log_q or task.loss == "full":
        log_q = np.zeros(case.num_items)
    total, d_queries, d_vectors = 0.0, np.zeros_like(case.queries), np.zeros_like(case.vectors)
    for row in real:
        own, query = case.items[row], case.queries[row]
        entries = [int(own)]  # the positive, once
        own_left = 1
        for item in sample:
            if item == own and own_left:  # the row's own entry in the sample is the positive itself
                own_left = 0
                continue
            if item == own and task.accidental_hits:
                continue
            user = case.users[row]
            if task.known_positives and user >= 0 and item != own and item in case.known[user]:
                continue
            entries.append(int(item))
        if task.hard_negatives:
            entries = hardest(entries, case.vectors @ query - log_q, task.hard_negatives)
        score = np.array([case.vectors[i] @ query - log_q[i] for i in entries])
        top = score.max()
        total += case.weights[row] * (top + np.log(np.exp(score - top).sum()) - score[0])
        p = np.exp(score - top) / np.exp(score - top).sum()
        p[0] -= 1
        for i, share in zip(entries, p, strict=True):
            d_queries[row] += case.weights[row] * share * case.vectors[i]
            d_vectors[i] += case.weights[row] * share * query
    return total, d_queries, d_vectors


def hardest(entries: list[int], scores: np.ndarray, k: int) -> list[int]:
    """The positive, then all entries of the k distinct negatives that weigh most in the sum."""
    others = sorted(set(entries[1:]), key=lambda i: -(scores[i] + np.log(entries[1:].count(i))))
    return [entries[0], *(i for i in entries[1:] if i in others[:k])]


OPTIONS = {
    "plain": Retrieval(log_q=False),
    "log_q": Retrieval(),
    "hits stay": Retrieval(accidental_hits=False),
    "known": Retrieval(known_positives=True),
    "hard": Retrieval(hard_negatives=5),
    "hard, plain, known": Retrieval(hard_negatives=3, log_q=False, known_positives=True),
    "full": Retrieval(loss="full"),
    "full, known": Retrieval(loss="full", known_positives=True),
}


# A batch smaller than half the catalogue is sorted, a larger one takes the catalogue whole.
@pytest.mark.parametrize(("batch", "option"), [*((12, o) for o in OPTIONS), (40, "log_q")])
def test_loss_and_gradients_are_the_naive_ones(batch: int, option: str) -> None:
    case, task = Case(batch), OPTIONS[option]
    for one, other in zip(ours(case, task), naive(case, task), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("option", ["known"])
def test_distinct_items_or_the_whole_catalogue_give_one_loss(option: str) -> None:
    case, task = Case(12), OPTIONS[option]
    for one, other in zip(ours(case, task), ours(case, task, whole=True), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_extra_negatives_join_the_sample_and_its_probabilities() -> None:
    case, task = Case(12), Retrieval(extra_negatives=20)
    key = jax.random.key(7)
    drawn = np.asarray(jax.random.randint(key, (20,), 0, N))
    assert np.isneginf(case.log_q[drawn]).any()  # an item without training rows is drawn too
    for one, other in zip(ours(case, task, key=key), naive(case, task, drawn), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("batch", "option"), [(1, "known"), (23, "known"), (23, "hard")])
def test_blocks_of_rows_leave_no_seam(batch: int, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BLOCK", 8)
    case, task = Case(batch), OPTIONS[option]
    for one, other in zip(ours(case, task), naive(case, task), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_a_batch_larger_than_a_real_block() -> None:
    case, task = Case(losses.BLOCK + 5, num_items=60), OPTIONS["log_q"]
    for one, other in zip(ours(case, task), naive(case, task), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("option", ["log_q"])
def test_padding_changes_nothing(option: str) -> None:
    case, task = Case(40), OPTIONS[option]
    real = case.weights > 0
    loss, d_queries, d_vectors = ours(case, task)
    assert not d_queries[~real].any()
    case.items, case.queries, case.users, case.weights = (
        x[real] for x in (case.items, case.queries, case.users, case.weights)
    )
    short, d_queries_short, d_vectors_short = ours(case, task)
    assert loss == pytest.approx(short, rel=1e-5)
    np.testing.assert_allclose(d_queries[real], d_queries_short, atol=1e-5)
    np.testing.assert_allclose(d_vectors, d_vectors_short, atol=1e-5)


def test_a_first_row_of_no_weight_is_no_candidate() -> None:
    case = Case(12)
    case.weights[0] = 0
    for task in (OPTIONS["log_q"], OPTIONS["hard, plain, known"]):
        for one, other in zip(ours(case, task), naive(case, task), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("option", ["known", "full", "hard"])
def test_gradients_are_those_of_a_dense_softmax_and_of_differences(option: str) -> None:
    case, task = Case(12, seed=3), OPTIONS[option]
    real = case.weights > 0
    everything = task.loss == "full"
    columns = np.arange(N) if everything else case.items
    log_q = 0.0 if everything else np.where(np.isfinite(case.log_q), case.log_q, 0.0)[columns]
    mask = np.zeros((12, len(columns)), bool)
    for row in range(12):
        mask[row] = columns == case.items[row]
        if task.known_positives and case.users[row] >= 0:
            mask[row] |= np.isin(columns, case.known[case.users[row]])
        mask[row] |= False if everything else ~real

    def dense(queries: Any, vectors: Any) -> Any:
        scores = queries @ vectors[columns].T - log_q
        own_log_q = 0.0 if everything else log_q
        positive = jnp.sum(queries * vectors[case.items], axis=1) - own_log_q
        others = jnp.where(mask, -jnp.inf, scores)
        if task.hard_negatives:
            weighted = _merged(others, case.items)
            others = -jnp.sort(-weighted, axis=1)[:, : task.hard_negatives]
        both = jnp.concatenate([positive[:, None], others], axis=1)
        return jnp.sum(case.weights * (jax.nn.logsumexp(both, axis=1) - positive))

    expected = jax.jit(jax.grad(dense, (0, 1)))(jnp.asarray(case.queries), jnp.asarray(case.vectors))
    _, d_queries, d_vectors = ours(case, task)
    np.testing.assert_allclose(d_queries, expected[0], atol=2e-5)
    np.testing.assert_allclose(d_vectors, expected[1], atol=2e-5)

    direction = np.random.default_rng(0).normal(size=case.vectors.shape)
    step, vectors = 1e-5, case.vectors
    ends = []
    for sign in (1, -1):
        case.vectors = vectors + sign * step * direction
        ends.append(naive(case, task)[0])
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((d_vectors * direction).sum()), rel=1e-3)


def _merged(scores: Any, items: np.ndarray) -> Any:
    """Entries of one item summed into its first, the others removed."""
    same = items[:, None] == items[None, :]
    first = np.array([np.flatnonzero(items == i)[0] for i in items]) == np.arange(len(items))
    summed = jax.nn.logsumexp(jnp.where(same[None], scores[:, None, :], -jnp.inf), axis=2)
    return jnp.where(first[None], summed, -jnp.inf)


def test_without_any_negative_there_is_nothing_to_lose() -> None:
    case = Case(1)
    assert ours(case, Retrieval())[0] == pytest.approx(0.0, abs=1e-6)


def test_large_scores_stay_finite() -> None:
    case = Case(12)
    case.queries *= 1e4
    for task in OPTIONS.values():
        assert all(np.isfinite(part).all() for part in ours(case, task))


def test_log_q_is_subtracted() -> None:
    """Averaged over batches drawn by popularity, the corrected gradient is the full softmax's; uncorrected or
    with the sign turned it is not."""
    rng = np.random.default_rng(0)
    num_items, batch = 30, 64
    share = (np.arange(num_items) + 1.0) ** -1.2
    share /= share.sum()
    queries, vectors = rng.normal(size=(num_items, 3)), rng.normal(size=(num_items, 3)) * 0.7

    def gradient(task: Retrieval, sign: float = 1.0) -> np.ndarray:
        @jax.jit
        def one(items: Any) -> Any:
            def loss(v: Any) -> Any:
                columns = distinct(items, jnp.ones(batch, bool), num_items, whole=True)
                q = jnp.asarray(queries, jnp.float32)[items]
                log_q = jnp.asarray(sign * np.log(share), jnp.float32)
                arguments = {"known": None, "longest": 0, "key": jax.random.key(0)}
                return retrieval_loss(task, q, v, columns, jnp.ones(batch), log_q, **arguments) / batch

            return jax.grad(loss)(jnp.asarray(vectors, jnp.float32))

        draws = rng.choice(num_items, (400, batch), p=share)
        return np.mean([np.asarray(one(jnp.asarray(d))) for d in draws], axis=0)

    scores = queries @ vectors.T
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    truth = ((p - np.eye(num_items)) * share[:, None]).T @ queries  # expected over rows drawn by popularity

    def error(found: np.ndarray) -> float:
        return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))

    corrected, plain, turned = (
        error(gradient(Retrieval())),
        error(gradient(Retrieval(log_q=False))),
        error(gradient(Retrieval(), sign=-1.0)),
    )
    assert corrected < 0.15
    assert plain > 4 * corrected
    assert turned > plain
    assert error(gradient(Retrieval(loss="full"))) < 0.1


def test_squared_error() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 9))
    np.testing.assert_allclose(squared_error(jnp.asarray(a), jnp.asarray(b)), (a - b) ** 2, rtol=1e-5)
