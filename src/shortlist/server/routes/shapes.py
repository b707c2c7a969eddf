"""What is asked and answered where the server reads or writes plain mappings, for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from shortlist.server.events.event import LONGEST_ID as LONGEST_KIND
from shortlist.server.events.event import MOST_CONTEXT
from shortlist.server.wire import LONGEST_ID, MOST_EVENTS, Id, Time

_Scalar = str | int | float | bool | None


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
            dict[Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)], _Scalar],
            Meta(max_length=MOST_CONTEXT),
        ]
        | None
    ) = None


class EventsGiven(Struct, forbid_unknown_fields=True, kw_only=True):
    """A batch of events."""

    events: Annotated[list[EventGiven], Meta(min_length=1, max_length=MOST_EVENTS)]


class Listed(Struct, kw_only=True):
    """An item of a shortlist; beside these: what each head predicts, and the columns that were asked for."""

    item_id: str
    score: float | None
    rank: int
    source: Literal["retrieval", "popular"]
    retrieval_score: float | UnsetType = UNSET
    retrieval_rank: int | UnsetType = UNSET


class Reason(Struct, kw_only=True):
    """What one change makes of one item: with the change, and minus without it."""

    change: int
    score: float | None
    score_change: float | None
    rank: int | None
    rank_change: int | None
    source: Literal["popular"] | UnsetType = UNSET


class ListedWhy(Listed, kw_only=True):
    """An item of an explained shortlist."""

    why: list[Reason] | UnsetType = UNSET


class Change(Struct, kw_only=True):
    """One thing that was taken away; of an item of the history, its name stands beside it."""

    kind: Literal["history", "query", "item"]
    set_to: Literal["removed", "unknown", "default"]
    name: str | UnsetType = UNSET
    value: Any | UnsetType = UNSET
    item_id: str | UnsetType | None = UNSET
    timestamp: int | UnsetType = UNSET
    rating: float | UnsetType = UNSET
    partly: bool | UnsetType = UNSET


class Explanation(Struct, kw_only=True):
    """What was taken away, and what else is to be known."""

    not_listed: list[str]
    changes: list[Change]
    history_left_out: int
    candidates: int
    notes: list[str]


class Shortlist(Struct, kw_only=True):
    """An answer, best first."""

    user_id: str | None
    bundle: str
    variant: str
    items: list[Listed]


class Shortlists(Struct, kw_only=True):
    """An answer to each query, in their order."""

    results: list[Shortlist]


class Ranked(Shortlist, kw_only=True):
    """A caller's own candidates, best first."""

    unknown: list[str]


class Explained(Struct, kw_only=True):
    """An answer that says why."""

    user_id: str | None
    bundle: str
    variant: str
    items: list[ListedWhy]
    explained: Explanation


class Scored(Struct, kw_only=True):
    """A pair; beside these: what each head predicts."""

    user_id: str | None
    item_id: str
    log_p: float | UnsetType | None = UNSET


class Scores(Struct, kw_only=True):
    """A row each."""

    rows: list[Scored]


class Item(Struct, kw_only=True):
    """All that is stored of an item: its id, and its columns beside it."""

    item_id: str
    popularity: Any
    popularity_rank: Any
    removed: Any | UnsetType = UNSET


class Items(Struct, kw_only=True):
    """A part of the catalogue. It may be short, even empty, and still have a next one."""

    rows: list[Item]
    next: int | None
    total: int
    matched: int | None
    unknown: list[str]


class User(Struct, kw_only=True):
    """All that is stored of a user: the id, and columns beside it."""

    user_id: str


class Users(Struct, kw_only=True):
    """A part of the users. It may be short, even empty, and still have a next one."""

    rows: list[User]
    next: int | None
    total: int
    matched: int | None
    unknown: list[str]


class Near(Struct, kw_only=True):
    """An item like another one; beside these: the columns that were asked for."""

    item_id: str
    score: float
    rank: int


class Similar(Struct, kw_only=True):
    """Items like an item, best first."""

    item_id: str
    bundle: str
    items: list[Near]


class Act(Struct, kw_only=True):
    """What a user did; beside these: the item's name and the columns that were asked for."""

    item_id: str
    timestamp: int | UnsetType = UNSET
    rating: float | UnsetType | None = UNSET


class Person(Struct, kw_only=True):
    """What is known of a user."""

    known: bool
    user: User
    total: int
    history: list[Act]


class Live(Struct, kw_only=True):
    """The process answers."""

    status: str


class Versions(Struct, kw_only=True):
    """The version in use of each side."""

    status: str
    bundles: dict[str, str]


OPEN = (Listed, ListedWhy, Change, Scored, Item, User, Near, Act)
"""Beside whose fields there are columns that a bundle, or a request, names."""
