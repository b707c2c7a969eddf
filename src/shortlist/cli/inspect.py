"""`shortlist inspect`: what a bundle is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shortlist.cli.answers import Bundle
from shortlist.cli.console import Json, examples, out, out_json, table
from shortlist.cli.folders import bundle_folder
from shortlist.cli.index import about

EXAMPLES = examples("shortlist inspect runs/demo", "shortlist inspect runs/demo --json")


def inspect(bundle: Bundle, json: Json = False) -> None:
    """Print what a bundle says of itself.

    That every file is there and has its size is checked; `shortlist verify` looks into them. With --json the
    whole manifest is printed.
    """
    from shortlist import bundle as bundles
    from shortlist.bundle.live import operations

    folder = bundle_folder(bundle)
    manifest = bundles.inspect(folder)
    if json:
        out_json(manifest)
        return
    facts = [*_facts(manifest), *_since(operations(folder))]
    out("\n".join(f"{name:<14} {value}".rstrip() for name, value in facts))
    columns = manifest["request"]
    names = ("name", "side", "type", "required", "default", "longest")
    rows = [[column.get(name) for name in names] for column in columns]
    out("\nwhat a request may hold\n" + table(names, rows))


def _facts(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    provenance, files = manifest["provenance"], manifest["files"]
    size = sum(file["bytes"] for file in files.values())
    amount = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
    yield "format", f"{manifest['format']}.{manifest['minor']}, written by shortlist {manifest['shortlist']}"
    yield "created", f"{manifest['created']}, with the model; copies keep it"
    yield "files", f"{len(files)} of {amount}, all there"
    yield "sizes", ", ".join(f"{count:,} {name}" for name, count in manifest["sizes"].items())
    for name, part in manifest["parts"].items():
        yield "part", f"{name}: graphs {', '.join(part['graphs'])}"
    whole = manifest["recommend"]
    yield "recommend.onnx", "there" if "graph" in whole else f"left out: {whole['left_out']}"
    if manifest["index"] is not None:
        yield from about({"items": manifest["sizes"].get("items"), **manifest["index"]})
    yield from _weights(provenance.get("weights"))
    order, retrieved = manifest["pipeline"]["utility"], manifest["pipeline"]["num_retrieved"]
    yield "order", f"{retrieved} retrieved, by log p + {order['rating_weight']:g} * {order['head']}"
    for name, keys in (("recipe", ("name",)), ("data", ("name", "licence")), ("split", ("rule", "seed"))):
        known = provenance.get(name)
        if isinstance(known, Mapping):
            found = [str(known[key]) for key in keys if known.get(key) not in (None, "")]
            yield name, ", ".join(found)
    if manifest["licence"].get("bundle"):
        yield "licence", manifest["licence"]["bundle"]


def _since(count: int) -> Iterator[tuple[str, str]]:
    if count:
        yield "operations", f"{count:,} on its items since it was written, in live/ (shortlist index stats)"


def _weights(stated: Any) -> Iterator[tuple[str, str]]:
    """The type of the tables, where it is a smaller one, and what that costs."""
    if not isinstance(stated, Mapping) or "type" not in stated:
        return
    yield "weights", f"{stated['type']}: {stated['bytes']:,} bytes of {stated['float32_bytes']:,}"
    metrics = stated.get("metrics")
    if isinstance(metrics, Mapping):
        for name, found in metrics.items():
            yield "", f"{name} {found['before']:.4f} before, {found['after']:.4f} after"
    elif stated.get("not_measured"):
        yield "", f"what that costs was not measured: {stated['not_measured']}"
