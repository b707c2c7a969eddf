"""`shortlist events`: what a server kept of its users' doings: told of, exported for training, forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shortlist.cli.console import Force, Json, Quiet, examples, note, out, out_json, table
from shortlist.errors import DataError, RequestError

if TYPE_CHECKING:
    from shortlist.server.events.store import Store

app = typer.Typer(no_args_is_help=True, help="Events a server kept: export, count, forget.")
Place = Annotated[
    str,
    typer.Argument(metavar="STORE", help="The server's file of events, or postgresql://user@host/database."),
]
FIRST, LAST = -62_135_596_800, 253_402_300_799
"""Seconds of the years 1 and 9999."""


@app.callback()
def _events() -> None:
    """What people did while a server ran."""


@app.command(
    epilog=examples(
        "shortlist events export events.db -o events.parquet",
        "shortlist events export events.db -o buys.csv --type buy --since 2026-01-01",
        "shortlist events export events.db -o ratings.parquet --rated",
        "shortlist events export events.db -o shown.parquet --impressions",
    )
)
def export(
    store: Place,
    output: Annotated[
        Path, typer.Option("--output", "-o", help=".parquet, .csv, .tsv or .jsonl; text also .gz.")
    ],
    kind: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only events of this type; repeatable.")
    ] = None,
    since: Annotated[str, typer.Option(metavar="TIME", help="Only events from this time on.")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Only events before this time.")] = "",
    rated: Annotated[bool, typer.Option("--rated", help="Only events with a rating.")] = False,
    impressions: Annotated[
        bool, typer.Option("--impressions", help="What was shown, a row an item, in place of what was done.")
    ] = False,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write events as a table: then shortlist train --from RUN TABLE -o NEW.

    Columns are user_id, item_id, event, rating, weight, timestamp (seconds since 1970), event_id and those of
    the context, less those no event has; the run's recipe may call them otherwise.

    TIME is ISO 8601 (UTC where it names no zone) or seconds since 1970. The server may be running: what comes
    during the export waits for the next one. The file appears whole or not at all.
    """
    from shortlist.server.events.exporting import Choice, export_impressions
    from shortlist.server.events.exporting import export as write
    from shortlist.server.events.trouble import StoreFull

    if output.exists() and not force:
        raise DataError(f"{output} exists already", hint="give another --output, or replace it with --force")
    if impressions and (kind or since or until or rated):
        raise RequestError(
            "--impressions are exported whole", hint="leave --type, --since, --until and --rated"
        )
    choice = Choice(kind or (), time_of("--since", since), time_of("--until", until), rated)
    try:
        with opened(store) as events:
            found = export_impressions(events, output) if impressions else write(events, output, choice)
    except StoreFull as error:  # its own words are of events that were to be kept
        raise DataError(
            f"{output}: no room left: nothing was exported",
            hint="make room, or let files be larger (ulimit -f); the store is as it was",
        ) from error
    if json:
        out_json(
            {"output": str(output), "rows": found.rows, "columns": found.columns, "unrated": found.unrated}
        )
        return
    out(str(output))
    note(f"{found.rows:,} rows; columns: {', '.join(found.columns)}", quiet=quiet)
    if found.unrated:
        note(f"{found.unrated:,} of them have no rating: --rated leaves them out", quiet=quiet)
    if found.untyped:
        note(f"{found.untyped:,} of them have no type", quiet=quiet)


@app.command(
    epilog=examples("shortlist events stats events.db", "shortlist events stats events.db --check --json")
)
def stats(
    store: Place,
    check: Annotated[
        bool, typer.Option("--check", help="Read all of it and say whether it is whole.")
    ] = False,
    json: Json = False,
) -> None:
    """Say how many events there are, of whom, of what types and when."""
    with opened(store) as events:
        if check:
            events.check()
        found = events.stats()
    if json:
        told = {name: getattr(found, name) for name in found.__struct_fields__}
        out_json(told | ({"whole": True} if check else {}))
        return
    names = {
        "place": "store",
        "kind": "kept in",
        "version": "version of its tables",
        "bytes": "bytes on disk",
    }
    rows = [
        [names.get(n, n), getattr(found, n)] for n in ("place", "kind", "version", "events", "users", "items")
    ]
    rows += [["impressions", found.impressions], ["first", _day(found.first)], ["last", _day(found.last)]]
    rows += [["bytes on disk", found.bytes], ["survives loss of power", "yes" if found.durable else "NO"]]
    out(table(["what", "value"], [[what, str(value)] for what, value in rows]))
    if found.kinds:
        out("\n" + table(["type", "events"], [[kind or "(none)", n] for kind, n in found.kinds.items()]))
    if check:
        note("everything could be read")


@app.command(epilog=examples("shortlist events forget events.db --user 42"))
def forget(
    store: Place,
    user: Annotated[str, typer.Option("--user", "-u", metavar="ID", help="Whose events to delete.")],
    json: Json = False,
) -> None:
    """Delete every event and impression of a user.

    A running server notices at its next request. Bundles and exported tables that were made before still know
    the user: export again, and train anew.
    """
    with opened(store) as events:
        gone = events.forget(user)
    if json:
        out_json({"user_id": user, "events": gone.events, "impressions": gone.impressions})
        return
    out(f"deleted {gone.events:,} events and {gone.impressions:,} impressions of {user}")
    if not gone.events and not gone.impressions:
        note("nothing was known of this user")


@contextmanager
def opened(place: str) -> Iterator[Store]:
    """A store that is there already. StoreError."""
    from shortlist.server.events.opening import open_store

    store = open_store(place, create=False)
    try:
        yield store
    finally:
        store.close()


def time_of(option: str, text: str) -> int | None:
    """A time as an option has it, in seconds since 1970; None for "". RequestError."""
    if not text:
        return None
    try:
        if text.lstrip("-").isdigit():
            return int(text)
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise RequestError(
            f"{option} {text!r} is no time",
            hint="2026-01-31, 2026-01-31T12:00:00+01:00, or seconds since 1970",
        ) from None


def _day(seconds: int | None) -> str:
    if seconds is None:
        return "-"
    if not FIRST <= seconds <= LAST:
        return str(seconds)
    return datetime.fromtimestamp(seconds, UTC).isoformat()
