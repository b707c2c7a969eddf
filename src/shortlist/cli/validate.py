"""`shortlist data validate`: everything that is wrong or doubtful in tables, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.console import FOUND, OK, PROBLEM, Json, examples, out, out_json
from shortlist.cli.data import (
    NAMED,
    Columns,
    From,
    Items,
    Source,
    TimeUnit,
    Users,
    hinting_columns,
    named,
    roles,
)
from shortlist.errors import DataError

if TYPE_CHECKING:
    from shortlist.data.checks.result import Validation

EXIT_CODES = f"""\b
Exit codes:
  {OK}  no error was found (with --strict: no warning either)
  {FOUND}  errors were found; they are on stdout
  {PROBLEM}  a table could not be read at all, or a name, rule or limit is not known"""
EXAMPLES = f"{EXIT_CODES}\n\n" + examples(
    "shortlist data validate events.csv --items items.csv",
    "shortlist data validate events.csv --columns user=customer,item=sku --rule time=80%",
    "shortlist data validate splits/time --strict --json",
    "shortlist data validate movielens-100k --ignore repeated-pairs --limits user_rows=3",
)


def validate(
    source: Source,
    path: From = None,
    columns: Columns = "",
    users: Users = None,
    items: Items = None,
    rule: Annotated[
        str, typer.Option(help="Check a split too, made by this rule: random=80%, time=80%, hold_last=1.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Of the random rule.")] = 42,
    scale: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="The scale of the ratings, such as 1,5.")
    ] = "",
    time_unit: TimeUnit = "",
    ignore: Annotated[str, typer.Option(metavar="CHECK,...", help="Checks not to run.")] = "",
    limits: Annotated[
        str, typer.Option(metavar="LIMIT=VALUE,...", help="Thresholds of checks, such as user_rows=3.")
    ] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    json: Json = False,
) -> None:
    """Check tables: ids, times, ratings, columns, leakage, splits.

    Takes a named data set, a table, or a folder that `shortlist data split` wrote. Every check has a name;
    what it finds comes with counts, examples and what to do.
    """
    options = {"rule": rule, "seed": seed, "scale": _scale(scale), "time_unit": time_unit}
    options |= {"ignore": _words(ignore), "limits": _limits(limits)}
    found = _validated(source, path, columns, users, items, options)
    if json:
        out_json(found.to_dict())
    else:
        out(str(found))
    bad = not found.ok or (strict and bool(found.of("warning")))
    raise typer.Exit(FOUND if bad else OK)


def _validated(
    source: str,
    path: Path | None,
    columns: str,
    users: Path | None,
    items: Path | None,
    options: dict[str, Any],
) -> Validation:
    from shortlist.data.checks.validate import validate

    if source.split("-")[0] == NAMED and not Path(source).exists():
        return validate(named(source, path), **options)
    if not Path(source).exists() and not Path(source).suffix:
        raise DataError(
            f"no data set, file or split folder is called {source!r}", hint=f"{NAMED}-100k, or a path"
        )
    with hinting_columns():
        return validate(source, users, items, **roles(columns), **options)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _scale(text: str) -> tuple[float, float] | None:
    if not text:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise DataError(f"--scale {text!r} is not LOW,HIGH", hint="for instance --scale 1,5") from None
    return low, high


def _limits(text: str) -> Any:
    from shortlist.data.checks.finding import Limits

    found = {}
    for part in _words(text):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            hint = "for instance --limits user_rows=3,leakage=0.9"
            raise DataError(f"--limits {part!r} is not LIMIT=NUMBER", hint=hint) from None
    return Limits().changed(found)
