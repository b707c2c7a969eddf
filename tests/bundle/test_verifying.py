"""What `verify` looks at beside checksums: an index and its vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist import bundle
from shortlist.bundle.live import open_live
from shortlist.bundle.verifying import verify
from shortlist.errors import BundleCorrupted
from shortlist.index.exact import ExactIndex


@pytest.fixture(scope="module")
def indexed(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    loaded = bundle.load(saved)
    assert loaded.item_vectors is not None
    path = tmp_path_factory.mktemp("indexed") / "b"
    replace(loaded, index=ExactIndex.of(np.asarray(loaded.item_vectors))).save(path)
    return path


def test_an_index_is_saved_described_and_loaded(indexed: Path, saved: Path) -> None:
    manifest = verify(indexed)
    assert manifest["index"]["kind"] == "exact" and manifest["index"]["recall"] == 1.0
    loaded, plain = bundle.load(indexed), bundle.load(saved)
    assert loaded.index is not None and len(loaded.index) == 60
    assert list(loaded.recommend("3", k=9)) == list(plain.recommend("3", k=9))


def test_vectors_of_another_length_are_noticed(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = bundle.load(indexed)
    assert loaded.item_vectors is not None
    for vectors, message in (
        (loaded.item_vectors[:-1], "is of 59 items, but there are 60"),
        (loaded.item_vectors + 1, "holds other vectors"),
    ):
        other = replace(loaded, index=ExactIndex.of(np.asarray(vectors)))
        monkeypatch.setattr("shortlist.bundle.verifying.load", lambda _, other=other: other)
        with pytest.raises(BundleCorrupted, match=message):
            verify(indexed)


def test_operations_are_done(copy: Path) -> None:
    with open_live(copy) as live:
        for number in range(3):
            live.add_items({"item_id": f"n{number}", "title": "New", "genres": ["War"]})
    verify(copy)
    journal = copy / "live" / "journal"
    content = bytearray(journal.read_bytes())
    content[len(content) // 2] ^= 1
    journal.write_bytes(content)
    bundle.load(copy)
    with pytest.raises(BundleCorrupted, match=r"live/journal.* is damaged at byte"):
        verify(copy)


def test_an_approximate_index_is_not_compared_with_the_graph_of_all(
    indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its index finds none of the best, as one of another kind may miss some."""
    loaded = bundle.load(indexed)
    assert (indexed / "recommend.onnx").is_file() and loaded.index is not None
    poor = replace(loaded, index=replace_search(loaded.index))
    monkeypatch.setattr("shortlist.bundle.verifying.load", lambda _: poor)
    monkeypatch.setattr("shortlist.bundle.verifying._of_index", lambda *_: ())
    verify(indexed)


def replace_search(index: Any) -> Any:
    """An index that finds the worst instead."""

    class Poor:
        kind = "exact"

        def __len__(self) -> int:
            return len(index)

        def describe(self) -> Any:
            return index.describe()

        def search(self, queries: Any, *args: Any, **options: Any) -> Any:
            return index.search(-queries, *args, **options)

    return Poor()
