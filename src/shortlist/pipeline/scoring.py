"""What a model says of (user, item, context) rows, whatever retrieval would find, and of items alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist._typing import Columns, Floats, Index, Longs, Scorer
from shortlist.data.coded import Table as CodedTable
from shortlist.errors import RequestError
from shortlist.features.log import Standing
from shortlist.features.requests import Request
from shortlist.index.rows import Rows
from shortlist.index.ties import best, products, slack_for
from shortlist.pipeline.histories import Pasts
from shortlist.pipeline.questions import candidate_columns, require_k
from shortlist.pipeline.shortlists import Asked, asked_columns, vectors_of
from shortlist.pipeline.slate import Table, head_column
from shortlist.state.seen import Seen

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
    total = recommender.searcher.log_z(queries, bonus)
    log_p: Floats = own - np.maximum(total, np.finfo(np.float32).min)  # which is -inf of no item at all
    return log_p


NEAR = 4  # times k are compared exactly, of what an approximate index finds nearest


def all_compared(index: Index | None) -> bool:
    """Whether an item's cosines with all others are computed: without an approximate index, and with one of
    so few items that it searches them exactly."""
    if index is None or index.kind == "exact":
        return True
    said = index.describe()
    return bool(said["items"] <= max(said.get("exact_below", 0), 10 * said.get("recall_k", 0)))


def lengths_of(vectors: Floats) -> Floats:
    """Of vectors [n, d], however long or short: float32 [n], 1 of a vector of zeros."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return np.where(lengths > 0, lengths, 1).astype(np.float32)


def unit(vectors: Floats) -> Floats:
    """Vectors [n, d] at length 1, float32; those of zeros stay so."""
    return np.asarray(vectors / lengths_of(vectors)[:, None], np.float32)


def similar_items(recommender: Recommender, item_id: str | int, k: int) -> Table:
    """See `Recommender.similar_items`."""
    require_k(k)
    items, index = recommender.items, recommender.index
    position = items.position(item_id)
    if items.retired is not None and items.retired[position]:
        raise RequestError(f"item {item_id!r} was removed from the catalogue", hint="add it again first")
    if index is not None and not all_compared(index):
        own = index.vectors(np.array([position]))
        itself = Seen(np.array([0, 1]), np.array([position], np.int32))
        found = index.search(own, min(NEAR * k, len(items)), exclude=itself).positions[0]
        places = np.sort(found[found >= 0]).astype(np.int64)
        near = unit(index.vectors(places))
        own = unit(own)
        cosines = products(own, np.zeros(len(places), np.int64), lambda at: near[at], np.arange(len(places)))
    else:
        lengths = recommender.lengths
        stored: Any = recommender.item_vectors
        stored = recommender.item_representations if stored is None else stored
        own, places = unit(np.asarray(stored[np.array([position])])), np.arange(len(items))
        scores = stored.scores(own)[0] if isinstance(stored, Rows) else stored @ own[0]
        cosines = scores / lengths
        near = None
    others = places != position if items.retired is None else (places != position) & ~items.retired[places]

    def again(_: Longs, at: Longs) -> Floats:
        rows = unit(np.asarray(stored[at])) if near is None else near[at]
        return products(own, np.zeros(len(at), np.int64), lambda some: rows[some], np.arange(len(at)))

    slack = slack_for(own, 1.0)
    found, scores = best(cosines[None], min(k, len(places)), again, others, slack)
    kept = found[0] >= 0
    ranks = np.arange(1, kept.sum() + 1, dtype=np.int32)
    return Table({"item_id": items.ids[places[found[0][kept]]], "score": scores[0][kept], "rank": ranks})
