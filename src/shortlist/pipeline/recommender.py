"""The one object: it retrieves, filters, ranks and orders, from raw questions to ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist._typing import Array, Bools, Columns, Doubles, Floats, Longs, Scorer
from shortlist.data.coded import Column
from shortlist.data.coded import Table as CodedTable
from shortlist.errors import BundleError, RequestError
from shortlist.features.history import DERIVED, LISTS, Events
from shortlist.features.log import Standing
from shortlist.features.requests import Request, fill_missing, take_rows
from shortlist.features.schema import Schema
from shortlist.index.exact import block_rows, top_k
from shortlist.pipeline.arrivals import Table as Arrivals
from shortlist.pipeline.arrivals import add_items
from shortlist.pipeline.histories import Told
from shortlist.pipeline.questions import (
    Ids,
    allowed_items,
    candidate_columns,
    query_columns,
    read_queries,
    request_times,
    require_k,
)
from shortlist.pipeline.slate import Slate, Table
from shortlist.pipeline.stages import (
    Aggregator,
    Candidates,
    Utility,
    choose,
    log_partition,
    most_popular,
    no_aggregates,
    order,
    rank,
    retrieve,
)
from shortlist.specs.features import AsOf
from shortlist.state.catalogue import Items
from shortlist.state.users import Users

if TYPE_CHECKING:
    from shortlist.features.aggregates import Aggregates

_PAIRS = 1 << 16  # candidates held at once
_LISTED = 1 << 13  # pairs whose lists of raters are held at once
_RESERVED = ("user_id", "item_id", "score", "rank", "retrieval_score", "source", "log_p")


@dataclass(frozen=True, eq=False)
class Recommender:
    """A trained model, or two, with all they need to answer: the items, the users, the order.

    Make one with `Recommender.of`. Fields:
        retriever, item_vectors: what gives query vectors, and the items' vectors [N, d]; None: no retrieval.
        ranker, item_representations: what predicts pairs, and the items' representations [N, r]; None: no
            ranking. It is the retriever itself where both were trained jointly.
        seen_bonus: what retrieval adds to the score of items the user had before (0: nothing learned);
            seen_as_of: what it learned that from.
        aggregates: the fitted aggregates of each of the ranker's heads that has any.
        utility: the order of a shortlist. num_retrieved: how many candidates are ranked.
        provenance: plain values about recipe, data, split, metrics and licence; they travel in the bundle.
        writer: writes a recommender to a path; how is up to whoever made it.
    """

    items: Items
    users: Users
    schema: Schema
    retriever: Scorer | None = None
    item_vectors: Floats | None = field(default=None, repr=False)
    ranker: Scorer | None = None
    item_representations: Floats | None = field(default=None, repr=False)
    seen_bonus: float = 0.0
    seen_as_of: AsOf = "row"
    aggregates: dict[str, Aggregates] = field(default_factory=dict, repr=False)
    utility: Utility = field(default_factory=Utility)
    num_retrieved: int = 100
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)
    writer: Callable[[Recommender, Path], None] | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        items: Items,
        users: Users,
        schema: Schema,
        *,
        retriever: Scorer | None = None,
        ranker: Scorer | None = None,
        **options: Any,
    ) -> Recommender:
        """A recommender whose scorers have seen every item once. `options` are the remaining fields."""
        made = cls(items, users, schema)
        columns = candidate_columns(items, schema, {}, np.arange(len(items)), made.raters)
        vectors = representations = None
        if retriever is not None:
            both = retriever.encode_candidate(columns)
            vectors = both[1]
            representations = both[0] if ranker is retriever else None
        if ranker is not None and representations is None:
            representations = ranker.encode_candidate(columns)[0]
        return cls(items, users, schema, retriever, vectors, ranker, representations, **options)

    # Answers

    def recommend(
        self,
        queries: Request,
        k: int = 10,
        *,
        filter_seen: bool = True,
        exclude: Ids | None = None,
        only: Ids | None = None,
    ) -> Slate:
        """Up to k items for each query, best first.

        Args:
            queries: ids, dicts, lists of them, or a table: user_id and context columns; where the model reads
                past events also `history`, item ids, the most recent first (with history_timestamp, earlier
                than timestamp, and history_rating if known), in place of the user's own. A column left out or
                missing is taken from what is stored of the user: a timestamp is a second after the last
                history_timestamp, else the user's own last one of training (for a user training did not know
                the last of all, `users.as_of`). What is still missing goes through the model's slot for
                missing values.
            k: how many; where fewer are left, all of those.
            filter_seen: leave out what the user took in the training rows, or has in the history told.
            exclude: item ids never to return; ids that are not in the catalogue are ignored.
            only: item ids to choose from.

        A user training did not know gets the most popular items that the filters leave, in that order, marked
        source="popular". Without a retriever the candidates are the `num_retrieved` most popular items (all
        of `only`, if given), the score is the predicted rating alone.

        Raises RequestError for k < 1, malformed queries, and ids in `only` that are not in the catalogue.
        """
        require_k(k)
        columns, users = self._read(queries)
        told = self.told(columns, users)
        allowed = allowed_items(self.items, exclude, only)
        fetch = min(len(self.items), max(k, self._num_ranked(only)))
        block = max(1, min(block_rows(len(self.items)), _PAIRS // max(1, fetch)))
        parts = []
        for start in range(0, len(users), block):
            rows = slice(start, start + block)
            mask = np.broadcast_to(allowed, (len(users[rows]), len(allowed)))
            own = None if told is None else told[rows]
            if filter_seen:
                mask = mask & ~self._taken(users[rows], own)
            asked = {n: c[rows] for n, c in columns.items()}
            parts.append(self._shortlist(asked, users[rows], own, mask, fetch, k))
        return self._slate(columns["user_id"], parts)

    def score(self, rows: Request) -> Table:
        """What the model says of (user, item, context) rows: user_id, item_id, one column a head, log_p.

        Columns as in `recommend`, and item_id; item columns may be given too and replace what is stored. An
        unknown item is scored through the unknown slot of its id and the item columns given; an unknown user
        likewise. log_p is the log probability of the item among the catalogue (of an item outside it: what
        its vector would have there).

        Raises RequestError for malformed rows.
        """
        columns, users = self._read(rows, item=True)
        told = self.told(columns, users)
        query = self._query(columns, users, told)
        positions = self.items.positions(columns["item_id"])
        at = Standing.of(users, request_times(self.users, columns, users))
        mirrored = Standing.of(positions, at.times)
        candidate = candidate_columns(self.items, self.schema, columns, positions, self.raters, mirrored)
        result: Columns = {"user_id": columns["user_id"], "item_id": columns["item_id"]}
        encoded = (
            {} if self.retriever is None else {id(self.retriever): _both(self.retriever, query, candidate)}
        )
        if self.ranker is not None:
            if id(self.ranker) not in encoded:
                encoded[id(self.ranker)] = _both(self.ranker, query, candidate)
            q, c = encoded[id(self.ranker)]
            numbers = self.aggregator(at, told, columns)
            given = numbers(np.arange(len(users)), positions)
            outputs = self.ranker.predict(q[0], c[0], given)
            result |= {_free(head): values for head, values in outputs.items()}
        if self.retriever is not None:
            q, c = encoded[id(self.retriever)]
            result["log_p"] = self._log_p(_vectors(q), _vectors(c), at, positions, told)
        return Table(result)

    def similar_items(self, item_id: str | int, k: int = 10) -> Table:
        """The k items whose vectors have the highest cosine with an item's: item_id, score, rank.

        Vectors are retrieval's, or the ranker's representations where there is no retrieval. Raises
        RequestError for an unknown item and k < 1.
        """
        require_k(k)
        position = self.items.position(item_id)
        vectors = self.item_vectors if self.item_vectors is not None else self.item_representations
        if vectors is None:
            raise RequestError("this recommender has no item vectors to compare")
        lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
        cosines = (vectors @ vectors[position]) / (lengths * lengths[position])
        others = np.arange(len(vectors)) != position
        places, scores = top_k(cosines[None], min(k, len(vectors)), others)
        kept = places[0] >= 0
        ranks = np.arange(1, kept.sum() + 1, dtype=np.int32)
        return Table({"item_id": self.items.ids[places[0][kept]], "score": scores[0][kept], "rank": ranks})

    def query_vectors(self, queries: Request) -> Floats:
        """Vectors [b, d] of queries (as in `recommend`): their products with item_vectors order the items."""
        if self.retriever is None:
            raise RequestError("this recommender has no retriever")
        asked = self._read(queries)
        return _vectors(self.retriever.encode_query(self._query(*asked, self.told(*asked))))

    def add_items(self, table: Arrivals, *, item: str = "", replace: bool = False) -> Recommender:
        """This recommender with more items, encoded from their columns and recommended at once; no training.

        Args:
            table: ids (in `item`; "item_id" or as in training) and columns: a path, a polars, pandas or Arrow
                table, a dict (one item), a list of dicts or a dict of lists. What the model reads of items
                must be there, though values may be missing; other stored columns may be left out.
            replace: items may be known already: what is given takes the place of what was known of them.

        docs/guides/cold-start.md says what a new item is to the model. A warm start from the saved bundle
        keeps the items, but counts popularity anew (scores of the popular move) and forgets `items_added`.

        Raises RequestError for an id that is known or there twice, for columns that are unknown or left out,
        and for wrong values.
        """
        return add_items(self, table, item=item, replace_known=replace)

    def save(self, path: str | Path) -> None:
        """Write a bundle that `shortlist.load` reads. BundleError where it cannot be written."""
        if self.writer is None:
            raise BundleError(
                "this recommender does not know how to save itself", hint="it was made without a writer"
            )
        self.writer(self, Path(path))

    def _read(self, request: Request, *, item: bool = False) -> tuple[Columns, Longs]:
        columns = read_queries(request, self.schema, self.users, self.items if item else None)
        return columns, self.users.indices(columns["user_id"])

    # What is known of the past

    @cached_property
    def events(self) -> Events | None:
        """What users did, where the model reads it."""
        past = self.users.past
        return None if past is None else Events(past.log, self.items.ids, past.mean, past.timed)

    @property
    def sees_future(self) -> bool:
        """Whether an input of its models sees events later than its row (as_of="leave-one-out")."""
        names = {*self.schema.query, *self.schema.candidate} & LISTS.keys()
        return (
            any(LISTS[name][0] == "leave-one-out" for name in names)
            or any(aggregates.foresees for aggregates in self.aggregates.values())
            or (self.seen_bonus != 0 and self.seen_as_of == "leave-one-out")
        )

    @cached_property
    def raters(self) -> Events | None:
        """The same of items, where the model reads it."""
        if self.events is None or not any(name in DERIVED for name in self.schema.candidate):
            return None
        return self.events.by_item(np.array([*self.users.vocabulary.values, None], object)[:-1])

    def represented(self, positions: Longs, at: Standing | None) -> Floats:
        """The ranker's representations of items, one a row, as of where the rows stand."""
        assert self.ranker is not None and self.item_representations is not None
        if self.raters is None or self.events is None or at is None:
            return np.asarray(self.item_representations[positions])
        mirrored = Standing.of(positions, at.times, self.events.places_by_item(at.places))
        columns = candidate_columns(self.items, self.schema, {}, positions, self.raters, mirrored)
        return self.ranker.encode_candidate(columns)[0]

    def representer(self, at: Standing) -> Callable[[Longs, Longs], Floats] | None:
        """Rows that stand there and positions -> items' representations as of the rows, where it matters."""
        lists = [LISTS[name][0] for name in self.schema.candidate if name in LISTS]
        if self.raters is None or "row" not in lists:
            return None

        def representations(rows: Longs, positions: Longs) -> Floats:
            starts = range(0, len(rows), _LISTED)
            blocks = [slice(start, start + _LISTED) for start in starts]
            return np.concatenate([self.represented(positions[b], at.rows(rows[b])) for b in blocks])

        return representations

    def told(self, columns: Columns, users: Longs) -> Told | None:
        """The histories that requests tell."""
        if self.events is None:
            return None
        return Told.of(columns, self.items, request_times(self.users, columns, users))

    def _query(self, columns: Columns, users: Longs, told: Told | None) -> dict[str, Column]:
        return query_columns(self.schema, self.users, columns, users, self.events, told=told)

    def _taken(self, users: Longs, told: Told | None) -> Bools:
        taken = self.users.seen.mask(users, len(self.items))
        return taken if told is None else np.where(told.rows[:, None], told.seen(len(self.items)), taken)

    def had_before(self, at: Standing, told: Told | None = None) -> Bools | None:
        """Items to whose scores the learned bonus is added, bool [n, N]: what each request's user had, as
        `seen_as_of` says. None where there is no bonus."""
        if not self.seen_bonus or self.events is None:
            return None
        had = self.events.log.mask(at, self.seen_as_of, len(self.items))
        if told is None:
            return had
        own = told.log.mask(told.standing(at.times), self.seen_as_of, len(self.items))
        return np.where(told.rows[:, None], own, had)

    @cached_property
    def _over(self) -> dict[str, Any]:
        past, people, things = self.users.past, self.users.columns, self.items.columns
        if past is None:
            return {}
        return {name: a.over(past.log, people, things) for name, a in self.aggregates.items()}

    def aggregator(self, at: Standing, told: Told | None = None, given: Columns | None = None) -> Aggregator:
        """The aggregates of pairs of rows that stand there and items; given: columns of rows that tell a
        history."""
        if not self.aggregates:
            return no_aggregates
        mine: dict[str, Any] = {}
        if told is not None:
            people = {n: self._column_of(n, given or {}, at.users) for n in self.users.columns}
            log = told.log if self.events is None else self.events.at_par(told.log)
            mine = {n: a.with_users(log, people) for n, a in self._over.items()}

        def numbers(rows: Longs, positions: Longs) -> dict[str, Floats]:
            out = {name: a.values(at.rows(rows), positions) for name, a in self._over.items()}
            if told is not None and (own := told.rows[rows]).any():
                of_row = Standing.of(rows[own], at.times[rows[own]])
                for name, a in mine.items():
                    out[name][own] = a.values(of_row, positions[own])
            return out

        return numbers

    def _column_of(self, name: str, given: Columns, users: Longs) -> Array:
        stored = take_rows(self.users.columns[name], users)
        return fill_missing(given[name], stored) if name in given else stored

    # One block of queries

    def _shortlist(
        self,
        columns: Columns,
        users: Longs,
        told: Told | None,
        allowed: Bools,
        fetch: int,
        k: int,
    ) -> Candidates:
        query = self._query(columns, users, told)
        known = self._answerable(users, told)
        at = Standing.of(users, request_times(self.users, columns, users))
        representation = found = None
        if self.retriever is not None and self.item_vectors is not None:
            representation, _ = both = self.retriever.encode_query(query)
            had = self.had_before(at, told)
            found = retrieve(_vectors(both), self.item_vectors, fetch, allowed, had, self.seen_bonus)
        if found is None or not known.all():
            popular = most_popular(self.items.log_popularity, len(users), fetch, allowed)
            found = popular if found is None else choose(known, found, popular)
        if self.ranker is not None and self.item_representations is not None:
            if representation is None or self.ranker is not self.retriever:
                representation = self.ranker.encode_query(query)[0]
            numbers, as_of = self.aggregator(at, told, columns), self.representer(at)
            found = rank(self.ranker, representation, self.item_representations, found, numbers, as_of)
        scores = self._utility(found)
        return order(found, np.where(known[:, None], scores, found.log_p.astype(np.float64)), k)

    def _answerable(self, users: Longs, told: Told | None) -> Bools:
        """Queries the model can answer: of known users, those that tell a history, or all where it reads no
        user_id."""
        if "user_id" not in self.schema.query:
            return np.ones(len(users), np.bool_)
        return users >= 0 if told is None else (users >= 0) | told.rows

    def _utility(self, found: Candidates) -> Doubles:
        if self.retriever is None and self.ranker is not None:
            return self.utility.prediction(found.predictions)
        return self.utility(found.log_p, found.predictions)

    def _num_ranked(self, only: Ids | None) -> int:
        if self.retriever is None and only is not None:
            return len(self.items)
        return self.num_retrieved if self.ranker is not None else 1

    def _slate(self, user_ids: Array, parts: list[Candidates]) -> Slate:
        width = max(part.positions.shape[1] for part in parts)
        positions = np.concatenate([part.positions for part in parts])
        rows, places = np.nonzero(positions >= 0)
        at = positions[rows, places]
        popular = np.concatenate([part.popular for part in parts])[rows]
        columns: Columns = {
            "user_id": user_ids[rows],
            "item_id": self.items.ids[at],
            "score": np.concatenate([p.scores for p in parts if p.scores is not None])[rows, places],
            "rank": np.arange(1, width + 1, dtype=np.int32)[places],
            "retrieval_score": np.concatenate([part.log_p for part in parts])[rows, places],
        }
        for head in parts[0].predictions:
            columns[_free(head)] = np.concatenate([part.predictions[head] for part in parts])[rows, places]
        columns["source"] = np.where(popular, "popular", "retrieval").astype(object)
        return Slate(columns, rows, at, self.items)

    def _log_p(
        self, queries: Floats, candidates: Floats, at: Standing, positions: Longs, told: Told | None
    ) -> Floats:
        assert self.item_vectors is not None
        block, out = block_rows(len(self.items)), np.empty(len(queries), np.float32)
        for start in range(0, len(queries), block):
            rows = slice(start, start + block)
            own = np.einsum("bd,bd->b", queries[rows], candidates[rows])
            scores = queries[rows] @ self.item_vectors.T
            had = self.had_before(at.rows(rows), None if told is None else told[rows])
            if had is not None:
                bonus = np.float32(self.seen_bonus)
                again = had[np.arange(len(own)), positions[rows]] & (positions[rows] >= 0)
                scores += np.where(had, bonus, np.float32(0))
                own += np.where(again, bonus, np.float32(0))
            out[rows] = own - log_partition(scores)
        return out


def _both(scorer: Scorer, query: CodedTable, candidate: CodedTable) -> tuple[Any, Any]:
    return scorer.encode_query(query), scorer.encode_candidate(candidate)


def _vectors(encoded: tuple[Floats, Floats | None]) -> Floats:
    if encoded[1] is None:
        raise RequestError("the retriever gives no vectors: its model has no retrieval task")
    return encoded[1]


def _free(head: str) -> str:
    """The column of a head's predictions."""
    return f"predicted_{head}" if head in _RESERVED else head
