"""Small tables as HTML for notebooks: escaped, compact, in the colours of the page around them.

The standard library alone. Nothing is fetched, and every rule of style is tied to a class of our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shortlist.data.dataset import Dataset
    from shortlist.data.splits import Split

LONGEST = 80
"""Characters of a cell before the rest is left out; its tooltip has more."""
ROWS, COLUMNS = 5, 10
"""Of a preview."""

# half-transparent lines, inherited colours: readable on any background
_STYLE = """
.shortlist-view{font:13px/1.4 system-ui,sans-serif;overflow-x:auto}
.shortlist-view table{border-collapse:collapse;margin:.3em 0;font-variant-numeric:tabular-nums}
.shortlist-view th,.shortlist-view td{padding:.15em .6em;text-align:left;border:0}
.shortlist-view tr{border-bottom:1px solid #8884}
.shortlist-view .n{text-align:right}
.shortlist-view p{margin:.3em 0}
.shortlist-view .faint{opacity:.7}
"""


def view(*parts: str) -> str:
    """Parts as one piece of a notebook."""
    return f'<div class="shortlist-view"><style>{_STYLE}</style>{"".join(parts)}</div>'


def table(columns: Sequence[tuple[str, Sequence[Any], bool]], *, rest: str = "") -> str:
    """Columns (name, values as text, whether they are numbers) side by side. rest: said below."""
    head = "".join(f'<th scope="col"{_side(number)}>{escape(name)}</th>' for name, _, number in columns)
    body = "".join(
        "<tr>" + "".join(map(_cell, row, (number for *_, number in columns))) + "</tr>"
        for row in zip(*(values for _, values, _ in columns), strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{faint(rest)}"


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and values, a row each; pairs without a value are left out."""
    rows = [
        f'<tr><th scope="row">{escape(name)}</th>{_cell(said(value), False)}</tr>'
        for name, value in pairs
        if value not in (None, "")
    ]
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def title(text: str) -> str:
    """A line above the rest."""
    return f"<p><b>{escape(text)}</b></p>"


def faint(text: str) -> str:
    """A line of less weight; nothing of nothing."""
    return f'<p class="faint">{escape(text)}</p>' if text else ""


def said(value: Any) -> str:
    """A value in a cell: few digits, lists with commas, a dash for what is missing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def dataset_view(dataset: Dataset) -> str:
    """Counts, span of time, ratings, and the first rows of each table; nothing that takes a second pass."""
    rows, users, items = dataset.interactions, dataset.users, dataset.items
    mean = f"{rows.height / users.height:.3g} a user" if users.height else ""
    pairs = [
        ("interactions", f"{rows.height:,} ({mean})" if mean else f"{rows.height:,}"),
        ("users", users.height),
        ("items", items.height),
        ("time", _span(rows)),
        ("ratings", _ratings(rows)),
        ("licence", dataset.licence),
    ]
    previews = [
        preview(name, frame) for name, frame in (("interactions", rows), ("users", users), ("items", items))
    ]
    notes = [faint(note) for note in dataset.notes]
    return view(title(f"Dataset {dataset.name}"), facts(pairs), *notes, *previews)


def split_view(split: Split) -> str:
    """How rows were divided, into how many, and what that lets leak."""
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    total = sum(part.height for part in parts.values())
    columns = [
        ("part", list(parts), False),
        ("rows", [said(part.height) for part in parts.values()], True),
        ("share", [f"{part.height / max(1, total):.1%}" for part in parts.values()], True),
        ("users", [said(part["user_id"].n_unique()) for part in parts.values()], True),
        ("items", [said(part["item_id"].n_unique()) for part in parts.values()], True),
        ("time", [_span(part) or "-" for part in parts.values()], False),
    ]
    rule = f"Split {split.rule}" + ("" if split.seed is None else f", seed {split.seed}")
    return view(title(rule), table(columns), faint(split.leaks and f"What leaks: {split.leaks}."))


def preview(name: str, frame: Any) -> str:
    """The first rows and columns of a polars table, folded away."""
    names = frame.columns[:COLUMNS]
    first = frame.head(ROWS)
    columns = [
        (column, [_raw(v) for v in first[column].to_list()], _numeric(first[column])) for column in names
    ]
    more = len(frame.columns) - len(names)
    rest = f"{frame.height:,} rows" + (f", {more} more columns" if more else "")
    return f"<details><summary>{escape(name)}</summary>{table(columns, rest=rest)}</details>"


def _raw(value: Any) -> str:
    """A cell of somebody's table: whole numbers may be ids or times, so they stay as they are."""
    return str(value) if isinstance(value, int) else said(value)


def _numeric(column: Any) -> bool:
    return bool(column.dtype.is_numeric())


def _span(rows: Any) -> str:
    if "timestamp" not in rows.columns or not rows.height:
        return ""
    ends = rows["timestamp"].min(), rows["timestamp"].max()
    if None in ends:
        return ""
    try:
        first, last = (f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}" for seconds in ends)
    except (OverflowError, ValueError, OSError):  # no time a calendar has
        return f"{ends[0]} to {ends[1]}"
    return first if first == last else f"{first} to {last}"


def _ratings(rows: Any) -> str:
    if "rating" not in rows.columns or rows["rating"].mean() is None:
        return ""
    rating = rows["rating"]
    return f"{rating.min():g} to {rating.max():g}, mean {rating.mean():.3f}"


def _cell(text: str, number: bool) -> str:
    if len(text) <= LONGEST:
        return f"<td{_side(number)}>{escape(text)}</td>"
    tip = escape(text[: 10 * LONGEST])
    return f'<td{_side(number)} title="{tip}">{escape(text[: LONGEST - 1])}…</td>'


def _side(number: bool) -> str:
    return ' class="n"' if number else ""
