"""`shortlist reproduce`: the tutorials' experiments, as they print them, as printed here, as Shortlist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shortlist.cli.console import Quiet, examples, json_text, note, out, out_json, progress, table

EXAMPLES = examples(
    "shortlist reproduce tutorials",
    "shortlist reproduce tutorials --seeds 3 --json tutorials.json",
)


class What(StrEnum):
    """What can be reproduced."""

    tutorials = "tutorials"


def reproduce(
    what: Annotated[What, typer.Argument(help="The six experiments of the two tutorials.")],
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the rows to a file too.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs an experiment; figures are their means.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Run the tutorials' experiments on MovieLens 100K, each twice.

    One row an experiment: what the tutorial prints, its recipe run here, Shortlist's recipe, seconds.
    `--json -` prints the rows as JSON instead.
    """
    from shortlist.recipes.tutorials import reproduce

    with progress(quiet=quiet) as tell:
        found = reproduce(seeds=seeds, tell=tell)
    if json is not None and str(json) == "-":
        out_json(found)
        return
    if json is not None:
        from shortlist.data.download import write_atomic

        write_atomic(json, (json_text(found) + "\n").encode())
    out(text(found))
    if json is not None:
        note(f"wrote {json}", quiet=quiet)


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The experiments as a table, then the predictions where there are any."""
    header = ["experiment", "tutorial", "its recipe here", "Shortlist here", "seconds"]
    body = [
        [
            row["experiment"],
            *(_figures(row.get(part)) for part in ("printed", "tutorial_recipe", "shortlist_recipe")),
            f"{row['seconds']:.1f}" if isinstance(row.get("seconds"), int | float) else "-",
        ]
        for row in rows
    ]
    parts = [table(header, body)]
    for row in rows:
        if row.get("predictions"):
            lines = _predictions(row["predictions"])
            parts.append("\n".join([f"predictions, {row['experiment']}", *(f"  {line}" for line in lines)]))
    return "\n\n".join(parts)


def _figures(found: Any) -> str:
    if not isinstance(found, Mapping) or not found:
        return "-"
    return ", ".join(f"{name} {_number(value)}" for name, value in found.items())


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _predictions(found: Any) -> list[str]:
    if isinstance(found, Mapping):
        return [f"{name}: {_inline(value)}" for name, value in found.items()]
    return [_inline(value) for value in (found if isinstance(found, list) else [found])]


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_inline(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_inline(inner) for inner in value)
    return _number(value)
