"""The whole loss of a batch: weights, reductions, penalties, biases, temperature, dropout."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shortlist.features.batches import KNOWN
from shortlist.models.build import build, represent
from shortlist.specs.features import Bucket, Id, Text
from shortlist.specs.models import Model, MultiTask, Ranker, Tower, TwoTower
from shortlist.specs.tasks import Custom, Rating, Retrieval
from shortlist.tasks.multitask import Batch, Corpus, batch_loss, look
from shortlist.tasks.ranking import register_task

B, N = 8, 12  # the catalogue is taken whole
USERS = np.array([1, 2, 1, 0, 3, 3, 3, 2], np.int32)
TIMES = np.array([1, 1, 2, 3, 4, 0, 1, 2], np.int32)
ITEMS = np.array([0, 3, 3, 11, 5, 0, 7, 3], np.int32)
LABELS = np.array([1, 5, 3, 4, 2, 5, 1, 3], np.float32)
WORDS = np.array([[i % 5, (i + 2) % 5 if i % 3 else -1, -1] for i in range(N)], np.int32)
SIZES = {"query/user_id.id": 4, "query/t.bucket": 5, "candidate/item_id.id": N + 1, "candidate/title.text": 5}
LOG_Q = np.log(np.random.default_rng(0).dirichlet(np.ones(N))).astype(np.float32)
QUERY = Tower([Id("user_id", 3, l2=0.3), Bucket("t", 4, 3)], combine="sum")
CANDIDATE = Tower([Id("item_id", 3), Text("title", 9, 3, length=3, l2=0.7)], combine="sum")
RATING = Rating(hidden=[], bias_l2=0.11, l2=0.05)


def batch(weights: np.ndarray | None = None, at: Any = slice(None)) -> Batch:
    given = np.ones(B) if weights is None else weights
    arrays = {"user_id.id": USERS, "t.bucket": TIMES}
    return Batch(
        {k: jax.device_put(v[at]) for k, v in arrays.items()},
        jax.device_put(ITEMS[at]),
        {"rating": jax.device_put(LABELS[at])},
        jax.device_put(np.asarray(given[at], np.float32)),
        jax.device_put(USERS[at] - 1),
    )


CORPUS = Corpus(
    {"item_id.id": jnp.arange(1, N + 1), "title.text": jax.device_put(WORDS)},
    jax.device_put(LOG_Q),
)


def made(model: Model, noise: float = 0.3) -> Any:
    """Parameters with everything away from zero, biases included."""
    params = build(model, SIZES, means={"rating": 3.0}, seed=1)
    rng = np.random.default_rng(2)
    arrays, static = eqx.partition(params, eqx.is_array)
    moved = jax.tree.map(
        lambda x: x + jax.device_put(np.asarray(rng.normal(size=x.shape) * noise, np.float32)), arrays
    )
    return eqx.combine(moved, static)


@eqx.filter_jit
def run(params: Any, given: Batch, key: Any = None, **weights: Any) -> Any:
    def loss(params: Any) -> Any:
        return batch_loss(params, given, look(params[0].spec, given, CORPUS), CORPUS, weights, key=key)

    return eqx.filter_value_and_grad(loss, has_aux=True)(params)


@eqx.filter_jit
def value(params: Any, given: Batch, key: Any = None, **weights: Any) -> Any:
    return batch_loss(params, given, look(params[0].spec, given, CORPUS), CORPUS, weights, key=key)


def loss_of(params: Any, given: Batch, key: Any = None, **weights: float) -> tuple[float, dict[str, float]]:
    total, means = value(params, given, key, **{k: jnp.float32(v) for k, v in weights.items()})
    return float(total), {k: float(v) for k, v in means.items()}


class Plain:
    """The model written out in NumPy from its tables."""

    def __init__(self, params: Any) -> None:
        net, tables = params
        self.net = net
        self.t = {k: np.asarray(v, np.float64) for k, v in tables.items()}
        self.q = self.t["query/user_id.id"][USERS] + self.t["query/t.bucket"][TIMES]
        known = WORDS >= 0
        words = self.t["candidate/title.text"][np.maximum(WORDS, 0)] * known[:, :, None]
        self.c = self.t["candidate/item_id.id"][1:] + words.sum(1) / np.maximum(known.sum(1), 1)[:, None]

    def rating(self) -> np.ndarray:
        last = self.net.heads["rating"].mlp.last
        both = np.concatenate([self.q, self.c[ITEMS]], axis=1)
        bias = (
            self.t["query/user_id.id#rating"][USERS]
            + self.t["query/t.bucket#rating"][TIMES]
            + self.t["candidate/item_id.id#rating"][ITEMS + 1]
        )[:, 0]
        return (both @ np.asarray(last.weight, np.float64))[:, 0] + np.asarray(last.bias)[0] + bias

    def penalty(self, weights: np.ndarray) -> float:
        """l2 on user and word tables, bias_l2 on the three bias tables, l2 on the head's matrix."""
        share = weights / weights.sum()
        users = (self.t["query/user_id.id"][USERS] ** 2).sum(1)
        words = self.t["candidate/title.text"][np.maximum(WORDS, 0)] ** 2 * (WORDS >= 0)[:, :, None]
        biases = (
            self.t["query/user_id.id#rating"][USERS] ** 2
            + self.t["query/t.bucket#rating"][TIMES] ** 2
            + self.t["candidate/item_id.id#rating"][ITEMS + 1] ** 2
        )[:, 0]
        matrix = np.asarray(self.net.heads["rating"].mlp.last.weight)
        row = 0.3 * users + 0.7 * words.sum((1, 2))[ITEMS] + 0.11 * biases
        return float(share @ row + 0.05 * (matrix**2).sum())


