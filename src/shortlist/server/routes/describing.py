"""The OpenAPI document, made of the structs that requests are read with, and a page of it without scripts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

from shortlist import __version__
from shortlist.server.endpoint import Call, Reply
from shortlist.server.wire import ENCODE, Problem

if TYPE_CHECKING:
    from shortlist.server.routes.table import Operation

_PATH = re.compile(r"\{(\w+):path\}")
_STATUSES = {
    "400": "The request cannot be read",
    "401": "A key is needed",
    "403": "The key may not do this",
    "404": "There is nothing of this name",
    "408": "The body did not come in time",
    "409": "A bundle is no good, or not there",
    "413": "The body is too long",
    "415": "The body is not application/json",
    "421": "The request is for another host",
    "422": "A field is not what was expected; pointer names it",
    "503": "Too much to do; Retry-After says when to come again",
}
_WHOLE = {"type": "integer", "minimum": 0}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "k": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10},
    "limit": {"type": "integer", "minimum": 1, "maximum": 200, "default": 20},
    "after": _WHOLE,
    "filter_seen": {"type": "boolean", "default": True},
    "exclude": {"type": "array", "items": {"type": "string"}},
    "only": {"type": "array", "items": {"type": "string"}},
    "item_columns": {"type": "array", "items": {"type": "string"}},
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font:14px/1.4 ui-monospace,monospace}pre{overflow:auto;padding:.5rem;border:1px solid #8886}"
    "section{border-top:1px solid #8886}:root{color-scheme:light dark}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


async def openapi(call: Call) -> Reply:
    """This interface as an OpenAPI document."""
    return Reply(_encoded())


async def docs(call: Call) -> Reply:
    """This interface as a page."""
    headers = (
        (b"content-security-policy", POLICY.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    )
    return Reply(_page().encode(), kind=b"text/html; charset=utf-8", headers=headers)


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    from shortlist.server.routes.table import operations

    listed = operations()
    asked = [t for one in listed for t in (one.body, one.also_body, one.answer, one.also)]
    types = [t for t in dict.fromkeys(asked) if t is not None]
    schemas, components = msgspec.json.schema_components(
        [*types, Problem], ref_template="#/components/schemas/{name}"
    )
    of_type = dict(zip(types, schemas, strict=False))
    paths: dict[str, Any] = {}
    for one in listed:
        paths.setdefault(_PATH.sub(r"{\1}", one.path), {})[one.method.lower()] = _operation(one, of_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Shortlist", "version": __version__, "description": "Answers of a recommender."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _operation(one: Operation, of_type: dict[Any, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    answers: dict[str, Any] = {
        status: {"description": said, "content": problem} for status, said in _STATUSES.items()
    }
    kind = "application/json" if one.answer is not None else "text/plain"
    schema = {"type": "string"} if one.answer is None else _schema(of_type, one.answer, one.also)
    answers["200"] = {"description": "The answer", "content": {kind: {"schema": schema}}}
    found: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "parameters": [*_in_path(one.path), *_in_query(one.parameters)],
        "responses": dict(sorted(answers.items())),
        "security": [{}, {"bearer": []}, {"key": []}] if one.role else [],
    }
    if one.body is not None:
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _schema(of_type, one.body, one.also_body)}},
        }
    return found


def _schema(of_type: dict[Any, Any], first: Any, second: Any) -> Any:
    return of_type[first] if second is None else {"anyOf": [of_type[first], of_type[second]]}


def _in_path(path: str) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1, "maxLength": 512}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in _PATH.findall(path)]


def _in_query(names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "schema": _PARAMETERS.get(name, {"type": "string"})} for name in names
    ]


@cache
def _encoded() -> bytes:
    return ENCODE(document())


@cache
def _page() -> str:
    made = document()
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Shortlist</title><style>{_STYLE}</style>",
        f"<h1>Shortlist {escape(made['info']['version'])}</h1>",
        "<p>The same for programs: <a href='openapi.json'>openapi.json</a>.</p>",
    ]
    for path, methods in made["paths"].items():
        for method, one in methods.items():
            parts.append(f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(one['summary'])}</p>")
            if names := [p["name"] for p in one["parameters"] if p["in"] == "query"]:
                parts.append(
                    "<p>Parameters: " + ", ".join(f"<code>{escape(n)}</code>" for n in names) + "</p>"
                )
            parts.append("</section>")
    parts.append("<h1>Types</h1>")
    for name, schema in made["components"]["schemas"].items():
        text = msgspec.json.format(ENCODE(schema), indent=2).decode()
        parts.append(
            f"<section><h2 id='{escape(name)}'>{escape(name)}</h2><pre>{escape(text)}</pre></section>"
        )
    return "\n".join(parts) + "</html>"
