"""Every route is asked, well and badly: the status is one the OpenAPI document names, and the answer has the
shape it says, with nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shortlist.errors import ShortlistError
from shortlist.evaluation.collapse import Collapse
from shortlist.evaluation.intervals import Comparison, Estimate
from shortlist.evaluation.report import Entry, Report
from shortlist.evaluation.slices import SliceFigures
from shortlist.recipes.run import _judged
from shortlist.server.routes.describing import document
from shortlist.server.routes.table import operations
from shortlist.server.settings import Settings, Side

TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
    "null": type(None),
}  # fmt: skip
EVENT = {"event_id": "e-1", "user_id": "1", "item_id": "50", "rating": 4, "timestamp": 1_700_000_000}


@pytest.fixture(scope="module")
def client(client_of: Any, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that keeps events, of a bundle that was judged and that another one was before."""
    events = str(tmp_path_factory.mktemp("documented") / "events.db")
    with client_of(Settings(sides=(Side(name="a", path=bundle),), events=events, watch=0.0)) as made:
        [variant] = made.service.variants.all
        provenance = {**variant.now.manifest["provenance"], **_judged(report())}
        variant.now = replace(variant.now, manifest={**variant.now.manifest, "provenance": provenance})
        variant.before = replace(variant.now, version="before")
        yield made


def report() -> Report:
    figures = {"ndcg@10": Estimate(0.2, 0.1, 0.3), "rmse": Estimate(1.0, float("nan"), float("nan"))}
    entries = (
        Entry("ours", "model", "", 1.5, figures, {1: 0.1}),
        Entry("popular", "baseline", "", None, figures),
    )
    return Report(
        protocol={"split": "random=80%", "seed": 42},
        entries=entries,
        headline=("ndcg@10",),
        verdicts=(Comparison("ndcg@10", "ours", "popular", figures["ndcg@10"], "wins"),),
        slices=(SliceFigures("head items", 10, 5, {"ours": figures}),),
        collapse=(Collapse("ours", 0.5, 10, 100, False, ""),),
        stages={"retrieval only": {"ndcg@10": 0.1}, "recall ceiling@100": 0.5},
        history={"loss": (2.0, 1.0)},
    )  # fmt: skip


ASKED: dict[str, list[tuple[str, dict[str, Any] | None]]] = {
    "recommend": [
        ("/v1/recommend", {"user_id": "1", "k": 2, "item_columns": ["title", "genres"]}),
        ("/v1/recommend", {"user_id": "nobody", "k": 2}),
        ("/v1/recommend", {"queries": [{"user_id": 1}, {"k": 1}]}),
        ("/v1/recommend", {"user_id": "1", "k": 2, "explain": True}),
        ("/v1/recommend", {"user_id": "1", "k": 2, "explain": ["none"]}),
        ("/v1/recommend", {"user_id": "nobody", "k": 1, "explain": True}),
    ],
    "recommend_user": [("/v1/recommend/1?k=2", None), ("/v1/recommend/1?k=1&explain=true", None)],
    "events": [("/v1/events", EVENT), ("/v1/events", {"events": [EVENT, {**EVENT, "rating": 99}]})],
    "score": [("/v1/score", {"rows": [{"user_id": "1", "item_id": "50"}, {"item_id": "none"}]})],
    "rank": [("/v1/rank", {"user_id": "1", "candidates": ["50", "none"]})],
    "similar": [("/v1/items/50/similar?item_columns=year", None)],
    "items": [("/v1/items?q=star&limit=3", None), ("/v1/items?ids=50&ids=none", None), ("/v1/items", None)],
    "item": [("/v1/items/50", None)],
    "users": [("/v1/users?q=1&limit=3", None)],
    "user": [("/v1/users/1?item_columns=year", None), ("/v1/users/nobody", None)],
    "about": [("/v1/about", None)],
    "evaluation": [("/v1/evaluation", None)],
    "map": [("/v1/map?by=genres&limit=5", None), ("/v1/map", None)],
    "bundles": [("/v1/bundles", None)],
    "reload": [("/v1/admin/reload", {})],
    "rollback": [("/v1/admin/rollback", {"side": "a"})],
    "live": [("/health/live", None)],
    "ready": [("/health/ready", None)],
    "metrics": [("/metrics", None)],
    "openapi": [("/openapi.json", None)],
    "docs": [("/docs", None)],
}


def of(name: str) -> tuple[str, dict[str, Any]]:
    """The method of a route, and what the document says of its answers."""
    one = next(one for one in operations() if one.name == name)
    path = one.path.replace(":path}", "}")
    return one.method, document()["paths"][path][one.method.lower()]["responses"]


