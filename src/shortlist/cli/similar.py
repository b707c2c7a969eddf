"""`shortlist similar`: the items nearest to an item, or to each item of the catalogue."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from shortlist.cli.answers import Bundle, answer_table, load, titled
from shortlist.cli.bulk import Output, Threads, foretell, require_output, write_answers
from shortlist.cli.console import USAGE, Force, Json, Quiet, examples, fail, out, out_json

EXAMPLES = examples(
    "shortlist similar runs/demo --item 94 -k 5",
    "shortlist similar runs/demo --item 94 --json",
    "shortlist similar runs/demo --all -k 20 -o neighbours.parquet",
)


def similar(
    bundle: Bundle,
    item: Annotated[str, typer.Option("--item", "-i", help="The item to compare with.")] = "",
    k: Annotated[int, typer.Option("-k", help="How many items.")] = 10,
    all_: Annotated[bool, typer.Option("--all", help="Of every item, into a file.")] = False,
    output: Output = None,
    threads: Threads = 0,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the K items nearest to an item (cosine of vectors).

    With --all those of every item go into a file: item_id, neighbour_id, rank, score. A run that was killed
    goes on where it was, when the same is asked again.
    """
    if message := _at_odds(bool(item), all_, file=output is not None):
        fail(
            message, "shortlist similar BUNDLE --item 94, or shortlist similar BUNDLE --all -o neighbours.csv"
        )
        raise typer.Exit(USAGE)
    require_output(output)
    recommender = load(bundle)
    if output is not None:
        from shortlist.pipeline.bulk import similar_all

        foretell(recommender, k, threads, quiet=quiet)
        answer = partial(similar_all, k=k, threads=threads, force=force)
        write_answers(bundle, recommender, output, "items", answer, json=json, quiet=quiet)
        return
    rows = titled(recommender, recommender.similar_items(item, k).to_dicts())
    if json:
        out_json(rows)
    elif rows:
        out(answer_table(rows, ("rank", "item_id", "title", "score")))


def _at_odds(item: bool, all_: bool, *, file: bool) -> str:
    """What does not go together, or is not there; nothing where all is well."""
    if item and all_:
        return "--item and --all do not go together"
    if not (item or all_):
        return "similar needs --item, or --all and --output"
    if item and file:
        return "--output does not go with --item: it is of --all"
    return "--all needs --output FILE: so many neighbours go into a file" if all_ and not file else ""
