"""Heads over lists of candidates, by the linearity of their first layer, against one pair at a time."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from shortlist.models.build import Net, build
from shortlist.models.ensemble import Ensemble
from shortlist.specs.aggregates import Aggregate
from shortlist.specs.features import Id
from shortlist.specs.models import Ranker, Tower
from shortlist.specs.tasks import Rating

B, K, M, F = 3, 4, 6, 2
OWN = {"query": (Id("u", 3), Id("v", 3)), "candidate": (Id("i", 3), Id("j", 3))}
PRODUCT: dict[str, Any] = {"hidden": (6, 4), "interaction": "product", "dim": 3, "activation": "gelu"}
DOT: dict[str, Any] = {"hidden": (6,), "interaction": "dot", "dim": 3}
NUMBERS = {"aggregates": (Aggregate(("user_id",)), Aggregate(("item_id",)))}
HEADS: dict[str, dict[str, Any]] = {
    "concat": {"hidden": (6, 4), "dropout": 0.5},
    "concat, no hidden layer": {"hidden": (), "biases": False},
    "concat, aggregates": {"hidden": (6,), **NUMBERS},
    "product": PRODUCT,
    "product as they are": {"hidden": (), "interaction": "product", "biases": False},
    "product, own features": {**PRODUCT, **OWN},
    "dot, own features": {**DOT, **OWN},
    "dot, candidates' features": {**DOT, "hidden": (), "biases": False, "candidate": OWN["candidate"]},
    "dot, aggregates": {**DOT, **NUMBERS},
    "crosses": {**PRODUCT, "cross": 2, **NUMBERS},
    "aggregates alone": {**PRODUCT, "inputs": "aggregates", **NUMBERS},
}


def made(heads: dict[str, dict[str, Any]], seed: int = 1) -> Net:
    """A net whose every array is drawn, biases too."""
    model = Ranker(
        Tower([Id("u", 5)]), Tower([Id("i", 5)]), [Rating(label=h, **options) for h, options in heads.items()]
    )
    sizes = {"query/u.id": 5, "candidate/i.id": 9}
    for head in heads:
        sizes |= {f"{side}/{head}:{f.key}": 4 for side, features in OWN.items() for f in features}
    numbers = {h: F for h, options in heads.items() if "aggregates" in options}
    net, _ = build(model, sizes, means={}, seed=0, aggregates=numbers)
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jax.device_put(np.asarray(rng.normal(size=x.shape), np.float32)) if eqx.is_array(x) else x,
        net,
    )


def require_equal(net: Net | Ensemble) -> None:
    rng = np.random.default_rng(2)
    query, candidate = (
        rng.normal(size=(n, net.width(side))).astype(np.float32)
        for n, side in ((B, "query"), (M, "candidate"))
    )
    rows = rng.integers(0, M, (B, K))
    numbers = {
        name: rng.normal(size=(B, K, F)).astype(np.float32)
        for name, head in net.heads.items()
        if head.linear is not None
    }
    found = eqx.filter_jit(net.predict_lists)(query, candidate, rows, numbers)
    pairs = jax.vmap(jax.vmap(net.predict, (None, 0, 0)))
    expected = eqx.filter_jit(lambda q, c, n: pairs(q, c, n))(query, candidate[rows], numbers)
    assert set(found) == set(net.heads)
    for name, values in expected.items():
        assert np.ptp(values) > 0.5
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=2e-5, err_msg=name)


def test_lists_are_predicted_as_their_pairs_are() -> None:
    require_equal(made(HEADS))


def test_an_ensemble_predicts_the_mean_of_its_members() -> None:
    heads = {name: HEADS[name] for name in ("product",)}
    require_equal(Ensemble((made(heads), made(heads, seed=5))))


def test_a_query_and_its_candidates_are_projected_once() -> None:
    """Of many candidates no product is made a pair but those of layers."""
    net, b, k, m = made({"product": {**PRODUCT, "hidden": (6,)}}), 7, 50, 11
    shapes = np.zeros((b, net.width("query")), np.float32), np.zeros((m, net.width("candidate")), np.float32)
    program = jax.make_jaxpr(lambda q, c, r: net.predict_lists(q, c, r))(*shapes, np.zeros((b, k), np.int32))
    outcomes = [e.outvars[0].aval.shape for e in program.jaxpr.eqns if e.primitive.name == "dot_general"]
    assert sorted(s for s in outcomes if b * k in s or s[:2] == (b, k)) == [(b, k), (b, k, 6), (b * k, 1)]
