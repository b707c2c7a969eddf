"""`shortlist recommend`: shortlists from a bundle, for a user, a list of users or all of them."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.answers import Bundle, Context, Timestamp, answer_table, context, ids, load, titled, typed
from shortlist.cli.bulk import Output, Processes, Threads, read_users, require_output, write_answers
from shortlist.cli.console import USAGE, Force, Json, Quiet, examples, fail, note, out, out_json

if TYPE_CHECKING:
    from shortlist.pipeline.recommender import Recommender

EXAMPLES = examples(
    "shortlist recommend runs/demo --user 42 -k 10",
    "shortlist recommend runs/demo --user 42 --user 7 --exclude 50,181 --json",
    "shortlist recommend runs/demo --user 42 --timestamp 1998-04-01T20:00 --keep-seen",
    "shortlist recommend runs/demo --user visitor --history 50,181 --context 'history_rating=5|3'",
    "shortlist recommend runs/demo --user 42 --where \"year >= 1990 and 'Comedy' in genres\"",
    "shortlist recommend runs/demo --all-users -o shortlists.parquet",
    "shortlist recommend runs/demo --users chosen.csv -k 20 -o shortlists.csv",
)
_WAYS = "shortlist recommend BUNDLE --user 42, or shortlist recommend BUNDLE --all-users -o shortlists.csv"


def recommend(
    bundle: Bundle,
    user: Annotated[
        list[str] | None, typer.Option("--user", "-u", help="Whose shortlist; may be repeated.")
    ] = None,
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
    where: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="Only items of which this is true, such as \"year >= 1990 and 'Comedy' in genres\".",
        ),
    ] = "",
    keep_seen: Annotated[bool, typer.Option("--keep-seen", help="Items the user had may return.")] = False,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="Of every user the bundle knows, into a file.")
    ] = False,
    users: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of these users, into a file: an id a line, or a column user_id."),
    ] = None,
    output: Output = None,
    threads: Threads = 0,
    processes: Processes = 0,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Retrieve, filter and rank: the best K items for a user.

    A user the training rows did not know gets the most popular items, marked so, unless the model reads no
    user id, or a history is told. Where fewer than K items are left, all of those are shown.

    With --all-users or --users the shortlists go into a file: user_id, item_id, rank, score, what the model
    predicts, and source (retrieval or popular). A run that was killed goes on where it was, when the same is
    asked again.
    """
    _require_one(bool(user), all_users, users is not None, file=output is not None, history=bool(history))
    require_output(output)
    chosen = None if users is None else read_users(users)
    recommender = load(bundle)
    known = recommender.items.vocabulary
    columns: dict[str, Any] = {**context(context_ or [], timestamp)}
    told, excluded = ids(history, known), ids(exclude, known)
    if told is not None:
        columns["history"] = told
    if strange := [name for name in (*(told or ()), *(excluded or ())) if name not in known]:
        note(f"not in the catalogue, so without effect: {', '.join(strange)}", quiet=quiet)
    filters: dict[str, Any] = {
        "filter_seen": not keep_seen,
        "exclude": excluded,
        "only": ids(only, known),
        "where": where or None,
    }
    if output is not None:
        from shortlist.pipeline.bulk import recommend_all

        if strangers := sum(name not in recommender.users.vocabulary for name in chosen or ()):
            note(f"{strangers:,} of {len(chosen or ()):,} users are not known", quiet=quiet)
        filters |= {"users": chosen, "context": typed(recommender, columns)}
        answer = partial(recommend_all, k=k, force=force, threads=threads, processes=processes, **filters)
        write_answers(bundle, recommender, output, "users", answer, json=json, quiet=quiet)
        return
    asked = user or []
    queries = [typed(recommender, {"user_id": name, **columns}) for name in asked]
    slate = recommender.recommend(queries, k, **filters)
    rows = titled(recommender, slate.to_dicts())
    if not rows:
        note(_none_left(recommender, filters["only"], where, excluded or []), quiet=quiet)
    _show(recommender, rows, asked, json=json, quiet=quiet)


def _require_one(user: bool, all_users: bool, users: bool, *, file: bool, history: bool) -> None:
    """Leave where it is not one of --user, --all-users and --users, the latter two with --output."""
    given = {"--user": user, "--all-users": all_users, "--users": users}
    said = [name for name, there in given.items() if there]
    message = ""
    if not said:
        message = "recommend needs --user, or --all-users (or --users FILE) and --output"
    elif len(said) > 1:
        message = f"{' and '.join(said)} do not go together: each says whose shortlists these are"
    elif file and said == ["--user"]:
        message = "--output does not go with --user: it is of --all-users and --users FILE"
    elif not file and said != ["--user"]:
        message = f"{said[0]} needs --output FILE: so many shortlists go into a file"
    elif file and history:
        message = "--history is what one user did: it goes with --user"
    if message:
        fail(message, _WAYS)
        raise typer.Exit(USAGE)


def _none_left(recommender: Recommender, only: list[str] | None, where: str, excluded: list[str]) -> str:
    """Why nobody was given an item: the first filter that leaves none."""
    import numpy as np

    items = recommender.items
    left = np.ones(len(items), np.bool_) if items.retired is None else ~items.retired
    if where:
        left &= recommender.filters.where(where)
        if not left.any():
            return f"no item is left: --where {where!r} is true of none of {items.num_present:,} items"
    if only is not None:
        left &= np.isin(np.arange(len(items)), items.positions(only))
        if not left.any():
            return "no item is left: none of --only" + (" passes --where" if where else " is in use")
    positions = items.positions(excluded)
    left[positions[positions >= 0]] = False
    named = [name for name, given in (("--where", where), ("--only", only is not None)) if given]
    of = f" of those that {' and '.join(named)} {'leave' if len(named) > 1 else 'leaves'}" if named else ""
    if not left.any():
        return f"no item is left: --exclude names all{of}"
    return f"no item is left: all{of} were seen or excluded; --keep-seen lets seen ones return"


def _show(
    recommender: Recommender, rows: list[dict[str, Any]], asked: list[str], *, json: bool, quiet: bool
) -> None:
    if json:
        out_json(rows)
        return
    if not rows:
        return
    for name in dict.fromkeys(asked):
        if name not in recommender.users.vocabulary and all(
            row["source"] == "popular" for row in rows if row["user_id"] == name
        ):
            note(f"user {name} is not known: these are the most popular items", quiet=quiet)
    blocks = []
    for name, group in groupby(rows, key=lambda row: row["user_id"]):
        text = answer_table(list(group), ("rank", "item_id", "title", "score"), ("source",))
        blocks.append(text if len(asked) == 1 else f"user {name}\n{text}")
    out("\n\n".join(blocks))
