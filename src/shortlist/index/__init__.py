"""Finding the best candidates of a catalogue: an index of item vectors, exact or approximate, and ranks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from shortlist._typing import Floats, Index, Longs
from shortlist.errors import BundleCorrupted
from shortlist.index.exact import ExactIndex
from shortlist.state.storage import load_array, load_json

if TYPE_CHECKING:
    from shortlist.index.ann import Tuned

_MANY = 1 << 31  # more items than there are


class _Kind(msgspec.Struct, frozen=True):
    """What index.json says: the kind of index, and how an approximate one is searched."""

    kind: str
    tuned: dict[str, Any] = {}


def load(folder: Path, item_vectors: Floats) -> Index:
    """The index that was saved in a folder, over the item vectors [N, d] that were saved with it.

    Raises BundleCorrupted where the two do not fit, OSError where a file is missing, and MissingExtra where
    an approximate index needs a package that is not installed.
    """
    path = folder / "index.json"
    kind: _Kind = load_json(path, _Kind)
    removed = _positions(folder / "removed.npy", len(item_vectors))
    exact = ExactIndex.of(item_vectors).without(removed)
    if kind.kind == "exact":
        return exact
    if kind.kind != "ann":
        raise BundleCorrupted(f"{path} names the kind {kind.kind!r}")
    from shortlist.index.ann import AnnIndex, Tuned
    from shortlist.index.mapped import load_lists

    tuned = _tuned(path, kind.tuned, Tuned)
    lists = load_lists(folder)
    sample, fresh = (_positions(folder / f"{name}.npy", len(item_vectors)) for name in ("sample", "fresh"))
    weights = load_array(folder / "stands_for.npy")
    if weights.shape != sample.shape or weights.dtype.kind != "f":
        raise BundleCorrupted(
            f"{folder / 'stands_for.npy'} holds {weights.dtype} {weights.shape}, expected a number for each"
            f" of {len(sample)} positions"
        )
    covered = np.arange(len(lists), len(item_vectors))
    if len(lists) > len(item_vectors) or not np.isin(covered, fresh).all():
        raise BundleCorrupted(f"{folder}: an index of {len(lists)} items, and {len(item_vectors)} vectors")
    if lists.centres.shape[1] != item_vectors.shape[1]:
        raise BundleCorrupted(f"{folder}: centres {lists.centres.shape} and vectors {item_vectors.shape}")
    return AnnIndex(exact, lists, tuned, sample, weights, fresh)


def _tuned(path: Path, plain: dict[str, Any], kind: type[Tuned]) -> Tuned:
    try:
        tuned = msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise BundleCorrupted(f"{path} holds no settings of an approximate index: {error}") from error
    counts = [tuned.k, *(count for _, count in tuned.probes)]
    shares = [share for share, _ in tuned.probes]
    if (
        not shares
        or not all(0 < share <= 1 for share in shares)
        or not all(0 < count < _MANY for count in counts)
        or not 0 <= tuned.few < _MANY
        or not 0 < tuned.fetched < _MANY
    ):
        raise BundleCorrupted(f"{path} holds settings that are none: {tuned}")
    return tuned


def _positions(path: Path, num_items: int) -> Longs:
    """Positions of items, ascending."""
    found = load_array(path)
    if found.dtype != np.int64 or found.ndim != 1:
        raise BundleCorrupted(f"{path} holds {found.dtype} in {found.ndim} dimensions, expected int64 in one")
    if len(found) and not 0 <= found.min() <= found.max() < num_items:
        at = found.max() if found.max() >= num_items else found.min()
        raise BundleCorrupted(f"{path} names item {at} of {num_items}")
    return found