@pytest.mark.parametrize("weighted", [False, True])
def test_squared_error_biases_and_penalties_are_their_formulas(weighted: bool) -> None:
    weights = np.array([1, 2, 0.5, 3, 1, 1, 0, 0]) if weighted else np.ones(B)
    params = made(Ranker(QUERY, CANDIDATE, [RATING]))
    plain = Plain(params)
    expected = np.average((plain.rating() - LABELS) ** 2, weights=weights)
    total, means = loss_of(params, batch(weights), rating=0.5)
    assert means["rating"] == pytest.approx(expected, rel=1e-5)
    assert total == pytest.approx(0.5 * expected + plain.penalty(weights), rel=1e-5)


@pytest.mark.parametrize("hidden", [(), (4,)])  # scored pair by pair, and by sides
def test_rows_without_a_label_teach_retrieval_alone(hidden: tuple[int, ...]) -> None:
    """The head's loss is the mean over rows that have a label; retrieval's is over all of them."""
    known = np.array([1, 0, 1, 1, 0, 0, 1, 1], np.float32)
    weights = np.array([1, 2, 0.5, 3, 1, 1, 0, 2])
    params = made(MultiTask(QUERY, CANDIDATE, [Retrieval(loss="full"), Rating(hidden=hidden)]))
    net, tables = params

    def judged(known: np.ndarray, fill: float = 0.0) -> Any:
        labels = {"rating": np.where(known > 0, LABELS, np.float32(fill)), f"rating{KNOWN}": known}
        given = batch(weights)._replace(labels=jax.device_put(labels))
        (loss, means), slopes = run(params, given, retrieval=jnp.float32(1), rating=jnp.float32(0.5))
        return (float(loss), {name: float(value) for name, value in means.items()}), slopes

    (whole, means), slopes = judged(known)
    (of_all, all_means), _ = judged(np.ones(B, np.float32))
    query = represent(net, tables, "query", batch().query)
    candidate = represent(net, tables, "candidate", {k: v[ITEMS] for k, v in CORPUS.items.items()})
    scores = np.asarray(jax.vmap(lambda q, c: net.predict(q, c, {})["rating"])(query, candidate), np.float64)
    if not hidden:
        np.testing.assert_allclose(scores, Plain(params).rating(), rtol=1e-5)
    squares = (scores - LABELS) ** 2
    assert means["rating"] == pytest.approx(np.average(squares, weights=weights * known), rel=1e-5)
    assert all_means["rating"] == pytest.approx(np.average(squares, weights=weights), rel=1e-5)
    assert means["retrieval"] == all_means["retrieval"]
    assert whole - of_all == pytest.approx(0.5 * (means["rating"] - all_means["rating"]), abs=1e-4)
    _, others = judged(known, fill=1e30)
    for one, other in zip(*map(jax.tree.leaves, (slopes, others)), strict=True):
        np.testing.assert_array_equal(one, other)  # whatever stands where there is no label
    (_, none), nothing = judged(np.zeros(B, np.float32))
    assert none["rating"] == 0 and not np.asarray(nothing[1]["query/user_id.id#rating"]).any()


