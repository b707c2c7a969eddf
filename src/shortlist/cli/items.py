"""`shortlist items`: new items join the catalogue of a bundle, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shortlist.cli.answers import Bundle, load
from shortlist.cli.console import Force, Json, Quiet, examples, note, out, out_json
from shortlist.cli.export import SIGN
from shortlist.cli.folders import require_free

if TYPE_CHECKING:
    from shortlist.pipeline.recommender import Recommender

app = typer.Typer(no_args_is_help=True, help="Add items to a bundle.")


@app.callback()
def _items() -> None:
    """Items that came after training."""


@app.command(
    epilog=examples(
        "shortlist items add runs/shop new_items.csv -o runs/shop-today",
        "shortlist items add runs/shop items.parquet --replace -o runs/shop-today --json",
    )
)
def add(
    bundle: Bundle,
    table: Annotated[Path, typer.Argument(metavar="ITEMS", help="CSV, TSV, JSON lines, Parquet or Arrow.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    item: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column of item ids, if not item_id or as in training.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Items of the catalogue may be among them: update them.")
    ] = False,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a bundle that also knows the items of a table, from the columns its model reads.

    Nothing is trained: a new item is what its columns say. The bundle appears whole or not at all; its path
    is printed. In text files several values of a column stand as `Drama|War` (or as in the tables the bundle
    was trained on), a vector as `[0.5, 1]`.
    """
    from shortlist.pipeline.arrivals import ADDED, UPDATED

    require_free(output, force=force, sign=SIGN)
    before = load(bundle)
    after = before.add_items(str(table), item=item, replace=replace)
    after.save(output)
    added, updated = (_more(name, before, after) for name in (ADDED, UPDATED))
    if json:
        out_json({"bundle": str(output), "items": len(after.items), "added": added, "updated": updated})
        return
    out(str(output))
    also = f", {updated:,} updated" if updated else ""
    note(f"{added:,} items added{also}, {len(after.items):,} in all; wrote {output}", quiet=quiet)


def _more(count: str, before: Recommender, after: Recommender) -> int:
    return int(after.provenance.get(count, 0) - before.provenance.get(count, 0))
