"""The picture of a data set as plain text: bars of number signs, one line a distribution over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_WIDTH, _STEPS, _LONGEST = 40, " .:-=+*#@", 60


def sketch(facts: Mapping[str, Any]) -> str:
    """`data.picture.picture` in a terminal: ASCII signs only, but for what the data itself holds."""
    parts = [
        bars("rows a user (users)", facts["rows_per_user"]),
        bars("rows an item (items)", facts["rows_per_item"]),
        _concentration(facts["concentration"]),
    ]
    if "ratings" in facts:
        parts.append(bars("rating (rows)", facts["ratings"]))
    if "time" in facts:
        parts.append(_time(facts["time"]))
        parts.append(_sessions(facts["sessions"]))
    parts.append(_top(facts["top_items"]))
    if facts["columns"]:
        parts.append(_columns(facts["columns"]))
    return "\n\n".join(parts)


def bars(title: str, found: Sequence[Mapping[str, Any]]) -> str:
    """A line a bar: what it spans, its length, its count."""
    names = [spanned(bar) for bar in found]
    most = max((bar["count"] for bar in found), default=0) or 1
    wide = max(map(len, names), default=0)
    lines = [
        f"  {name:>{wide}} {'#' * round(bar['count'] / most * _WIDTH):<{_WIDTH}} {bar['count']:,}"
        for name, bar in zip(names, found, strict=True)
    ]
    return "\n".join([title, *lines])


def spanned(bar: Mapping[str, Any]) -> str:
    """`4 to 7`, or one number."""
    low, high = f"{bar['from']:.6g}", f"{bar['to']:.6g}"
    return low if low == high else f"{low} to {high}"


def spark(counts: Sequence[int]) -> str:
    """A sign a count, from blank (none) to @ (the most)."""
    most = max(counts, default=0) or 1
    last = len(_STEPS) - 1
    return "".join(_STEPS[-(-count * last // most)] for count in counts)


def day(seconds: float) -> str:
    """The date of a second since 1970; the number itself where no calendar reaches."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.6g} s"


def _concentration(found: Mapping[str, float]) -> str:
    lines = [
        f"  the busiest 1 % of items have {found['busiest_1_percent_of_items']:.1%} of the rows"
        f" (Gini coefficient {found['gini_of_items']:.2f})",
        f"  the busiest 1 % of users have {found['busiest_1_percent_of_users']:.1%} of them"
        f" (Gini coefficient {found['gini_of_users']:.2f}), the busiest one {found['busiest_user']:.2%}",
    ]
    return "\n".join(["concentration", *lines])


def _time(found: Mapping[str, Any]) -> str:
    rows = found["rows"]
    counts = [bar["count"] for bar in rows]
    lines = [
        "rows over time (UTC)",
        f"  {day(rows[0]['from'])} |{spark(counts)}| {day(rows[-1]['to'])}, most in a bar {max(counts):,}",
        f"  hours 0 to 23    |{spark(found['hours'])}|",
        f"  Monday to Sunday |{spark(found['weekdays'])}|",
    ]
    return "\n".join(lines)


def _sessions(found: Mapping[str, Any]) -> str:
    title = (
        f"sessions (parted by {found['pause_minutes']} minutes): {found['count']:,},"
        f" {found['per_user']:.1f} a user, median {found['rows']['median']:g} rows"
        f" and {found['minutes']['median']:.0f} minutes"
    )
    return title + "\n" + bars("rows a session (sessions)", found["rows_per_session"])


def _top(found: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for item in found:
        label = next((str(v) for k, v in item.items() if k not in ("item_id", "rows") and v is not None), "")
        lines.append(f"  {item['rows']:>9,}  {printable(item['item_id'])}  {printable(label)}".rstrip())
    return "\n".join(["most frequent items (rows)", *lines])


def _columns(found: Sequence[Mapping[str, Any]]) -> str:
    names = [f"{column['table']}.{column['column']}" for column in found]
    wide, types = max(map(len, names)), max(len(column["type"]) for column in found)
    lines = []
    for name, column in zip(names, found, strict=True):
        frequent = ", ".join(printable(value["value"], 20) for value in column["frequent"])
        lines.append(
            f"  {printable(name):<{wide}}  {column['type']:<{types}}  {column['missing_share']:>6.1%} missing"
            f"  {column['distinct']:>9,} distinct  {frequent}".rstrip()
        )
    return "\n".join(["columns", *lines])


def printable(text: Any, longest: int = _LONGEST) -> str:
    """One line without control characters, cut where it is long."""
    shown = "".join(sign if sign.isprintable() else " " for sign in str(text))
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."
