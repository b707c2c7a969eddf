"""A head over the pairs of a batch, in one pass, against one pair at a time and autodiff."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shortlist.models import pairs
from shortlist.models.blocks import Side, sum_over_rows
from shortlist.models.build import Net, build
from shortlist.specs.features import Id
from shortlist.specs.models import Ranker, Tower
from shortlist.specs.tasks import Rating

SIZES = {"query/u.id": 5, "candidate/i.id": 9}
B = 37


def made(**options: Any) -> Net:
    """A net of two heads whose every array is drawn, biases too."""
    options = {"hidden": (6, 4), **options}
    heads = [Rating(**options), Rating(label="like", **options)]
    net, _ = build(Ranker(Tower([Id("u", 3)]), Tower([Id("i", 5)]), heads), SIZES, means={}, seed=0)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: jax.device_put(np.asarray(rng.normal(size=x.shape), np.float32)), net)


def drawn(net: Net, num_queries: int, num_candidates: int) -> dict[str, Any]:
    """Representations, each pair's rows, labels and weights; the last pairs are padding without a label."""
    rng = np.random.default_rng(2)
    num_slots = 2 * net.heads["rating"].spec.biases
    labels, weights = rng.normal(size=B), rng.uniform(0.5, 2, B)
    weights[-3:] = 0
    return {
        "queries": jax.device_put(np.asarray(rng.normal(size=(num_queries, 3 + num_slots)), np.float32)),
        "candidates": jax.device_put(
            np.asarray(rng.normal(size=(num_candidates, 5 + num_slots)), np.float32)
        ),
        "query_row": jax.device_put(rng.integers(0, num_queries, B)),
        "candidate_row": jax.device_put(rng.integers(0, num_candidates, B)),
        "labels": jax.device_put(np.asarray(labels, np.float32)),
        "weights": jax.device_put(np.asarray(weights, np.float32)),
    }


def rounded(scores: Any, labels: Any) -> Any:
    """No square: its slope at a score is not what a plain sum of squares would give."""
    return jnp.sqrt(1 + jnp.square(scores - labels))


def plainly(net: Net, queries: Any, candidates: Any, given: dict[str, Any], name: str) -> Any:
    q, c = queries[given["query_row"]], candidates[given["candidate_row"]]
    scores = jax.vmap(net.predict)(q, c)[name]
    return jnp.sum(given["weights"] * rounded(scores, given["labels"]))


def by_blocks(net: Net, queries: Any, candidates: Any, given: dict[str, Any], name: str) -> Any:
    sides = Side(queries, given["query_row"]), Side(candidates, given["candidate_row"])
    return pairs.pair_loss(net, name, rounded, *sides, given["labels"], given["weights"])


def values(f: Any, net: Net, given: dict[str, Any], name: str) -> tuple[Any, list[Any]]:
    arrays, static = eqx.partition(net, eqx.is_array)

    def loss(parts: tuple[Any, ...]) -> Any:
        return 3 * f(eqx.combine(parts[0], static), parts[1], parts[2], given, name)

    value, slopes = jax.jit(jax.value_and_grad(loss))((arrays, given["queries"], given["candidates"]))
    return value, jax.tree.leaves(slopes)


def compare(net: Net, given: dict[str, Any], name: str, f: Any = by_blocks) -> None:
    expected, found = values(plainly, net, given, name), values(f, net, given, name)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    assert len(found[1]) == len(expected[1])
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("held", [40, 6 * 37])  # blocks of about 6 rows, and one
@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({}, (4, 7)),
        ({"biases": False, "activation": "gelu"}, (4, 30)),
        ({"hidden": (6,)}, (30, 7)),
        ({"dropout": 0.5}, (30, 30)),  # without bits to drop by
    ],
    ids=str,
)
def test_loss_and_gradients_are_those_of_pairs_one_by_one(
    options: dict[str, Any], counts: tuple[int, int], held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "HELD", held)
    net = made(**options)
    compare(net, drawn(net, *counts), "rating")


