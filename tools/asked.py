"""What docs/guides/serving.md asks of a server with curl, and the answers it shows.

python tools/asked.py URL      asks the server at URL, which has the demo's bundle and an empty store of
                               events, and writes its answers into the page
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "guides" / "serving.md"
HERE = "http://127.0.0.1:8000"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
WIDTH, PLACES = 112, 4
VARIES = {"bundle", "a", "request_id", "timestamp", "since"}
"""Keys whose values are those of one machine or one moment."""


class Exchange(NamedTuple):
    """A command of the page, the answer it shows and where that stands in the page's text."""

    command: list[str]
    answer: Any
    start: int
    end: int


class Request(NamedTuple):
    """What a command sends. body: None for none."""

    method: str
    path: str
    body: str | None


def exchanges(page: str) -> Iterator[Exchange]:
    """The commands in order, each with its answer: as many blocks of JSON follow as a block has commands."""
    waiting: list[list[str]] = []
    for block in BLOCK.finditer(page):
        language, text = block[1], block[2]
        if language == "sh":
            assert not waiting, f"no answer is shown to {waiting[0]}"
            lines = [shlex.split(line) for line in text.splitlines()]
            waiting = [words for words in lines if words[:1] == ["curl"]]
        elif language == "json" and waiting:
            yield Exchange(waiting.pop(0), json.loads(text), block.start(2), block.end(2))
    assert not waiting, f"no answer is shown to {waiting[0]}"


def request(command: list[str]) -> Request:
    """What curl would send; it knows the options that the page uses."""
    words = [word for word in command[1:] if word != "-s"]
    address, body = words[0], None
    if words[1:]:
        option, body = words[1:]
        assert option == "--json", f"{option} is not known"
    assert address.startswith(HERE), address
    return Request("GET" if body is None else "POST", address.removeprefix(HERE), body)


def curl(command: list[str], url: str) -> Any:
    """The answer of the server at a URL in place of the page's own."""
    words = [word.replace(HERE, url) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def shown(value: Any, indent: int = 0, after: int = 0) -> str:
    """JSON with rounded numbers, filled to the width; what is inside a bracket stands behind it. indent:
    signs before it on its line; after: brackets that close behind it."""
    text = json.dumps(_rounded(value), ensure_ascii=False)
    if indent + len(text) + after < WIDTH or not isinstance(value, dict | list):
        return text
    named = isinstance(value, dict)
    entries = (
        [(f"{json.dumps(name)}: ", one) for name, one in value.items()]
        if named
        else [("", one) for one in value]
    )
    out, pad, room = "{" if named else "[", " " * (indent + 1), 0
    for n, (name, one) in enumerate(entries):
        last = n == len(entries) - 1
        part = name + shown(one, indent + 1 + len(name), after + 1 if last else 1)
        whole = "\n" not in part and not (isinstance(one, dict) and not named)
        if n and (not whole or len(part) + 2 > room):
            out += f"\n{pad}"
            room = WIDTH - len(pad)
        elif n:
            out += " "
        else:
            room = WIDTH - len(pad)
        out += part + ("" if last else ",")
        room = WIDTH - len(out.rpartition("\n")[2]) - (0 if "\n" in out else indent)
    return out + ("}" if named else "]")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, PLACES)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def differences(found: Any, wanted: Any, *, values: bool, where: str = "") -> Iterator[str]:
    """Where an answer differs from the one that is shown: in its shape, and if values count, in what it says
    (numbers by more than a twentieth; not what one machine or moment decides)."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        if found.keys() != wanted.keys():
            yield f"{where}: has {sorted(found)}, shown are {sorted(wanted)}"
        for name in found.keys() & wanted.keys():
            alike = values and name not in VARIES
            yield from differences(found[name], wanted[name], values=alike, where=f"{where}/{name}")
    elif isinstance(wanted, list) and isinstance(found, list):
        if values and len(found) != len(wanted):
            yield f"{where}: {len(found)} in place of {len(wanted)}"
        for n, (one, other) in enumerate(zip(found, wanted, strict=False)):
            yield from differences(one, other, values=values, where=f"{where}/{n}")
    else:
        alike = found is None or wanted is None or _kind(found) == _kind(wanted)
        if not alike or (values and not _agree(found, wanted)):
            yield f"{where}: {found!r} in place of {wanted!r}"


def _kind(value: Any) -> str:
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def _agree(found: Any, wanted: Any) -> bool:
    if _kind(found) == "number" == _kind(wanted):
        return abs(found - wanted) <= 0.05 * max(abs(found), abs(wanted)) + 10**-PLACES
    return bool(found == wanted)


def answered(page: str, ask: Callable[[list[str]], Any]) -> str:
    """The page with the answers that are given now."""
    parts, at = [], 0
    for one in exchanges(page):
        parts += [page[at : one.start], shown(ask(one.command)), "\n"]
        at = one.end
    return "".join([*parts, page[at:]])


def main(url: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(answered(page, lambda command: curl(command, url)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