def test_l2_all_is_a_prior_on_the_whole_table_whatever_a_batch_touches() -> None:
    query = Tower([Id("user_id", 3, l2=0.3, l2_all=0.4), Bucket("t", 4, 3)], combine="sum")
    params, plain = made(Ranker(query, CANDIDATE, [RATING])), made(Ranker(QUERY, CANDIDATE, [RATING]))
    table = np.asarray(params[1]["query/user_id.id"], np.float64)
    np.testing.assert_array_equal(table, plain[1]["query/user_id.id"])
    for weights in (np.ones(B), np.array([3, 1, 0, 0, 0, 0, 0, 0.5])):
        ours, theirs = (loss_of(p, batch(weights), rating=1.0)[0] for p in (params, plain))
        assert ours - theirs == pytest.approx(0.4 * (table**2).sum(), rel=1e-4)
    few = batch(np.array([1.0, 0, 1, 0, 0, 0, 0, 0]))  # of user 1 only
    slopes = [run(p, few, rating=jnp.ones(()))[1][1]["query/user_id.id"] for p in (params, plain)]
    np.testing.assert_allclose(slopes[0] - slopes[1], 0.8 * table, rtol=1e-4, atol=1e-5)
    assert not np.asarray(slopes[1])[[0, 2, 3]].any()


def test_a_row_of_weight_two_is_two_rows() -> None:
    params = made(MultiTask(QUERY, CANDIDATE, [Retrieval(loss="full"), RATING]))
    heavy = np.array([1, 2, 1, 1, 1, 1, 0, 0], float)
    twice = batch(at=np.array([0, 1, 1, 2, 3, 4, 5]))
    (one, _), grads = run(params, batch(heavy), retrieval=jnp.ones(()), rating=jnp.ones(()))
    (other, _), grads_other = run(params, twice, retrieval=jnp.ones(()), rating=jnp.ones(()))
    assert float(one) == pytest.approx(float(other), rel=1e-5)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(grads_other), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize(("normalize", "item_bias"), [(False, True), (True, False)])
def test_temperature_normalization_and_item_bias(normalize: bool, item_bias: bool) -> None:
    task = Retrieval(temperature=0.25, normalize=normalize, item_bias=item_bias, accidental_hits=False)
    params = made(TwoTower(QUERY, CANDIDATE, task))
    plain = Plain(params)
    q, c = plain.q, plain.c
    if normalize:
        q, c = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, c))
    scores = q @ c[ITEMS].T / 0.25 - LOG_Q[ITEMS]  # log_q comes after the temperature
    if item_bias:
        scores += plain.t["candidate/item_id.id#retrieval"][ITEMS + 1][:, 0]
    losses = np.log(np.exp(scores).sum(1)) - np.diag(scores)
    assert loss_of(params, batch(), retrieval=1.0)[1]["retrieval"] == pytest.approx(losses.mean(), rel=1e-5)


