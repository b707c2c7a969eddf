"""A trained model as ONNX graphs, one a signature, each compared with JAX before anything is returned.

query      raw query columns [b] -> representation [b, r] (and vector [b, d] where the model retrieves)
candidate  raw candidate columns [b] -> the same of items
pairs      query_representation, candidate_representation [b, r] -> one output [b] a head
rank       raw columns of both sides, row by row -> one output [b] a head
           Both also read <head>_aggregates [b, F] of each head that has aggregates.
lists      query_representation [b, r], candidate_representation [m, r], candidate [b, k], the k candidates of
           each query as rows of the latter, and <head>_aggregates [b, k, F] -> one output [b, k] a head
"""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import numpy as np
import onnxruntime

from shortlist._typing import Columns, Floats
from shortlist.export.builder import GraphBuilder
from shortlist.export.encoders import encode_side, raw_inputs
from shortlist.export.graph import Ref
from shortlist.export.parity import require_equal
from shortlist.export.probing import probe
from shortlist.features.encoder import Encoder, Side
from shortlist.features.fitted import Words
from shortlist.models.build import Tables
from shortlist.models.ensemble import Trained, represent
from shortlist.models.heads import HeadLayer
from shortlist.models.scorer import JaxScorer

Outputs: TypeAlias = dict[str, Floats]

_LISTED = 5  # candidates of each query compared


def export_graphs(
    net: Trained, tables: Tables, encoder: Encoder, *, queries: Columns, candidates: Columns
) -> dict[str, bytes]:
    """The graphs of a model by name: query, candidate and, where it has heads, pairs, rank and lists.

    Args:
        queries: raw query rows (such as training rows), at least one; the first 56 are used.
        candidates: raw items, at least one; the first 56 are used.

    Each graph is run beside JAX on those rows and on eight of unknown, missing and extreme values (`probe`),
    and on one row alone. Where a column name occurs on both sides `rank` reads it once, for both.

    Raises ExportError naming the graph and the largest difference above 1e-5, and UnsupportedPrimitive for an
    operation (of a tower of your own, say) without an ONNX form.
    """
    scorer = JaxScorer(net, tables, encoder)
    rows = {
        "query": _probe(encoder.query, queries),
        "candidate": _probe(encoder.candidate, candidates),
    }
    graphs = {side: _side_graph(net, tables, encoder, side) for side in rows}
    for side in rows:
        _compare(side, graphs[side], rows[side], _represented(scorer, side, rows[side]))
    if net.heads:
        graphs["pairs"] = _pairs_graph(net, encoder)
        graphs["rank"] = _rank_graph(net, tables, encoder)
        columns, representations, outputs = _pairs_case(scorer, rows["query"], rows["candidate"])
        _compare("pairs", graphs["pairs"], representations, outputs)
        _compare("rank", graphs["rank"], columns, outputs)
        graphs["lists"] = _lists_graph(net, encoder)
        _compare("lists", graphs["lists"], *_lists_case(scorer, representations))
    return graphs


def _side_graph(net: Trained, tables: Tables, encoder: Encoder, side: str) -> bytes:
    g = GraphBuilder()
    fitted = getattr(encoder, side)
    representation, *vector = _lower_side(g, net, tables, side, fitted, raw_inputs(g, fitted))
    g.output("representation", representation)
    if vector:
        g.output("vector", vector[0])
    return _finished(g, side, encoder)


def _pairs_graph(net: Trained, encoder: Encoder) -> bytes:
    g = GraphBuilder()
    sides = {
        side: g.input(f"{side}_representation", np.float32, ("b", net.width(side)))
        for side in ("query", "candidate")
    }
    _output_heads(g, net, sides, _aggregates(g, net, "b"))
    return _finished(g, "pairs", encoder)


def _lists_graph(net: Trained, encoder: Encoder) -> bytes:
    g = GraphBuilder()
    given = {
        "query": g.input("query_representation", np.float32, ("b", net.width("query"))),
        "candidate": g.input("candidate_representation", np.float32, ("m", net.width("candidate"))),
        "rows": g.input("candidate", np.int64, ("b", "k")),
    }
    _output_heads(g, net, given, _aggregates(g, net, "b", "k"))
    return _finished(g, "lists", encoder)


def _aggregates(g: GraphBuilder, net: Trained, *shape: str) -> dict[str, Ref]:
    """Inputs for the numbers made of other events, by head."""
    widths = {name: _num_aggregates(head) for name, head in net.heads.items()}
    return {
        name: g.input(f"{name}_aggregates", np.float32, (*shape, width))
        for name, width in widths.items()
        if width
    }


def _num_aggregates(head: HeadLayer) -> int:
    return 0 if head.linear is None else int(head.linear.weight.shape[0])


