"""Whole models as ONNX against JAX, and what happens when they disagree. Every option: test_contract.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from shortlist._typing import MISSING_INT, Array, Columns
from shortlist.errors import ExportError, UnsupportedPrimitive
from shortlist.export import graphs as module
from shortlist.export.encoders import ENCODERS
from shortlist.export.graphs import export_graphs
from shortlist.export.protos import domains
from shortlist.features.encoder import Encoder
from shortlist.features.fitted import Buckets, Words
from shortlist.models.build import Net, build
from shortlist.models.scorer import JaxScorer
from shortlist.models.towers import register_tower
from shortlist.specs.features import (
    Bucket,
    Category,
    Cyclic,
    FeatureSpec,
    Id,
    Normalize,
    Tags,
    Text,
    Vector,
)
from shortlist.specs.models import Model, MultiTask, Ranker, Tower, TwoTower
from shortlist.specs.tasks import Custom, Rating, Retrieval

RNG = np.random.default_rng(0)
NUM = 90
QUERIES: Columns = {
    "user_id": np.array([str(i % 20) for i in range(NUM)], object),
    "timestamp": RNG.integers(874_724_710, 893_286_638, NUM),
    "age": RNG.normal(35, 10, NUM),
    "search": np.array(["star wars", "", "The Empire!", "amélie 2"] * 23, object)[:NUM],
}
ITEMS: Columns = {
    "item_id": np.arange(40) * 3,
    "title": np.array([f"Film {i} of the {1950 + i}s" for i in range(40)], object),
    "genres": np.array([["Drama", "Comedy"], ["Sci-Fi", ""], ["", ""], ["Drama", ""]] * 10, object),
    "sequel": np.array([["", "3", "03", "Drama", "999"][i % 5] for i in range(40)], object),
    "similar": np.array([["0", "3", "no"], ["", "", ""], ["", "117", ""], ["6", "", ""]] * 10, object),
    "year": np.array([1950 + i if i % 7 else MISSING_INT for i in range(40)]),
    "timestamp": RNG.integers(874_724_710, 893_286_638, 40),
    "image": np.where(np.arange(40)[:, None] % 5, RNG.normal(size=(40, 6)), np.nan).astype(np.float32),
}
SIDES: dict[str, list[FeatureSpec]] = {
    "query": [
        Id("user_id", 8),
        Bucket("timestamp", 50, 8),
        Normalize("age"),
        Cyclic("timestamp"),
        Text("search", 99, 8),
    ],
    "candidate": [
        Id("item_id", 8),
        Text("title", 99, 8),
        Tags("genres", 8),
        Category("year", 8),
        Vector("image", 8),
    ],
}


def towers(out: int | None = 8, **options: Any) -> dict[str, Tower]:
    return {side: Tower(features, out=out, **options) for side, features in SIDES.items()}  # type: ignore[arg-type]


@register_tower("test-scatter")
class Scattering(eqx.Module):
    """A tower that cannot be exported."""

    out: int

    def __init__(self, widths: Mapping[str, int], out: int, *, key: jax.Array) -> None:
        self.out = out

    def __call__(self, parts: dict[str, jax.Array], *, key: jax.Array | None = None) -> jax.Array:
        first = next(iter(parts.values()))
        return jnp.zeros(self.out).at[(first[:1] > 0).astype(int)].add(first[0])


MODELS: dict[str, Model] = {
    "two-tower": TwoTower(**towers()),
    "hidden": MultiTask(**towers(hidden=(16, 12), activation="gelu"), tasks=(Retrieval(), Rating())),
    "widths differ": Ranker(**towers(out=None), tasks=(Rating(hidden=(9,), activation="silu"),)),
    "two heads": MultiTask(
        **towers(),
        tasks=(
            Retrieval(item_bias=True),
            Rating(hidden=(8,)),
            Custom(loss="watched", label="watched", hidden=(4,)),
        ),
    ),
    "shared tables": MultiTask(
        query=Tower((Id("user_id", 8), Text("search", 99, 8)), out=8),
        candidate=Tower(
            (
                Id("item_id", 8, table="items"),
                Category("sequel", 8, table="items"),
                Tags("genres", 8, table="items"),
                Tags("similar", 8, table="items"),
            ),
            out=8,
        ),
        tasks=(Retrieval(item_bias=True), Rating(hidden=(4,))),
    ),
    "one column on both sides": Ranker(
        query=Tower((Id("user_id", 8), Bucket("timestamp", 9, 8))),
        candidate=Tower((Id("item_id", 8), Normalize("timestamp"))),
        tasks=(Rating(hidden=(4,)),),
    ),
}


def fresh(model: Model) -> tuple[Net, dict[str, jax.Array], Encoder]:
    encoder = Encoder.fit(model, QUERIES, ITEMS)
    net, tables = build(model, encoder.sizes, means={"rating": 3.5}, seed=1)
    # untrained biases are all zero: a graph that forgot them would pass
    rng = np.random.default_rng(7)
    trained = {k: jax.device_put(np.asarray(rng.normal(size=t.shape), np.float32)) for k, t in tables.items()}
    return net, trained, encoder


def run(graph: bytes, columns: Columns) -> dict[str, Array]:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    feed = {i.name: columns[i.name] for i in session.get_inputs()}
    return dict(zip(names, session.run(names, feed), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_graphs_agree_with_jax(name: str) -> None:
    model = MODELS[name]
    net, tables, encoder = fresh(model)
    graphs = export_graphs(net, tables, encoder, queries=QUERIES, candidates=ITEMS)
    assert set(graphs) == {"query", "candidate"} | ({"pairs", "rank", "lists"} if model.heads else set())

    # all rows, most of which the export did not compare, and a batch size it did not use
    scorer = JaxScorer(net, tables, encoder)
    query, query_vector = scorer.encode_query(QUERIES)
    got, items = run(graphs["query"], QUERIES), run(graphs["candidate"], ITEMS)
    np.testing.assert_allclose(got["representation"], query, rtol=0, atol=1e-5)
    assert ("vector" in got) == ("vector" in items) == (model.retrieval is not None)
    if query_vector is not None:
        want = query_vector @ scorer.encode_candidate(ITEMS)[1].T
        np.testing.assert_allclose(got["vector"] @ items["vector"].T, want, rtol=1e-4, atol=1e-4)
    if model.heads:
        rows = {**ITEMS, **{k: v[:40] for k, v in QUERIES.items()}}
        assert set(run(graphs["rank"], rows)) == set(net.heads)


def test_rank_is_pairs_of_both_sides() -> None:
    graphs = export_graphs(*fresh(MODELS["two heads"]), queries=QUERIES, candidates=ITEMS)
    queries = {k: v[:40] for k, v in QUERIES.items()}
    both = {
        "query_representation": run(graphs["query"], queries)["representation"],
        "candidate_representation": run(graphs["candidate"], ITEMS)["representation"],
    }
    apart = run(graphs["pairs"], both)
    together = run(graphs["rank"], {**ITEMS, **queries})
    assert set(together) == {"rating", "watched"}
    for head, values in together.items():
        assert values.shape == (40,)
        np.testing.assert_allclose(apart[head], values, rtol=0, atol=1e-5)


def test_a_column_of_both_sides_is_one_input() -> None:
    graphs = export_graphs(*fresh(MODELS["one column on both sides"]), queries=QUERIES, candidates=ITEMS)
    names = [i.name for i in onnx.load_from_string(graphs["rank"]).graph.input]
    assert sorted(names) == ["item_id", "timestamp", "user_id"]


def test_graphs_carry_the_encoders_hash() -> None:
    net, tables, encoder = fresh(MODELS["two-tower"])
    graphs = export_graphs(net, tables, encoder, queries=QUERIES, candidates=ITEMS)
    for graph in graphs.values():
        properties = {p.key: p.value for p in onnx.load_from_string(graph).metadata_props}
        assert properties == {"shortlist.encoder": encoder.content_hash}


def test_a_difference_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    net, tables, encoder = fresh(MODELS["hidden"])
    lower = module.GraphBuilder.lower

    def wrong(self: Any, fn: Any, params: Any, inputs: Any, **options: Any) -> Any:
        return lower(self, lambda p, x: jax.tree.map(lambda v: v + 1e-3, fn(p, x)), params, inputs, **options)

    monkeypatch.setattr(module.GraphBuilder, "lower", wrong)
    with pytest.raises(ExportError, match=r"graph 'query' differs from JAX by .* in representation"):
        export_graphs(net, tables, encoder, queries=QUERIES, candidates=ITEMS)


@pytest.mark.parametrize(("kind", "name"), [(Buckets, "one column on both sides"), (Words, "shared tables")])
def test_a_difference_for_strange_values_alone_is_found(
    kind: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times as int32, a missing tag as an unknown one."""
    right = ENCODERS[kind]

    def wrong(g: Any, feature: Any, column: Any) -> Any:
        if kind is Buckets:
            return right(g, feature, g.cast(g.cast(column, np.int32), np.int64))
        if kind is Words and len(column.shape) == 2:
            return g.op("Max", [right(g, feature, column), np.array(0)])
        return right(g, feature, column)

    monkeypatch.setitem(ENCODERS, kind, wrong)
    fitted = fresh(MODELS[name])
    with pytest.raises(ExportError, match=r"graph '(query|candidate)' differs from JAX"):
        export_graphs(*fitted, queries=QUERIES, candidates=ITEMS)


def test_only_text_needs_operators_of_onnx_runtime() -> None:
    graphs = export_graphs(*fresh(MODELS["shared tables"]), queries=QUERIES, candidates=ITEMS)
    used = {name: domains(graph) for name, graph in graphs.items()}
    both = ["ai.onnx.ml", "com.microsoft"]  # a text is a feature of its queries, not of its items
    assert used == {"query": both, "candidate": ["ai.onnx.ml"], "pairs": [], "rank": both, "lists": []}


def test_a_diverged_model_is_refused() -> None:
    net, tables, encoder = fresh(MODELS["two-tower"])
    tables["candidate/item_id.id"] = tables["candidate/item_id.id"].at[:].set(jnp.nan)
    with pytest.raises(ExportError, match="graph 'candidate' cannot be checked"):
        export_graphs(net, tables, encoder, queries=QUERIES, candidates=ITEMS)


def test_a_tower_without_onnx_form_is_named() -> None:
    model = TwoTower(**towers(layer="test-scatter"))
    with pytest.raises(UnsupportedPrimitive, match="scatter"):
        export_graphs(*fresh(model), queries=QUERIES, candidates=ITEMS)
