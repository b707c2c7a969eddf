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
from shortlist.tasks.known import KnownPositives, known_positives
from shortlist.tasks.losses import squared_error
from shortlist.tasks.retrieval import distinct, needs_whole_catalogue, retrieval_loss, takes_whole

N, D, U, LONGEST = 37, 4, 9, 12
EXACT = 1e-5
"""Relative to the largest entry: what float32 may differ from the float64 reference by."""


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

    def known_form(self, whole: bool) -> KnownPositives:
        indptr = np.cumsum([0, *(len(k) for k in self.known)])
        items = np.concatenate(self.known)
        return known_positives(indptr, items, self.num_items, whole=whole)


def close(found: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=EXACT, atol=EXACT * max(1e-2, np.abs(other).max()))


def ours(case: Case, task: Retrieval, *, key: Any = None, whole: bool = False) -> tuple[float, Any, Any]:
    """The loss and its gradients by queries [B, d] and item vectors [N, d]."""
    queries, vectors, weights, log_q = (
        jax.device_put(np.asarray(x, np.float32))
        for x in (case.queries, case.vectors, case.weights, case.log_q)
    )
    whole = whole or needs_whole_catalogue(task) or takes_whole(case.num_items, len(case.items))
    columns = columns_of(jax.device_put(case.items), weights > 0, case.num_items, whole=whole)
    key = jax.random.key(0) if key is None else key
    program = compiled(task, (losses.BLOCK_ROWS, losses.BLOCK_SCORES, losses.REACH))
    known = case.known_form(whole) if task.known_positives else None
    value, gradients = program(queries, vectors, weights, log_q, columns, known, case.users, key)
    return float(value), *(np.asarray(g) for g in gradients)


columns_of = jax.jit(distinct, static_argnums=2, static_argnames="whole")


@cache
def compiled(task: Retrieval, sizes: tuple[float, ...]) -> Any:
    """One program for all cases of one shape; the sizes are read while it is traced."""

    def loss(
        queries: Any, vectors: Any, weights: Any, log_q: Any, columns: Any, known: Any, users: Any, key: Any
    ) -> Any:
        chosen = vectors[columns.items]
        return retrieval_loss(
            task, queries, chosen, columns, weights, log_q, known=known, users=users, key=key
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
    "known, hits stay": Retrieval(known_positives=True, accidental_hits=False),
    "hard": Retrieval(hard_negatives=5),
    "hard, plain, known": Retrieval(hard_negatives=3, log_q=False, known_positives=True),
    "hard, hits stay": Retrieval(hard_negatives=4, accidental_hits=False),
    "full, known": Retrieval(loss="full", known_positives=True),
}


# A batch smaller than half the catalogue is sorted, a larger one takes the catalogue whole.
@pytest.mark.parametrize(("batch", "option"), [*((12, o) for o in OPTIONS), (40, "known")])
def test_loss_and_gradients_are_the_naive_ones(batch: int, option: str) -> None:
    task = OPTIONS[option]
    for seed in range(4):  # one program
        case = Case(batch, seed)
        close(ours(case, task), naive(case, task))


@pytest.mark.parametrize("option", ["known"])
def test_distinct_items_or_the_whole_catalogue_give_one_loss(option: str) -> None:
    case, task = Case(12), OPTIONS[option]
    close(ours(case, task), ours(case, task, whole=True))


def test_extra_negatives_join_the_sample_and_its_probabilities() -> None:
    case = Case(12)
    key = jax.random.key(7)
    drawn = np.asarray(jax.random.randint(key, (20,), 0, N))
    assert np.isneginf(case.log_q[drawn]).any()  # an item without training rows is drawn too
    for hits in (True, False):
        task = Retrieval(extra_negatives=20, accidental_hits=hits, known_positives=True)
        close(ours(case, task, key=key), naive(case, task, drawn))


