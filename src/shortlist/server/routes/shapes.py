"""What is asked and answered where the server reads or writes plain mappings, for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

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


class Item(Struct, kw_only=True):
    """All that is stored of an item: its id, and its columns beside it."""

    item_id: str


class Similar(Struct, kw_only=True):
    """Items like an item, best first: item_id, score, rank and the columns that were asked for."""

    item_id: str
    bundle: str
    items: list[dict[str, Any]]


class Person(Struct, kw_only=True):
    """What is known of a user."""

    known: bool
    user: dict[str, Any]
    history: list[dict[str, Any]]


class Bundles(Struct, kw_only=True):
    """What answers, a row for each side."""

    bundles: list[dict[str, Any]]


class Live(Struct, kw_only=True):
    """The process answers."""

    status: str


class Versions(Struct, kw_only=True):
    """The version in use of each side."""

    status: str
    bundles: dict[str, str]
