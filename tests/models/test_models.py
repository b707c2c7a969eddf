"""Modules against NumPy: layers, towers, heads, and what is built from a spec."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shortlist.errors import SpecError
from shortlist.models import build as build_module
from shortlist.models.build import build, represent
from shortlist.models.layers import MLP, drop, generator, lookup, masked_mean, normalize
from shortlist.models.towers import TowerLayer, register_tower
from shortlist.specs.features import Bucket, Category, Id, Normalize, Tags, Vector
from shortlist.specs.models import MultiTask, Ranker, Tower, TwoTower
from shortlist.specs.tasks import Rating, Retrieval

SIZES = {
    "query/u.id": 5,
    "query/c.category": 4,
    "query/g.tags": 6,
    "query/t.bucket": 7,
    "query/age.normalize": 1,
    "query/image.vector": 4,
    "candidate/i.id": 9,
}
ENCODED: dict[str, Any] = {
    "u.id": np.array([0, 4, 2]),
    "c.category": np.array([3, 0, 1]),
    "g.tags": np.array([[1, 5, -1], [-1, -1, -1], [2, 2, 0]]),
    "t.bucket": np.array([6, 0, 3]),
    "age.normalize": np.array([[0.5], [0.0], [-2.0]], np.float32),
    "image.vector": np.array([[1, 2, 3, 0], [0, 0, 0, 1], [4, 5, 6, 0]], np.float32),
}
FEATURES = [
    Id("u", 3),
    Category("c", 3),
    Tags("g", 3),
    Bucket("t", 5, 3),
    Normalize("age"),
    Vector("image", 2),
]

represented = eqx.filter_jit(represent)


def parts(tables: Any, net: Any) -> dict[str, np.ndarray]:
    """Each feature's vectors [3, width], by hand."""
    t = {k.removeprefix("query/"): np.asarray(v) for k, v in tables.items()}
    out = {k: t[k][ENCODED[k]] for k in ("u.id", "c.category", "t.bucket")}
    tags = ENCODED["g.tags"]
    rows = t["g.tags"][np.maximum(tags, 0)] * (tags >= 0)[:, :, None]
    out["g.tags"] = rows.sum(1) / np.maximum((tags >= 0).sum(1), 1)[:, None]
    out["age.normalize"], out["image.vector"] = ENCODED["age.normalize"], ENCODED["image.vector"]
    for name, dense in net.query.projections.items():
        out[name] = out[name] @ np.asarray(dense.weight)
    return {f.key: out[f.key] for f in FEATURES}


def made(tower: Tower) -> Any:
    return build(
        Ranker(tower, Tower([Id("i", 3)]), [Rating(hidden=[4])]), SIZES, means={"rating": 3.5}, seed=0
    )


def test_features_are_joined_in_their_order() -> None:
    net, tables = made(Tower(FEATURES))
    expected = np.concatenate(list(parts(tables, net).values()), axis=1)
    found = np.asarray(represented(net, tables, "query", ENCODED))
    np.testing.assert_allclose(found[:, :-1], expected, rtol=1e-5, atol=1e-6)
    assert net.query.width == expected.shape[1] == 15
    np.testing.assert_array_equal(found[:, -1], 0)  # the rating's bias starts at nothing


def test_or_added_up_when_they_are_of_one_width() -> None:
    net, tables = made(Tower([*FEATURES[:5], Vector("image", 3)], combine="sum", hidden=[6], out=2))
    joined = sum(parts(tables, net).values())
    first, last = net.query.mlp.hidden[0], net.query.mlp.last
    hidden = np.maximum(joined @ np.asarray(first.weight) + np.asarray(first.bias), 0)
    expected = hidden @ np.asarray(last.weight) + np.asarray(last.bias)
    found = np.asarray(represented(net, tables, "query", ENCODED))
    np.testing.assert_allclose(found[:, :2], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
@pytest.mark.parametrize("interaction", ["concat", "product"])
def test_a_head_is_its_formula(activation: Any, interaction: Any) -> None:
    task = Rating(hidden=[4], interaction=interaction, dim=2, activation=activation)
    model = Ranker(Tower([Id("u", 3)]), Tower([Id("i", 5)]), [task])
    net, _ = build(model, SIZES, means={"rating": 3.5}, seed=0)
    head = net.heads["rating"]
    q, c = np.array([0.1, -2, 3]), np.array([1, 0.5, -1, 2, 0])
    extra = 0.0
    if interaction == "product":
        p, r = q @ np.asarray(head.query.weight), c @ np.asarray(head.candidate.weight)
        x, extra = np.concatenate([p, r, p * r]), (p * r).sum()
    else:
        x = np.concatenate([q, c])
    h = x @ np.asarray(head.mlp.hidden[0].weight)
    erf = np.vectorize(lambda v: 0.5 * v * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3))))
    h = {"relu": np.maximum(h, 0), "gelu": erf(h), "silu": h / (1 + np.exp(-h)), "tanh": np.tanh(h)}[
        activation
    ]
    expected = h @ np.asarray(head.mlp.last.weight)[:, 0] + 3.5 + extra + 0.25 - 0.5
    query, candidate = (jax.device_put(np.asarray([*v, b], np.float32)) for v, b in ((q, 0.25), (c, -0.5)))
    assert float(net.predict(query, candidate)["rating"]) == pytest.approx(expected, rel=1e-5)


