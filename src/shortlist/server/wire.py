"""Requests as they come over the wire: strict, bounded, unknown fields refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from shortlist.pipeline import explaining
from shortlist.server.events.event import LONGEST_ID as LONGEST_KIND
from shortlist.server.events.event import MOST_CONTEXT, Scalar

LONGEST_ID, LONGEST_TEXT, LONGEST_WHERE, LONGEST_TIME = 512, 10_000, 4_000, 40
MOST_K, MOST_QUERIES, MOST_ROWS, MOST_EVENTS = 1_000, 256, 1_000, 1_000
MOST_ITEMS = 25_600  # of all shortlists of a request: nobody else is answered while they are made
MOST_HISTORY, MOST_LISTED, MOST_COLUMNS = 2_000, 10_000, 64
MOST_EXPLAINED = explaining.MOST
MOST_WEIGHT = 1_000  # of a prediction beside the log probability of retrieval
MOST_PAGE, MOST_POINTS = 200, 5_000  # rows of a page, items of a map

_Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Id = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)] | _Whole
"""Any characters; a whole number is its decimal form."""
_Text = Annotated[str, Meta(max_length=LONGEST_TEXT)]
_One = _Text | _Whole | float
Value = _Text | _Whole | float | bool | Annotated[list[_One], Meta(max_length=MOST_HISTORY)] | None
"""A column's value."""
Columns = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)], Value], Meta(max_length=MOST_COLUMNS)
]
_Name = Annotated[str, Meta(max_length=LONGEST_ID)]
Time = Annotated[int, Meta(ge=0, le=2**63 - 1)] | Annotated[str, Meta(max_length=LONGEST_TIME)]
"""Seconds since 1970, or ISO 8601 text, UTC where it names no zone. Nothing over HTTP is before 1970: such a
time is a mistake (-1 for none, a lost date), which an answer as of before all that is known would hide."""
Ids = Annotated[list[Id], Meta(max_length=MOST_LISTED)]
K = Annotated[int, Meta(ge=1, le=MOST_K)]


class Asker(Struct, forbid_unknown_fields=True, kw_only=True):
    """Who asks, when, and what is known of them.

    history: item ids, the latest first, in place of what is stored and of events since; history_timestamp and
    history_rating: one for each of them, or none (a rating of null: the event has none). context: further
    columns of the query.
    """

    user_id: Id | None = None
    timestamp: Time | None = None
    context: Columns = {}
    history: Annotated[list[Id], Meta(max_length=MOST_HISTORY)] | None = None
    history_timestamp: Annotated[list[Time], Meta(max_length=MOST_HISTORY)] | None = None
    history_rating: Annotated[list[float | None], Meta(max_length=MOST_HISTORY)] | None = None


class Weights(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The order of one answer: the log probability of retrieval and so many times what a head predicts. What
    is left out is as the bundle has it."""

    rating_weight: Annotated[float, Meta(ge=-MOST_WEIGHT, le=MOST_WEIGHT)] | None = None
    head: Annotated[str, Meta(max_length=LONGEST_ID)] | None = None


class Query(Asker, forbid_unknown_fields=True, kw_only=True):
    """A shortlist that is asked for.

    k: how many items. filter_seen: leave out what the user had. exclude: ids never to return; only: ids to
    choose from; where: a condition on the items' columns. item_columns: columns of items to answer with.
    side: of an experiment, in place of the user's own. utility: the order. explain: also say what each item
    would be with one thing of the question taken away; a list of ids: of these items alone. shown: false
    where the user is not going to see it: it is then no impression, and in no side's figures.
    """

    k: K = 10
    filter_seen: bool = True
    exclude: Ids | None = None
    only: Ids | None = None
    where: Annotated[str, Meta(max_length=LONGEST_WHERE)] | None = None
    item_columns: Annotated[list[_Name], Meta(max_length=MOST_COLUMNS)] = []
    side: Annotated[str, Meta(max_length=LONGEST_ID)] | None = None
    utility: Weights | None = None
    explain: bool | Annotated[list[Id], Meta(max_length=MOST_EXPLAINED)] = False
    shown: bool = True


class Recommend(Query, forbid_unknown_fields=True, kw_only=True):
    """One query, or `queries` and nothing else."""

    queries: Annotated[list[Query], Meta(min_length=1, max_length=MOST_QUERIES)] | UnsetType = UNSET


class Rank(Asker, forbid_unknown_fields=True, kw_only=True):
    """Candidates of the caller's own, to be put in order: all of them come back that are in the catalogue."""

    candidates: Annotated[list[Id], Meta(min_length=1, max_length=MOST_K)]
    item_columns: Annotated[list[_Name], Meta(max_length=MOST_COLUMNS)] = []


class Row(Asker, forbid_unknown_fields=True, kw_only=True):
    """A pair of a user and an item. item: columns of the item, in place of what is stored."""

    item_id: Id
    item: Columns = {}


OWN = tuple(name for name in Row.__struct_fields__ if name not in ("context", "item"))
"""Columns that are fields themselves, and none of `context` or `item`."""


class Score(Struct, forbid_unknown_fields=True, kw_only=True):
    """Pairs to be scored."""

    rows: Annotated[list[Row], Meta(min_length=1, max_length=MOST_ROWS)]


class EventGiven(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a user did, as it is sent. The server adds the time where it is left out."""

    event_id: Id
    user_id: Id
    item_id: Id
    timestamp: Time | None = None
    event: Annotated[str, Meta(max_length=LONGEST_KIND)] | None = None
    rating: float | None = None
    weight: Annotated[float, Meta(ge=0)] | None = None
    context: (
        Annotated[
            dict[Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)], Scalar],
            Meta(max_length=MOST_CONTEXT),
        ]
        | None
    ) = None


class EventsGiven(Struct, forbid_unknown_fields=True, kw_only=True):
    """A batch of events."""

    # Not decoded as such: `events.reading` takes each by itself, so that a bad one takes no others along.
    events: Annotated[list[EventGiven], Meta(min_length=1, max_length=MOST_EVENTS)]


RECOMMEND: msgspec.json.Decoder[Recommend] = msgspec.json.Decoder(Recommend)
RANK: msgspec.json.Decoder[Rank] = msgspec.json.Decoder(Rank)
SCORE: msgspec.json.Decoder[Score] = msgspec.json.Decoder(Score)


def seconds(given: int | str) -> int:
    """A time in seconds since 1970. ValueError for text that is no time, or one before."""
    if isinstance(given, int):
        return given
    at = datetime.fromisoformat(given)
    found = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() // 1)
    if found < 0:
        raise ValueError(f"{given!r} is before 1970")
    return found
