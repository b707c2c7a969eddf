"""Finding the best candidates of a catalogue: an index of item vectors, exact or approximate, and ranks."""

from __future__ import annotations

from pathlib import Path

from shortlist._typing import Floats, Index
from shortlist.errors import BundleCorrupted
from shortlist.index.exact import ExactIndex
from shortlist.state.storage import load_array, load_json


def load(folder: Path, item_vectors: Floats) -> Index:
    """The index that was saved in a folder, over the item vectors [N, d] that were saved with it.

    Raises BundleCorrupted where the two do not fit, OSError where a file is missing, and MissingExtra where
    an approximate index needs a package that is not installed.
    """
    kind = load_json(folder / "index.json").get("kind")
    if kind != "exact":
        raise BundleCorrupted(f"{folder / 'index.json'} names the kind {kind!r}")
    return ExactIndex.of(item_vectors).without(load_array(folder / "removed.npy"))