def test_parts_start_alike_whatever_stands_beside_them() -> None:
    one, few = made(Tower([Id("u", 3)])), made(Tower(FEATURES))
    np.testing.assert_array_equal(one[1]["query/u.id"], few[1]["query/u.id"])
    other = build(one[0].spec, SIZES, means={}, seed=1)
    assert (np.asarray(other[1]["query/u.id"]) != np.asarray(one[1]["query/u.id"]))[1:].all()
    assert np.abs(np.asarray(one[1]["query/u.id"])).max() <= 0.05


@pytest.mark.parametrize("piece", [None, 9])
def test_rows_of_the_unknown_start_at_zero_and_no_other(
    piece: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a table is drawn piece by piece, from the same numbers."""
    whole = made(Tower(FEATURES))[1]
    if piece is not None:
        monkeypatch.setattr(build_module, "PIECE", piece)
    tables = made(Tower(FEATURES))[1]
    drawn = [name for name in tables if "#" not in name]
    assert len(drawn) > 3
    for name in drawn:
        table = np.asarray(tables[name])
        assert not table[0].any() and table[1:].all()
        np.testing.assert_array_equal(table, whole[name])


def test_dense_weights_are_glorots() -> None:
    mlp = MLP(300, (200,), 1, generator(0, "x"))
    limit = np.sqrt(6 / 500)
    weight = np.asarray(mlp.hidden[0].weight)
    assert 0.98 * limit < np.abs(weight).max() <= limit
    assert weight.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert not np.asarray(mlp.hidden[0].bias).any()


def test_layers() -> None:
    table = jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(lookup(table, jnp.array([2, 0, -1])), [[4, 5], [0, 1], [0, 1]])
    np.testing.assert_array_equal(masked_mean(table, jnp.array([True, False, True])), [2, 3])
    np.testing.assert_array_equal(masked_mean(table, jnp.zeros(3, bool)), [0, 0])
    np.testing.assert_allclose(normalize(jnp.array([3.0, 4.0])), [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(normalize(jnp.zeros(2)), [0, 0])
    assert np.isfinite(jax.grad(lambda x: normalize(x).sum())(jnp.zeros(2))).all()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(rate: float) -> None:
    x = jnp.ones(200_000)
    dropped = np.asarray(drop(x, rate, jax.random.bits(jax.random.key(0), x.shape)))
    assert (dropped == 0).mean() == pytest.approx(rate, abs=0.01)
    assert dropped.mean() == pytest.approx(1.0, abs=0.03)
    assert drop(x, rate, None) is x
    assert drop(x, 0.0, jnp.zeros(x.shape, jnp.uint32)) is x


def test_towers_of_unequal_width_cannot_retrieve() -> None:
    with pytest.raises(SpecError, match="towers of one width, got query 4 and candidate 3") as caught:
        build(TwoTower(Tower([Id("u", 4)]), Tower([Id("i", 3)])), SIZES, means={}, seed=0)
    assert "out=" in caught.value.hint
    joint = MultiTask(Tower([Id("u", 4)]), Tower([Id("i", 3)], out=4), [Retrieval(), Rating()])
    assert build(joint, SIZES, means={}, seed=0)[0].candidate.width == 4


def test_a_tower_of_ones_own_is_known_by_name_and_width() -> None:
    register_tower("short")(lambda widths, out, *, key: lambda features, *, key: features["u.id"][:1])
    with pytest.raises(SpecError, match=r"tower 'short' returns an array of shape \(1,\), expected \(3,\)"):
        made(Tower([Id("u", 3)], out=3, layer="short"))
    with pytest.raises(SpecError, match="no tower is registered as 'shrt'") as caught:
        made(Tower([Id("u", 3)], out=3, layer="shrt"))
    assert "did you mean 'short'?" in caught.value.hint
    layer = TowerLayer(Tower([Id("u", 3)], out=1, layer="short"), "query", SIZES, seed=0)
    assert layer.width == 1


def test_features_that_share_a_table_look_up_the_same_rows() -> None:
    tower = Tower(
        [Tags("g", 3, table="things"), Category("c", 3, table="things"), Id("u", 3, table="things")]
    )
    candidate = Tower([Id("i", 3)])
    sizes = {"query/things": 6, "candidate/i.id": 9}
    net, tables = build(Ranker(tower, candidate, [Rating(hidden=[4])]), sizes, means={}, seed=0)
    assert set(tables) == {"query/things", "query/things#rating", "candidate/i.id", "candidate/i.id#rating"}
    alone = build(Ranker(Tower(tower.features[:1]), candidate, [Rating()]), sizes, means={}, seed=0)[1]
    np.testing.assert_array_equal(tables["query/things"], alone["query/things"])
    rng = np.random.default_rng(0)
    tables = {k: jax.device_put(np.asarray(rng.normal(size=t.shape), np.float32)) for k, t in tables.items()}
    table, biases = np.asarray(tables["query/things"]), np.asarray(tables["query/things#rating"])[:, 0]
    tags, city, user = (ENCODED[k] for k in ("g.tags", "c.category", "u.id"))
    bags = [table[row[row >= 0]].mean(0) if (row >= 0).any() else np.zeros(3) for row in tags]
    of_tags = np.array([biases[row[row >= 0]].mean() if (row >= 0).any() else 0.0 for row in tags])
    added = (of_tags + biases[city] + biases[user])[:, None]
    expected = np.concatenate([np.array(bags), table[city], table[user], added], axis=1)
    found = represented(net, tables, "query", {k: ENCODED[k] for k in ("g.tags", "c.category", "u.id")})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
