"""`shortlist similar`: the items nearest to an item."""

from __future__ import annotations

from typing import Annotated

import typer

from shortlist.cli.answers import Bundle, answer_table, load, titled
from shortlist.cli.console import Json, examples, out, out_json

EXAMPLES = examples(
    "shortlist similar runs/demo --item 94 -k 5", "shortlist similar runs/demo --item 94 --json"
)


def similar(
    bundle: Bundle,
    item: Annotated[str, typer.Option("--item", "-i", help="The item to compare with.")],
    k: Annotated[int, typer.Option("-k", help="How many items.")] = 10,
    json: Json = False,
) -> None:
    """Find the K items nearest to an item (cosine of vectors)."""
    recommender = load(bundle)
    rows = titled(recommender, recommender.similar_items(item, k).to_dicts())
    if json:
        out_json(rows)
    elif rows:
        out(answer_table(rows, ("rank", "item_id", "title", "score")))
