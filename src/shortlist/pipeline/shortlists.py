"""From questions that were read to shortlists: queries of one filter, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist._typing import Array, Bools, Columns, Doubles, Floats, Longs
from shortlist.data.coded import Column
from shortlist.errors import RequestError
from shortlist.features.log import Standing
from shortlist.features.requests import blanked
from shortlist.pipeline.filters import Chosen, Group
from shortlist.pipeline.histories import Told
from shortlist.pipeline.questions import query_columns
from shortlist.pipeline.slate import Slate, head_column
from shortlist.pipeline.stages import Candidates, Utility, choose, order, rank, retrieve
from shortlist.state.seen import Seen

if TYPE_CHECKING:
    from shortlist.pipeline.recommender import Recommender

_PAIRS = 1 << 18  # candidates held at once

Rows = slice | Longs


@dataclass(frozen=True, eq=False)
class Asked:
    """Questions that were read: their columns, users int64 [n] (-1 unknown), times int64 [n] (zeros where no
    model reads events), and the histories they tell. unknown: bool [n] by name, rows in which a column is
    missing whatever is given or stored."""

    columns: Columns
    users: Longs
    times: Longs
    told: Told | None = None
    unknown: dict[str, Bools] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, rows: Rows) -> Asked:
        told = None if self.told is None else self.told[rows]
        columns = {name: column[rows] for name, column in self.columns.items()}
        unknown = {name: gone[rows] for name, gone in self.unknown.items()}
        return Asked(columns, self.users[rows], self.times[rows], told, unknown)


def shortlists(
    recommender: Recommender,
    asked: Asked,
    chosen: Chosen,
    k: int,
    *,
    filter_seen: bool,
    utility: Utility | None = None,
) -> Slate:
    """Up to k items for each question, best first. utility: in place of the recommender's."""
    utility = recommender.utility if utility is None else utility
    fetch = min(len(recommender.items), max(k, _num_ranked(recommender, chosen.listed)))
    size = max(1, _PAIRS // max(1, fetch))
    parts: list[Candidates] = []
    places: list[Longs] = []
    every = np.arange(len(asked))
    for group in chosen.groups:
        for rows in _blocks(len(asked), group.rows, size):
            whole = isinstance(rows, slice) and len(asked) <= size
            block = asked if whole else asked[rows]
            hidden = None if chosen.exclude is None else chosen.exclude.rows(every[rows])
            if filter_seen:
                taken = recommender.taken(block.users, block.told)
                hidden = taken if hidden is None else taken.joined(hidden)
            parts.append(_shortlist(recommender, block, group, hidden, fetch, k, utility))
            places.append(every[rows])
    found = parts[0] if len(parts) == 1 else _joined(parts)
    if len(chosen.groups) > 1:
        found = _taken(found, np.argsort(np.concatenate(places)))
    return _slate(recommender, asked.columns["user_id"], found)


def vectors_of(encoded: tuple[Floats, Floats | None]) -> Floats:
    """The vectors of what a retriever encoded. RequestError where there are none."""
    if encoded[1] is None:
        raise RequestError("the retriever gives no vectors: its model has no retrieval task")
    return encoded[1]


def _num_ranked(recommender: Recommender, listed: int | None) -> int:
    if recommender.retriever is None and listed is not None:
        return listed  # all of `only` is ranked
    return recommender.num_retrieved if recommender.ranker is not None else 1


def _blocks(num: int, rows: Longs | None, size: int) -> Iterator[Rows]:
    for start in range(0, num if rows is None else len(rows), size):
        block = slice(start, start + size)
        yield block if rows is None else rows[block]


def _shortlist(
    recommender: Recommender,
    asked: Asked,
    group: Group,
    hidden: Seen | None,
    fetch: int,
    k: int,
    utility: Utility,
) -> Candidates:
    """One block of queries of one filter; hidden: what each may not get."""

    def make(asked: Asked, hidden: Seen | None) -> Candidates:
        return _ranked(recommender, asked, group, hidden, fetch)

    if recommender.events is None or group.allow is not None:
        found = make(asked, hidden)
    else:
        found = recommender.ranked.of(asked, hidden, fetch, make)
    scores = _scored(recommender, utility, found)
    known = _answerable(recommender, asked.users, asked.told)
    if not known.all():
        scores = np.where(known[:, None], scores, found.log_p.astype(np.float64))
    return order(found, scores, k)


def _ranked(
    recommender: Recommender, asked: Asked, group: Group, hidden: Seen | None, fetch: int
) -> Candidates:
    """Candidates of one block, with what the ranker predicts of them."""
    users, columns, told = asked.users, asked.columns, asked.told
    at = Standing.of(users, asked.times)
    known = _answerable(recommender, users, told)
    representation = found = None
    if recommender.retriever is not None and recommender.searcher is not None:
        representation, _ = both = recommender.encoded.of(recommender, "retriever", asked)
        vectors = vectors_of(both)
        if known.any():
            bonus = recommender.bonus(at, told)
            found = retrieve(
                recommender.searcher, vectors, fetch, allow=group.allow, exclude=hidden, bonus=bonus
            )
    if found is None or not known.all():
        popular = recommender.popular.candidates(len(users), fetch, allow=group.allow, exclude=hidden)
        found = popular if found is None else choose(known, found, popular)
    if recommender.ranker is not None and recommender.item_representations is not None:
        if representation is None or recommender.ranker is not recommender.retriever:
            representation = recommender.encoded.of(recommender, "ranker", asked)[0]
        numbers, as_of = recommender.aggregator(at, told, columns, asked.unknown), recommender.representer(at)
        items = recommender.item_representations
        found = rank(recommender.ranker, representation, items, found, numbers, as_of)
    return found


def asked_columns(recommender: Recommender, asked: Asked) -> dict[str, Column]:
    """The query side's columns, with what is stored of the users."""
    schema, users, events = recommender.schema, recommender.users, recommender.events
    columns = query_columns(
        schema, users, asked.columns, asked.users, events, told=asked.told, times=asked.times
    )
    for name, gone in asked.unknown.items():
        if isinstance(column := columns.get(name), np.ndarray):
            columns[name] = blanked(column, gone)
    return columns


def _answerable(recommender: Recommender, users: Longs, told: Told | None) -> Bools:
    """Queries the model can answer: of known users, those that tell a history, or all where it reads no
    user_id."""
    if "user_id" not in recommender.schema.query:
        return np.ones(len(users), np.bool_)
    return users >= 0 if told is None else (users >= 0) | told.rows


def _scored(recommender: Recommender, utility: Utility, found: Candidates) -> Doubles:
    if recommender.retriever is None and recommender.ranker is not None:
        return utility.prediction(found.predictions)
    return utility(found.log_p, found.predictions)


def _joined(parts: list[Candidates]) -> Candidates:
    def whole(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    predictions = {
        head: np.concatenate([part.predictions[head] for part in parts]) for head in parts[0].predictions
    }
    return Candidates(
        whole("positions"), whole("log_p"), whole("popular"), predictions, whole("scores"), whole("places")
    )


def _taken(found: Candidates, rows: Longs) -> Candidates:
    assert found.scores is not None and found.places is not None
    predictions = {head: values[rows] for head, values in found.predictions.items()}
    return Candidates(
        found.positions[rows],
        found.log_p[rows],
        found.popular[rows],
        predictions,
        found.scores[rows],
        found.places[rows],
    )


def _slate(recommender: Recommender, user_ids: Array, found: Candidates) -> Slate:
    assert found.scores is not None and found.places is not None
    rows, places = np.nonzero(found.positions >= 0)
    at = found.positions[rows, places]
    columns: Columns = {
        "user_id": user_ids[rows],
        "item_id": recommender.items.ids[at],
        "score": found.scores[rows, places],
        "rank": (places + 1).astype(np.int32),
        "retrieval_score": found.log_p[rows, places],
    }
    for head, values in found.predictions.items():
        columns[head_column(head)] = values[rows, places]
    columns["source"] = _SOURCES[found.popular[rows].astype(np.int8)]
    return Slate(columns, rows, at, recommender.items, found.places[rows, places] + 1)


_SOURCES = np.array(["retrieval", "popular"], object)