def _rank_graph(net: Trained, tables: Tables, encoder: Encoder) -> bytes:
    g = GraphBuilder()
    columns = raw_inputs(g, encoder.query, encoder.candidate)
    sides = {
        side: _lower_side(g, net, tables, side, getattr(encoder, side), columns, vector=False)[0]
        for side in ("query", "candidate")
    }
    _output_heads(g, net, sides, _aggregates(g, net, "b"))
    return _finished(g, "rank", encoder)


def _lower_side(
    g: GraphBuilder,
    net: Trained,
    tables: Tables,
    side: str,
    fitted: Side,
    columns: dict[str, Ref],
    *,
    vector: bool = True,
) -> list[Ref]:
    """Representation and, where asked for and there is one, vector."""
    own = {name: table for name, table in tables.items() if name.startswith(f"{side}/")}
    encoded = encode_side(g, fitted, columns)
    return g.lower(
        lambda p, x: _side(p[0], p[1], side, x, vector=vector), (net, own), encoded, prefix="model"
    )


def _side(net: Trained, tables: Tables, side: str, encoded: Any, *, vector: bool = True) -> list[jax.Array]:
    representation = represent(net, tables, side, encoded)
    if not vector or net.spec.retrieval is None:
        return [representation]
    to_vector = net.query_vector if side == "query" else net.candidate_vector
    return [representation, jax.vmap(to_vector)(representation)]


def _output_heads(g: GraphBuilder, net: Trained, given: dict[str, Ref], aggregates: dict[str, Ref]) -> None:
    """Of pairs of a query and a candidate, or of lists: rows of candidates by query."""
    names = sorted(net.heads)  # the order of a dict's leaves
    beside = {f"aggregates {name}": numbers for name, numbers in aggregates.items()}

    def predicted(p: Trained, x: dict[str, jax.Array]) -> dict[str, jax.Array]:
        numbers = {name: x[f"aggregates {name}"] for name in aggregates}
        if "rows" in x:
            return p.predict_lists(x["query"], x["candidate"], x["rows"], numbers)
        return jax.vmap(p.predict)(x["query"], x["candidate"], numbers)

    results = g.lower(predicted, net, given | beside, prefix="model")
    for name, result in zip(names, results, strict=True):
        g.output(name, result)


def _finished(g: GraphBuilder, name: str, encoder: Encoder) -> bytes:
    model: bytes = g.finish(name, {"shortlist.encoder": encoder.content_hash}).SerializeToString()
    return model


# Parity with JAX


def _probe(side: Side, columns: Columns) -> Columns:
    lengths = [*side.lengths.values(), *(f.length for f in side.features if isinstance(f, Words))]
    return probe({name: np.asarray(columns[name]) for name in side.columns}, max(lengths, default=0))


def _represented(scorer: JaxScorer, side: str, columns: Columns) -> Outputs:
    encode = scorer.encode_query if side == "query" else scorer.encode_candidate
    representation, vector = encode(columns)
    return {"representation": representation} | ({} if vector is None else {"vector": vector})


def _pairs_case(scorer: JaxScorer, queries: Columns, candidates: Columns) -> tuple[Columns, Columns, Outputs]:
    """Raw pairs of rows, their representations, and what JAX predicts of them."""
    columns = {**queries, **candidates}
    query, candidate = (
        _represented(scorer, side, columns)["representation"] for side in ("query", "candidate")
    )
    both = {"query_representation": query, "candidate_representation": candidate}
    rng = np.random.default_rng(0)
    widths = {name: _num_aggregates(head) for name, head in scorer.net.heads.items()}
    numbers = {
        name: rng.normal(size=(len(query), width)).astype(np.float32)
        for name, width in widths.items()
        if width
    }
    given = {f"{name}_aggregates": values for name, values in numbers.items()}
    return columns | given, both | given, scorer.predict(query, candidate, numbers)


def _lists_case(scorer: JaxScorer, pairs: Columns) -> tuple[Columns, Outputs]:
    """For each query of the pairs some of the candidates, and what JAX predicts of each pair alone."""
    query, candidate = pairs["query_representation"], pairs["candidate_representation"]
    rows = np.random.default_rng(0).integers(0, len(candidate), (len(query), _LISTED))
    numbers = {
        name.removesuffix("_aggregates"): values[rows]
        for name, values in pairs.items()
        if name.endswith("_aggregates")
    }
    given = {f"{name}_aggregates": values for name, values in numbers.items()}
    return {**pairs, "candidate": rows, **given}, scorer.predict(query, candidate, numbers, rows)


def _compare(name: str, graph: bytes, inputs: Columns, expected: Outputs) -> None:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    read = {i.name for i in session.get_inputs()}
    num_rows = len(next(iter(expected.values())))
    for rows in (slice(0, num_rows), slice(0, 1)):
        shared = {"candidate_representation"} if "candidate" in inputs and name == "lists" else set()
        feed = {k: v if k in shared else v[rows] for k, v in inputs.items() if k in read}
        got = session.run(list(expected), feed)
        for (output, want), have in zip(expected.items(), got, strict=True):
            require_equal(name, output, want[rows], have)
