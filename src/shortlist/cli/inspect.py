"""`shortlist inspect`: what a bundle is, and whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shortlist.cli.answers import Bundle
from shortlist.cli.console import Json, examples, out, out_json
from shortlist.cli.folders import bundle_folder

EXAMPLES = examples("shortlist inspect runs/demo", "shortlist inspect runs/demo --json")
_DEPTH = 3


def inspect(bundle: Bundle, json: Json = False) -> None:
    """Print a bundle's manifest and verify its files."""
    from shortlist import bundle as bundles

    manifest = bundles.inspect(bundle_folder(bundle))
    if json:
        out_json(manifest)
    else:
        out("\n".join(_lines(manifest)))


def _lines(value: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    for name, found in value.items():
        start = "  " * depth + str(name)
        if isinstance(found, Mapping) and found and depth < _DEPTH:
            yield start
            yield from _lines(found, depth + 1)
        else:
            yield f"{start:<{26 + 2 * depth}} {_shown(found)}".rstrip()


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