def test_sum_is_mean_times_the_total_weight() -> None:
    weights = np.array([1, 2, 0.5, 3, 1, 1, 0, 0])
    mean = made(MultiTask(QUERY, CANDIDATE, [Retrieval(), RATING]))
    summed = made(MultiTask(QUERY, CANDIDATE, [Retrieval(reduction="sum"), RATING]))
    total, means = loss_of(mean, batch(weights), retrieval=1.0, rating=1.0)
    total_summed, means_summed = loss_of(summed, batch(weights), retrieval=1.0, rating=1.0)
    assert means_summed == pytest.approx(means, rel=1e-6)  # the curve shows the mean either way
    assert total_summed - total == pytest.approx((weights.sum() - 1) * means["retrieval"], rel=1e-4)


def test_a_task_of_weight_zero_costs_nothing() -> None:
    ones = {"retrieval": jnp.ones(()), "rating": jnp.ones(())}
    joint = MultiTask(QUERY, CANDIDATE, [Retrieval(weight=0), RATING])
    params, alone = made(joint), made(Ranker(QUERY, CANDIDATE, [RATING]))
    (total, means), grads = run(params, batch(), rating=ones["rating"])
    (expected, _), grads_alone = run(alone, batch(), rating=ones["rating"])
    assert set(means) == {"rating"}
    assert float(total) == float(expected)
    for name in alone[1]:
        np.testing.assert_array_equal(grads[1][name], grads_alone[1][name])

    off = made(MultiTask(QUERY, CANDIDATE, [Retrieval(), Rating(hidden=[], weight=0, bias_l2=9.0, l2=9.0)]))
    (_, means), grads = run(off, batch(), retrieval=ones["retrieval"])
    assert set(means) == {"retrieval"}
    assert not any(np.asarray(g).any() for g in jax.tree.leaves(grads[0].heads))
    assert not any(np.asarray(g).any() for k, g in grads[1].items() if "#" in k)


def test_dropout_is_on_with_a_key_only_and_keeps_the_expectation() -> None:
    query = Tower([Id("user_id", 3, dropout=0.5), Bucket("t", 4, 3)], combine="sum")
    params = made(Ranker(query, CANDIDATE, [Rating(hidden=[], biases=False)]))
    without = loss_of(params, batch(), rating=1.0)
    assert without == loss_of(params, batch(), rating=1.0)
    keys = jax.random.split(jax.random.key(0), 3)
    with_key = [loss_of(params, batch(), k, rating=1.0)[0] for k in (*keys, keys[0])]
    assert len({*with_key, without[0]}) == 4
    assert with_key[0] == with_key[3]


@register_task("logged")
def logged(pairs: Any) -> Any:
    return (pairs.scores - jnp.log(pairs.labels)) ** 2 * pairs.queries.sum(axis=1)


@pytest.mark.parametrize("label", [1e9, 0.0, np.nan])
@pytest.mark.parametrize("head", [RATING, Rating(hidden=[3]), Custom("rating", hidden=[], loss="logged")])
def test_a_padding_rows_label_changes_nothing(head: Any, label: float) -> None:
    params = made(MultiTask(QUERY, CANDIDATE, [Retrieval(), head]))
    weights = np.array([1, 1, 1, 1, 1, 1, 1, 0.0])
    good = batch(weights)
    bad = good._replace(labels={"rating": good.labels["rating"].at[7].set(label)})
    (total, _), grads = run(params, good, **{t.name: jnp.ones(()) for t in params[0].spec.tasks})
    (spoiled, _), grads_spoiled = run(params, bad, **{t.name: jnp.ones(()) for t in params[0].spec.tasks})
    assert float(total) == float(spoiled)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(grads_spoiled), strict=True):
        np.testing.assert_array_equal(a, b)
