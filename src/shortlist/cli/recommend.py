"""`shortlist recommend`: shortlists from a bundle."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any

import typer

from shortlist.cli.answers import Bundle, Context, Timestamp, answer_table, context, ids, load, titled, typed
from shortlist.cli.console import Json, examples, note, out, out_json

EXAMPLES = examples(
    "shortlist recommend runs/demo --user 42 -k 10",
    "shortlist recommend runs/demo --user 42 --user 7 --exclude 50,181 --json",
    "shortlist recommend runs/demo --user 42 --timestamp 1998-04-01T20:00 --keep-seen",
    "shortlist recommend runs/demo --user visitor --history 50,181 --context 'history_rating=5|3'",
)


def recommend(
    bundle: Bundle,
    user: Annotated[list[str], typer.Option("--user", "-u", help="Whose shortlist; may be repeated.")],
    k: Annotated[int, typer.Option("-k", help="How many items.")] = 10,
    history: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID,...", help="What the user did, the latest first, in place of what is stored."
        ),
    ] = None,
    timestamp: Timestamp = "",
    context_: Context = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="ID,...", help="Never these items.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="ID,...", help="Only these items.")] = None,
    keep_seen: Annotated[bool, typer.Option("--keep-seen", help="Items the user had may return.")] = False,
    json: Json = False,
) -> None:
    """Retrieve, filter and rank: the best K items for a user.

    A user the training rows did not know gets the most popular items, marked so, unless the model reads no
    user id, or a history is told. Where fewer than K items are left, all of those are shown.
    """
    recommender = load(bundle)
    columns: dict[str, Any] = {**context(context_ or [], timestamp)}
    known = recommender.items.vocabulary
    told, excluded = ids(history, known), ids(exclude, known)
    if told is not None:
        columns["history"] = told
    if strange := [name for name in (*(told or ()), *(excluded or ())) if name not in known]:
        note(f"not in the catalogue, so without effect: {', '.join(strange)}")
    queries = [typed(recommender, {"user_id": name, **columns}) for name in user]
    slate = recommender.recommend(
        queries,
        k,
        filter_seen=not keep_seen,
        exclude=excluded,
        only=ids(only, known),
    )
    rows = titled(recommender, slate.to_dicts())
    if json:
        out_json(rows)
        return
    if not rows:
        note("no item is left: all were seen or excluded")
        return
    for name in dict.fromkeys(user):
        if name not in recommender.users.vocabulary and all(
            row["source"] == "popular" for row in rows if row["user_id"] == name
        ):
            note(f"user {name} is not known: these are the most popular items")
    blocks = []
    for name, group in groupby(rows, key=lambda row: row["user_id"]):
        text = answer_table(list(group), ("rank", "item_id", "title", "score"), ("source",))
        blocks.append(text if len(user) == 1 else f"user {name}\n{text}")
    out("\n\n".join(blocks))
