"""`shortlist serve`: answers over HTTP from a bundle; `shortlist key`: who may ask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shortlist.cli.answers import Bundle
from shortlist.cli.console import examples, note, out
from shortlist.errors import MissingExtra, RequestError

if TYPE_CHECKING:
    from shortlist.server.settings import Side

EXAMPLES = examples(
    "shortlist serve runs/demo",
    "shortlist serve runs/demo --events events.db --port 8080",
    "shortlist serve runs/demo --host 0.0.0.0 --keys keys.txt --workers 4",
    "shortlist serve runs/old --against runs/new --share 0.1",
)
KEY_EXAMPLES = examples(
    "shortlist key --file keys.txt --name shop", "shortlist key --file keys.txt --name me --admin"
)


def serve(
    bundle: Bundle,
    host: Annotated[str, typer.Option(help="Where to listen; other machines reach 0.0.0.0.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes, which share the weights.")] = 1,
    events: Annotated[
        str, typer.Option(metavar="STORE", help="Keep what users do: a file, or postgresql://...")
    ] = "",
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="TYPE", help="Events that say nothing; repeatable.")
    ] = None,
    impressions: Annotated[bool, typer.Option("--impressions", help="Also keep what was shown.")] = False,
    against: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="A second bundle for a share of users.")
    ] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="The second bundle's share of users.")] = 0.5,
    salt: Annotated[str, typer.Option(help="Another one splits users anew.")] = "",
    keys: Annotated[Path | None, typer.Option(metavar="FILE", help="Only whom shortlist key named.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Without keys, though others can reach it.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Names it is addressed by; repeatable.")
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Pages that may ask; repeatable.")
    ] = None,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of a request.")] = 1 << 20,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds a query may wait.")] = 5.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at one time.")] = 1000,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Queries answered at once.")] = 64,
    watch: Annotated[float, typer.Option(min=0, help="Seconds between looks at the bundle; 0: none.")] = 1.0,
    explorer: Annotated[bool, typer.Option("--explorer/--no-explorer", help="The page at /.")] = True,
    log: Annotated[str, typer.Option(help="Which requests: all, problems or none.")] = "problems",
    log_ids: Annotated[bool, typer.Option("--log-ids", help="Paths too, which hold ids.")] = False,
    drain: Annotated[float, typer.Option(min=0, help="Seconds between not ready and stopping.")] = 0.0,
) -> None:
    """Answer over HTTP: shortlists, scores, similar items, events.

    It listens on this machine alone unless told otherwise. / is a page to look at what it recommends and why,
    open to everybody, though what it shows needs a key where there are keys. /docs lists what it answers,
    /metrics what it counts. SIGHUP, a bundle replaced on disk or POST /v1/admin/reload exchange the bundle
    while it answers; one that fails verification is refused. SIGTERM lets requests finish. Events of types
    that count 0 in the recipe say nothing of who did them, or of those that --ignore names in their place.
    Notes go to stderr, a JSON object a line.
    """
    from shortlist.server.memory import unwatched

    if log not in ("all", "problems", "none"):
        raise RequestError(f"--log is all, problems or none, not {log!r}")
    try:
        with unwatched():
            from shortlist.server.running import serve as run
            from shortlist.server.settings import Settings
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "serve", "shortlist serve") from None

    settings = Settings(
        sides=_sides(bundle, against, share),
        salt=salt,
        host=host,
        port=port,
        workers=workers,
        events=events,
        impressions=impressions,
        ignored=tuple(ignore or ()),
        keys=keys,
        open=open_,
        hosts=tuple(allow_host or ()),
        origins=tuple(cors or ()),
        body_bytes=max_body,
        seconds=timeout,
        concurrency=concurrency,
        batch=batch,
        watch=watch,
        explorer=explorer,
        log=log,
        log_ids=log_ids,
        drain=drain,
    )
    raise typer.Exit(run(settings))


def _sides(bundle: Path, against: Path | None, share: float) -> tuple[Side, ...]:
    from shortlist.cli.folders import bundle_folder
    from shortlist.server.settings import Side

    if against is None:
        return (Side(name="a", path=bundle_folder(bundle)),)
    return (
        Side(name="a", path=bundle_folder(bundle), share=1.0 - share),
        Side(name="b", path=bundle_folder(against), share=share),
    )


def key(
    file: Annotated[Path, typer.Option(metavar="FILE", help="The keys of a server; made if need be.")],
    name: Annotated[str, typer.Option(help="Whose key it is, one word.")],
    admin: Annotated[bool, typer.Option("--admin", help="It may also exchange bundles.")] = False,
) -> None:
    """Make a key for a server and print it, once.

    The file holds its hash alone. Take a line out of it to withdraw the key; servers read it when they start.
    """
    from shortlist.server.guards import ADMIN, USE, add_key

    out(add_key(file, name, ADMIN if admin else USE))
    note(f"{file} holds its hash; send it as: Authorization: Bearer KEY")
