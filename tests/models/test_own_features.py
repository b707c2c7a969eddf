"""Heads with features and aggregates of their own, against a computation by hand."""

from __future__ import annotations

from functools import cache
from typing import Any

import equinox as eqx
import jax
import numpy as np
import onnxruntime as ort
import pytest

from shortlist.export.graphs import export_graphs
from shortlist.features.encoder import Encoder
from shortlist.models.build import build, represent
from shortlist.models.scorer import JaxScorer
from shortlist.specs.aggregates import Aggregate, Context
from shortlist.specs.features import Bucket, Category, Id, Normalize
from shortlist.specs.models import MultiTask, Tower
from shortlist.specs.tasks import Rating, Retrieval

RNG = np.random.default_rng(8)
NUM = 30
QUERIES = {
    "user_id": np.array([f"u{k % 7}" for k in range(NUM)], object),
    "age": RNG.normal(40, 10, NUM),
}
ITEMS = {
    "item_id": np.array([f"i{k % 9}" for k in range(NUM)], object),
    "genre": np.array([f"g{k % 4}" for k in range(NUM)], object),
}
FIGURES = [Aggregate(), Aggregate(by=["item_id"]), Context(what="gap")]
MODEL = MultiTask(
    Tower([Id("user_id", 3), Normalize("age")], hidden=[5], out=4, activation="tanh"),
    Tower([Id("item_id", 3), Category("genre", 2)], out=4),
    [
        Retrieval(item_bias=True),
        Rating(
            "rating",
            hidden=[6],
            interaction="product",
            dim=2,
            query=[Id("user_id", 2), Bucket("age", 5, 2)],
            candidate=[Id("item_id", 2), Category("genre", 2)],
            aggregates=FIGURES,
            cross=2,
            activation="tanh",
        ),
        Rating("half", hidden=[], interaction="product", dim=2, candidate=[Id("item_id", 2)]),
        Rating("counted", hidden=[3], inputs="aggregates", aggregates=FIGURES[:2], cross=1),
        Rating(
            "met",
            hidden=[4],
            interaction="dot",
            dim=2,
            query=[Id("user_id", 2), Bucket("age", 5, 2)],
            candidate=[Category("genre", 2)],
            cross=1,
            activation="tanh",
            biases=False,
        ),
        Rating("plain", hidden=[4], interaction="dot", dim=3, activation="tanh", biases=False),
        Rating("unbiased", hidden=[3], interaction="product", dim=2, query=[Id("user_id", 2)], biases=False),
    ],
)
HEADS = {head.name: head for head in MODEL.heads}
represented = eqx.filter_jit(represent)


@cache
def made() -> tuple[Any, dict[str, Any], Encoder, dict[str, np.ndarray]]:
    """A net of random numbers throughout, its encoder, and random aggregates of pairs."""
    encoder = Encoder.fit(MODEL, QUERIES, ITEMS)
    widths = {name: len(head.aggregates) for name, head in HEADS.items() if head.aggregates}
    net, tables = build(MODEL, encoder.sizes, means=dict.fromkeys(HEADS, 3.0), seed=0, aggregates=widths)
    rng = np.random.default_rng(1)
    arrays, rest = eqx.partition((net, tables), eqx.is_array)
    drawn = jax.tree.map(
        lambda x: jax.device_put(np.asarray(rng.normal(size=x.shape) / 2, np.float32)), arrays
    )
    net, tables = eqx.combine(drawn, rest)
    numbers = {name: rng.normal(size=(NUM, width)).astype(np.float32) for name, width in widths.items()}
    return net, tables, encoder, numbers


def test_biases_are_of_own_features_where_there_are_any() -> None:
    def named(side: str) -> dict[str, tuple[str, ...]]:
        return {feature.key: MODEL.biases(side, feature) for feature in MODEL.features(side)}

    assert named("query") == {
        "user_id.id": ("half", "counted"),
        "age.normalize": (),
        "rating:user_id.id": ("rating",),
        "rating:age.bucket": ("rating",),
        "met:user_id.id": (),
        "met:age.bucket": (),
        "unbiased:user_id.id": (),
    }
    assert named("candidate") == {
        "item_id.id": ("counted", "retrieval"),
        "genre.category": ("counted", "retrieval"),
        "rating:item_id.id": ("rating",),
        "rating:genre.category": ("rating",),
        "half:item_id.id": ("half",),
        "met:genre.category": (),
    }
    _, tables, _, _ = made()
    assert {name for name in tables if "#" in name} == {
        f"{side}/{key}#{slot}"
        for side in ("query", "candidate")
        for key, slots in named(side).items()
        for slot in slots
    }


def dense(layer: Any, x: np.ndarray) -> np.ndarray:
    y = x @ np.asarray(layer.weight, np.float64)
    return y if layer.bias is None else y + np.asarray(layer.bias, np.float64)


