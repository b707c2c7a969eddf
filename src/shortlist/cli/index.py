"""`shortlist index`: what searches a bundle's items, and the items that come and go while it is in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.answers import Bundle, ids
from shortlist.cli.console import Force, Json, Quiet, examples, note, out, out_json
from shortlist.cli.export import SIGN
from shortlist.cli.folders import bundle_folder, require_free
from shortlist.errors import RequestError

if TYPE_CHECKING:
    from shortlist.pipeline.recommender import Recommender

GRAPH = "recommend.onnx"

app = typer.Typer(
    no_args_is_help=True, help="Make a bundle's index; add and remove items while it is in use."
)


class Kind(StrEnum):
    """How an index searches."""

    auto = "auto"
    exact = "exact"
    ann = "ann"


@app.callback()
def _index() -> None:
    """The index of a bundle's items."""


@app.command(
    epilog=examples(
        "shortlist index build runs/shop --kind ann --recall 0.97",
        "shortlist index build runs/shop -o runs/shop-indexed --json",
    )
)
def build(
    bundle: Bundle,
    kind: Annotated[Kind, typer.Option(help="exact, approximate (ann), or what is fast enough.")] = Kind.auto,
    recall: Annotated[
        float, typer.Option(help="The share of the exact best 100 an approximate index must find.")
    ] = 0.95,
    latency_ms: Annotated[
        float | None, typer.Option(help="How long one search may take, where the kind is chosen.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bundle to write; left out, BUNDLE is replaced.")
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build a bundle's index anew, over the items it has now.

    Items that were added and removed since the bundle was written become part of it. The bundle appears whole
    or not at all, and who has it open keeps what there was. An approximate index is tuned and measured on the
    vectors of the bundle's own users.
    """
    from shortlist.api.indexing import about_index, indexed
    from shortlist.bundle.live import open_live

    said: list[str] = []

    def change(recommender: Recommender) -> Recommender:
        if recommender.item_vectors is None:
            raise RequestError(
                "this bundle has no item vectors to search", hint="its model does not retrieve"
            )
        made = indexed(recommender, str(kind), recall=recall, latency_ms=latency_ms)
        said.extend(about_index(made))
        return made

    folder = bundle_folder(bundle)
    whole = (folder / GRAPH).is_file()
    if output is None:
        with open_live(folder) as live:
            live.compact(change)
    else:
        require_free(output, force=force, sign=SIGN)
        change(open_live(folder, write=False).recommender).save(output)
    facts = _facts(output or folder)
    if json:
        out_json(facts)
        return
    out(str(output or folder))
    note(f"{facts['kind']} index of {facts['items']:,} items", quiet=quiet)
    for line in (*said, *_lost(output or folder, whole)):
        note(line, quiet=quiet)


def _lost(folder: Path, whole: bool) -> list[str]:
    """That the graph which recommends is there no more, and what brings it back; whole: it was there."""
    if not whole or (folder / GRAPH).is_file():
        return []
    cure = "; with an exact index (--kind exact) there can be one"
    if not (folder / "index").is_dir():
        cure = f"; shortlist export {folder} -o NEW makes a copy that has it"
    return [f"{GRAPH} is left out, as it was made for what there was{cure}"]


@app.command(
    epilog=examples(
        "shortlist index add runs/shop --items new.csv",
        "shortlist index add runs/shop --items today.parquet --replace --json",
    )
)
def add(
    bundle: Bundle,
    items: Annotated[
        Path, typer.Option("--items", metavar="FILE", help="CSV, TSV, JSON lines, Parquet or Arrow.")
    ],
    item: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column of item ids, if not item_id or as in training.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Items of the catalogue may be among them: update them.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add the items of a table to a bundle in use, from the columns its model reads; nothing is trained.

    What is added is on disk when the command ends, in the bundle's journal, and processes that have the
    bundle open see it when they refresh. Items that were removed come back. Parquet and Arrow take the extra
    tables. In text files several values of a
    column stand as `Drama|War`, a vector as `[0.5, 1]`.
    """
    from shortlist.bundle.live import open_live
    from shortlist.pipeline.arrivals import ADDED, UPDATED

    with open_live(bundle_folder(bundle)) as live:
        before = live.recommender
        try:
            version = live.add_items(str(items), item=item, replace=replace)
        except RequestError as error:
            said = str(error).replace("the request", "the file")
            raise RequestError(f"{items}: {said}", hint=error.hint) from None
        after = live.recommender
    counts = {name: _more(count, before, after) for name, count in (("added", ADDED), ("updated", UPDATED))}
    _say(version, after.items.num_present, counts, json=json, quiet=quiet)


@app.command(epilog=examples("shortlist index remove runs/shop --item 50,181"))
def remove(
    bundle: Bundle,
    item: Annotated[
        list[str], typer.Option("--item", metavar="ID,...", help="What to remove; may be repeated.")
    ],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Remove items from a bundle in use: they are recommended no more, until they are added again."""
    from shortlist.bundle.live import open_live

    with open_live(bundle_folder(bundle)) as live:
        before = live.recommender.items
        version = live.remove_items(ids(item, before.vocabulary) or [])
        after = live.recommender.items
    gone = before.num_present - after.num_present
    _say(version, after.num_present, {"removed": gone}, json=json, quiet=quiet)


def _more(count: str, before: Recommender, after: Recommender) -> int:
    return int(after.provenance.get(count, 0) - before.provenance.get(count, 0))


def _say(version: int, items: int, counts: dict[str, int], *, json: bool, quiet: bool) -> None:
    if json:
        out_json({"version": version, "items": items, **counts})
        return
    out(str(version))
    changed = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    note(f"items: {changed or 'none changed'}; {items:,} in all; this is version {version}", quiet=quiet)


@app.command(epilog=examples("shortlist index stats runs/shop", "shortlist index stats runs/shop --json"))
def stats(bundle: Bundle, json: Json = False) -> None:
    """Say what searches a bundle's items: its kind, how many there are, what changed since it was built."""
    facts = _facts(bundle_folder(bundle))
    if json:
        out_json(facts)
        return
    for name, value in (*about(facts), *_kept(facts)):
        out(f"{name:<14} {value}")


def about(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is to be known of an index, of the facts it says of itself: a name and a line each."""
    items = facts.get("items")
    of = "" if items is None else f" of {items:,} items"
    if facts.get("kind") != "ann":
        yield "index", "none: the model does not retrieve" if facts.get("kind") == "none" else f"exact{of}"
        return
    yield "index", f"ann, approximate{of}; {facts['nprobe']:,} of {facts['lists']:,} lists are looked into"
    asked = "the users' own queries" if facts.get("queries") == "given" else "made-up queries near items"
    yield (
        f"recall@{facts['recall_k']}",
        f"{facts['recall']:.4f} on {asked}; {facts['target']:g} was asked for",
    )
    if not facts.get("normalized", True):
        yield "lengths", "of the item vectors differ, which an approximate index handles badly"
    yield "index size", f"{_amount(facts['bytes'])}, beside vectors of {_amount(facts['bytes_of_float32'])}"
    if (items or 0) <= facts["exact_below"]:
        yield (
            "searched",
            f"exactly: {items or 0:,} items are no more than the {facts['exact_below']:,} of that",
        )
    else:
        yield "searched", f"exactly where a filter leaves at most {facts['exact_below']:,} items"


def _kept(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What became of the items since."""
    changed = facts.get("delta", 0)
    items = "item" if changed == 1 else "items"
    yield "since built", f"{changed:,} {items} new or changed, {facts.get('removed', 0):,} removed"
    yield "version", f"{facts['version']:,}; operations in the journal: {facts['operations']:,}"
    yield "files", f"{_amount(facts['stored_bytes'])} of vectors, index and journal"


def _amount(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _facts(folder: Path) -> dict[str, Any]:
    from shortlist.bundle.journals import JOURNAL
    from shortlist.bundle.live import changed_items, open_live, operations

    live = open_live(folder, write=False)
    searcher = live.recommender.searcher
    described = {} if searcher is None else dict(searcher.describe())
    if live.recommender.index is None and searcher is not None:  # made on the spot: it knows of no change
        at = live.recommender.items.positions(sorted(changed_items(folder)))
        described["delta"] = len(set(at.tolist()) - set(searcher.removed.tolist()))
    files = [*(folder / "items").glob("item_vectors.npy"), *(folder / "index").glob("*"), folder / JOURNAL]
    return {
        "kind": "none",
        "recall": None,
        **described,
        "items": live.recommender.items.num_present,
        "version": live.version,
        "operations": operations(folder),
        "stored_bytes": sum(file.stat().st_size for file in files if file.is_file()),
    }
