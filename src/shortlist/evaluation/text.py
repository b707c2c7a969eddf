"""The report as plain text, for a terminal or a log."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shortlist.evaluation.figures import lower_is_better
from shortlist.evaluation.intervals import Estimate

if TYPE_CHECKING:
    from shortlist.evaluation.report import Report

_WIDTH = 110


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell, the first to the left, the others to the right."""
    widths = [max(len(row[at]) for row in [header, *rows]) for at in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(header), rule, *(line(row) for row in rows)])


def number(value: Any) -> str:
    """Four digits after the point; a dash for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def spanned(figure: Estimate | None) -> str:
    """A figure with its interval."""
    if figure is None:
        return "-"
    return number(figure.value) + (
        "" if math.isnan(figure.low) else f" [{figure.low:.3f}, {figure.high:.3f}]"
    )


def cpu_seconds(seconds: float | None) -> str:
    """One digit after the point; a dash where nothing was timed."""
    return "-" if seconds is None else f"{seconds:.1f}"


def shown_figures(report: Report) -> list[str]:
    """The figures worth a column: hit rate over rows; recall, NDCG and MRR over users; rating errors."""
    known = dict.fromkeys(name for entry in report.entries for name in entry.figures)
    return [name for name in known if lower_is_better(name) or ("hit_rate" in name) == name.endswith("(row)")]


def labelled(entry: Any) -> str:
    """The name, with a star before a model's."""
    return f"* {entry.name}" if entry.role == "model" else f"  {entry.name}"


def report_text(report: Report) -> str:
    """Protocol, headline with intervals, all figures, verdicts, slices, stages, what was left out."""
    parts = [_protocol(report.protocol)]
    parts += [_headline(report), _all_figures(report)]
    parts += [f"== {title}\n{body}" for title, body in _sections(report) if body]
    return "\n\n".join(part for part in parts if part) + "\n"


def _protocol(protocol: Mapping[str, Any]) -> str:
    name_width = max((len(str(name)) for name in protocol), default=0)
    lines = []
    for name, value in protocol.items():
        start = f"{name!s:<{name_width}}  "
        lines.append(
            textwrap.fill(str(value), _WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
        )
    return "\n".join(lines)


def _headline(report: Report) -> str:
    if not report.entries or not report.headline:
        return ""
    header = ["== Headline (* model)", *report.headline]
    rows = [
        [labelled(e), *(spanned(e.figures.get(name)) for name in report.headline)] for e in report.entries
    ]
    return aligned(header, rows)


def _all_figures(report: Report) -> str:
    """A table a policy: one for both would be too wide for a terminal."""
    names = shown_figures(report)
    groups = [[n for n in names if n.startswith(policy)] for policy in ("filtered", "raw")]
    groups[0] += [n for n in names if lower_is_better(n)]
    tables = []
    for title, group in zip(("seen items removed", "seen items left in"), groups, strict=True):
        if group:
            header = [
                f"== All figures, {title}",
                *(n.split(" ", 1)[-1] if " " in n else n for n in group),
                "CPU s",
            ]
            rows = [
                [
                    labelled(e),
                    *(_value(e.figures.get(n)) for n in group),
                    cpu_seconds(e.seconds),
                ]
                for e in report.entries
            ]
            tables.append(aligned(header, rows))
    return "\n\n".join(tables)


def _value(figure: Estimate | None) -> str:
    return "-" if figure is None else number(figure.value)


def _sections(report: Report) -> list[tuple[str, str]]:
    settings = [f"{e.name}: {e.settings}" for e in report.entries if e.settings]
    return [
        ("Verdict", "\n".join(verdict.sentence for verdict in report.verdicts)),
        ("Warnings", "\n".join(report.warnings)),
        ("Slices", "\n\n".join(_slice(part, report.headline) for part in report.slices)),
        ("Stages", "\n".join(_stage(name, value) for name, value in report.stages.items())),
        ("Settings", "\n".join(settings)),
        ("Not run", "\n".join(f"{entry.name}: {entry.reason}" for entry in report.skipped)),
    ]


def _slice(part: Any, names: Sequence[str]) -> str:
    title = f"{part.name}: {part.num_rows:,} rows, {part.num_users:,} users"
    rows = [
        [entry, *(spanned(found.get(n)) for n in names)] for entry, found in part.figures.items() if found
    ]
    return aligned([title, *names], rows)


def _stage(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{name}: " + ", ".join(f"{key} {number(found)}" for key, found in value.items())
    return f"{name}: {number(value)}"
