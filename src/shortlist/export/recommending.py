"""The graph `recommend`: from raw query columns to item ids, what `Recommender.recommend` does, in one run.

Inputs: the raw columns of the query graphs, `exclude` (ids never returned, text [b, any], "" padded),
`bonus` (ids the user had before, in the same form, where retrieval learned a bonus for them),
<head>_aggregates [b, N, F] of each head that has aggregates, and `k`, int64 [1].
Outputs [b, min(k, N)]: item_id ("" where no item is left), score, retrieval_score and one column a head.

Unlike the object it fills in nothing: a column left missing goes through the model's slot for missing values.
A user is known who is in the bundle or has a list of past items; others get the popular items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from shortlist._typing import Array
from shortlist.errors import ExportError
from shortlist.export.answers import check_answers, whole
from shortlist.export.composing import Composition, declared_inputs
from shortlist.export.protos import value_info
from shortlist.features.history import LISTS
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.slate import head_column
from shortlist.state.catalogue import Items

MOST_ITEMS = 100_000
"""Above so many items the search belongs to an index, not into a graph that reads them all."""

Graphs = Mapping[str, Mapping[str, bytes]]
"""The graphs of each part of a bundle ("model", or "retrieval" and "ranking", or one of these), by name."""

_STAGES = (("retrieval", "model", "ranking"), ("ranking", "model", "retrieval"))
_NEVER, _NOTHING = np.array(-np.inf, np.float32), np.array(0, np.float32)
_TEXTS, _NUMBERS, _DOUBLES = np.dtype(object), np.dtype(np.float32), np.dtype(np.float64)
_FLOAT, _LONG, _DOUBLE = TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE


class _Found(NamedTuple):
    """Candidates of each query [b, f]: positions int64, log_p float32, and true where there is no item."""

    positions: str
    log_p: str
    gone: str


def left_out(recommender: Recommender) -> str:
    """Why there is no such graph of a recommender; "" where there can be one."""
    columns = recommender.schema.candidate
    taken = {"exclude", "bonus", "k"}.intersection(recommender.schema.query)
    if len(recommender.items) > MOST_ITEMS:
        return f"{len(recommender.items)} items are more than {MOST_ITEMS}: search the index"
    if recommender.index is not None and recommender.index.kind != "exact":
        return "the index is approximate: search it"
    if recommender.raters is not None and any(LISTS[n][0] == "row" for n in columns if n in LISTS):
        return "what an item is to the ranker depends on the request"
    return f"the model reads a column named {min(taken)!r}" if taken else ""


def recommend_graph(
    recommender: Recommender, graphs: Graphs, weights: Mapping[str, bytes] | None = None
) -> bytes:
    """The graph of a recommender, to be put beside the folders of its parts and of its items.

    graphs: finished. weights: of each part whose graphs are packed, the content of its weights file, which
    the graph then reads; the items' arrays are read from items/, so that nothing is stored twice.

    Raises ExportError where `left_out` gives a reason, where a query column is named as a result is, and
    where the graph does not answer as the recommender does.
    """
    reason = left_out(recommender)
    if reason:
        raise ExportError(f"no graph can recommend here: {reason}")
    g = Composition()
    encoded = {part: g.inline(own["query"], part) for part, own in graphs.items()}
    first, last = (next(part for part in order if part in graphs) for order in _STAGES)
    batch = g("Shape", encoded[first]["representation"], start=0, end=1)
    g.input(value_info("k", np.dtype(np.int64), (1,)))
    known = _known(g, recommender)
    found = _retrieved(g, recommender, encoded[first].get("vector", ""), batch, known)
    heads: dict[str, str] = {}
    if recommender.ranker is not None:
        query, lists = encoded[last]["representation"], graphs[last]["lists"]
        heads = _ranked(g, recommender, found, query, lists, last)
    _answer(g, recommender, found, known, heads)
    graph = g.finish("recommend", {})
    check_answers(recommender, graph, weights or {})
    return graph


# Retrieval


def _known(g: Composition, recommender: Recommender) -> str:
    """bool [b, 1], whose user the model can answer; "" where it can answer all."""
    if "user_id" not in recommender.schema.query:
        return ""
    users = list(recommender.users.vocabulary.values)
    slots = [1] * len(users) or [0]  # where users were left out, nobody is known by name
    one = {"keys_strings": users or [""], "values_int64s": slots, "default_int64": 0}
    known = g("LabelEncoder", g("Unsqueeze", "user_id", np.array([1])), domain="ai.onnx.ml", **one)
    for name in g.inputs:
        if name in LISTS and LISTS[name][1] in ("items", "distinct"):
            there = g("Cast", g("Not", g("Equal", name, np.array("", object))), to=_LONG)
            known = g("Add", known, g("ReduceSum", there, np.array([1])))
    return g("Greater", known, np.array(0))


def _retrieved(g: Composition, recommender: Recommender, vector: str, batch: str, known: str) -> _Found:
    """The best by retrieval, or the most popular where the model is not asked; in order of position."""
    scores, log_z = _scored(g, recommender, vector, batch, known)
    none = g("Pad", scores, np.array([0, 0, 0, 1]), _NEVER)  # a last column, of what is no item
    left = _marked(g, recommender.items, none, "exclude", _NEVER)
    most = np.array([recommender.num_retrieved if recommender.ranker is not None else 1])
    fetch = g("Min", g("Max", "k", most), np.array([len(recommender.items)]))
    best, positions = g.many(2, "TopK", left, fetch)
    positions, order = g.many(2, "TopK", positions, fetch, largest=0)
    best = g("GatherElements", best, order, axis=1)
    return _Found(positions, g("Sub", best, log_z) if log_z else best, g("Equal", best, _NEVER))


def _scored(g: Composition, recommender: Recommender, vector: str, batch: str, known: str) -> tuple[str, str]:
    """float [b, N], what retrieval orders by, and what to take off for the log probability, [b, 1] or ""."""
    items = recommender.items
    popular = g("Cast", g.stored("items/log_popularity.npy", items.log_popularity), to=_FLOAT)
    popular = _offered(g, items, popular)
    if recommender.retriever is None or recommender.item_vectors is None:
        return g("Expand", popular, g("Concat", batch, np.array([len(items)]), axis=0)), ""
    vectors = g.stored("items/item_vectors.npy", whole(recommender.item_vectors))
    scores = g("Gemm", vector, vectors, transB=1)
    if recommender.seen_bonus and recommender.events is not None:
        none = g("Expand", _NOTHING, g("Concat", batch, np.array([len(items) + 1]), axis=0))
        bonus = _marked(g, items, none, "bonus", np.array(recommender.seen_bonus, np.float32))
        scores = g("Add", scores, g("Slice", bonus, np.array([0]), np.array([len(items)]), np.array([1])))
    scores = _offered(g, items, scores)
    log_z = _log_sum_exp(g, scores)
    if known:
        return g("Where", known, scores, popular), g("Where", known, log_z, _NOTHING)
    return scores, log_z


def _offered(g: Composition, items: Items, scores: str) -> str:
    """The scores, never of items that are no longer offered."""
    return scores if items.retired is None else g("Where", items.retired, _NEVER, scores)


def _log_sum_exp(g: Composition, scores: str) -> str:
    largest = g("ReduceMax", scores, np.array([1]))
    total = g("ReduceSum", g("Exp", g("Sub", scores, largest)), np.array([1]))
    return g("Add", largest, g("Log", total))


def _marked(g: Composition, items: Items, scores: str, name: str, value: Array) -> str:
    """The scores [b, N + 1] with `value` where the ids of the input `name` stand."""
    ids = g.input(value_info(name, _TEXTS, ("b", name)))
    keys = items.ids.tolist()
    places = {"keys_strings": keys, "values_int64s": list(range(len(keys))), "default_int64": len(keys)}
    slots = g("LabelEncoder", ids, domain="ai.onnx.ml", **places)
    return g("ScatterElements", scores, slots, g("Expand", value, g("Shape", slots)), axis=1)


# Ranking


def _ranked(
    g: Composition, recommender: Recommender, found: _Found, query: str, lists: bytes, part: str
) -> dict[str, str]:
    """Each head's predictions of the candidates, float [b, f], NaN where there is none."""
    assert recommender.item_representations is not None
    items = g.stored("items/item_representations.npy", whole(recommender.item_representations))
    given = {
        "query_representation": query,
        "candidate_representation": items,
        "candidate": found.positions,
    }
    for name, declared in declared_inputs(lists).items():
        if name not in given:  # aggregates [b, N, F]
            dims = declared.type.tensor_type.shape.dim
            numbers = value_info(name, _NUMBERS, ("b", len(recommender.items), dims[-1].dim_value))
            places = g("Unsqueeze", found.positions, np.array([2]))
            given[name] = g("GatherND", g.input(numbers), places, batch_dims=1)
    predicted = g.inline(lists, part, given)
    unknown = np.array(np.nan, np.float32)
    return {head: g("Where", found.gone, unknown, x) for head, x in predicted.items()}


