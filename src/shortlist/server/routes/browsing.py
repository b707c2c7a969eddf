"""Items and users to be searched and paged, one of either, and items like an item."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from shortlist._typing import Bools
from shortlist.errors import RequestError
from shortlist.features.requests import take_rows
from shortlist.pipeline.slate import plain_values
from shortlist.server.acts import acts_of
from shortlist.server.answers.catalogue import Act, Item, Items, Near, Person, Similar, User, Users
from shortlist.server.answers.columns import row_of
from shortlist.server.browsing import Browser
from shortlist.server.bundles import Loaded
from shortlist.server.endpoint import Call, Reply
from shortlist.server.parameters import Choice, Given, Text, Texts, Whole
from shortlist.server.problems import Trouble, of_error
from shortlist.server.routes.naming import SIDE, require_columns, side_of
from shortlist.server.wire import LONGEST_ID, LONGEST_WHERE, MOST_HISTORY, MOST_K, MOST_PAGE

_Q, _WHERE, _IDS = Text("q", LONGEST_ID), Text("where", LONGEST_WHERE), Texts("ids", MOST_PAGE)
_ORDER = Choice("order", "catalogue", "popular")
_AFTER, _LIMIT = Whole("after", 0, 0, 2**53), Whole("limit", 20, 1, MOST_PAGE)
_K, _ITEM_COLUMNS = Whole("k", 10, 1, MOST_K), Texts("item_columns")
_ACTS = Whole("limit", 500, 1, MOST_HISTORY)
USERS = (_Q, _AFTER, _LIMIT, SIDE)
ITEMS = (*USERS, _WHERE, _ORDER, _IDS)
USER = (SIDE, _ITEM_COLUMNS, _ACTS)
SIMILAR = (_K, _ITEM_COLUMNS, SIDE)
_MANY = 20_000  # rows, of which the text to be searched is made beside other work
_NONE = np.zeros(0, np.int64)
AnyPage = TypeVar("AnyPage", Items, Users)


async def items(call: Call) -> Reply[Items]:
    """Items whose id or name holds a text, and of which a condition is true; or those of some ids."""
    given = call.query()
    loaded = side_of(call, given).now
    if _IDS.name in given:
        return Reply.of(_by_ids(loaded, given))
    by_popularity, where, allow = _ORDER.of(given) == "popular", _WHERE.of(given), None
    if where:
        try:
            allow = loaded.recommender.filters.where(where)
        except RequestError as error:
            raise of_error(error) from None
    text = _Q.of(given)
    first = int(loaded.recommender.items.positions([text])[0]) if text else -1
    return Reply.of(await _page(Items, loaded.items, given, text, first, allow, by_popularity=by_popularity))


def _by_ids(loaded: Loaded, given: Given) -> Items:
    """Items of some ids, in their order."""
    ids = _IDS.of(given)
    for other in ITEMS:
        if other.name in given and other not in (_IDS, SIDE):
            raise other.wrong(f"with 'ids' there is no {other.name!r} beside them")
    places = loaded.recommender.items.positions(ids)
    rows = loaded.items.rows(places[places >= 0])
    unknown = [one for one, place in zip(ids, places.tolist(), strict=True) if place < 0]
    return Items(rows=rows, next=None, total=loaded.items.num_shown(), matched=len(rows), unknown=unknown)


async def users(call: Call) -> Reply[Users]:
    """Users whose id or name holds a text."""
    given = call.query()
    loaded = side_of(call, given).now
    text = _Q.of(given)
    first = int(loaded.recommender.users.indices([text])[0]) if text else -1
    return Reply.of(await _page(Users, loaded.users, given, text, first))


async def item(call: Call) -> Reply[Item]:
    """All that is stored of an item, how popular it is, and whether it was removed."""
    loaded = side_of(call, call.query()).now
    place = _position(loaded, call.identity("/v1/items/"))
    return Reply.of(loaded.items.rows(np.array([place]))[0])


async def user(call: Call) -> Reply[Person]:
    """What is known of a user: stored columns, and acts, the latest first where times are kept."""
    given = call.query()
    loaded = side_of(call, given).now
    name = call.identity("/v1/users/")
    limit, names = _ACTS.of(given), _ITEM_COLUMNS.of(given)
    require_columns(loaded, names)
    call.service.refresh()
    index = int(loaded.recommender.users.indices([name])[0])
    known = index >= 0
    row = loaded.users.rows(np.array([index]))[0] if known else User(user_id=name)
    acts = acts_of(loaded, name)
    shown = acts[:limit]
    called = [loaded.items.name] if loaded.items.name else []
    _add_columns(loaded, shown, [*called, *names])
    history = [row_of(Act, act) for act in shown]
    return Reply.of(Person(known=known, user=row, total=len(acts), history=history))


async def similar(call: Call) -> Reply[Similar]:
    """The items nearest to an item."""
    given = call.query()
    loaded = side_of(call, given).now
    name = call.identity("/v1/items/", "/similar")
    _position(loaded, name)
    names = _ITEM_COLUMNS.of(given)
    require_columns(loaded, names)
    rows = loaded.recommender.similar_items(name, _K.of(given)).to_dicts()
    _add_columns(loaded, rows, names)
    near = [row_of(Near, row) for row in rows]
    return Reply.of(Similar(item_id=name, bundle=loaded.version, items=near))


def _add_columns(loaded: Loaded, rows: list[dict[str, Any]], names: Sequence[str]) -> None:
    """Stored columns of items, beside what rows say themselves."""
    places = loaded.recommender.items.positions([row["item_id"] for row in rows]) if rows else _NONE
    for name in dict.fromkeys(names):
        values = plain_values(take_rows(loaded.items.column(name), places))
        for row, value in zip(rows, values, strict=True):
            row.setdefault(name, value)


def _position(loaded: Loaded, name: str) -> int:
    """Where an item is in the catalogue. Trouble where it is not."""
    try:
        return loaded.recommender.items.position(name)
    except RequestError as error:
        raise Trouble(404, str(error), hint=error.hint) from None


async def _page(
    page: type[AnyPage],
    browser: Browser[Any],
    given: Given,
    text: str,
    first: int,
    allow: Bools | None = None,
    *,
    by_popularity: bool = False,
) -> AnyPage:
    after, limit = _AFTER.of(given), _LIMIT.of(given)
    if text and not browser.ready and len(browser) > _MANY:
        await asyncio.to_thread(browser.prepare)  # once; others are answered meanwhile
    found = browser.search(text, after, limit, allow, by_popularity=by_popularity, first=first)
    return page(
        rows=browser.rows(found.rows),
        next=found.next,
        total=browser.num_shown(),
        matched=None if text else browser.num_shown(allow),
        unknown=[],
    )
