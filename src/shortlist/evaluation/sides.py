"""Two recommenders side by side on the same rows: figures of both, and the interval of each difference."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from shortlist.errors import DataError
from shortlist.evaluation import html
from shortlist.evaluation.figures import headline, lower_is_better, tallies
from shortlist.evaluation.intervals import Estimate, Tally, Verdict, bootstrap, estimate, verdict_on
from shortlist.evaluation.rows import Predictions, TestRows
from shortlist.evaluation.text import aligned, spanned

LISTS = "recommend(): "
"""Before figures of the order that `recommend` returns, where two stages make it."""


@dataclass(frozen=True)
class Difference:
    """One figure of both; gap: b - a, with the interval from resampling users. verdict: of b against a."""

    figure: str
    a: Estimate
    b: Estimate
    gap: Estimate
    verdict: Verdict


@dataclass(frozen=True)
class SideBySide:
    """What a comparison found. names: of a and of b. warnings: what makes it unfair, in sentences. protocol:
    what the figures rest on. headline: the figures to look at first."""

    names: tuple[str, str]
    differences: tuple[Difference, ...]
    headline: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    protocol: Mapping[str, Any] = field(default_factory=dict)

    def figure(self, name: str) -> Difference:
        """One figure by its name. Raises KeyError."""
        return next(d for d in self.differences if d.figure == name)

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The headline in sentences."""
        return tuple(
            f"{d.figure}: {self._sentence(d)}" for d in self.differences if d.figure in self.headline
        )

    def _sentence(self, difference: Difference) -> str:
        a, b = self.names
        gap = difference.gap
        if math.isnan(gap.low):
            return f"too few users for a verdict, {gap.value:+.4f}"
        how = {
            "wins": f"{b} is better than {a}",
            "loses": f"{b} is worse than {a}",
            "no difference shown": f"no difference shown between {a} and {b}",
        }[difference.verdict]
        return f"{how}, {gap.value:+.4f} (95 % interval {gap.low:+.4f} to {gap.high:+.4f})"

    def table(self) -> str:
        """As plain text."""
        parts = [f"warning: {warning}" for warning in self.warnings]
        parts += [aligned(self._header, self._rows(self._shown)), "\n".join(self.verdicts)]
        parts.append("\n".join(f"{name}: {value}" for name, value in self.protocol.items()))
        return "\n\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values only; what is not a number is None."""
        return {
            "a": self.names[0],
            "b": self.names[1],
            "warnings": list(self.warnings),
            "protocol": dict(self.protocol),
            "headline": list(self.headline),
            "verdicts": list(self.verdicts),
            "figures": [
                {
                    "figure": d.figure,
                    "a": _plain(d.a),
                    "b": _plain(d.b),
                    "difference": _plain(d.gap),
                    "verdict": d.verdict,
                }
                for d in self.differences
            ],
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    def to_html(self, title: str = "Comparison") -> str:
        """A page that stands alone."""
        return html.document(title, self._section(title))

    def _repr_html_(self) -> str:
        return self._section("Comparison")

    def __str__(self) -> str:
        return self.table()

    def _section(self, title: str) -> str:
        said = "".join(f"<li>{escape(verdict)}</li>" for verdict in self.verdicts)
        rules = "".join(
            f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>"
            for name, value in self.protocol.items()
        )
        names = [d.figure for d in self.differences]
        parts = [
            f"<h1>{escape(title)}</h1><h2>Verdict</h2><ul>{said}</ul>",
            *(f'<p class="warning">{escape(warning)}</p>' for warning in self.warnings),
            "<h2>Figures</h2>",
            html.table(self._header, self._rows(names), [name in self.headline for name in names]),
            f"<h2>How it was measured</h2><dl>{rules}</dl>",
        ]
        return html.styled(parts)

    @property
    def _header(self) -> list[str]:
        a, b = self.names
        return ["figure", a, b, f"{b} - {a}", "verdict"]

    @property
    def _shown(self) -> list[str]:
        """The figures worth a line in a terminal."""
        return [
            d.figure
            for d in self.differences
            if lower_is_better(d.figure) or ("hit_rate" in d.figure) == d.figure.endswith("(row)")
        ]

    def _rows(self, names: Sequence[str]) -> list[list[str]]:
        return [
            [d.figure, spanned(d.a), spanned(d.b), _signed(d.gap), _short(d, self.names)]
            for d in self.differences
            if d.figure in names
        ]


def side_by_side(
    entrants: tuple[Sequence[Predictions], Sequence[Predictions]],
    rows: TestRows,
    names: tuple[str, str],
    *,
    ks: Sequence[int],
    resamples: int,
    seed: int,
    warnings: Sequence[str] = (),
    protocol: Mapping[str, Any] | None = None,
) -> SideBySide:
    """Figures of two sides on the same rows, with paired differences: users are resampled with all their
    rows, the same users for both (Efron's bootstrap).

    entrants: of each side, what it says of the rows, and, where two stages make its lists, what these say.
    Raises DataError where no figure is of both.
    """
    found = [_named(side, rows, ks) for side in entrants]
    common = [name for name in found[1] if name in found[0]]
    if not common:
        raise DataError(
            f"{names[0]} and {names[1]} have no figure in common: one only retrieves, the other only rates",
            hint="compare recommenders that answer the same question",
        )
    flat = [side[name] for side in found for name in common]
    values, draws = bootstrap(flat, rows.num_users, resamples, seed)
    half = len(common)
    differences = []
    for at, name in enumerate(common):
        a, b = (estimate(float(values[k]), draws[:, k]) for k in (at, half + at))
        gap = estimate(b.value - a.value, draws[:, half + at] - draws[:, at])
        verdict = verdict_on(gap, lower_is_better=lower_is_better(name))
        differences.append(Difference(name, a, b, gap, verdict))
    first = headline(ks)
    lists = LISTS + first[0]
    return SideBySide(
        names,
        tuple(differences),
        tuple(name for name in (lists, *first) if name in common),
        tuple(warnings),
        dict(protocol or {}),
    )


def _named(side: Sequence[Predictions], rows: TestRows, ks: Sequence[int]) -> dict[str, Tally]:
    first, *staged = (entry.check(rows) for entry in side)
    named = dict(tallies(first, rows, ks))
    for entry in staged:
        named |= {LISTS + name: t for name, t in tallies(entry, rows, ks).items() if "(user)" in name}
    return named


def _signed(gap: Estimate) -> str:
    if not math.isfinite(gap.value):
        return "-"
    span = "" if math.isnan(gap.low) else f" [{gap.low:+.4f}, {gap.high:+.4f}]"
    return f"{gap.value:+.4f}{span}"


def _short(difference: Difference, names: tuple[str, str]) -> str:
    a, b = names
    return {"wins": f"{b} is better", "loses": f"{a} is better"}.get(difference.verdict, "none shown")


def _plain(figure: Estimate) -> dict[str, float | None]:
    values = {"value": figure.value, "low": figure.low, "high": figure.high}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
