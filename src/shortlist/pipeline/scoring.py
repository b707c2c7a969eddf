"""What a model says of (user, item, context) rows, whatever retrieval would find, and of items alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist._typing import Columns, Floats, Longs, Scorer
from shortlist.data.coded import Table as CodedTable
from shortlist.errors import RequestError
from shortlist.features.log import Standing
from shortlist.features.requests import Request
from shortlist.index.rows import Rows
from shortlist.index.ties import best, products
from shortlist.pipeline.histories import Pasts
from shortlist.pipeline.questions import candidate_columns, require_k
from shortlist.pipeline.shortlists import Asked, asked_columns, vectors_of
from shortlist.pipeline.slate import Table, head_column

if TYPE_CHECKING:
    from shortlist.pipeline.recommender import Recommender


def score(recommender: Recommender, rows: Request, pasts: Pasts = ()) -> Table:
    """See `Recommender.score`; pasts: of `Recommender.read`."""
    asked = recommender.read(rows, item=True, pasts=pasts)
    columns, users, told = asked.columns, asked.users, asked.told
    query = asked_columns(recommender, asked)
    positions = recommender.items.positions(columns["item_id"])
    at = Standing.of(users, asked.times)
    mirrored = Standing.of(positions, at.times)
    candidate = candidate_columns(
        recommender.items, recommender.schema, columns, positions, recommender.raters, mirrored
    )
    result: Columns = {"user_id": columns["user_id"], "item_id": columns["item_id"]}
    retriever, ranker = recommender.retriever, recommender.ranker
    encoded = {} if retriever is None else {id(retriever): _both(retriever, query, candidate)}
    if ranker is not None:
        if id(ranker) not in encoded:
            encoded[id(ranker)] = _both(ranker, query, candidate)
        q, c = encoded[id(ranker)]
        given = recommender.aggregator(at, told, columns)(np.arange(len(users)), positions)
        outputs = ranker.predict(q[0], c[0], given)
        result |= {head_column(head): values for head, values in outputs.items()}
    if retriever is not None:
        q, c = encoded[id(retriever)]
        result["log_p"] = _log_p(recommender, asked, vectors_of(q), vectors_of(c), at, positions)
    return Table(result)


def _both(scorer: Scorer, query: CodedTable, candidate: CodedTable) -> tuple[Any, Any]:
    return scorer.encode_query(query), scorer.encode_candidate(candidate)


def _log_p(
    recommender: Recommender, asked: Asked, queries: Floats, items: Floats, at: Standing, positions: Longs
) -> Floats:
    """Log probabilities of items [n, d], which may be outside of the catalogue (-1)."""
    assert recommender.searcher is not None
    own: Floats = np.einsum("bd,bd->b", queries, items)
    bonus = recommender.bonus(at, asked.told)
    if bonus is not None:
        had, much = bonus
        row, item = had.pairs()
        pairs = row * len(recommender.items) + item
        again = np.isin(np.arange(len(own)) * len(recommender.items) + positions, pairs) & (positions >= 0)
        own = own + np.where(again, np.float32(much), np.float32(0))
    log_p: Floats = own - recommender.searcher.log_z(queries, bonus)
    return log_p


NEAR = 4  # times k are compared exactly, of what an approximate index finds nearest


def _unit(vectors: Floats) -> Floats:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return np.asarray(vectors / lengths, np.float32)


def similar_items(recommender: Recommender, item_id: str | int, k: int) -> Table:
    """See `Recommender.similar_items`."""
    require_k(k)
    items, index = recommender.items, recommender.index
    position = items.position(item_id)
    if items.retired is not None and items.retired[position]:
        raise RequestError(f"item {item_id!r} was removed from the catalogue", hint="add it again first")
    if index is not None and index.kind != "exact":
        own = index.vectors(np.array([position]))
        found = index.search(own, min(NEAR * k + 1, len(items))).positions[0]
        places = np.sort(found[found >= 0]).astype(np.int64)
        near = _unit(index.vectors(places))
        cosines = products(
            _unit(own), np.zeros(len(places), np.int64), lambda at: near[at], np.arange(len(places))
        )
    else:
        lengths = recommender.lengths
        stored: Any = recommender.item_vectors
        stored = recommender.item_representations if stored is None else stored
        own, places = stored[np.array([position])], np.arange(len(items))
        scores = stored.scores(own)[0] if isinstance(stored, Rows) else stored @ own[0]
        cosines = scores / (lengths * lengths[position])
        near = None
    others = places != position if items.retired is None else (places != position) & ~items.retired[places]

    def again(_: Longs, at: Longs) -> Floats:
        rows = _unit(np.asarray(stored[at])) if near is None else near[at]
        return products(_unit(own), np.zeros(len(at), np.int64), lambda some: rows[some], np.arange(len(at)))

    found, scores = best(cosines[None], min(k, len(places)), again, others)
    kept = found[0] >= 0
    ranks = np.arange(1, kept.sum() + 1, dtype=np.int32)
    return Table({"item_id": items.ids[places[found[0][kept]]], "score": scores[0][kept], "rank": ranks})