@pytest.mark.parametrize(("batch", "option"), [(23, "known"), (23, "hard, plain, known")])
def test_blocks_of_rows_leave_no_seam(batch: int, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BLOCK_ROWS", 8)
    case, task = Case(batch), OPTIONS[option]
    close(ours(case, task), naive(case, task))


def test_blocks_are_even_and_hold_a_bounded_number_of_scores() -> None:
    assert losses.block_rows(5, 1_000_000) == 5
    assert losses.block_rows(8192, 1682) == losses.BLOCK_ROWS
    for rows, columns in ((8192, 8192), (1000, 1682), (65_536, 65_536), (8193, 1682)):
        block = losses.block_rows(rows, columns)
        assert block * columns <= losses.BLOCK_SCORES
        assert -rows % block < 16 * -(-rows // block)


def test_scores_far_apart_are_exact() -> None:
    """Where scores lie further apart than exp reaches, known positives highest of all: the shift by the
    highest score that is left."""
    for option in ("known", "known, hits stay"):
        case, task = Case(12), OPTIONS[option]
        case.queries *= 40
        for u, items in enumerate(case.known):
            case.vectors[items] += 3 * case.queries[case.users == u].sum(axis=0) / 40
        assert np.ptp(case.queries @ case.vectors.T) > 4 * losses.REACH
        close(ours(case, task), naive(case, task))


def test_the_shift_by_the_own_score_gives_what_the_highest_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    case, task = Case(12), OPTIONS["known"]
    case.queries *= 4
    near = ours(case, task)
    monkeypatch.setattr(losses, "REACH", -1e9)
    close(ours(case, task), near)


class Rows:
    """A batch of real size, dense in float64: B rows of 32 over N items, lists of very different lengths."""

    def __init__(self, batch: int, num_items: int, num_users: int) -> None:
        rng = np.random.default_rng(num_items)
        self.num_items, self.weights = num_items, rng.uniform(0, 2, batch)
        self.items = (num_items * rng.uniform(size=batch) ** 2).astype(np.int32)
        self.queries = rng.normal(size=(batch, 32)) * 0.7
        self.vectors = rng.normal(size=(num_items, 32)) * 0.7
        self.users = rng.integers(-1, num_users, batch).astype(np.int32)
        lengths = np.minimum(rng.geometric(1 / 40, num_users) - 1, num_items)
        lengths[0], self.users[:3] = num_items - 5, 0
        self.known = [np.sort(rng.permutation(num_items)[:n]) for n in lengths]
        self.log_q = np.log((np.bincount(self.items, minlength=num_items) + 1) / (batch + num_items))

    known_form = Case.known_form

    def dense(self) -> tuple[float, np.ndarray, np.ndarray]:
        counts = np.bincount(self.items, minlength=self.num_items)
        rows = np.arange(len(self.items))
        kept = np.tile(counts.astype(float), (len(rows), 1))
        for row, user in enumerate(self.users):
            if user >= 0:
                kept[row, self.known[user]] = 0
        kept[rows, self.items] = 1
        e = kept * np.exp(self.queries @ self.vectors.T - self.log_q)
        p = e / e.sum(axis=1, keepdims=True)
        loss = -(self.weights * np.log(p[rows, self.items])).sum()
        p[rows, self.items] -= 1
        p *= self.weights[:, None]
        return loss, p @ self.vectors, p.T @ self.queries


@pytest.mark.parametrize("num_items", [900, 5000], ids=["a table of bits", "lists of distinct items"])
def test_a_batch_of_many_blocks(num_items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BLOCK_ROWS", 128)
    case = Rows(1001, num_items, 300)
    close(ours(case, OPTIONS["known"]), case.dense())


@pytest.mark.parametrize(("num_items", "num_users"), [(1682, 943), (20_000, 6000)])
def test_memory_beside_inputs_and_outputs_is_bounded(num_items: int, num_users: int) -> None:
    """At B = 8,192 in 32 dimensions, where the plain matrix takes 256 MiB and its gradient as much."""
    batch, whole = 8192, takes_whole(num_items, 8192)
    indptr = 160 * np.arange(num_users + 1)
    items = (np.arange(indptr[-1]) % 160) * 7
    known = known_positives(indptr, items, num_items, whole=whole)

    def loss(queries: Any, vectors: Any, weights: Any, log_q: Any, items: Any, users: Any, known: Any) -> Any:
        columns = distinct(items, weights > 0, num_items, whole=whole)
        chosen = vectors[columns.items]
        key = jax.random.key(0)
        task = OPTIONS["known"]
        return retrieval_loss(
            task, queries, chosen, columns, weights, log_q, known=known, users=users, key=key
        )

    shapes = [(batch, 32), (num_items, 32), (batch,), (num_items,)]
    floats = [jax.ShapeDtypeStruct(s, np.float32) for s in shapes]
    ints = [jax.ShapeDtypeStruct((batch,), np.int32)] * 2
    program = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*floats, *ints, known).compile()
    assert program.memory_analysis().temp_size_in_bytes <= 32 * 2**20


@pytest.mark.parametrize("option", ["known"])
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
        close(ours(case, task), naive(case, task))


@pytest.mark.parametrize("option", ["known", "full, known", "hard"])
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

    expected = jax.jit(jax.grad(dense, (0, 1)))(jax.device_put(case.queries), jax.device_put(case.vectors))
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
    case, task = Case(1), OPTIONS["known"]
    loss, *gradients = ours(case, task)
    assert loss == pytest.approx(0.0, abs=1e-6)
    close((loss, *gradients), naive(case, task))


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
                q = jax.device_put(np.asarray(queries, np.float32))[items]
                log_q = jax.device_put(np.asarray(sign * np.log(share), np.float32))
                arguments = {"known": None, "users": None, "key": jax.random.key(0)}
                return retrieval_loss(task, q, v, columns, jnp.ones(batch), log_q, **arguments) / batch

            return jax.grad(loss)(jax.device_put(np.asarray(vectors, np.float32)))

        draws = rng.choice(num_items, (400, batch), p=share)
        return np.mean([np.asarray(one(jax.device_put(d))) for d in draws], axis=0)

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
    np.testing.assert_allclose(squared_error(jax.device_put(a), jax.device_put(b)), (a - b) ** 2, rtol=1e-5)
