"""Finding the best candidates of a catalogue: an index of item vectors, exact or approximate, and ranks."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from shortlist._typing import Floats, Index
from shortlist.errors import BundleCorrupted
from shortlist.index.exact import ExactIndex
from shortlist.state.storage import load_array, load_json


def load(folder: Path, item_vectors: Floats) -> Index:
    """The index that was saved in a folder, over the item vectors [N, d] that were saved with it.

    Raises BundleCorrupted where the two do not fit, OSError where a file is missing, and MissingExtra where
    an approximate index needs a package that is not installed.
    """
    plain = load_json(folder / "index.json")
    removed = load_array(folder / "removed.npy")
    exact = ExactIndex.of(item_vectors).without(removed)
    if plain.get("kind") == "exact":
        return exact
    if plain.get("kind") != "ann":
        raise BundleCorrupted(f"{folder / 'index.json'} names the kind {plain.get('kind')!r}")
    from shortlist.index.ann import AnnIndex, Tuned
    from shortlist.index.mapped import load_lists

    lists = load_lists(folder)
    sample, weights, fresh = (
        load_array(folder / f"{name}.npy") for name in ("sample", "stands_for", "fresh")
    )
    covered = np.arange(len(lists), len(item_vectors))
    if len(lists) > len(item_vectors) or not np.isin(covered, fresh).all():
        raise BundleCorrupted(f"{folder}: an index of {len(lists)} items, and {len(item_vectors)} vectors")
    return AnnIndex(exact, lists, msgspec.convert(plain["tuned"], Tuned), sample, weights, fresh)
