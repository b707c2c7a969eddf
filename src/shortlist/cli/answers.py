"""What `recommend`, `score` and `similar` share: a loaded bundle, typed questions, tables of answers."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.console import table
from shortlist.cli.folders import bundle_folder
from shortlist.errors import RequestError

if TYPE_CHECKING:
    from shortlist.pipeline.recommender import Recommender

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle, or a run that holds one.")]
Context = Annotated[
    list[str] | None,
    typer.Option("--context", metavar="KEY=VALUE", help="A column of the query, such as hour=20."),
]
Timestamp = Annotated[str, typer.Option(help="When: seconds since 1970, or 2026-01-31T20:00.")]

TITLE = "title"
_KNOWN = ("user_id", "item_id", TITLE, "score", "rank", "retrieval_score", "log_p", "source")


def load(path: Path) -> Recommender:
    """The recommender of a bundle, or of the bundle of a run, with the items that came and went since."""
    from shortlist.bundle.live import open_live

    return open_live(bundle_folder(path), write=False).recommender


def context(pairs: Iterable[str], timestamp: str = "") -> dict[str, str]:
    """`--context` and `--timestamp` as columns, still as text."""
    found = {"timestamp": timestamp} if timestamp else {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise RequestError(f"--context {pair!r} is not KEY=VALUE", hint="for instance --context hour=20")
        found[key.strip()] = value
    return found


def typed(recommender: Recommender, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose texts become what the model reads; texts that do not stay, and are refused by name."""
    from shortlist.features.fitted import type_of
    from shortlist.pipeline.histories import TOLD

    stored = {**recommender.items.columns, **recommender.users.columns}
    kinds: dict[str, str] = {name: type_of(column) for name, column in stored.items()}
    kinds |= {"timestamp": "int", **recommender.schema.candidate, **recommender.schema.query, **TOLD}
    return {name: _value(value, kinds.get(name, "string")) for name, value in row.items()}


def _value(value: Any, kind: str) -> Any:
    if not isinstance(value, str) or kind == "string":
        return value
    if not value:
        return None
    if kind == "strings":
        return value.split("|")
    if kind in ("ints", "floats"):
        return [_value(part, kind.removesuffix("s")) for part in value.split("|")]
    readers = {"int": (int, _seconds), "float": (float,), "vector": (json.loads,)}
    for read in readers[kind]:
        try:
            return read(value)
        except ValueError:
            continue
    return value


def _seconds(text: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(text)


def ids(texts: Iterable[str] | None, known: Container[str] = ()) -> list[str] | None:
    """Ids given one by one or with commas; None where none were asked for. A text that is a known id as a
    whole, commas and all, is that id."""
    if texts is None:
        return None
    return [
        part.strip()
        for text in texts
        for part in ([text] if text in known else text.split(","))
        if part.strip()
    ]


def titled(recommender: Recommender, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the item's title after its id: the column `title`, else the items' first column of texts that
    mostly differ, where there is one."""
    columns = recommender.items.columns
    titles = columns.get(TITLE, next((c for c in columns.values() if _tells_apart(c)), None))
    if titles is None:
        return rows
    out = []
    for row, position in zip(
        rows, recommender.items.positions([row["item_id"] for row in rows]), strict=True
    ):
        title = str(titles[position]) if position >= 0 else ""
        first = {name: row[name] for name in ("user_id", "item_id") if name in row}
        out.append(first | {TITLE: title} | row)
    return out


def _tells_apart(column: Any) -> bool:
    texts = column.dtype == object and column.ndim == 1
    return texts and 2 * len(set(column.tolist())) > len(column)


def answer_table(rows: list[dict[str, Any]], first: Iterable[str], last: Iterable[str] = ()) -> str:
    """Rows as text: the columns of `first`, then what the model predicts, then those of `last`."""
    predicted = [name for name in rows[0] if name not in _KNOWN]
    names = [n for n in (*first, *predicted, *last) if n in rows[0]]
    header = [f"predicted {name}" if name in predicted else name for name in names]
    return table(header, [[row[name] for name in names] for row in rows])
