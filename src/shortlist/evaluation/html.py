"""The report as a page that stands alone, readable in light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from shortlist.evaluation.intervals import Estimate
from shortlist.evaluation.plots import bars, lines
from shortlist.evaluation.text import cpu_seconds, number, shown_figures, spanned

if TYPE_CHECKING:
    from shortlist.evaluation.report import Report

# every rule is tied to .shortlist-report, so that a notebook around the section keeps its own looks
_STYLE = """
.shortlist-report{font:14px/1.45 system-ui,sans-serif;max-width:1100px;margin:0 auto;padding:1em}
.shortlist-report .wide{overflow-x:auto}
.shortlist-report table{border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums}
.shortlist-report th,.shortlist-report td{padding:.25em .7em;text-align:right;border-bottom:1px solid #8884}
.shortlist-report th:first-child,.shortlist-report td:first-child{text-align:left}
.shortlist-report tr.model td{font-weight:600}
.shortlist-report .warning{border-left:4px solid #d55e00;padding-left:.8em}
.shortlist-report figure{margin:1em 0}
.shortlist-report svg{max-width:100%;height:auto}
.shortlist-report dt{font-weight:600}
.shortlist-report dd{margin:0 0 .3em 1em}
"""
_PAGE_STYLE = ":root{color-scheme:light dark}body{margin:0;background:Canvas;color:CanvasText}"


def page(report: Report, title: str) -> str:
    """A whole document."""
    return document(title, section(report, title))


def document(title: str, body: str) -> str:
    """A page around what `styled` gave."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_PAGE_STYLE}</style></head><body>{body}</body></html>\n"
    )


def styled(parts: Sequence[str]) -> str:
    """Parts with the looks of a report, for a page or a notebook."""
    return f'<section class="shortlist-report"><style>{_STYLE}</style>{"".join(parts)}</section>'


def section(report: Report, title: str) -> str:
    """The report alone, to be put into a page or a notebook."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        _listed("Verdict", [verdict.sentence for verdict in report.verdicts]),
        "".join(f'<p class="warning">{escape(warning)}</p>' for warning in report.warnings),
        _entries("Headline, with 95 % intervals", report, report.headline, with_interval=True),
        _plots(report),
        _entries("All figures", report, shown_figures(report), with_interval=False),
        "".join(_slice(part, report.headline) for part in report.slices),
        _stages(report.stages),
        _listed(
            "Settings",
            [f"{e.name}: {e.settings}" for e in report.entries if e.settings],
        ),
        _listed("Not run", [f"{entry.name}: {entry.reason}" for entry in report.skipped]),
        _protocol(report.protocol),
    ]
    return styled(parts)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], strong: Sequence[bool] = ()) -> str:
    """Cells are escaped here."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    marks = [*strong, *[False] * (len(rows) - len(strong))]
    body = "".join(
        f"<tr{' class=' + chr(34) + 'model' + chr(34) if mark else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row, mark in zip(rows, marks, strict=True)
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _entries(title: str, report: Report, names: Sequence[str], *, with_interval: bool) -> str:
    if not names or not report.entries:
        return ""

    def cell(figure: Estimate | None) -> str:
        return spanned(figure) if with_interval else number(figure and figure.value)

    rows = [
        [
            e.name,
            *(cell(e.figures.get(name)) for name in names),
            cpu_seconds(e.seconds),
        ]
        for e in report.entries
    ]
    strong = [entry.role == "model" for entry in report.entries]
    return f"<h2>{escape(title)}</h2>" + table(["", *names, "CPU s"], rows, strong)


def _plots(report: Report) -> str:
    models = [entry.name for entry in report.entries if entry.role == "model"]
    drawn = [
        bars(name, {e.name: e.figures[name] for e in report.entries if name in e.figures}, models)
        for name in report.headline
    ]
    curves = {e.name: [(float(k), v) for k, v in e.curve.items()] for e in report.entries if e.curve}
    drawn.append(lines("Filtered hit rate by cut-off, averaged over rows", curves, "k"))
    for name, values in report.history.items():
        points = [(float(step), value) for step, value in enumerate(values, start=1)]
        drawn.append(lines(f"Learning curve: {name}", {name: points}, "epoch"))
    return "".join(drawn)


def _slice(part: Any, names: Sequence[str]) -> str:
    rows = [
        [entry, *(spanned(found.get(n)) for n in names)] for entry, found in part.figures.items() if found
    ]
    return f"<h2>{escape(part.name)}: {part.num_rows:,} rows, {part.num_users:,} users</h2>" + table(
        ["", *names], rows
    )


def _stages(stages: Mapping[str, Any]) -> str:
    if not stages:
        return ""
    columns = list(
        dict.fromkeys(key for value in stages.values() if isinstance(value, Mapping) for key in value)
    )
    rows = [
        [name, *(number(value.get(key)) for key in columns)]
        for name, value in stages.items()
        if isinstance(value, Mapping)
    ]
    single = [f"{name}: {number(value)}" for name, value in stages.items() if not isinstance(value, Mapping)]
    return "<h2>Stages</h2>" + (table(["", *columns], rows) if rows else "") + _items(single)


def _protocol(protocol: Mapping[str, Any]) -> str:
    items = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in protocol.items()
    )
    return f"<h2>How it was measured</h2><dl>{items}</dl>"


def _listed(title: str, sentences: Sequence[str]) -> str:
    return f"<h2>{escape(title)}</h2>{_items(sentences)}" if sentences else ""


def _items(sentences: Sequence[str]) -> str:
    return (
        "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"
        if sentences
        else ""
    )
