"""What a validation found, as a value: printed, written as JSON or shown in a notebook."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from shortlist.data.checks.finding import SEVERITIES, Finding, Severity

_WIDTH = 108
# every rule is tied to .shortlist-checks, so that a notebook around it keeps its own looks
_STYLE = """
.shortlist-checks{font:14px/1.45 system-ui,sans-serif}
.shortlist-checks td,.shortlist-checks th{text-align:left;vertical-align:top;padding:.3em .7em}
.shortlist-checks .error{border-left:4px solid #d55e00}
.shortlist-checks .warning{border-left:4px solid #e69f00}
.shortlist-checks .note{border-left:4px solid #56b4e9}
"""


@dataclass(frozen=True)
class Validation:
    """Everything that was found in a table, errors first.

    clean: names of the checks that found nothing. skipped: names of those that could not be run, and what
    they lack. rows: of the interactions. columns: which of them was taken for which role.
    """

    name: str
    rows: int
    findings: tuple[Finding, ...]
    clean: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no error was found; there may be warnings."""
        return not self.of("error")

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(found for found in self.findings if found.severity == severity)

    @property
    def verdict(self) -> str:
        """One line: how much was found."""
        counts = [(len(self.of(severity)), severity) for severity in SEVERITIES]
        found = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
        return f"{self.name}, {self.rows:,} rows: {found}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values only."""
        return {
            "name": self.name,
            "rows": self.rows,
            "columns": dict(self.columns),
            "ok": self.ok,
            "counts": {severity: len(self.of(severity)) for severity in SEVERITIES},
            "findings": [found.to_dict() for found in self.findings],
            "clean": list(self.clean),
            "skipped": dict(self.skipped),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    def __str__(self) -> str:
        skipped = [f"{name} ({why})" for name, why in self.skipped.items()]
        ending = [f"{len(self.clean)} checks found nothing"]
        if skipped:
            ending += textwrap.wrap(f"not run: {', '.join(skipped)}", _WIDTH, break_on_hyphens=False)
        taken = [f"{role} is {name!r}" for role, name in self.columns.items() if role != name]
        head = [self.verdict, *([f"columns: {', '.join(taken)}"] if taken else []), ""]
        return "\n".join([*head, *(_block(found) for found in self.findings), *ending])

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col">{word}</th>' for word in ("", "where", "found", "for instance", "do")
        )
        body = "".join(_row(found) for found in self.findings)
        return (
            f'<section class="shortlist-checks"><style>{_STYLE}</style><p>{escape(self.verdict)}</p>'
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></section>"
        )


def _block(found: Finding) -> str:
    def filled(text: str) -> list[str]:
        return textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")

    lines = [
        f"{found.severity:<8}{found.name:<26}{found.where}",
        *filled(f"{_counted(found)} {found.message}"),
    ]
    lines += [f"      {example}" for example in found.examples]
    return "\n".join([*lines, *filled(f"hint: {found.hint}"), ""])


def _counted(found: Finding) -> str:
    return f"{found.count:,} ({percent(found.share)}):"


def percent(share: float) -> str:
    """A share that is neither 0 nor 1 never reads so."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.3g} %"


def _row(found: Finding) -> str:
    examples = "<br>".join(escape(str(example)) for example in found.examples)
    cells = (
        f"<b>{escape(found.severity)}</b><br>{escape(found.name)}",
        escape(found.where),
        escape(f"{_counted(found)} {found.message}"),
        examples,
        escape(found.hint),
    )
    return f'<tr class="{escape(found.severity)}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