def wrong(value: Any, schema: Any, at: str = "") -> Iterator[str]:
    """What in a value is not as a schema says; fields that it does not name included."""
    if "$ref" in schema:
        schema = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        found = [list(wrong(value, one, at)) for one in schema["anyOf"]]
        yield from min(found, key=len)
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{at}: {value!r} is no {kind}"
    elif isinstance(value, dict):
        known, others = schema.get("properties"), schema.get("additionalProperties", False)
        yield from (f"{at}/{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, one in value.items():
            if known is not None and name in known:
                yield from wrong(one, known[name], f"{at}/{name}")
            elif isinstance(others, dict):
                yield from wrong(one, others, f"{at}/{name}")
            elif known is not None and not others:
                yield f"{at}/{name} is not documented"
    elif isinstance(value, list):
        for n, one in enumerate(value):
            yield from wrong(one, schema.get("items", {}), f"{at}/{n}")


def require_documented(answer: Any, name: str, status: int | None = None) -> None:
    _, responses = of(name)
    assert status in (None, answer.status_code), answer.text
    assert str(answer.status_code) in responses, (name, answer.status_code, answer.text)
    [(kind, about)] = responses[str(answer.status_code)]["content"].items()
    assert answer.headers["content-type"].split(";")[0] == kind
    if kind.endswith("json"):
        assert not list(wrong(answer.json(), about["schema"])), (name, answer.json())
    for header in responses[str(answer.status_code)].get("headers", ()):
        assert header in answer.headers, (name, answer.status_code, header)


def ask(client: Any, name: str, path: str, body: Any = None, **options: Any) -> Any:
    given = options if body is None else {"json": body, **options}
    return client.request(of(name)[0], path, **given)


def test_every_route_is_asked() -> None:
    assert set(ASKED) == {one.name for one in operations()}


@pytest.mark.parametrize("name", ASKED)
def test_answers_have_the_shapes_of_the_document(client: Any, name: str) -> None:
    for path, body in ASKED[name]:
        require_documented(ask(client, name, path, body), name, 200)


def test_shapes_are_looked_at() -> None:
    shape = {"$ref": "#/components/schemas/Live"}
    for value in ({}, {"status": 1}, {"status": "live", "more": 1}, [], {"status": True}):
        assert list(wrong(value, shape)), value
    assert not list(wrong({"status": "live"}, shape))


@pytest.mark.parametrize("name", ASKED)
def test_refusals_are_those_of_the_document(client: Any, name: str) -> None:
    """What is refused by every route of a kind is refused by each, and documented."""
    method, responses = of(name)
    path, _ = ASKED[name][0]
    bare, seen = path.partition("?")[0], set()

    def refused(path: str, status: int | None = None, **options: Any) -> None:
        answer = client.request(method, path, **options)
        require_documented(answer, name, status)
        seen.add(str(answer.status_code))

    refused(path, headers={"host": "elsewhere.example"})
    if method == "POST":
        refused(path, 415, content=b"{}")
        refused(path, 400, content=b"{", headers={"content-type": "application/json"})
        refused(path, 422, json=[])
        refused(path, 422, json={"colour": "red"})
        long = {"content-type": "application/json", "content-length": str(1 << 30)}
        refused(path, 413, content=b"{}", headers=long)
    else:
        refused(f"{bare}?colour=red")
        refused(f"{bare}?side=none")
    if "{" in next(one.path for one in operations() if one.name == name):
        refused(bare.replace("/1", f"/{'x' * 513}").replace("/50", f"/{'x' * 513}"), 422)
        refused(bare.replace("/1", "/%ff").replace("/50", "/%ff"), 400)
    assert {"413", "415", "421", "422"} & set(responses) <= seen


def test_what_is_not_there_and_what_is_not_done(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    [variant] = client.service.variants.all
    for name, path in (("item", "/v1/items/none"), ("similar", "/v1/items/none/similar")):
        require_documented(client.get(path), name, 404)
    for name in ("reload", "rollback"):
        path, _ = ASKED[name][0]
        require_documented(client.post(path, json={"side": "z"}), name, 409)
        require_documented(client.post(path, json={}, headers={"x-forwarded-for": "1.2.3.4"}), name, 403)

        async def late(side: str) -> list[int]:
            return [1]

        with monkeypatch.context() as patched:
            patched.setattr(client.service, "reload", late)  # nothing is loaded anew
            patched.setattr(client.service.exchanger, "settled", late)
            require_documented(client.post(path, json={}), name, 202)
    manifest = {**variant.now.manifest, "provenance": {}}
    monkeypatch.setattr(variant, "now", replace(variant.now, manifest=manifest))
    require_documented(client.get("/v1/evaluation"), "evaluation", 404)
    bare = replace(variant.now.recommender, item_vectors=None, item_representations=None, index=None)
    monkeypatch.setattr(variant, "now", replace(variant.now, recommender=bare))
    require_documented(client.get("/v1/map"), "map", 404)
    monkeypatch.setattr(client.service, "draining", True)
    require_documented(client.get("/health/ready"), "ready", 503)
    monkeypatch.setattr(client.service, "writer", None)
    require_documented(client.post("/v1/events", json=EVENT), "events", 404)

    async def broken(*_: object) -> None:
        raise ShortlistError("/a/place on disk")

    monkeypatch.setattr(client.service.exchanger, "roll_back", broken)
    fault = client.post("/v1/admin/rollback", json={})
    require_documented(fault, "rollback", 500)
    assert "/a/place" not in fault.text


def test_who_may_not_ask(serve: Any, tmp_path: Path) -> None:
    from shortlist.server.guards import add_key

    key = add_key(tmp_path / "keys", "me")
    client = serve(keys=tmp_path / "keys")
    for name, ((path, body), *_) in ASKED.items():
        answer = ask(client, name, path, body)
        require_documented(answer, name)
        assert (answer.status_code == 401) == ("401" in of(name)[1])
        if "403" in of(name)[1]:
            require_documented(ask(client, name, path, body, headers={"x-api-key": key}), name, 403)
