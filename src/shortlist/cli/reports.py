"""Reports and recipes that earlier runs left in their folders: found, read, summed up."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shortlist.errors import DataError, did_you_mean

HOME = Path("runs")
REPORT, RECIPE = "report.json", "recipe.toml"
WARM, COMPARISON = "news.txt", "comparison.json"
"""What a run that went on from another leaves in place of a report, the second where rows were held out."""


def run_folders(home: Path) -> Iterator[Path]:
    """Folders below `home` that a run wrote, or began to."""
    for path in sorted(home.iterdir()):
        hidden = path.name.startswith(".")  # where a run is being written, or was when it was killed
        if (
            path.is_dir()
            and not hidden
            and any((path / name).exists() for name in (REPORT, RECIPE, "bundle"))
        ):
            yield path


def written_at(folder: Path) -> float:
    """Seconds since 1970: of the report, which a run writes last, or of the folder without one."""
    last = next((folder / name for name in (REPORT, WARM) if (folder / name).exists()), folder)
    return last.stat().st_mtime


def find(name: str) -> Path:
    """A run's folder by its path or by its name below runs/; DataError with the nearest names."""
    for folder in (Path(name), HOME / name):
        if any((folder / name).is_file() for name in (REPORT, WARM)):
            return folder
    known = [path.parent.name for name in (REPORT, WARM) for path in HOME.glob(f"*/{name}")]
    raise DataError(
        f"{name} is no run: it holds no {REPORT}",
        hint=did_you_mean(name, known) or "train one: shortlist train ml100k-ids",
    )


def read(folder: Path) -> dict[str, Any]:
    """The report of a run; DataError where it is not one. Of a run that went on from another, the figures of
    its own on the rows it held out, none without."""
    path = folder / REPORT
    if not path.exists() and (folder / WARM).is_file():
        return _of_warm_start(folder)
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder} holds no {REPORT}: its run did not end", hint="train it again") from None
    except (ValueError, OSError) as error:
        raise DataError(f"cannot read {path}: {error}", hint="train the run again") from error
    entries = report.get("entries") if isinstance(report, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path} is no report: it has no entries", hint="train the run again")
    return dict(report)


def _of_warm_start(folder: Path) -> dict[str, Any]:
    path = folder / COMPARISON
    found: dict[str, Any] = {"figures": [], "protocol": {}, "headline": []}
    try:
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
        figures = {row["figure"]: row["b"] for row in found["figures"]}
        protocol = {"split": "the latest new events" if figures else None, **found["protocol"]}
        headline = list(found["headline"])
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise DataError(f"cannot read {path}: {error}", hint="train the run again") from error
    entry = {"name": "warm start", "role": "model", "figures": figures}
    return {"protocol": protocol, "headline": headline, "entries": [entry]}


def summary(folder: Path) -> dict[str, Any]:
    """What the list says of a run; `problem` where it cannot be read."""
    written = datetime.fromtimestamp(written_at(folder), UTC).strftime("%Y-%m-%d %H:%M")
    row: dict[str, Any] = {"run": folder.name, "path": str(folder), "written": written, "problem": ""}
    row |= {"data": None, "split": None, "model": None, "headline": [], "figures": {}}
    try:
        report = read(folder)
        model = models_of(report, folder)[0]
    except DataError as error:
        return {**row, "problem": str(error)}
    figures = {name: found["value"] for name, found in model["figures"].items()}
    known = {name: value for name, value in figures.items() if value is not None}
    protocol = report.get("protocol") or {}
    headline = [name for name in report.get("headline") or [] if name in known]
    told = {"data": protocol.get("data"), "split": protocol.get("split"), "model": model["name"]}
    return {**row, **told, "headline": headline, "figures": known}


def figure_named(words: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A figure of the runs: by its name, or by the beginning of a word of one headline figure."""
    known: list[str] = list(
        dict.fromkeys(name for row in rows for name in [*row["headline"], *row["figures"]])
    )
    if words in known or not known:
        return words if known else ""
    headline: list[str] = list(dict.fromkeys(name for row in rows for name in row["headline"]))
    for names in (headline, known):
        close = [name for name in names if any(part.startswith(words) for part in name.split())]
        if len(close) == 1:
            return close[0]
    raise DataError(f"no run has a figure {words!r}", hint=did_you_mean(words, known))


def best_first(rows: Sequence[dict[str, Any]], figure: str) -> list[dict[str, Any]]:
    """Runs without the figure come last."""
    from shortlist.evaluation.figures import lower_is_better

    sign = 1 if lower_is_better(figure) else -1
    return sorted(rows, key=lambda row: sign * row["figures"].get(figure, sign * float("inf")))


def models_of(report: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The entries of models: the model's own, then that of its two stages, if it has one."""
    found = [entry for entry in report["entries"] if entry.get("role") == "model"]
    if not found or not all(isinstance(entry.get("figures"), dict) for entry in found):
        raise DataError(f"the report of {folder} judges no model")
    return [dict(entry) for entry in found]


def settings_of(folders: Sequence[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """The keys of the recipes that are not the same in all, and what of them cannot be read."""
    recipes: list[dict[str, Any] | None] = []
    unread = []
    for folder in folders:
        try:
            recipes.append(dict(_flat(tomllib.loads((folder / RECIPE).read_text(encoding="utf-8")))))
        except (OSError, ValueError) as error:
            recipes.append(None)
            unread.append(f"cannot read {folder / RECIPE}: {error}")
    told = [recipe for recipe in recipes if recipe is not None]
    if len(told) < 2:
        return [], unread
    keys = dict.fromkeys(key for recipe in told for key in recipe)
    differ = [key for key in keys if any(recipe.get(key) != told[0].get(key) for recipe in told)]
    rows = [{"key": key, "values": [None if r is None else r.get(key) for r in recipes]} for key in differ]
    return rows, unread


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys with their values, as `--set` writes them; lists of plain values stay whole."""
    if isinstance(value, dict):
        inside: Any = value.items()
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        inside = enumerate(value)
    else:
        yield key, value
        return
    for step, part in inside:
        yield from _flat(part, f"{key}.{step}" if key else str(step))
