"""Items and users: searched, one of either, items like an item, items on a map."""

from __future__ import annotations

from typing import Generic, Literal

from msgspec import UNSET, Struct, UnsetType

from shortlist.server.answers.columns import Open, Row, Stored

Of = Literal["text", "category", "number", "tags", "flag", "time", "vector"]
"""What a column holds."""


class Item(Open, kw_only=True):
    """All that is stored of an item: its id, and its columns beside it; one that is called as a field stands
    in its place."""

    item_id: str
    popularity: Stored
    popularity_rank: Stored
    removed: Stored | UnsetType = UNSET


class User(Open, kw_only=True):
    """All that is stored of a user: the id, and columns beside it."""

    user_id: str


class Page(Struct, Generic[Row], kw_only=True):
    """Rows of a list, and where the next of them are. matched: null where a text is searched."""

    rows: list[Row]
    next: int | None
    total: int
    matched: int | None
    unknown: list[str]


class Items(Page[Item], kw_only=True):
    """A part of the catalogue. It may be short, even empty, and still have a next one."""


class Users(Page[User], kw_only=True):
    """A part of the users. It may be short, even empty, and still have a next one."""


class Near(Open, kw_only=True):
    """An item like another one; beside these: the columns that were asked for."""

    item_id: str
    score: float
    rank: int


class Similar(Struct, kw_only=True):
    """Items like an item, best first."""

    item_id: str
    bundle: str
    items: list[Near]


class Act(Open, kw_only=True):
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


class Map(Struct, kw_only=True):
    """Items on two axes: ids, names, x, y and values are beside each other."""

    ids: list[str]
    names: list[Stored] | None
    x: list[float]
    y: list[float]
    by: str | None
    kind: Of | None
    values: list[Stored] | None
    shown: int
    total: int
    variance: list[float]
    method: str
    chosen: Literal["all", "popular"]
    version: str
