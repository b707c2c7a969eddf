"""`shortlist data`: fetch, describe and split tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.console import Force, Json, Quiet, examples, note, out, out_json
from shortlist.cli.folders import new_folder, require_file, require_free, write_file
from shortlist.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from shortlist.data.dataset import Dataset

app = typer.Typer(no_args_is_help=True, help="Fetch, check, describe and split tables.")

NAMED = "movielens"
NONE = "none"
ROLES = ("user", "item", "rating", "timestamp", "weight")
PARTS = ("train", "validation", "test")
SIGN = "split.json"

Source = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help='"movielens-100k", or a table of interactions.')
]
From = Annotated[
    Path | None, typer.Option("--path", help="Where a named data set lies: its folder or zip archive.")
]
Columns = Annotated[
    str,
    typer.Option(
        "--columns",
        metavar="ROLE=COLUMN,...",
        help=f"Which columns play the roles {', '.join(ROLES)}; timestamp=none: none does.",
    ),
]
TimeUnit = Annotated[
    str, typer.Option(help="s, ms, us, ns, yyyymmdd or a strptime pattern; else it is found out.")
]
Users = Annotated[Path | None, typer.Option("--users", help="A table of users beside a FILE.")]
Items = Annotated[Path | None, typer.Option("--items", help="A table of items beside a FILE.")]


@app.command(
    epilog=examples(
        "shortlist data fetch movielens-100k", "shortlist data fetch movielens-1m --path ml-1m.zip"
    )
)
def fetch(
    name: Annotated[str, typer.Argument(help="Such as movielens-100k.")] = "movielens-100k",
    path: From = None,
    json: Json = False,
) -> None:
    """Get a named data set, verify it and keep it in the cache.

    MovieLens 100K is downloaded; the larger sizes are read from --path.
    """
    dataset = named(name, path)
    facts = {
        "name": dataset.name,
        "interactions": dataset.interactions.height,
        "users": dataset.users.height,
        "items": dataset.items.height,
        "licence": dataset.licence,
        "place": str(path or _cache(dataset.name)),
    }
    if json:
        out_json(facts)
    else:
        out("\n".join(f"{key:<13} {value}" for key, value in facts.items()))


@app.command(
    epilog=examples(
        "shortlist data describe movielens-100k",
        "shortlist data describe movielens-100k --html ml100k.html",
        "shortlist data describe events.csv --columns user=customer,item=sku --json",
    )
)
def describe(
    source: Source,
    path: From = None,
    columns: Columns = "",
    users: Users = None,
    items: Items = None,
    time_unit: TimeUnit = "",
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots here too.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The picture of a data set: counts, distributions, time, sessions, columns.

    The page stands alone: no script, nothing from elsewhere.
    """
    from shortlist.data.dataset import describe
    from shortlist.data.picture import picture

    require_file(html)
    dataset = load(source, path, columns, users, items, time_unit)
    for told in dataset.notes:
        note(told, quiet=quiet)
    facts, seen = describe(dataset), picture(dataset)
    if html is not None:
        from shortlist.evaluation.picture import picture_page

        write_file(html, picture_page(facts, seen, f"Data: {dataset.name}"), quiet=quiet)
    if json:
        out_json({**facts, "picture": seen})
        return
    from shortlist.evaluation.sketch import sketch

    out("\n".join(_lines(facts)) + "\n\n" + sketch(seen))


@app.command(
    epilog=examples(
        "shortlist data split movielens-100k --rule random=80% --seed 42 -o splits/random",
        "shortlist data split events.parquet --rule time=80%,validation=10% -o splits/time",
        "shortlist data split events.csv --rule hold_last=1 -o splits/last",
    )
)
def split(
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    rule: Annotated[
        str,
        typer.Option(
            help="random=80% or time=80% (then ,validation=10%), or hold_last=1 (then ,validation=no)."
        ),
    ] = "random=80%",
    seed: Annotated[int, typer.Option(help="Of the random rule.")] = 42,
    path: From = None,
    columns: Columns = "",
    users: Users = None,
    items: Items = None,
    time_unit: TimeUnit = "",
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Divide the rows once: train, validation and test as Parquet, and what the rule lets leak.

    The folder appears whole or not at all.
    """
    from shortlist.cli.console import json_text
    from shortlist.data.splits import parse_rule

    how = parse_rule(rule)
    require_free(output, force=force, sign=SIGN)
    parts = how.apply(load(source, path, columns, users, items, time_unit), seed=seed)
    with new_folder(output, force=force, sign=SIGN) as folder:
        for name in PARTS:
            getattr(parts, name).write_parquet(folder / f"{name}.parquet")
        facts = parts.describe()
        (folder / SIGN).write_text(json_text(facts) + "\n", encoding="utf-8")
    if json:
        out_json({"output": str(output), **facts})
    else:
        out("\n".join(_lines(facts)))
    note(f"wrote {output}/" + "{train,validation,test}.parquet", quiet=quiet)


def load(
    source: str,
    path: Path | None = None,
    columns: str = "",
    users: Path | None = None,
    items: Path | None = None,
    time_unit: str = "",
) -> Dataset:
    """The data set of a name, or of a file with the user's own columns."""
    if source.split("-")[0] == NAMED and not Path(source).exists():
        return named(source, path)
    from shortlist.data.dataset import from_tables

    known = f"{NAMED}-100k"
    if not Path(source).exists() and not Path(source).suffix:
        raise DataError(
            f"no data set and no file is called {source!r}", hint=f"{known}, or the path of a table"
        )
    with hinting_columns():
        return from_tables(
            source, users, items, name=Path(source).stem, time_unit=time_unit, **roles(columns)
        )


@contextmanager
def hinting_columns() -> Iterator[None]:
    """Hints that name columns as `init` takes them name them as these verbs do."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error), hint=_OPTIONS.sub(_as_columns, error.hint)) from error


_OPTION = rf"--({'|'.join(ROLES)}) ('[^']*'|[^\s,;]+)"
_OPTIONS = re.compile(rf"(?<!init ){_OPTION}( {_OPTION})*")


def _as_columns(options: re.Match[str]) -> str:
    named = (f"{role}={shlex.split(column)[0]}" for role, column in re.findall(_OPTION, options[0]))
    return f"--columns {shlex.quote(','.join(named))}"


def named(name: str, path: Path | None = None) -> Dataset:
    """A data set by its name; DataError with the nearest names."""
    from shortlist.data.movielens import SIZES, movielens

    known = [f"{NAMED}-{size}" for size in SIZES]
    if name not in known:
        raise DataError(f"no data set is called {name!r}", hint=did_you_mean(name, known))
    return movielens(name.removeprefix(f"{NAMED}-"), path=path)


def roles(text: str) -> dict[str, Any]:
    """`user=customer,item=sku` as arguments of `from_tables`."""
    found = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        role, equals, column = (p.strip() for p in part.partition("="))
        if role not in ROLES or not equals or not column:
            hint = did_you_mean(role, ROLES) if role not in ROLES else "for instance --columns user=customer"
            raise DataError(f"--columns {part!r} is not ROLE=COLUMN", hint=hint)
        found[role] = "" if column == NONE and role not in ("user", "item") else column
    return found


def _cache(name: str) -> Path:
    from shortlist.data.download import cache_folder

    return cache_folder() / name


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {_shown(found)}" for key, found in value.items())
        if value not in ("", None):
            lines.append(f"{name.replace('_', ' '):<27} {_shown(value)}")
    return lines


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name}: {_shown(found)}" for name, found in value.items()) + ")"
    if isinstance(value, float):
        return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
