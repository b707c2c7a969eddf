"""The picture of a data set as a page that stands alone, with plots as inline SVG, in light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from shortlist.evaluation.html import document, styled, table
from shortlist.evaluation.sketch import day, spanned

_STYLE = """
.shortlist-picture{--bar:#0072b2}
@media (prefers-color-scheme: dark){.shortlist-picture{--bar:#56b4e9}}
.shortlist-picture .plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:1em}
.shortlist-picture figure{margin:0}
.shortlist-picture figcaption{font-weight:600}
.shortlist-picture dl{display:grid;grid-template-columns:max-content auto;gap:.1em 1em}
.shortlist-picture dd{margin:0}
"""
_WIDTH, _HEIGHT, _LEFT, _BASE, _TOP = 480, 200, 56, 168, 12
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def picture_page(described: Mapping[str, Any], picture: Mapping[str, Any], title: str) -> str:
    """A whole document of what `data.dataset.describe` and `data.picture.picture` say. Every value of the
    data is escaped."""
    return document(title, picture_section(described, picture, title))


def picture_section(described: Mapping[str, Any], picture: Mapping[str, Any], title: str) -> str:
    """The same to be put into a page or a notebook."""
    plots = "".join(plot(at, *drawn) for at, drawn in enumerate(_plots(picture)))
    parts = [
        f"<style>{_STYLE}</style>",
        f"<h1>{escape(title)}</h1>",
        _facts(described, picture),
        f'<h2>Distributions</h2><div class="plots">{plots}</div>',
        "<h2>Most frequent items</h2>" + _items(picture["top_items"]),
        _columns(picture["columns"]),
    ]
    return styled([f'<div class="shortlist-picture">{"".join(parts)}</div>'])


Bars = Sequence[tuple[str, int]]


def _plots(picture: Mapping[str, Any]) -> list[tuple[str, str, Bars]]:
    """(title, what the bars count, (name, count) a bar) of every plot."""

    def named(bars: Sequence[Mapping[str, Any]]) -> Bars:
        return [(spanned(bar), bar["count"]) for bar in bars]

    found = [
        ("Rows a user", "users", named(picture["rows_per_user"])),
        ("Rows an item", "items", named(picture["rows_per_item"])),
    ]
    if "ratings" in picture:
        found.append(("Ratings", "rows", named(picture["ratings"])))
    if "time" in picture:
        time = picture["time"]
        found += [
            ("Rows over time", "rows", [(day(bar["from"]), bar["count"]) for bar in time["rows"]]),
            ("Hours of the day (UTC)", "rows", [(f"{h}", n) for h, n in enumerate(time["hours"])]),
            ("Weekdays", "rows", list(zip(_DAYS, time["weekdays"], strict=True))),
            ("Rows a session", "sessions", named(picture["sessions"]["rows_per_session"])),
        ]
    return found


def plot(at: int, title: str, counted: str, bars: Bars) -> str:
    """Upright bars from zero, with a title, a description and a tip a bar; `at` makes its ids its own."""
    if not bars:
        return ""
    most = max(count for _, count in bars) or 1
    step = (_WIDTH - _LEFT) / len(bars)
    drawn = "".join(_bar(n, name, count, most, step, counted) for n, (name, count) in enumerate(bars))
    busiest = max(bars, key=lambda bar: bar[1])
    told = f"{len(bars)} bars, of {counted}; the highest is {busiest[0]} with {busiest[1]:,}"
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" aria-labelledby="t{at} d{at}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="12" fill="currentColor">'
        f'<title id="t{at}">{escape(title)}</title><desc id="d{at}">{escape(told)}</desc>'
        f"{_axes(most, bars, step)}{drawn}</svg></figure>"
    )


def _bar(at: int, name: str, count: int, most: int, step: float, counted: str) -> str:
    height = count / most * (_BASE - _TOP)
    x, width = _LEFT + at * step + step * 0.08, step * 0.84
    tip = f"<title>{escape(name)}: {count:,} {escape(counted)}</title>"
    place = f'x="{x:.1f}" y="{_BASE - height:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {place} fill="var(--bar)">{tip}</rect>'


def _axes(most: int, bars: Bars, step: float) -> str:
    lines = [f'<path d="M{_LEFT} {_BASE}H{_WIDTH}" stroke="currentColor" opacity="0.6"/>']
    for share in (0.0, 0.5, 1.0):
        y = _BASE - share * (_BASE - _TOP)
        lines.append(f'<path d="M{_LEFT} {y:.0f}H{_WIDTH}" stroke="currentColor" opacity="0.15"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{_short(most * share)}</text>')
    every = max(1, -(-len(bars) * max(len(name) for name, _ in bars) // 48))
    for at in range(0, len(bars), every):
        last = at == len(bars) - 1 and every > 1  # its label would reach beyond the plot
        place = f'x="{_WIDTH}" text-anchor="end"'
        if not last:
            place = f'x="{_LEFT + (at + 0.5) * step:.0f}" text-anchor="middle"'
        lines.append(f'<text {place} y="{_BASE + 18}">{escape(bars[at][0])}</text>')
    return "".join(lines)


def _short(value: float) -> str:
    for least, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= least:
            return f"{value / (1e3 if unit == 'k' else least):.3g}{unit}"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _facts(described: Mapping[str, Any], picture: Mapping[str, Any]) -> str:
    per_user, per_item, crowd = (
        described["rows_per_user"],
        described["rows_per_item"],
        picture["concentration"],
    )
    facts = {
        "rows": f"{described['interactions']:,}",
        "users": f"{described['users']:,} ({described['users_without_interactions']:,} without a row)",
        "items": f"{described['items']:,} ({described['items_without_interactions']:,} without a row)",
        "sparsity": f"{described['sparsity']:.4%} of all pairs have no row",
        "repeated": f"{described['duplicate_rows']:,} whole rows, {described['repeated_pairs']:,} pairs",
        "median rows": f"{per_user['median']:g} a user, {per_item['median']:g} an item",
        "concentration": f"the busiest 1 % of items have {crowd['busiest_1_percent_of_items']:.1%} of rows, "
        f"Gini coefficient {crowd['gini_of_items']:.2f}",
        **(_times(described["time"], picture["sessions"]) if "time" in described else {}),
        **(_ratings(described["rating"]) if "rating" in described else {}),
        "licence": str(described.get("licence") or ""),
    }
    shown = ((name, fact) for name, fact in facts.items() if fact)
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in shown) + "</dl>"


def _times(time: Mapping[str, Any], sessions: Mapping[str, Any]) -> dict[str, str]:
    return {
        "time": f"{time['first']} to {time['last']}, {time['days']:,.1f} days",
        "sessions": f"{sessions['count']:,} parted by {sessions['pause_minutes']} minutes, "
        f"{sessions['per_user']:.1f} a user; median {sessions['rows']['median']:g} rows and "
        f"{sessions['minutes']['median']:.0f} minutes",
    }


def _ratings(rating: Mapping[str, Any]) -> dict[str, str]:
    spread = f"mean {rating['mean']:.3f}, standard deviation {rating['sd']:.3f}"
    return {"ratings": f"{spread}, {rating['min']:g} to {rating['max']:g}"}


def _items(found: Sequence[Mapping[str, Any]]) -> str:
    names = list(found[0]) if found else []
    order = ["item_id", *(name for name in names if name not in ("item_id", "rows")), "rows"]
    rows = [
        [f"{item[n]:,}" if n == "rows" else "" if item[n] is None else str(item[n]) for n in order]
        for item in found
    ]
    return table(order, rows)


def _columns(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return ""
    rows = [
        [
            f"{column['table']}.{column['column']}",
            column["type"],
            f"{column['missing_share']:.1%}",
            f"{column['distinct']:,}",
            ", ".join(f"{value['value']} ({value['count']:,})" for value in column["frequent"]),
        ]
        for column in found
    ]
    return "<h2>Columns</h2>" + table(["column", "type", "missing", "distinct", "most frequent"], rows)
