"""`shortlist runs`: what earlier runs found, one beside the other."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from shortlist.cli.console import Json, examples, note, out, out_json, table
from shortlist.cli.reports import (
    HOME,
    best_first,
    figure_named,
    find,
    models_of,
    read,
    run_folders,
    settings_of,
    summary,
    written_at,
)
from shortlist.errors import DataError

app = typer.Typer(no_args_is_help=True, help="List and compare runs.")
# What must agree before two runs can be compared at all.
_SAME = ("data", "split", "seed", "test rows", "seen items")


@app.command(
    "list",
    epilog=examples(
        "shortlist runs list",
        "shortlist runs list --sort rmse",
        "shortlist runs list experiments --sort 'filtered ndcg@10 (user)' --json",
    ),
)
def list_runs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the runs are.")] = HOME,
    sort: Annotated[
        str, typer.Option(metavar="FIGURE", help="The best first by this; else the newest first.")
    ] = "",
    json: Json = False,
) -> None:
    """The runs below a folder with their headline figures, newest first.

    FIGURE is the name of a figure, or the beginning of a word of it, such as ndcg@10. Of a folder whose run
    did not end, or cannot be read, it is said what is wrong with it.
    """
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}", hint="train something: shortlist train ml100k-ids")
    rows = [summary(found) for found in sorted(run_folders(folder), key=written_at, reverse=True)]
    named = figure_named(sort, rows) if sort else ""
    if named:
        rows = best_first(rows, named)
    if json:
        out_json(rows)
        return
    for row in rows:
        if row["problem"]:
            note(f"warning: {row['path']}: {row['problem']}")
    shown = [row for row in rows if not row["problem"]]
    if not shown:
        note(f"no runs in {folder}")
        return
    columns = dict.fromkeys(
        [*([named] if named else []), *(name for row in shown for name in row["headline"])]
    )
    body = [
        [
            *(row[key] for key in ("run", "written", "data", "split", "model")),
            *map(row["figures"].get, columns),
        ]
        for row in shown
    ]
    out(table(["run", "written", "data", "split", "model", *columns], body))


@app.command(
    epilog=examples(
        "shortlist runs compare runs/demo runs/wide",
        "shortlist runs compare demo wide deep --json",
    )
)
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="A B...", help="Runs' folders, or names below runs/.")],
    json: Json = False,
) -> None:
    """The figures of runs side by side, with their intervals, and the settings in which their recipes differ.

    Of two runs also the difference B - A. Intervals that do not overlap show a difference; overlapping ones
    prove nothing either way.
    """
    if len(runs) < 2:
        raise DataError("compare needs at least two runs", hint="shortlist runs compare demo wide")
    folders = [find(name) for name in runs]
    reports = [read(folder) for folder in folders]
    models = [models_of(report, folder) for report, folder in zip(reports, folders, strict=True)]
    apart = _apart([report.get("protocol") or {} for report in reports])
    figures = [row for at in range(max(map(len, models))) for row in _beside(at, models)]
    settings, unread = settings_of(folders)
    if json:
        out_json(
            {
                "runs": [str(folder) for folder in folders],
                "models": [[model["name"] for model in found] for found in models],
                "comparable": not apart,
                "apart": apart,
                "figures": figures,
                "settings": settings,
            }
        )
        return
    titles = [folder.name for folder in folders]
    two = len(folders) == 2
    body = [
        [
            row["model"],
            row["figure"],
            *(map(_spanned, row["values"])),
            *([_signed(row["difference"])] if two else []),
        ]
        for row in figures
    ]
    out(table(["model", "figure", *titles, *(["B - A"] if two else [])], body))
    if settings:
        out(
            "\n"
            + table(["setting", *titles], [[row["key"], *map(_short, row["values"])] for row in settings])
        )
    elif not unread:
        note("the recipes do not differ")
    for said in unread:
        note(f"warning: {said}")
    for name, values in apart.items():
        note(
            f"warning: not the same {name}: {' and '.join(map(repr, values))}, so the figures do not compare"
        )


def _apart(protocols: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    values = {name: [protocol.get(name) for protocol in protocols] for name in _SAME}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def _beside(at: int, models: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The figures of every run's model number `at`; None where a run has no such model or figure."""
    own: list[Mapping[str, Any]] = [found[at] if at < len(found) else {} for found in models]
    label = next(model["name"] for model in own if model)
    for name in dict.fromkeys(name for model in own for name in model.get("figures", {})):
        values = [model.get("figures", {}).get(name) for model in own]
        known = [found["value"] for found in values if found is not None and found["value"] is not None]
        difference = known[1] - known[0] if len(known) == len(values) == 2 else None
        yield {"model": label, "figure": name, "values": values, "difference": difference}


def _spanned(found: Mapping[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return "-"
    span = "" if found.get("low") is None else f" [{found['low']:.3f}, {found['high']:.3f}]"
    return f"{found['value']:.4f}{span}"


def _signed(difference: float | None) -> str:
    return "-" if difference is None else f"{difference:+.4f}"


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else jsonlib.dumps(value)
