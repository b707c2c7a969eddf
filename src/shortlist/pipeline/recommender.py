"""The one object: it retrieves, filters, ranks and orders, from raw questions to ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist._typing import Bools, Columns, Floats, Index, Longs, Scorer
from shortlist.data.coded import Column
from shortlist.errors import BundleError, RequestError
from shortlist.features.history import DERIVED, LISTS, Events
from shortlist.features.kept import Kept
from shortlist.features.log import Log, Standing
from shortlist.features.requests import Request
from shortlist.features.schema import Schema
from shortlist.index.exact import ExactIndex
from shortlist.index.rows import Rows
from shortlist.pipeline.arrivals import Table as Arrivals
from shortlist.pipeline.arrivals import add_items, remove_items
from shortlist.pipeline.encoded import Encoded
from shortlist.pipeline.explaining import LATEST, Explanation, explain
from shortlist.pipeline.figures import Figures, lists_of
from shortlist.pipeline.filters import Filters
from shortlist.pipeline.histories import Pasts, Told, after
from shortlist.pipeline.questions import (
    Ids,
    Readable,
    Where,
    candidate_columns,
    read_queries,
    request_times,
    require_k,
)
from shortlist.pipeline.ranked import Ranked
from shortlist.pipeline.scoring import lengths_of, score, similar_items
from shortlist.pipeline.shortlists import Asked, asked_columns, shortlists, vectors_of
from shortlist.pipeline.slate import Slate, Table
from shortlist.pipeline.stages import Aggregator, Popular, Utility, no_aggregates
from shortlist.pipeline.standings import Standings
from shortlist.specs.features import AsOf
from shortlist.state.catalogue import Items
from shortlist.state.seen import Seen
from shortlist.state.users import Users

if TYPE_CHECKING:
    from shortlist.features.aggregates import Aggregates

_LISTED = 1 << 13  # pairs whose lists of raters are held at once
_AT_ONCE = 128  # items encoded at once: a graph holds lists of raters at their full length

Vectors = Any
"""Rows of numbers: float32 [N, d], or `index.rows.Rows` where a large catalogue has changed."""


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
        index: what searches the item vectors, and does not return the retired; None: every score is computed.
    """

    items: Items
    users: Users
    schema: Schema
    retriever: Scorer | None = None
    item_vectors: Vectors | None = field(default=None, repr=False)
    ranker: Scorer | None = None
    item_representations: Vectors | None = field(default=None, repr=False)
    seen_bonus: float = 0.0
    seen_as_of: AsOf = "row"
    aggregates: dict[str, Aggregates] = field(default_factory=dict, repr=False)
    utility: Utility = field(default_factory=Utility)
    num_retrieved: int = 100
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)
    writer: Callable[[Recommender, Path], None] | None = field(default=None, repr=False)
    index: Index | None = field(default=None, repr=False)

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
        where: Where | None = None,
        utility: Utility | None = None,
    ) -> Slate:
        """Up to k items for each query, best first.

        Args:
            queries: ids, dicts, lists of them, or a table: user_id and context columns; where the model reads
                past events also `history`, item ids, the most recent first (with history_timestamp, earlier
                than timestamp, and history_rating if known, None where an event has no rating), in place of
                the user's own. A column left out or missing is taken from what is stored of the user: a
                timestamp is a second after the last history_timestamp, else the user's own last one of
                training (for a user training did not know the last of all, `users.as_of`). What is still
                missing goes through the model's slot for missing values.
            k: how many; where fewer are left, all of those.
            filter_seen: leave out what the user took in the training rows, or has in the history told.
            exclude: item ids never to return; ids that are not in the catalogue are ignored.
            only: item ids to choose from; none of them, where the list is empty.
            where: a predicate on the items' columns, such as "year >= 1990 and 'Comedy' in genres"; see
                docs/guides/filters.md.
            utility: the order of these shortlists, in place of the recommender's own; None: that.

        exclude, only and where are for all queries, or a list of them has one (or None) for each. They act
        inside the search, so that k items come back where k are left, however few that is of the catalogue.

        A user training did not know gets the most popular items that the filters leave, in that order, marked
        source="popular". Without a retriever the candidates are the `num_retrieved` most popular items (all
        of `only`, if given), the score is the predicted rating alone.

        Raises RequestError for k < 1, malformed queries, and ids in `only` that are not in the catalogue, and
        FilterError, which is one, for a predicate that cannot be understood or names no column.
        """
        require_k(k)
        asked = self.read(queries)
        chosen = self.filters.read(len(asked), exclude, only, where)
        return shortlists(self, asked, chosen, k, filter_seen=filter_seen, utility=utility)

    def explain(
        self,
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
        """A shortlist, and what it would be with one thing of the question taken away, for each thing.

        Taken away are, one at a time: the `latest` items of the history and all of it; each column of the
        question the model reads (user_id, age, ...); each column of the item itself. Every changed call is
        carried out as `recommend` would, and leaves out what the unchanged one leaves out.
        docs/guides/explaining.md says what this tells and what not.

        Args: as of `recommend`, of one query; k is at most 50. Raises as that does.
        """
        return explain(
            self,
            query,
            k,
            filter_seen=filter_seen,
            exclude=exclude,
            only=only,
            where=where,
            utility=utility,
            latest=latest,
        )

    def score(self, rows: Request) -> Table:
        """What the model says of (user, item, context) rows: user_id, item_id, one column a head, log_p.

        Columns as in `recommend`, and item_id; item columns may be given too and replace what is stored. An
        unknown item is scored through the unknown slot of its id and the item columns given; an unknown user
        likewise. log_p is the log probability of the item among the catalogue (of an item outside it, or one
        that was removed: what its vector would have there); an approximate index estimates it.

        Raises RequestError for malformed rows.
        """
        return score(self, rows)

    def similar_items(self, item_id: str | int, k: int = 10) -> Table:
        """The k items whose vectors have the highest cosine with an item's: item_id, score, rank.

        Vectors are retrieval's, or the ranker's representations where there is no retrieval. An approximate
        index of more items than it searches exactly finds 4 k by inner product, of which the cosines choose;
        else all are compared. Raises RequestError for an unknown or removed item and k < 1.
        """
        return similar_items(self, item_id, k)

    def query_vectors(self, queries: Request) -> Floats:
        """Vectors [b, d] of queries (as in `recommend`): their products with item_vectors order the items."""
        if self.retriever is None:
            raise RequestError("this recommender has no retriever")
        asked = self.read(queries)
        return vectors_of(self.retriever.encode_query(asked_columns(self, asked)))

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

    def remove_items(self, ids: Ids) -> Recommender:
        """This recommender without some items: no answer has them any more, and log probabilities are among
        the others.

        What is known of them stays: histories that hold them mean what they meant, `score` still answers, and
        `add_items` brings them back, encoded anew, at the place they had. Items removed already stay so.

        Raises RequestError for an id that is not in the catalogue.
        """
        return remove_items(self, ids)

    def save(self, path: str | Path) -> None:
        """Write a bundle that `shortlist.load` reads. BundleError where it cannot be written."""
        if self.writer is None:
            raise BundleError(
                "this recommender does not know how to save itself", hint="it was made without a writer"
            )
        self.writer(self, Path(path))

    def read(self, request: Request, *, item: bool = False, pasts: Pasts = ()) -> Asked:
        """The questions of a request; item: of rows that name an item each; pasts: of rows that tell no
        history, what they would tell. Raises RequestError."""
        columns = read_queries(request, self._rows_readable if item else self._readable)
        if any(past is not None for past in pasts):
            columns = after(columns, pasts)
        users = self.users.indices(columns["user_id"])
        if self.events is None:
            return Asked(columns, users, np.zeros(len(users), np.int64))
        times = request_times(self.users, columns, users)
        return Asked(columns, users, times, Told.of(columns, self.items, times, pasts))

    @cached_property
    def _readable(self) -> Readable:
        return Readable.of(self.schema, self.users)

    @cached_property
    def _rows_readable(self) -> Readable:
        return Readable.of(self.schema, self.users, self.items)

    # What answers are made with

    @cached_property
    def searcher(self) -> Index | None:
        """The index that is searched: the one given, else an exact one over the item vectors."""
        if self.index is not None or self.item_vectors is None:
            return self.index
        vectors, retired = self.item_vectors, self.items.retired
        exact = ExactIndex(vectors if isinstance(vectors, Rows) else Rows.of(vectors))
        return exact if retired is None else exact.without(np.flatnonzero(retired))

    @cached_property
    def filters(self) -> Filters:
        """What reads exclude, only and where."""
        return Filters(self.items)

    @cached_property
    def popular(self) -> Popular:
        """What users get whom the model cannot answer."""
        return Popular.of(self.items)

    @cached_property
    def lengths(self) -> Floats:
        """Of the vectors that `similar_items` compares, none of them 0: float32 [N]."""
        vectors = self.item_vectors if self.item_vectors is not None else self.item_representations
        if vectors is None:
            raise RequestError("this recommender has no item vectors to compare")
        parts = [
            lengths_of(np.asarray(vectors[start : start + _LISTED]))
            for start in range(0, len(vectors), _LISTED)
        ]
        return np.concatenate(parts)

    def forgetful(self) -> Recommender:
        """The same recommender, which has kept nothing of earlier questions and keeps no answers: last bits
        then depend on who is asked about together, and on nothing that was asked before."""
        made = copy(self)
        made.__dict__.pop("figures", None)
        made.__dict__.update(encoded=Encoded(Kept(0)), ranked=Ranked(Kept(0)))
        return made

    @cached_property
    def encoded(self) -> Encoded:
        """What its scorers make of questions."""
        return Encoded()

    @cached_property
    def ranked(self) -> Ranked:
        """Its candidates of questions."""
        return Ranked()

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
            count = lists_of(rows)
            if count and self.standings is not None:
                return self.standings(positions.reshape(-1, count), at.times[rows[::count]])
            starts = range(0, len(rows), _LISTED)
            blocks = [slice(start, start + _LISTED) for start in starts]
            return np.concatenate([self.represented(positions[b], at.rows(rows[b])) for b in blocks])

        return representations

    @cached_property
    def standings(self) -> Standings | None:
        """The representations of all items as of any second, where there is a quick way to them."""
        raters, schema, ranker = self.raters, self.schema, self.ranker
        if raters is None or ranker is None:
            return None
        lengths = {name: schema.sizes.get(name, 1) for name in schema.candidate if name in DERIVED}

        def encoded(positions: Longs, lists: Mapping[str, Column]) -> Floats:
            columns: dict[str, Column] = {**candidate_columns(self.items, schema, {}, positions), **lists}
            parts = [slice(start, start + _AT_ONCE) for start in range(0, len(positions), _AT_ONCE)]
            each = ({name: column[part] for name, column in columns.items()} for part in parts)
            return np.concatenate([ranker.encode_candidate(part)[0] for part in each])

        return Standings.of(raters, encoded, lengths)

    def taken(self, users: Longs, told: Told | None) -> Seen:
        """What each query's user has taken: in the training rows, or in the history told."""
        taken = self.users.seen.rows(users)
        return taken if told is None else taken.replaced(told.rows, told.seen())

    def bonus(self, at: Standing, told: Told | None = None) -> tuple[Seen, float] | None:
        """Items to whose scores the learned bonus is added, those each request's user had, as `seen_as_of`
        says, and how much it is. None where there is no bonus."""
        if not self.seen_bonus or self.events is None:
            return None
        if told is None:
            return _visible(self.events.log, at, self.seen_as_of), self.seen_bonus
        had = _visible(told.log, told.standing(at.times), self.seen_as_of)
        if not told.rows.all():
            had = _visible(self.events.log, at, self.seen_as_of).replaced(told.rows, had)
        return had, self.seen_bonus

    @cached_property
    def figures(self) -> Figures:
        """What makes the aggregates of pairs."""
        return Figures.of(self.aggregates, self.users, self.items.columns, self.events)

    def aggregator(
        self,
        at: Standing,
        told: Told | None = None,
        given: Columns | None = None,
        unknown: dict[str, Bools] | None = None,
    ) -> Aggregator:
        """The aggregates of pairs of rows that stand there and items; given: columns of rows that tell a
        history; unknown: where these rows are to lack a column."""
        if not self.aggregates:
            return no_aggregates
        return self.figures.aggregator(at, told, given or {}, unknown or {})


def _visible(log: Log, at: Standing, as_of: AsOf) -> Seen:
    """The items of the events each row sees; the rows are no events themselves."""
    start, stop = log.ranges(at, as_of)
    counts = stop - start
    row = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(row)) + np.repeat(start - np.cumsum(counts) + counts, counts)
    return Seen.from_pairs(row, log.items[place], len(counts))