# Order


def _answer(
    g: Composition, recommender: Recommender, found: _Found, known: str, heads: Mapping[str, str]
) -> None:
    """Declare the results: the k best by utility, of equal ones those that come first in the catalogue."""
    ids = np.append(recommender.items.ids, "")
    score = g("Where", found.gone, np.array(-np.inf), _utility(g, recommender, found, known, heads))
    shown = g("Min", "k", np.array([len(ids) - 1]))
    best, order = g.many(2, "TopK", score, shown)
    places = g("Where", found.gone, np.array(len(ids) - 1), found.positions)
    names = g("Gather", ids, g("GatherElements", places, order, axis=1))
    results = {"item_id": (names, _TEXTS), "score": (best, _DOUBLES)}
    for name, value in {
        "retrieval_score": found.log_p,
        **{head_column(h): x for h, x in heads.items()},
    }.items():
        results[name] = (g("GatherElements", value, order, axis=1), _NUMBERS)
    for name, (value, dtype) in results.items():
        g.output(value_info(name, dtype, ("b", "shown")), value)


def _utility(
    g: Composition, recommender: Recommender, found: _Found, known: str, heads: Mapping[str, str]
) -> str:
    """What the candidates are ordered by, double [b, f]; log p where the model cannot answer."""
    utility, log_p = recommender.utility, g("Cast", found.log_p, to=_DOUBLE)
    if recommender.ranker is None or (recommender.retriever is not None and not utility.rating_weight):
        return log_p
    total = predicted = g("Cast", heads[utility.head], to=_DOUBLE)
    if recommender.retriever is not None:
        total = g("Add", log_p, g("Mul", predicted, np.array(utility.rating_weight)))
    return g("Where", known, total, log_p) if known else total
