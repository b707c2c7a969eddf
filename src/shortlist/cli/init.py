"""`shortlist init`: from tables nobody described to a recipe with reasons."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.console import Force, Json, Quiet, examples, note, out, out_json, table
from shortlist.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from shortlist.recipes.starting import Start

EXAMPLES = examples(
    "shortlist init events.csv",
    "shortlist init events.parquet --items items.csv --users users.csv -o shop.toml",
    "shortlist init ratings.dat --goal rating",
    "shortlist init clicks/ --user visitor --item sku --timestamp seen_at --rating none",
)
GOALS = ("two-stage", "retrieval", "rating")
NONE = "none"

Column = Annotated[str | None, typer.Option(metavar="COLUMN", help="Of the interactions.")]
Optional = Annotated[str | None, typer.Option(metavar="COLUMN", help='Of the interactions; or "none".')]
Key = Annotated[str | None, typer.Option(metavar="COLUMN", help="Of the ids in that table.")]


def init(
    interactions: Annotated[
        Path, typer.Argument(metavar="FILE", help="What people did: a file, or a folder of files.")
    ],
    items: Annotated[Path | None, typer.Option(metavar="FILE", help="Of items, one row each.")] = None,
    users: Annotated[Path | None, typer.Option(metavar="FILE", help="Of users, one row each.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The recipe to write.")] = Path(
        "recipe.toml"
    ),
    goal: Annotated[str | None, typer.Option(help=f"One of {', '.join(GOALS)}.")] = None,
    user: Column = None,
    item: Column = None,
    timestamp: Optional = None,
    rating: Optional = None,
    event: Optional = None,
    weight: Optional = None,
    user_key: Key = None,
    item_key: Key = None,
    time_unit: Annotated[
        str, typer.Option(help="Of the times: s, ms, us, ns, yyyymmdd or a pattern such as %d/%m/%Y.")
    ] = "",
    split: Annotated[str, typer.Option(metavar="RULE", help="time=80%, random=80% or hold_last=1.")] = "",
    delimiter: Annotated[str, typer.Option(help="Of text files, where it is not to be found out.")] = "",
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at tables and write a recipe for them, with reasons.

    FILE is Parquet, CSV or other delimited text, JSON lines or Arrow, or a folder of such files. Which column
    is what, features, split and sizes are guessed, printed, and written beside the reason for each: correct
    them there, or name columns here.
    """
    from shortlist.data.download import write_atomic
    from shortlist.recipes.starting import Given, start
    from shortlist.recipes.written import written

    if goal is not None and goal not in GOALS:
        raise RecipeError(f"--goal {goal!r} is not known", hint=did_you_mean(goal, GOALS))
    if output.exists() and not force:
        raise RecipeError(
            f"{output} exists already", hint="give another --output, or replace it with --force"
        )
    optional = {"timestamp": timestamp, "rating": rating, "event": event, "weight": weight}
    named = {"user": user, "item": item} | {
        role: "" if column == NONE else column for role, column in optional.items()
    }
    called = None if output.stem == "recipe" else output
    given = Given(named, goal, split, time_unit, delimiter, user_key, item_key, called)  # type: ignore[arg-type]
    found = start(interactions, users, items, given)
    write_atomic(output, written(found, output.parent).encode())
    commands = _next(found, output)
    if json:
        out_json(_told(found, output, commands))
        return
    out(_shown(found))
    for said in found.notes:
        note(f"note: {said}", quiet=quiet)
    note(f"wrote {output}; next:\n" + "\n".join(f"  {command}" for command in commands), quiet=quiet)


def _shown(found: Start) -> str:
    """What was guessed, a column a row, then the split and what else was decided."""
    rows = [
        [Path(line.table).name, line.column, line.what, _why(line.why, line.instead)] for line in found.lines
    ]
    decided = [f"split {found.recipe.split.rule}: {found.split_reason}", *found.reasons]
    return table(["table", "column", "is", "because"], rows) + "\n\n" + "\n".join(decided)


def _why(why: str, instead: tuple[str, ...]) -> str:
    return f"{why} (or {', '.join(instead)})" if instead else why


def _told(found: Start, output: Path, commands: list[str]) -> dict[str, Any]:
    return {
        "output": str(output),
        "columns": [
            {"table": line.table, "column": line.column, "is": line.what, "why": line.why}
            | ({"instead": list(line.instead)} if line.instead else {})
            for line in found.lines
        ],
        "split": {"rule": found.recipe.split.rule, "why": found.split_reason},
        "reasons": list(found.reasons),
        "notes": list(found.notes),
        "recipe": found.recipe.to_dict(),
        "next": commands,
    }


def _next(found: Start, output: Path) -> list[str]:
    run = Path("runs") / found.recipe.name
    return [
        f"shortlist train {shlex.quote(str(output))}",
        f"shortlist recommend {shlex.quote(run.as_posix())} --user {shlex.quote(found.user)}",
    ]
