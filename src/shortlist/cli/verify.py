"""`shortlist verify`: whether a bundle is whole, and whether it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from shortlist.cli.answers import Bundle
from shortlist.cli.console import PROBLEM, Json, examples, fail, out, out_json
from shortlist.cli.folders import bundle_folder
from shortlist.errors import BundleError

EXAMPLES = examples("shortlist verify runs/demo", "shortlist verify export --json")


def verify(bundle: Bundle, json: Json = False) -> None:
    """Check every file and graph of a bundle, and ask it.

    Checksums, every graph run on a row, arrays and index against each other, one answer. Exit code 1 where
    anything is wrong; the message names the file. With --json: whole, and the problem or what was checked.
    """
    from shortlist import bundle as bundles

    folder = bundle_folder(bundle)
    try:
        manifest = bundles.verify(folder)
    except BundleError as error:
        if not json:
            raise
        out_json({"whole": False, "problem": str(error), "hint": error.hint})
        fail(str(error), error.hint)
        raise typer.Exit(PROBLEM) from None
    found = _checked(manifest)
    if json:
        out_json({"whole": True, "digest": manifest["digest"], "checked": found})
        return
    counts = ", ".join(f"{count:,} {name}" for name, count in found.items())
    out(f"{folder} is whole: {counts}")


def _checked(manifest: Mapping[str, Any]) -> dict[str, int]:
    graphs = sum(len(part["graphs"]) for part in manifest["parts"].values())
    graphs += "graph" in manifest["recommend"]
    return {"files": len(manifest["files"]), "bytes": manifest["size"], "graphs": graphs}
