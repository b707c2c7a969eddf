"""`shortlist score`: what a bundle says of given pairs of users and items."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shortlist.cli.answers import Bundle, Context, Timestamp, answer_table, context, ids, load, titled, typed
from shortlist.cli.console import USAGE, Json, Quiet, examples, fail, note, out, out_json
from shortlist.data.plain import PLAIN, read_rows

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
    quiet: Quiet = False,
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
        rows = [{**columns, **row} for row in rows_of(input_)]
    recommender = load(bundle)
    if input_ is None:
        names = ids(given, recommender.items.vocabulary) or []
        rows = [{"user_id": user, "item_id": name, **columns} for name in names]
    found = recommender.score([typed(recommender, row) for row in rows]).to_dicts()
    found = titled(recommender, found)
    known = recommender.items.vocabulary
    if strange := [name for name in dict.fromkeys(row["item_id"] for row in found) if name not in known]:
        first = ", ".join(strange[:10]) + (", ..." if len(strange) > 10 else "")
        note(f"not in the catalogue, so scored as a new item: {first}", quiet=quiet)
    if json:
        out_json(found)
    else:
        out(answer_table(found, ("user_id", "item_id", "title"), ("log_p",)))


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a file: CSV and JSON lines need nothing installed, other formats are read with Polars."""
    if path.is_file() and path.suffix.lower() not in PLAIN:
        from shortlist.data.reading import read_table

        return read_table(path).to_dicts()
    return read_rows(path)