def test_each_head_has_its_own_biases_and_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "HELD", 40)
    net = made()
    given = drawn(net, 4, 7)
    compare(net, given, "like")
    assert float(by_blocks(net, given["queries"], given["candidates"], given, "like")) != pytest.approx(
        float(by_blocks(net, given["queries"], given["candidates"], given, "rating")), rel=1e-3
    )


def test_queries_may_be_of_their_own_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "HELD", 40)
    net = made()
    given = {**drawn(net, B, 7), "query_row": jnp.arange(B)}

    def own(net: Net, queries: Any, candidates: Any, given: dict[str, Any], name: str) -> Any:
        sides = Side(queries), Side(candidates, given["candidate_row"])
        return pairs.pair_loss(net, name, rounded, *sides, given["labels"], given["weights"])

    compare(net, given, "rating", own)


def test_terms_are_made_where_they_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 queries and 16 candidates stand in 4,096 pairs: the first layer's product is made of 24 rows."""
    net = made(hidden=(128, 8), biases=False)
    rows = jax.random.randint(jax.random.key(0), (4096,), 0, 8)
    q, c, given = jnp.ones((8, 3)), jnp.ones((16, 5)), jnp.ones(4096)

    def operations(fewer: float) -> float:
        monkeypatch.setattr(pairs, "FEWER", fewer)
        monkeypatch.setattr(pairs, "HELD", 2**30)
        sides = Side(q, rows), Side(c, rows)
        program = jax.jit(lambda net: pairs.pair_loss(net, "rating", rounded, *sides, given, given))
        cost = program.lower(net).compile().cost_analysis()
        return float(cost["flops"])

    product = 2 * 4096 * (3 + 5) * 128
    assert operations(1e9) - operations(3) > 0.9 * product - 4096 * 128


@pytest.mark.parametrize(
    ("options", "dropout", "splits"),
    [
        ({}, False, True),
        ({"dropout": 0.5}, False, True),
        ({"dropout": 0.5}, True, False),
        ({"hidden": ()}, False, False),
        ({"interaction": "product", "dim": 3}, False, False),
    ],
    ids=str,
)
def test_which_heads_split(options: dict[str, Any], dropout: bool, splits: bool) -> None:
    net = made(**options)
    head = net.heads["rating"]
    assert head.splits(dropout=dropout) is splits
    if splits:
        q, c = jnp.arange(3.0), -jnp.arange(5.0)
        joined = head.join(head.term("query", q), head.term("candidate", c), 0.5)
        assert float(joined) == pytest.approx(float(head(q, c, 0.5)), rel=1e-5)


def test_the_sum_without_gradients_and_with() -> None:
    rows, own, data = jnp.array([2, 0, 2, 1, 2]), jnp.arange(5.0), jnp.array([1.0, 2, 3, 4, 5])
    table, factor = jnp.array([10.0, 20, 30]), jnp.array([2.0])

    def loss(shared: Any, values: Any, data: Any) -> Any:
        return jnp.sum(shared * values[0] * values[1] * data)

    def total(factor: Any, table: Any, own: Any) -> Any:
        return sum_over_rows(loss, 2, factor, (Side(table, rows), Side(own)), data)

    expected = 2 * (np.asarray(table)[rows] * np.arange(5) * np.asarray(data)).sum()
    assert float(total(factor, table, own)) == expected
    value, slopes = jax.value_and_grad(total, argnums=(0, 1, 2))(factor, table, own)
    assert float(value) == expected
    np.testing.assert_array_equal(slopes[0], [expected / 2])
    np.testing.assert_array_equal(slopes[1], [2 * 1 * 2, 2 * 3 * 4, 2 * (0 + 2 * 3 + 4 * 5)])
    np.testing.assert_array_equal(slopes[2], 2 * np.asarray(table)[rows] * np.asarray(data))
