"""`shortlist score`: what a bundle says of given pairs of users and items."""

from __future__ import annotations

import csv
import io
import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from shortlist.cli.answers import Bundle, Context, Timestamp, answer_table, context, ids, load, titled, typed
from shortlist.cli.console import USAGE, Json, examples, fail, out, out_json
from shortlist.errors import DataError

EXAMPLES = examples(
    "shortlist score runs/demo --user 42 --item 94",
    "shortlist score runs/demo --user 42 --item 94,96 --timestamp 893286638",
    "shortlist score runs/demo --input pairs.csv --json > scores.json",
)


def score(
    bundle: Bundle,
    user: Annotated[str, typer.Option("--user", "-u", help="Who.")] = "",
    item: Annotated[
        list[str] | None, typer.Option("--item", metavar="ID,...", help="What; may be repeated.")
    ] = None,
    input_: Annotated[
        Path | None,
        typer.Option("--input", "-i", metavar="FILE", help="Rows to score: CSV, JSONL or Parquet."),
    ] = None,
    timestamp: Timestamp = "",
    context_: Context = None,
    json: Json = False,
) -> None:
    """Score pairs of a user and an item.

    Each prediction of the model, and log_p, the log probability of the item in the catalogue. Give one
    --user and some --item, or a file of rows.
    """
    given = item or []
    if (input_ is None) == (not user or not given) or (input_ is not None and (user or given)):
        fail("score needs --user and --item, or --input", "shortlist score BUNDLE --user 42 --item 94")
        raise typer.Exit(USAGE)
    columns = context(context_ or [], timestamp)
    if input_ is not None:
        rows = [{**columns, **row} for row in read_rows(input_)]
    recommender = load(bundle)
    if input_ is None:
        known = recommender.items.vocabulary
        rows = [{"user_id": user, "item_id": name, **columns} for name in ids(given, known) or []]
    found = recommender.score([typed(recommender, row) for row in rows]).to_dicts()
    found = titled(recommender, found)
    if json:
        out_json(found)
    else:
        out(answer_table(found, ("user_id", "item_id", "title"), ("log_p",)))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file. CSV and JSONL need nothing installed; other formats are read with Polars.

    Raises DataError for a missing, unreadable or empty file, with its line where one is at fault.
    """
    if not path.is_file():
        raise DataError(f"no such file: {path}", hint=f"looked in {path.absolute().parent}")
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".tsv", ".jsonl", ".ndjson"):
        from shortlist.data.reading import read_table

        return read_table(path).to_dicts()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte at offset {error.start}", hint=f"iconv -f latin1 -t utf-8 {path.name}"
        ) from error
    rows = _delimited(text, suffix, path) if suffix in (".csv", ".tsv") else _lines(text, path)
    if not rows:
        raise DataError(f"{path} has no rows", hint="it needs a header and at least one row")
    return rows


def _delimited(text: str, suffix: str, path: Path) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if suffix == ".tsv" else ",")
    rows = []
    for row in reader:
        if None in row or None in row.values():
            wanted = len(reader.fieldnames or ())
            raise DataError(f"{path}, line {reader.line_num}: expected {wanted} fields, as in the header")
        rows.append(dict(row))
    return rows


def _lines(text: str, path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = jsonlib.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected an object, got {line.strip()[:40]}")
        rows.append(row)
    return rows
