"""The OpenAPI document, made of the structs that requests are read with, and a page of it without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from shortlist import __version__
from shortlist.server.answers.columns import Open
from shortlist.server.answers.outcomes import Problem
from shortlist.server.endpoint import Call, Reply
from shortlist.server.guards import ADMIN
from shortlist.server.problems import MEDIA_TYPE
from shortlist.server.routes.page import STYLE_HASH, page
from shortlist.server.routes.wording import said_of
from shortlist.server.wire import LONGEST_ID

if TYPE_CHECKING:
    from shortlist.server.routes.table import Operation

_PATH = re.compile(r"\{(\w+):path\}")
_STATUSES = {
    "400": "The request cannot be read",
    "401": "A key is needed",
    "403": "The key may not do this",
    "404": "There is nothing of this name",
    "408": "The request did not come in time",
    "409": "A bundle is no good, or not there",
    "413": "The body is too long",
    "414": "The address is too long",
    "415": "The body is not application/json, or encoded",
    "421": "The request is for another host",
    "422": "A field is not what was expected; pointer names it",
    "431": "There are too many headers, or too long ones",
    "500": "A fault inside the server, of which the log tells",
    "503": "Too much to do, or stopping; Retry-After says when to come again",
    "507": "There is no room for events; Retry-After says when to come again",
}
_ALWAYS = ("400", "408", "414", "431", "500", "503")
_OF_BODIES = ("413", "415", "422")
_TELLING = {
    "401": {"WWW-Authenticate": "How to send a key"},
    "503": {"Retry-After": "Seconds"},
    "507": {"Retry-After": "Seconds"},
}
_DONE = {"200": "The answer", "202": "Done here, but not yet by all workers: status says by how many"}
_REQUEST_ID = "What the log calls this request"
_EXAMPLES: dict[str, Any] = {
    "recommend": {"user_id": "42", "k": 5},
    "events": {"event_id": "e-1", "user_id": "42", "item_id": "50", "event": "play"},
    "score": {"rows": [{"user_id": "42", "item_id": "50"}]},
    "rank": {"user_id": "42", "candidates": ["50", "94"]},
    "reload": {},
    "rollback": {},
}
POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


async def openapi(call: Call) -> Reply[dict[str, Any]]:
    """This interface as an OpenAPI document."""
    return Reply(_encoded())


async def docs(call: Call) -> Reply[str]:
    """This interface as a page."""
    headers = (
        (b"content-security-policy", POLICY.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    )
    return Reply(_page(), kind=b"text/html; charset=utf-8", headers=headers)


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    from shortlist.server.routes.table import operations

    listed = operations()
    types = list(dict.fromkeys(kind for one in listed for kind in (*one.bodies, *one.answers)))
    schemas, components = msgspec.json.schema_components(
        [*types, Problem], ref_template="#/components/schemas/{name}"
    )
    of_type = dict(zip(types, schemas, strict=False))
    with_columns = {one.__name__ for one in _kinds_of(Open)}
    for name, schema in components.items():
        _describe(name, schema)
        if name in with_columns:
            schema["additionalProperties"] = True
    paths: dict[str, Any] = {}
    for one in listed:
        paths.setdefault(_PATH.sub(r"{\1}", one.path), {})[one.method.lower()] = _operation(one, of_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Shortlist",
            "version": __version__,
            "summary": "Answers of a recommender.",
            "description": "Problems are RFC 9457 problem details; `pointer` names the field that is to"
            " blame. Of a key that stands twice in an object the last counts.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `shortlist key`."},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same."},
            },
        },
    }


def _kinds_of(kind: type[Open]) -> Iterator[type[Open]]:
    for one in kind.__subclasses__():
        yield one
        yield from _kinds_of(one)


def _describe(name: str, schema: dict[str, Any]) -> None:
    """The sentences of a struct on one line, and a phrase for each of its fields."""
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    for field, about in schema.get("properties", {}).items():
        if said := said_of(field, name):
            about["description"] = said


def _operation(one: Operation, of_type: dict[Any, Any]) -> dict[str, Any]:
    schema = _either([of_type[kind] for kind in one.answers])
    answers = {status: _problem(status) for status in _refusals(one)}
    for status, said in _DONE.items():
        if status == "200" or one.later:
            answers[status] = {
                "description": said,
                "headers": {"X-Request-Id": _header(_REQUEST_ID)},
                "content": {one.kind: {"schema": schema}},
            }
    found: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "tags": [type_of(one)],
        "parameters": [*_in_path(one), *_in_query(one)],
        "responses": dict(sorted(answers.items())),
        "security": [{}, {"bearer": []}, {"key": []}] if one.role else [{}],
    }
    if one.bodies:
        shape = _either([of_type[kind] for kind in one.bodies])
        about = {"schema": shape, "example": _EXAMPLES[one.name]}
        found["requestBody"] = {"required": True, "content": {"application/json": about}}
    return found


def type_of(one: Operation) -> str:
    """What a reader would look for it under."""
    if one.role == ADMIN:
        return "administration"
    return "interface" if one.path.startswith("/v1") else "operation"


def _refusals(one: Operation) -> list[str]:
    """The statuses of what it may refuse."""
    found = [*_ALWAYS]
    if one.role or one.counted:
        found.append("421")
    if one.role:
        found.append("401")
    if one.role == ADMIN:
        found += ("403", "409")
    if one.method == "POST":
        found += _OF_BODIES
    if one.parameters or "{" in one.path:
        found.append("422")
    if one.absent or "{" in one.path:
        found.append("404")
    if one.name == "events":
        found.append("507")
    return sorted(set(found))


def _problem(status: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": _STATUSES[status],
        "headers": {"X-Request-Id": _header(_REQUEST_ID)},
        "content": {MEDIA_TYPE.decode(): {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if told := _TELLING.get(status):
        found["headers"] |= {name: _header(said) for name, said in told.items()}
    return found


def _header(said: str) -> dict[str, Any]:
    return {"description": said, "schema": {"type": "string"}}


def _either(schemas: list[Any]) -> Any:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _in_path(one: Operation) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": said_of(name, one.name),
            "schema": schema,
            "example": "42" if name == "user_id" else "50",
        }
        for name in _PATH.findall(one.path)
    ]


def _in_query(one: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter.name,
            "in": "query",
            "required": False,
            "description": said_of(parameter.name),
            "schema": parameter.schema,
        }
        for parameter in one.parameters
    ]


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


@cache
def _page() -> bytes:
    return page(document()).encode()
