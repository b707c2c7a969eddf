"""What `recommend` and `similar` do for all at once: a file of answers, which a killed run goes on with."""

from __future__ import annotations

import csv
import json as jsonlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.console import note, out, out_json, progress
from shortlist.cli.folders import bundle_folder, require_file
from shortlist.data.spans import span
from shortlist.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from shortlist.pipeline.recommender import Recommender
    from shortlist.pipeline.resumable import Written

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Where to: .parquet, .csv or .jsonl."),
]
Threads = Annotated[
    int,
    typer.Option(
        min=0, help="Blocks that one process works on at a time; 0: as many as processors, 8 at most."
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        min=0,
        help="Processes that answer, each on one thread; 0: as many as processors where there are so many"
        " users that it pays, else threads.",
    ),
]

_USER = "user_id"
_MANY = 100_000  # items all of whose cosines take half a minute or so


def require_output(output: Path | None) -> None:
    """DataError where a file could not be written or its ending says no format, MissingExtra where Polars is
    missing for it: before anything is loaded."""
    if output is not None:
        from shortlist.data.blocks import require_ending

        require_file(output)
        require_ending(output)


def foretell(recommender: Recommender, k: int, threads: int, *, quiet: bool) -> None:
    """Say how long the neighbours of every item will take, where it is long: each is compared with all."""
    from shortlist.pipeline.bulk import similar_seconds
    from shortlist.pipeline.scoring import all_compared

    items = len(recommender.items)
    if quiet or items < _MANY or not all_compared(recommender.index):
        return
    seconds = similar_seconds(recommender, k, threads=threads)
    note(
        f"{items:,} items are compared with each other: about {span(seconds)}, by a few of them;"
        " with an approximate index (shortlist index build) it is less"
    )


def write_answers(
    bundle: Path,
    recommender: Recommender,
    output: Path,
    what: str,
    answer: Callable[..., Written],
    *,
    json: bool,
    quiet: bool,
) -> None:
    """Let `answer` (recommender, path, with identity and tell) write to `output`, and say what it wrote."""
    from shortlist import bundle as bundles

    begun = time.monotonic()
    identity = bundles.inspect(bundle_folder(bundle))["digest"]
    try:
        with progress(quiet=quiet) as tell:
            done = answer(recommender, output, identity=identity, tell=lambda *count: tell(what, *count))
    except KeyboardInterrupt:
        note("what is written whole is kept: run the same again to go on from there", quiet=quiet)
        raise
    seconds = time.monotonic() - begun
    if json:
        told = {"rows": done.rows, "bytes": done.bytes, "resumed": done.resumed, "seconds": seconds}
        out_json({"path": output, what: done.answers, **told})
        return
    out(str(output))
    fresh = done.answers - done.resumed
    before = f", {done.resumed:,} of them by an earlier run" if done.resumed else ""
    note(
        f"{done.answers:,} {what}{before}, {done.rows:,} rows, {done.bytes:,} bytes in {span(seconds)}"
        f" ({fresh / max(seconds, 1e-9):,.0f} {what}/s); wrote {output}",
        quiet=quiet,
    )


def read_users(path: Path) -> list[str]:
    """The ids in a file: one a line, or the column user_id of a table (CSV, TSV, JSON lines; Parquet and what
    else Polars reads).

    Raises DataError for a file that is missing, cannot be read, has no such column, or no id.
    """
    if not path.is_file():
        raise DataError(f"no such file: {path}", hint=f"looked in {path.absolute().parent}")
    try:
        found = [_text(path, row, value) for row, value in enumerate(_ids(path), 1)]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte at offset {error.start}", hint=f"iconv -f latin1 -t utf-8 {path.name}"
        ) from error
    if not found:
        raise DataError(f"{path} has no users", hint="one id a line, or a table with a column user_id")
    return found


def _ids(path: Path) -> Iterator[Any]:
    suffix = path.suffix.lower()
    if suffix in ("", ".txt"):
        return _lines(path)
    if suffix in (".csv", ".tsv"):
        return _delimited(path)
    return _objects(path) if suffix in (".jsonl", ".ndjson") else _table(path)


def _text(path: Path, row: int, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{path}, user {row}: expected an id, got {value!r}")
    return str(value)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as file:
        yield from (line.removesuffix("\n") for line in file if line != "\n")


def _delimited(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        _require_column(path, reader.fieldnames or ())
        yield from (row[_USER] for row in reader)


def _objects(path: Path) -> Iterator[Any]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = jsonlib.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected an object, got {line[:40]}")
        _require_column(path, row)
        yield row[_USER]


def _table(path: Path) -> Iterator[Any]:
    from shortlist.data.reading import read_table

    table = read_table(path)
    _require_column(path, table.columns)
    yield from table[_USER].to_list()


def _require_column(path: Path, names: Any) -> None:
    if _USER not in names:
        raise DataError(f"{path} has no column {_USER!r}", hint=did_you_mean(_USER, names))
