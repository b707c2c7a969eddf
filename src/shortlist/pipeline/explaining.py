"""Why an item stands where it stands: the same call once more, with one thing taken away, for each thing.

These are facts about the model, not about people: they tell what the answer would have been, not what makes
anybody like anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from shortlist._typing import Array, Bools, Columns, Doubles, Floats, Longs
from shortlist.errors import RequestError
from shortlist.features.history import DERIVED, LISTS
from shortlist.features.log import Standing
from shortlist.features.requests import NOBODY, blanked, is_missing, take_rows
from shortlist.pipeline.filters import Chosen, Group
from shortlist.pipeline.histories import TOLD
from shortlist.pipeline.questions import Ids, Where, candidate_columns, require_k
from shortlist.pipeline.shortlists import Asked, asked_columns, shortlists, vectors_of
from shortlist.pipeline.slate import Slate, plain_values
from shortlist.pipeline.stages import Utility
from shortlist.specs.aggregates import columns_read

if TYPE_CHECKING:
    from shortlist.pipeline.recommender import Recommender
    from shortlist.state.past import Past

MOST, LATEST = 50, 20
"""Items that are explained at once; items of a history that are taken away, one at a time."""

NO_HISTORY = "this model reads no history: what a user did only decides what is left out"
NOT_ASKED = "the model was not asked: a user it does not know gets what is popular"
READS_LATER = (
    "the changed calls read nothing that came after the request's time; what they change is told from a call"
    " that does not either"
)


@dataclass(frozen=True)
class Change:
    """One thing that was taken away.

    kind: "history" (an item of it, or all where item_id is None), "query" (a column of the question) or
    "item" (a column of the explained item itself). set_to: "removed", "unknown" (the model's value for what
    it does not know), or "default" (a time that was given is not). name: of the column; value: what it was
    (of an item's column: None, as every item has its own). partly: statistics of past ratings read the column
    too, and keep what they knew.
    """

    kind: Literal["history", "query", "item"]
    set_to: Literal["removed", "unknown", "default"]
    name: str = ""
    item_id: str | None = None
    value: Any = None
    timestamp: int | None = None
    rating: float | None = None
    partly: bool = False


@dataclass(frozen=True, eq=False)
class Explanation:
    """A shortlist of n items and what each of m changes would make of it.

    slate: the answer. scores: float64 [m, n], each item's in the changed call; NaN where that call does not
    ask the model. ranks: int64 [m, n], from 1; 0 where the item is no more among the candidates.
    score_changes, rank_changes: with the change minus without (NaN and 0 where there is no score or no rank).
    candidates: how many were ranked. left_out: items of the history that were not taken away, being older.
    notes: what else is to be known.
    """

    slate: Slate
    changes: tuple[Change, ...] = ()
    scores: Doubles = field(default_factory=lambda: np.zeros((0, 0)))
    ranks: Longs = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    score_changes: Doubles = field(default_factory=lambda: np.zeros((0, 0)))
    rank_changes: Longs = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    candidates: int = 0
    left_out: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Call:
    """A question, and all that stays as it is while something of it is changed."""

    recommender: Recommender
    row: dict[str, Any]
    asked: Asked
    chosen: Chosen
    fetch: int
    utility: Utility

    def again(self, asked: Asked, allow: Bools | None, k: int) -> Slate:
        """Answers to changed questions: whatever was left out of the first stays left out."""
        exclude = self.chosen.exclude
        repeated = None if exclude is None else exclude.rows(np.zeros(len(asked), np.int64))
        listed = self.chosen.listed if allow is None else k
        chosen = Chosen(
            [Group(None, self.chosen.groups[0].allow if allow is None else allow)], repeated, listed
        )
        return shortlists(self.recommender, asked, chosen, k, filter_seen=False, utility=self.utility)


def explain(
    recommender: Recommender,
    query: Mapping[str, Any],
    k: int = 10,
    *,
    filter_seen: bool = True,
    exclude: Ids | None = None,
    only: Ids | None = None,
    where: Where | None = None,
    utility: Utility | None = None,
    latest: int = LATEST,
) -> Explanation:
    """See `Recommender.explain`."""
    require_k(k)
    if k > MOST:
        raise RequestError(f"an explained shortlist has at most {MOST} items, got k={k}")
    row, asked = dict(query), recommender.read([query])
    chosen = recommender.filters.read(1, exclude, only, where)
    if filter_seen:
        taken = recommender.taken(asked.users, asked.told)
        chosen = chosen._replace(exclude=taken if chosen.exclude is None else taken.joined(chosen.exclude))
    fetch = max(k, recommender.num_retrieved)
    call = _Call(recommender, row, asked, chosen, fetch, utility or recommender.utility)
    whole = call.again(asked, None, fetch)
    slate = whole.first(k)
    if not len(slate):
        return Explanation(slate)
    if slate["source"][0] == "popular":
        return Explanation(slate, candidates=len(whole), notes=(NOT_ASKED,))
    return _explained(call, whole, slate, latest)


def _explained(call: _Call, whole: Slate, slate: Slate, latest: int) -> Explanation:
    recommender = call.recommender
    told, left_out = _in_full(call), 0
    rows, changes, unknown = [told], [], {}
    if recommender.users.past is not None:
        ids = list(dict.fromkeys(map(str, told["history"]))) if told["history"] != [NOBODY] else []
        left_out = max(0, len(ids) - latest)
        for change, row in _without_history(told, ids[:latest], recommender.users.past):
            changes.append(change)
            rows.append(row)
    for change, row in _without_columns(call, told):
        changes.append(change)
        if change.set_to == "unknown" and change.name != "user_id":
            unknown[change.name] = len(rows)
        rows.append(row)
    asked = recommender.read(rows)
    masks = {name: np.arange(len(rows)) == row for name, row in unknown.items()}
    scores, ranks = _changed(call, replace(asked, unknown=masks), slate)
    own, notes = _item_changes(call, asked[:1], whole, slate)
    changes += own[0]
    scores, ranks = np.concatenate([scores, own[1]]), np.concatenate([ranks, own[2]])
    if recommender.users.past is None:
        notes = (NO_HISTORY, *notes)
    first_scores, first_ranks = scores[:1], ranks[:1]
    if not np.allclose(first_scores, slate["score"], rtol=1e-5, atol=1e-5):
        notes = (READS_LATER, *notes)
    same = slate["score"], slate["rank"].astype(np.int64)
    num_rows = len(rows) - 1
    base_scores = np.concatenate([np.repeat(first_scores, num_rows, 0), np.tile(same[0], (len(own[0]), 1))])
    base_ranks = np.concatenate([np.repeat(first_ranks, num_rows, 0), np.tile(same[1], (len(own[0]), 1))])
    scores, ranks = scores[1:], ranks[1:]
    moved = np.where((ranks > 0) & (base_ranks > 0), ranks - base_ranks, 0)
    return Explanation(
        slate, tuple(changes), scores, ranks, scores - base_scores, moved, len(whole), left_out, notes
    )


# The changed questions


def _in_full(call: _Call) -> dict[str, Any]:
    """The question with the past in it that the model reads as stored: the same call, in other words."""
    recommender, asked, row = call.recommender, call.asked, dict(call.row)
    past = recommender.users.past
    if past is None:
        return row
    now, user = int(asked.times[0]), int(asked.users[0])
    if asked.told is not None:
        row["history"] = list(row["history"]) or [NOBODY]
    else:
        start, stop = (0, 0) if user < 0 else (int(past.log.indptr[user]), int(past.log.indptr[user + 1]))
        kept = np.flatnonzero(past.log.times[start:stop] < now)[::-1] + start if past.timed else None
        kept = np.arange(start, stop)[::-1] if kept is None else kept
        row["history"] = recommender.items.ids[past.log.items[kept]].tolist() or [NOBODY]
        if past.timed and len(kept):
            row["history_timestamp"] = past.log.times[kept].tolist()
        if past.log.ratings is not None and len(kept):
            row["history_rating"] = past.log.ratings[kept].tolist()
    if past.timed and recommender.users.as_of is not None:
        row["timestamp"] = now
    return row


def _without_history(
    told: dict[str, Any], ids: list[str], past: Past | None
) -> Iterator[tuple[Change, dict[str, Any]]]:
    """Without each of some items of a history, and without any."""
    texts = list(map(str, told["history"]))
    beside = [name for name in TOLD if name != "history" and told.get(name) is not None]
    for one in ids:
        kept = [n for n, text in enumerate(texts) if text != one]
        row = {**told, "history": [texts[n] for n in kept] or [NOBODY]}
        for name in beside:
            row[name] = [told[name][n] for n in kept] or None
        first = texts.index(one)
        when, rating = (told[name][first] if name in beside else None for name in list(TOLD)[1:])
        given = rating if past is None else past.given(rating)
        yield Change("history", "removed", item_id=one, timestamp=when, rating=given), row
    if ids:
        yield Change("history", "removed"), {**told, "history": [NOBODY], **dict.fromkeys(beside)}


def _without_columns(call: _Call, told: dict[str, Any]) -> Iterator[tuple[Change, dict[str, Any]]]:
    """Without each column that the model reads of the question."""
    recommender, asked = call.recommender, call.asked
    columns = asked_columns(recommender, asked)
    for name in sorted(recommender.schema.query):
        column = columns[name]
        if name in DERIVED or not isinstance(column, np.ndarray) or is_missing(column)[0]:
            continue
        [value] = plain_values(column)
        if name == "user_id":
            if asked.users[0] >= 0:
                yield Change("query", "unknown", name, value=value), {**told, **_stored(call), name: None}
        elif name != "timestamp" or recommender.users.past is None:
            shown = None if column.ndim == 2 and column.dtype.kind != "O" else value
            yield Change("query", "unknown", name, value=shown), dict(told)
        elif call.row.get(name) is not None:
            yield Change("query", "default", name, value=value), {**told, name: None}


def _stored(call: _Call) -> dict[str, Any]:
    """What is stored of the user and the question may say."""
    recommender, user = call.recommender, call.asked.users[:1]
    given = {name: value for name, value in call.row.items() if value is not None}
    stored: dict[str, Any] = {}
    for name, column in recommender.users.columns.items():
        own = take_rows(column, user)
        vector = own.ndim == 2 and own.dtype.kind == "f" and name not in recommender.schema.query
        if name not in given and not vector and not is_missing(own)[0]:
            [stored[name]] = plain_values(own)
    if "timestamp" in stored and recommender.events is not None:
        stored["timestamp"] = int(
            call.asked.times[0]
        )  # what was asked about may be later than what is stored
    return stored


# What they make of the items


def _changed(call: _Call, asked: Asked, slate: Slate) -> tuple[Doubles, Longs]:
    """Scores and ranks [rows, n] of a slate's items in the answers to other questions."""
    places, num = slate.positions, len(slate)
    found = call.again(asked, None, call.fetch)
    ranks = _spread(found, found["rank"], places, len(asked)).astype(np.int64)
    scores = _spread(found, found["score"], places, len(asked), np.nan)
    popular = np.zeros(len(asked), np.bool_)
    popular[found.query[found["source"] == "popular"]] = True
    gone = np.flatnonzero((ranks == 0).any(axis=1) & ~popular)
    if len(gone):
        allow = np.zeros(len(call.recommender.items), np.bool_)
        allow[places] = True
        alone = call.again(asked[gone], allow, num)
        scores[gone] = _spread(alone, alone["score"], places, len(gone), np.nan)
    scores[popular] = np.nan
    return scores, ranks


def _spread(found: Slate, values: Array, places: Array, num: int, empty: float = 0) -> Doubles:
    """Values of some catalogue places, [queries, places]; `empty` where a query did not find one."""
    out = np.full((num, len(places)), empty, np.float64)
    order = np.argsort(places)
    at = order[np.minimum(np.searchsorted(places, found.positions, sorter=order), len(places) - 1)]
    same = places[at] == found.positions
    out[found.query[same], at[same]] = values[same]
    return out


_Own = tuple[list[Change], Doubles, Longs]


def _item_changes(call: _Call, asked: Asked, whole: Slate, slate: Slate) -> tuple[_Own, tuple[str, ...]]:
    """Each item with each of its own columns unknown, all else as it is; asked: the question in full."""
    recommender, num = call.recommender, len(slate)
    items = recommender.items
    names = [n for n in sorted(recommender.schema.candidate) if n == "item_id" or n in items.columns]
    read = {name for made in recommender.aggregates.values() for name in columns_read(made.specs)}
    partly = [name for name in names if name in read]
    changes = [Change("item", "unknown", name, partly=name in read) for name in names]
    places = np.tile(slate.positions.astype(np.int64), len(names))
    hidden = {n: np.repeat(np.arange(len(names)) == k, num) for k, n in enumerate(names)}
    log_p, predictions = _alone(recommender, asked, places, hidden)
    if log_p is None:
        scores = call.utility.prediction(predictions)
    else:
        scores = call.utility(log_p, predictions)
    others = np.tile(whole["score"], (len(places), 1)), np.tile(whole.positions, (len(places), 1))
    self = others[1] == places[:, None]
    better = (others[0] > scores[:, None]) | ((others[0] == scores[:, None]) & (others[1] < places[:, None]))
    ranks = 1 + (better & ~self).sum(axis=1)
    if log_p is not None and len(whole) == call.fetch:  # there may be others behind the last candidate
        weakest = np.where(self, np.inf, whole["retrieval_score"][None]).min(axis=1)
        ranks[log_p < weakest] = 0
    said = f"statistics of past ratings still read the items' {', '.join(partly)}"
    shape = len(names), num
    return (changes, scores.reshape(shape), ranks.reshape(shape)), (said,) if partly else ()


def _alone(
    recommender: Recommender, asked: Asked, places: Longs, hidden: Mapping[str, Bools]
) -> tuple[Floats | None, dict[str, Floats]]:
    """log_p [n] and predictions [n] of items some of whose columns are unknown, for one question."""
    items, schema, raters = recommender.items, recommender.schema, recommender.raters
    at, one = Standing.of(asked.users, asked.times), np.zeros(len(places), np.int64)

    def columns(standing: Standing | None) -> Columns:
        made: Any = candidate_columns(items, schema, {}, places, raters, standing)
        changed: Columns = made | {name: blanked(made[name], gone) for name, gone in hidden.items()}
        return changed

    query = asked_columns(recommender, asked)
    retriever, ranker, searcher = recommender.retriever, recommender.ranker, recommender.searcher
    log_p = representations = None
    if retriever is not None and searcher is not None:
        encoded = retriever.encode_query(query)
        vectors = vectors_of(encoded)
        candidates = retriever.encode_candidate(columns(None))
        representations = candidates[0] if ranker is retriever else None
        bonus = recommender.bonus(at, asked.told)
        log_p = vectors_of(candidates) @ vectors[0] - searcher.log_z(vectors, bonus)[0]
        if bonus is not None:
            log_p = log_p + np.where(np.isin(places, bonus[0].indices), np.float32(bonus[1]), np.float32(0))
    if ranker is None:
        return log_p, {}
    standing = None
    if any(LISTS[name][0] == "row" for name in schema.candidate if name in LISTS):
        standing, representations = Standing.of(places, at.times[one]), None
    if representations is None:
        representations = ranker.encode_candidate(columns(standing))[0]
    numbers = recommender.aggregator(at, asked.told, asked.columns)(one, places)
    own = ranker.encode_query(query)[0][one]
    predictions: dict[str, Floats] = ranker.predict(own, representations, numbers)
    return log_p, predictions
