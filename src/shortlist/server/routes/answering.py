"""Shortlists, scores, and the order of a caller's own candidates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, convert, structs

from shortlist.server import wire
from shortlist.server.answers.shortlists import Explained, Ranked, Scores, Shortlist, Shortlists
from shortlist.server.bundles import Loaded
from shortlist.server.endpoint import Call, Reply
from shortlist.server.parameters import Given, Parameter, Text, Texts, Whole
from shortlist.server.problems import Trouble, of_json
from shortlist.server.routes.naming import SIDE, loaded_for, require_columns, require_order
from shortlist.server.wire import Query, Recommend, Row

_WEIGHT = {"type": "number", "minimum": -wire.MOST_WEIGHT, "maximum": wire.MOST_WEIGHT}
RECOMMEND_USER = (
    Whole("k", 10, 1, wire.MOST_K),
    Parameter("filter_seen", {"type": "boolean", "default": True}),
    Texts("exclude"),
    Texts("only"),
    Text("where", wire.LONGEST_WHERE),
    Text("timestamp", wire.LONGEST_TIME),
    Texts("item_columns"),
    SIDE,
    Parameter("rating_weight", _WEIGHT),
    Parameter("explain", {"type": "boolean", "default": False}),
    Parameter("shown", {"type": "boolean", "default": True}),
)
"""Fields of a `Query`, as which they are read."""
_SECONDS = re.compile("[0-9]{1,18}")
_LISTS = frozenset(one.name for one in RECOMMEND_USER if one.many)


async def recommend(call: Call) -> Reply[Shortlist | Explained | Shortlists]:
    """Shortlists of one query or many."""
    asked = call.json(wire.RECOMMEND)
    if asked.queries is UNSET:
        return await _one(call, asked)
    _require_alone(asked)
    return await _many(call, asked.queries)


async def recommend_user(call: Call) -> Reply[Shortlist | Explained]:
    """A shortlist for the user in the path."""
    query = _query_of(call.query(), call.identity("/v1/recommend/"))
    try:
        return await _one(call, query)
    except Trouble as trouble:
        raise _in_address(trouble) from None


def _query_of(asked: Given, user_id: str) -> Query:
    """The query an address asks, whose texts are read as what its fields are. Trouble."""
    given: dict[str, Any] = {
        name: values if name in _LISTS else values[0] for name, values in asked.items()
    } | {"user_id": user_id}
    if _SECONDS.fullmatch(given.get("timestamp", "")):
        given["timestamp"] = int(given["timestamp"])
    if "rating_weight" in given:
        if given["rating_weight"].lower() == "null":  # which would be read as nothing
            raise Trouble(422, "expected a number, got 'null'", pointer="/rating_weight")
        given["utility"] = {"rating_weight": given.pop("rating_weight")}
    if "explain" in given:
        given["explain"] = _truth(given["explain"], "explain")
    try:
        return convert(given, Query, strict=False)
    except ValueError as error:
        raise _in_address(of_json(error)) from None


def _in_address(trouble: Trouble) -> Trouble:
    """With the path of the parameter in place of the query's field."""
    if trouble.pointer is not None and trouble.pointer.startswith("/utility"):
        trouble.pointer = "/rating_weight"
    return trouble


async def _many(call: Call, queries: Sequence[Query]) -> Reply[Shortlists]:
    if (asked_for := sum(query.k for query in queries)) > wire.MOST_ITEMS:
        raise Trouble(
            422,
            f"a request asks for at most {wire.MOST_ITEMS:,} items, got {asked_for:,}",
            pointer="/queries",
            hint="fewer queries in a request, or a smaller k",
        )
    service = call.service
    pairs = [(loaded_for(service, query, f"/queries/{n}"), query) for n, query in enumerate(queries)]
    for n, (loaded, query) in enumerate(pairs):
        require_columns(loaded, query.item_columns, f"/queries/{n}")
        require_order(loaded, query.utility, f"/queries/{n}")
        if query.explain:
            raise Trouble(
                422,
                "one shortlist is explained at a time",
                pointer=f"/queries/{n}/explain",
                hint="a request of its own",
            )
    answers = await service.batcher.recommend(pairs, "/queries")
    service.shown(queries, answers, call.id)
    return Reply.of(Shortlists(results=answers))


def _require_alone(asked: Recommend) -> None:
    """Trouble where there is anything beside `queries`."""
    for field in structs.fields(Query):
        if getattr(asked, field.name) != field.default and getattr(asked, field.name) not in ({}, []):
            raise Trouble(
                422,
                f"with 'queries' there is no {field.name!r} beside them",
                pointer=f"/{field.name}",
                hint="give it inside of each query",
            )


async def _one(call: Call, query: Query) -> Reply[Shortlist | Explained]:
    service = call.service
    loaded = loaded_for(service, query)
    if query.item_columns:
        require_columns(loaded, query.item_columns)
    if query.utility is not None:
        require_order(loaded, query.utility)
    if query.explain:
        service.refresh()
        plain, answer = await service.explainer.explain(loaded, query)
        service.shown([query], [plain], call.id)
        return Reply.of(answer)
    answers: list[Shortlist] = await service.batcher.recommend([(loaded, query)])
    service.shown([query], answers, call.id)
    return Reply.of(answers[0])


async def rank(call: Call) -> Reply[Ranked]:
    """A caller's own candidates, best first."""
    asked = call.json(wire.RANK)
    loaded = call.service.of(asked.user_id)
    require_columns(loaded, asked.item_columns)
    ids = list(dict.fromkeys(map(str, asked.candidates)))
    places = loaded.recommender.items.positions(ids).tolist()
    known: list[Any] = [one for one, place in zip(ids, places, strict=True) if place >= 0]
    unknown = [one for one, place in zip(ids, places, strict=True) if place < 0]
    found = Shortlist(user_id=_text(asked.user_id), bundle=loaded.version, variant=loaded.side, items=[])
    if known:
        query = Query(
            **{name: getattr(asked, name) for name in wire.Asker.__struct_fields__},
            k=len(known),
            filter_seen=False,
            only=known,
            item_columns=asked.item_columns,
        )
        [found] = await call.service.batcher.recommend([(loaded, query)])
    return Reply.of(Ranked(**structs.asdict(found), unknown=unknown))


async def score(call: Call) -> Reply[Scores]:
    """What the model says of pairs of users and items."""
    asked = call.json(wire.SCORE)
    pairs: list[tuple[Loaded, Row]] = [(call.service.of(row.user_id), row) for row in asked.rows]
    unknown = {
        item_id: None
        for loaded, row in pairs
        if (item_id := str(row.item_id)) not in loaded.recommender.items.vocabulary
    }
    answers = await call.service.batcher.score(pairs, "/rows")
    return Reply.of(Scores(rows=answers, unknown=list(unknown)))


def _truth(text: str, name: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise Trouble(422, f"expected true or false, got {text!r}", pointer=f"/{name}")
    return text.lower() in ("true", "1")


def _text(user_id: str | int | None) -> str | None:
    return None if user_id is None else str(user_id)
