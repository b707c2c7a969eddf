"""The OpenAPI document as a page for people: headings, tables, links; no script, nothing from elsewhere."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any

import msgspec

_STYLE = """
html{color-scheme:light dark;background:Canvas;color:CanvasText}
a{color:LinkText}
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:0 auto;padding:0 1rem 4rem}
code{overflow-wrap:anywhere}
tbody th code{overflow-wrap:normal}
code,pre{font:14px/1.4 ui-monospace,monospace}
h2 code{font-size:1.2rem}
pre,table{border:1px solid #8886}
pre{padding:.5rem;margin:0}
.scroll{overflow-x:auto;margin:.5rem 0 1rem}
table{border-collapse:collapse;min-width:100%}
caption{text-align:left;font-weight:600;padding:.25rem 0}
th,td{text-align:left;vertical-align:top;padding:.25rem .5rem;border-top:1px solid #8886}
tbody th{font-weight:400}
section{border-top:1px solid #8886;margin-top:2rem}
nav ul{columns:20rem;padding-left:1.2rem}
.skip{position:absolute;left:-99rem}
.skip:focus{position:static}
"""
_HTTP = "http://127.0.0.1:8000"
_EDGES = (
    ("minLength", "maxLength", "characters"),
    ("minItems", "maxItems", "entries"),
    ("minProperties", "maxProperties", "names"),
)
_CODE = re.compile(r"`([^`]+)`")
_WHOLE = -(2**63), 2**63 - 1  # what any whole number of 64 bits may be


STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
"""Of the one style that a policy may let in."""


def page(document: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI document."""
    return "".join(_Page(document).parts())


class _Page:
    """A page on its way. shown: types whose table is with the request that takes them."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.types: dict[str, Any] = document["components"]["schemas"]
        self.shown: set[str] = set()

    def parts(self) -> Iterator[str]:
        """The page from top to bottom."""
        about, paths = self.document["info"], self.document["paths"]
        routes = [(method, path, one) for path, methods in paths.items() for method, one in methods.items()]
        yield "<!doctype html><html lang=en><head><meta charset=utf-8>"
        yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
        yield f"<title>Shortlist: its HTTP interface</title><style>{_STYLE}</style></head><body>"
        yield "<a class=skip href='#routes'>Skip to the routes</a>"
        yield f"<header><h1>Shortlist {escape(about['version'])}</h1><p>{_prose(about['description'])}</p>"
        yield "<p>The same for programs: <a href='openapi.json'>openapi.json</a>.</p></header>"
        yield "<nav aria-label=Routes><ul>"
        for method, path, one in routes:
            said = f"<code>{method.upper()} {escape(path)}</code>"
            yield f"<li><a href='#{one['operationId']}'>{said}</a></li>"
        yield "<li><a href='#types'>Types</a></li></ul></nav><main id=routes>"
        for method, path, one in routes:
            yield from self._route(method.upper(), path, one)
        yield "<section aria-labelledby=types><h2 id=types>Types</h2>"
        for name in self.types:
            if name not in self.shown:
                yield from self._type(name, "h3")
        yield "</section></main></body></html>"

    def _route(self, method: str, path: str, one: Mapping[str, Any]) -> Iterator[str]:
        name = one["operationId"]
        yield f"<section aria-labelledby={name}><h2 id={name}><code>{method} {escape(path)}</code></h2>"
        yield f"<p>{_prose(one['summary'])}</p>"
        if one["parameters"]:
            rows = [self._field(_name_of(given), given, given["schema"]) for given in one["parameters"]]
            yield _table(f"Parameters of {method} {path}", _FIELDS, rows)
        if "requestBody" in one:
            [about] = one["requestBody"]["content"].values()
            names = list(_names(about["schema"]))
            either = " of one of these types" if len(names) > 1 else ""
            yield f"<p>The body is JSON{either}.</p>"
            for kind in names:
                if kind in self.shown:
                    yield f"<p>{_link(kind)}</p>"
                else:
                    self.shown.add(kind)
                    yield from self._type(kind, "h3")
            if "example" in about:
                yield from _example(path, about["example"])
        rows = [self._answer(status, answer) for status, answer in one["responses"].items()]
        yield _table(f"Answers of {method} {path}", ("status", "what it means", "shape", "headers"), rows)
        yield "</section>"

    def _answer(self, status: str, answer: Mapping[str, Any]) -> list[str]:
        [(kind, about)] = answer["content"].items()
        shape = f"<code>{escape(kind)}</code>: {self._kind(about['schema'])}"
        headers = ", ".join(f"<code>{escape(name)}</code>" for name in answer.get("headers", ()))
        return [f"<code>{status}</code>", _prose(answer["description"]), shape, headers]

    def _type(self, name: str, heading: str) -> Iterator[str]:
        schema = self.types[name]
        yield f"<{heading} id='type-{escape(name)}'>{escape(name)}</{heading}>"
        yield f"<p>{_prose(schema.get('description', ''))}"
        if schema.get("additionalProperties") is True:
            yield " There may be further fields."
        yield "</p>"
        required = schema.get("required", ())
        rows = [
            self._field(field, {"required": field in required, **about}, about)
            for field, about in schema.get("properties", {}).items()
        ]
        if rows:
            yield _table(f"Fields of {name}", _FIELDS, rows)

    def _field(self, name: str, about: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
        default = "required" if about.get("required") else "may be left out"
        if "default" in schema and not about.get("required"):
            default = f"<code>{escape(_json(schema['default']))}</code>"
        limits = "; ".join(dict.fromkeys(_limits(schema)))
        said = _prose(about.get("description", ""))
        return [f"<code>{escape(name)}</code>", self._kind(schema), default, escape(limits), said]

    def _kind(self, schema: Mapping[str, Any]) -> str:
        """A type in words, with links to those that have a table."""
        if "$ref" in schema:
            return _link(_named(schema))
        if "anyOf" in schema:
            return " or ".join(dict.fromkeys(map(self._kind, schema["anyOf"])))
        if "enum" in schema:
            return " or ".join(f"<code>{escape(_json(value))}</code>" for value in schema["enum"])
        kind = str(schema.get("type", "anything"))
        if kind == "array":
            return f"list of {_bracketed(self._kind(schema.get('items', {})))}"
        if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
            return f"object of {_bracketed(self._kind(schema['additionalProperties']))}"
        return {"integer": "whole number", "boolean": "true or false", "string": "text"}.get(kind, kind)


_FIELDS = ("name", "type", "left out", "limits", "what it is")


def _prose(text: str) -> str:
    """Words as HTML; what stands between backticks is code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _bracketed(kind: str) -> str:
    return f"({kind})" if " or " in kind else kind


def _limits(schema: Mapping[str, Any]) -> Iterator[str]:
    for one in schema.get("anyOf", ()):
        yield from _limits(one)
    least, most = schema.get("minimum"), schema.get("maximum")
    if (least, most) == _WHOLE:
        yield "whole numbers of 64 bits"
    elif least is not None or most is not None:
        yield _span(least, None if most == _WHOLE[1] else most)
    for low, high, what in _EDGES:
        if low in schema or high in schema:
            yield f"{_span(schema.get(low), schema.get(high))} {what}"
    if schema.get("type") == "array":
        yield from (f"each: {said}" for said in _limits(schema.get("items", {})))


def _span(least: Any, most: Any) -> str:
    if least is None or most is None:
        return f"at most {most:,}" if least is None else f"at least {least:,}"
    return f"{least:,} to {most:,}"


def _name_of(parameter: Mapping[str, Any]) -> str:
    return f"{{{parameter['name']}}}" if parameter["in"] == "path" else f"?{parameter['name']}="


def _names(schema: Mapping[str, Any]) -> Iterator[str]:
    for one in schema.get("anyOf", (schema,)):
        yield _named(one)


def _named(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _link(name: str) -> str:
    return f"<a href='#type-{escape(name)}'>{escape(name)}</a>"


def _example(path: str, body: Any) -> Iterator[str]:
    command = f"curl -s {_HTTP}{path} --json '{_json(body)}'"
    yield "<p>For example:</p><div class=scroll tabindex=0 role=region"
    yield f" aria-label='Example of {escape(path)}'><pre>{escape(command)}</pre></div>"


def _table(caption: str, heads: tuple[str, ...], rows: list[list[str]]) -> str:
    """A table that scrolls by keyboard where it is too wide; the first cell of a row is its head."""
    told = escape(caption)
    top = "".join(f"<th scope=col>{head}</th>" for head in heads)
    body = "".join(
        f"<tr><th scope=row>{first}</th>{''.join(f'<td>{cell}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return (
        f"<div class=scroll tabindex=0 role=region aria-label='{told}'><table><caption>{told}</caption>"
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
