"""`shortlist runs`: what earlier runs found, one beside the other."""

from __future__ import annotations

import json as jsonlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from shortlist.cli.console import Json, examples, note, out, out_json, table
from shortlist.errors import DataError, did_you_mean

app = typer.Typer(no_args_is_help=True, help="List and compare runs.")
HOME = Path("runs")
# What must agree before two runs can be compared at all.
_SAME = ("data", "split", "seed", "test rows", "seen items")


@app.command("list", epilog=examples("shortlist runs list", "shortlist runs list experiments --json"))
def list_runs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the runs are.")] = HOME,
    json: Json = False,
) -> None:
    """The runs below a folder with their headline figures, newest first."""
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}", hint="train something: shortlist train ml100k-ids")
    found = sorted(folder.glob("*/report.json"), key=lambda path: -path.stat().st_mtime)
    rows = [_summary(path.parent, read(path.parent)) for path in found]
    if json:
        out_json(rows)
        return
    if not rows:
        note(f"no runs in {folder}")
        return
    figures = list(dict.fromkeys(name for row in rows for name in row["figures"]))
    body = [
        [row["run"], row["written"], row["model"], *(row["figures"].get(f) for f in figures)] for row in rows
    ]
    out(table(["run", "written", "model", *figures], body))


@app.command(
    epilog=examples(
        "shortlist runs compare runs/demo runs/wide",
        "shortlist runs compare demo wide --json",
    )
)
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A run's folder, or its name below runs/.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    json: Json = False,
) -> None:
    """The figures of two runs side by side, with their intervals and the difference B - A.

    Intervals that do not overlap show a difference; overlapping ones prove nothing either way.
    """
    folders = [find(first), find(second)]
    reports = [read(folder) for folder in folders]
    models = [_model(report, folder) for report, folder in zip(reports, folders, strict=True)]
    apart = _apart(*(report.get("protocol", {}) for report in reports))
    names = list(dict.fromkeys(name for model in models for name in model["figures"]))
    rows = [_beside(name, *(model["figures"].get(name) for model in models)) for name in names]
    if json:
        runs = [str(folder) for folder in folders]
        labels = [model["name"] for model in models]
        out_json({"runs": runs, "models": labels, "comparable": not apart, "apart": apart, "figures": rows})
        return
    titles = [f"{folder.name}: {model['name']}" for folder, model in zip(folders, models, strict=True)]
    body = [[row["figure"], _spanned(row["a"]), _spanned(row["b"]), row["difference"]] for row in rows]
    out(table(["figure", *titles, "B - A"], body))
    for name, (one, other) in apart.items():
        note(f"warning: not the same {name}: {one!r} and {other!r}, so the figures do not compare")


def find(name: str) -> Path:
    """A run's folder by its path or by its name below runs/; DataError with the nearest names."""
    for folder in (Path(name), HOME / name):
        if (folder / "report.json").is_file():
            return folder
    known = [path.parent.name for path in HOME.glob("*/report.json")]
    raise DataError(
        f"{name} is no run: it holds no report.json",
        hint=did_you_mean(name, known) or "train one: shortlist train ml100k-ids",
    )


def read(folder: Path) -> dict[str, Any]:
    """The report of a run; DataError where it is not one."""
    path = folder / "report.json"
    try:
        report = jsonlib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"cannot read {path}: {error}", hint="train the run again") from error
    if not isinstance(report, dict) or not isinstance(report.get("entries"), list):
        raise DataError(f"{path} is no report: it has no entries", hint="train the run again")
    return report


def _model(report: dict[str, Any], folder: Path) -> dict[str, Any]:
    for entry in report["entries"]:
        if entry.get("role") == "model":
            return dict(entry)
    raise DataError(f"the report of {folder} judges no model")


def _summary(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    model = _model(report, folder)
    headline = {name: model["figures"].get(name) for name in report.get("headline", [])}
    return {
        "run": folder.name,
        "path": str(folder),
        "written": datetime.fromtimestamp((folder / "report.json").stat().st_mtime, UTC).strftime(
            "%Y-%m-%d %H:%M"
        ),
        "model": model["name"],
        "figures": {name: found["value"] for name, found in headline.items() if found},
    }


def _apart(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (one.get(name), other.get(name)) for name in _SAME if one.get(name) != other.get(name)}


def _beside(name: str, a: dict[str, Any] | None, b: dict[str, Any] | None) -> dict[str, Any]:
    values = [found["value"] for found in (a, b) if found is not None and found["value"] is not None]
    difference = values[1] - values[0] if len(values) == 2 else None
    return {"figure": name, "a": a, "b": b, "difference": difference}


def _spanned(found: dict[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return "-"
    span = "" if found["low"] is None else f" [{found['low']:.3f}, {found['high']:.3f}]"
    return f"{found['value']:.4f}{span}"
