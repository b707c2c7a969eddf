"""Encoded rows on disk: written chunk by chunk, read back mapped; nothing half-written or damaged is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import DataError
from shortlist.features.store import MANIFEST, GrowingArray, open_store, writing


def write(folder: Path, rows: int = 10) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {
        "query/a/b.id": rng.integers(0, 9, rows).astype(np.int32),
        "query/x.normalize": rng.normal(size=(rows, 2)).astype(np.float32),
        "candidates": rng.integers(0, 5, rows).astype(np.int32),
        "labels/rating": rng.normal(size=rows).astype(np.float32),
        "weights": np.ones(rows, np.float32),
        "users": rng.integers(0, 3, rows).astype(np.int32),
        "log_q": rng.normal(size=5).astype(np.float32),
    }
    with writing(folder) as writer:
        for name, array in arrays.items():
            for part in np.array_split(array, 3):
                writer.append(name, part)
        writer.finish("abc")
    return arrays


def test_what_was_appended_is_read_back_as_mapped_files(tmp_path: Path) -> None:
    written = write(tmp_path / "rows")
    store = open_store(tmp_path / "rows")
    assert store.encoder_hash == "abc"
    for name, array in written.items():
        np.testing.assert_array_equal(store.arrays[name], array)
        assert isinstance(store.arrays[name], np.memmap)
        assert not store.arrays[name].flags.writeable
    examples = store.examples
    assert len(examples) == 10
    assert set(examples.query) == {"a/b.id", "x.normalize"}
    assert set(examples.labels) == {"rating"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows"]


@given(st.lists(st.integers(0, 200), min_size=1, max_size=5))
def test_a_growing_file_is_what_numpy_would_have_saved(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int]
) -> None:
    path = tmp_path_factory.mktemp("grow") / "x.npy"
    parts = [np.arange(n * 3, dtype=np.int64).reshape(n, 3) for n in lengths]
    growing = GrowingArray(path)
    for part in parts:
        growing.append(part)
    growing.close()
    np.testing.assert_array_equal(np.load(path), np.concatenate(parts))


def test_rows_of_another_kind_are_refused(tmp_path: Path) -> None:
    growing = GrowingArray(tmp_path / "x.npy")
    growing.append(np.zeros((2, 3), np.float32))
    for strange in (np.zeros((2, 4), np.float32), np.zeros((2, 3))):
        with pytest.raises(ValueError, match="holds float32"):
            growing.append(strange)
    growing.close()


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "rows") as writer:
        writer.append("candidates", np.zeros(3, np.int32))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "rows")
    with pytest.raises(DataError, match="rows exists already"):
        write(tmp_path / "rows")
    assert len(open_store(tmp_path / "rows").examples) == 10


def test_a_folder_without_rows_or_a_broken_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no manifest"):
        open_store(tmp_path)
    write(tmp_path / "rows")
    manifest = tmp_path / "rows" / MANIFEST
    plain = json.loads(manifest.read_text())
    for broken in ("{", "[]", "{}", json.dumps(plain | {"format": 9}), json.dumps(plain | {"rows": 11})):
        manifest.write_text(broken)
        with pytest.raises(DataError, match=MANIFEST):
            open_store(tmp_path / "rows")


@pytest.mark.parametrize("damage", ["cut", "longer", "missing", "empty", "strange"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    write(tmp_path / "rows")
    path = next((tmp_path / "rows").glob("*candidates.npy"))
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": whole[:-4], "longer": whole + b"x", "empty": b""}.get(damage, b"PK nothing"))
    with pytest.raises(DataError, match=r"candidates\.npy"):
        open_store(tmp_path / "rows")


def test_a_file_of_another_store_is_named(tmp_path: Path) -> None:
    write(tmp_path / "rows")
    path = next((tmp_path / "rows").glob("*candidates.npy"))
    np.save(path, np.zeros(10, np.int64))
    with pytest.raises(DataError, match=r"candidates.npy holds <i8 \(10,\), the manifest says <i4"):
        open_store(tmp_path / "rows")
