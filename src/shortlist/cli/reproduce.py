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

FIGURES = {
    "top100_raw": "raw",
    "top100_raw_train": "train",
    "top100_filtered": "filtered",
    "ndcg10_filtered": "ndcg@10",
    "rmse": "rmse",
}
GROUPS = {
    "tutorial": ("printed", ("top100_raw", "top100_raw_train", "rmse")),
    "its recipe here": ("tutorial_recipe", ("top100_raw", "top100_raw_train", "rmse")),
    "Shortlist here": ("shortlist_recipe", tuple(FIGURES)),
}
LEGEND = (
    "raw, train: top-100 accuracy on test and on train rows, seen items left in; filtered: on test rows, seen"
    "\nitems removed; ndcg@10: filtered, averaged over users; rmse: of ratings on test rows"
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
    """The experiments as a table, what its columns mean, then the predictions where there are any."""
    above, below = [""], ["experiment"]
    for group, (part, figures) in GROUPS.items():
        used = [name for name in figures if any(name in row.get(part, {}) for row in rows)]
        above += [group, *("" for _ in used[1:])]
        below += [FIGURES[name] for name in used]
    body = [[row["experiment"], *_cells(row, rows), _seconds(row)] for row in rows]
    parts = [table([*above, ""], [[*below, "seconds"], *body]), LEGEND]
    parts += ["\n".join(_predictions(row)) for row in rows if row.get("predictions")]
    return "\n\n".join(parts)


def _cells(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = []
    for part, figures in GROUPS.values():
        for name in figures:
            if any(name in other.get(part, {}) for other in rows):
                value = row.get(part, {}).get(name)
                cells.append("-" if value is None else f"{value:.3f}")
    return cells


def _seconds(row: Mapping[str, Any]) -> str:
    return f"{row['seconds']:.1f}" if "seconds" in row else "-"


def _predictions(row: Mapping[str, Any]) -> list[str]:
    lines = [f"predicted ratings, {row['experiment']}"]
    groups = {part: group for group, (part, _) in GROUPS.items()}
    for part, found in row["predictions"].items():
        ratings = ", ".join(f"{film} {value:.3f}" for film, value in found["ratings"].items())
        same = f"after save and load within {found['largest_difference']:.0e}"
        lines.append(f"  {groups[part]}, user {found['user_id']}: {ratings} ({same})")
    return lines