def by_hand() -> dict[str, np.ndarray]:
    """Every head's outputs in float64, from tables and matrices."""
    net, tables, encoder, numbers = made()
    sides = {"query": encoder.query.encode(QUERIES), "candidate": encoder.candidate.encode(ITEMS)}

    def rows(side: str, key: str, bias: str = "") -> np.ndarray:
        return np.asarray(tables[f"{side}/{key}{bias}"], np.float64)[sides[side][key]]

    query = np.concatenate([rows("query", "user_id.id"), sides["query"]["age.normalize"]], axis=1)
    query = dense(net.query.mlp.last, np.tanh(dense(net.query.mlp.hidden[0], query)))
    item = np.concatenate([rows("candidate", "item_id.id"), rows("candidate", "genre.category")], axis=1)
    item = dense(net.candidate.mlp.last, item)

    def bias(name: str, *places: tuple[str, str]) -> np.ndarray:
        return sum(rows(side, key, f"#{name}")[:, 0] for side, key in places)

    def pair(name: str, own_query: np.ndarray | float, own_item: np.ndarray | float) -> list[np.ndarray]:
        p = dense(net.heads[name].query, query) + own_query
        c = dense(net.heads[name].candidate, item) + own_item
        return [p, c, p * c]

    def top(name: str, x: np.ndarray) -> np.ndarray:
        mlp, act = net.heads[name].mlp, lambda v: np.maximum(v, 0)
        act = np.tanh if name in ("rating", "met", "plain") else act
        for layer in mlp.hidden:
            x = act(dense(layer, x))
        return dense(mlp.last, x)[:, 0]

    def crossed(name: str, x: np.ndarray) -> np.ndarray:
        out = x
        for (layer,) in net.heads[name].cross.layers:
            out = x * dense(layer, out) + out
        return out

    users = rows("query", "rating:user_id.id") + rows("query", "rating:age.bucket")
    things = rows("candidate", "rating:item_id.id") + rows("candidate", "rating:genre.category")
    joined = pair("rating", users, things)
    seen = np.concatenate([*joined, numbers["rating"]], axis=1)
    out = {
        "rating": top("rating", crossed("rating", seen))
        + joined[2].sum(1)
        + dense(net.heads["rating"].linear, numbers["rating"])[:, 0]
        + bias(
            "rating",
            ("query", "rating:user_id.id"),
            ("query", "rating:age.bucket"),
            ("candidate", "rating:item_id.id"),
            ("candidate", "rating:genre.category"),
        )
    }
    joined = pair("half", 0.0, rows("candidate", "half:item_id.id"))
    both = bias("half", ("query", "user_id.id"), ("candidate", "half:item_id.id"))
    out["half"] = top("half", np.concatenate(joined, axis=1)) + joined[2].sum(1) + both
    places = ("query", "user_id.id"), ("candidate", "item_id.id"), ("candidate", "genre.category")
    line = dense(net.heads["counted"].linear, numbers["counted"])[:, 0]
    out["counted"] = top("counted", crossed("counted", numbers["counted"])) + line + bias("counted", *places)
    joined = pair("unbiased", rows("query", "unbiased:user_id.id"), 0.0)
    for name, own in (
        (
            "met",
            ([rows("query", f"met:{key}") for key in ("user_id.id", "age.bucket")], "met:genre.category"),
        ),
        ("plain", ([], "")),
    ):
        queries, things = own[0], [rows("candidate", own[1])] if own[1] else []
        p, c = dense(net.heads[name].query, query), dense(net.heads[name].candidate, item)
        vectors = [p, c, *queries, *things]
        dots = [
            (vectors[i] * vectors[j]).sum(1) for i in range(len(vectors)) for j in range(i + 1, len(vectors))
        ]
        p, c = p + sum(queries), c + sum(things)
        seen = np.concatenate([p, c, np.stack(dots, axis=1)], axis=1)
        seen = crossed(name, seen) if name == "met" else seen
        out[name] = top(name, seen) + (p * c).sum(1)
    out["unbiased"] = top("unbiased", np.concatenate(joined, axis=1)) + joined[2].sum(1)
    return out


def test_predictions_are_those_made_by_hand() -> None:
    net, tables, encoder, numbers = made()
    scorer = JaxScorer(net, tables, encoder)
    (query, _), (item, vectors) = scorer.encode_query(QUERIES), scorer.encode_candidate(ITEMS)
    assert query.shape[1] == net.width("query") and item.shape[1] == net.width("candidate")
    found, expected = scorer.predict(query, item, numbers), by_hand()
    assert set(found) == set(expected) == set(HEADS)
    for name, values in expected.items():
        assert np.ptp(values) > 0.5
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4)
    slots = encoder.candidate.encode(ITEMS)
    popular = sum(
        np.asarray(tables[f"candidate/{key}#retrieval"])[slots[key], 0]
        for key in ("item_id.id", "genre.category")
    )
    assert vectors is not None
    np.testing.assert_allclose(vectors[:, -1], popular, rtol=1e-5, atol=1e-6)


def test_graphs_predict_from_aggregates_as_jax_does() -> None:
    net, tables, encoder, numbers = made()
    graphs = export_graphs(net, tables, encoder, queries=QUERIES, candidates=ITEMS)
    expected = by_hand()
    for name, given in (("pairs", None), ("rank", {**QUERIES, **ITEMS})):
        session = ort.InferenceSession(graphs[name], providers=["CPUExecutionProvider"])
        feed: dict[str, Any] = {f"{head}_aggregates": values for head, values in numbers.items()}
        if given is None:
            scorer = JaxScorer(net, tables, encoder)
            feed["query_representation"] = scorer.encode_query(QUERIES)[0]
            feed["candidate_representation"] = scorer.encode_candidate(ITEMS)[0]
        feed |= given or {}
        assert {i.name for i in session.get_inputs()} == set(feed)
        outputs = dict(zip((o.name for o in session.get_outputs()), session.run(None, feed), strict=True))
        for head, values in expected.items():
            np.testing.assert_allclose(outputs[head], values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", ["query", "candidate"])
def test_towers_know_nothing_of_heads_features(side: str) -> None:
    """Retrieval's vectors stay what they are whatever heads' own tables hold."""
    net, tables, encoder, _ = made()
    encoded = getattr(encoder, side).encode(QUERIES if side == "query" else ITEMS)
    other = {name: table + 1 if ":" in name else table for name, table in tables.items()}
    width = getattr(net, side).width
    one, two = (np.asarray(represented(net, t, side, encoded)) for t in (tables, other))
    np.testing.assert_array_equal(one[:, :width], two[:, :width])
    assert (one[:, width:] != two[:, width:]).any()
