"""Items and users to be searched and paged, one of either, and items like an item."""

from __future__ import annotations

from typing import Any

import numpy as np

from shortlist.errors import RequestError
from shortlist.features.requests import take_rows
from shortlist.pipeline.slate import plain_values
from shortlist.server.browsing import Browser
from shortlist.server.bundles import Loaded
from shortlist.server.endpoint import Call, Reply
from shortlist.server.problems import Trouble, of_error
from shortlist.server.wire import ENCODE, LONGEST_ID, LONGEST_WHERE, MOST_K, Page

MOST_ROWS = 200


async def items(call: Call) -> Reply:
    """Items whose id or name holds a text, and of which a condition is true."""
    given = call.query("q", "where", "after", "limit", "side")
    loaded = _side(call, given)
    where = given.get("where", [""])[0]
    if len(where) > LONGEST_WHERE:
        raise Trouble(422, f"a condition has at most {LONGEST_WHERE:,} characters", pointer="/where")
    allow = None
    if where:
        try:
            allow = loaded.recommender.filters.where(where)
        except RequestError as error:
            raise of_error(error) from None
    return _page(loaded.items, given, allow)


async def users(call: Call) -> Reply:
    """Users whose id or name holds a text."""
    given = call.query("q", "after", "limit", "side")
    return _page(_side(call, given).users, given, None)


async def item(call: Call) -> Reply:
    """All that is stored of an item."""
    loaded = _side(call, call.query("side"))
    try:
        place = loaded.recommender.items.position(call.identity("/v1/items/"))
    except RequestError as error:
        raise Trouble(404, str(error), hint=error.hint) from None
    return Reply(ENCODE(loaded.items.rows(np.array([place]))[0]))


async def user(call: Call) -> Reply:
    """What is known of a user: stored columns, and what the user did, the latest first."""
    loaded = _side(call, call.query("side"))
    name = call.identity("/v1/users/")
    call.service.refresh()
    recommender = loaded.recommender
    index = int(recommender.users.indices([name])[0])
    row = loaded.users.rows(np.array([index]))[0] if index >= 0 else {"user_id": name}
    return Reply(ENCODE({"known": index >= 0, "user": row, "history": _history(loaded, name, index)}))


async def similar(call: Call) -> Reply:
    """The items nearest to an item."""
    given = call.query("k", "item_columns", "side")
    loaded = _side(call, given)
    name = call.identity("/v1/items/", "/similar")
    recommender = loaded.recommender
    if int(recommender.items.positions([name])[0]) < 0:
        raise Trouble(404, f"item {name!r} is not in the catalogue")
    rows = recommender.similar_items(name, _number(given, "k", 10, 1, MOST_K)).to_dicts()
    places = recommender.items.positions([row["item_id"] for row in rows]) if rows else np.zeros(0, np.int64)
    for column in given.get("item_columns", []):
        values = plain_values(take_rows(loaded.items.column(column), places))
        for row, value in zip(rows, values, strict=True):
            row[column] = value
    return Reply(ENCODE({"item_id": name, "bundle": loaded.version, "items": rows}))


def _history(loaded: Loaded, name: str, index: int) -> list[dict[str, Any]]:
    """What the user did, from the log where the bundle has one, else what the user is known to have had."""
    recommender, overlay = loaded.recommender, loaded.overlay
    told = None if overlay is None else overlay.told(name)
    columns: dict[str, list[Any]]
    past = recommender.users.past
    if told is not None:
        columns = {"item_id": told.item_ids}
        columns |= {"timestamp": told.timestamps} if told.timestamps is not None else {}
        columns |= {"rating": told.ratings} if told.ratings is not None else {}
    elif past is not None and index >= 0:
        own = slice(int(past.log.indptr[index]), int(past.log.indptr[index + 1]))
        columns = {"item_id": recommender.items.ids[past.log.items[own]].tolist()[::-1]}
        if past.timed:
            columns["timestamp"] = past.log.times[own].tolist()[::-1]
        if past.log.ratings is not None:
            columns["rating"] = past.log.ratings[own].tolist()[::-1]
    else:
        seen = recommender.users.seen.of(index) if overlay is None else overlay.seen(name)
        columns = {"item_id": recommender.items.ids[seen].tolist()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _page(browser: Browser, given: dict[str, list[str]], allow: Any) -> Reply:
    after = _number(given, "after", 0, 0, 2**53)
    limit = _number(given, "limit", 20, 1, MOST_ROWS)
    text = given.get("q", [""])[0]
    if len(text) > LONGEST_ID:
        raise Trouble(422, f"expected at most {LONGEST_ID} characters", pointer="/q")
    found = browser.search(text, after, limit, allow)
    return Reply(ENCODE(Page(rows=browser.rows(found.rows), next=found.next, total=len(browser))))


def _side(call: Call, given: dict[str, list[str]]) -> Loaded:
    variants = call.service.variants
    return variants.named(given["side"][0]).now if "side" in given else variants.all[0].now


def _number(given: dict[str, list[str]], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name, [str(default)])[0]
    if not text.isascii() or not text.isdigit() or len(text) > 18 or not least <= int(text) <= most:
        raise Trouble(
            422, f"expected a whole number from {least} to {most}, got {text!r}", pointer=f"/{name}"
        )
    return int(text)
