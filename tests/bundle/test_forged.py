"""Files of a bundle that are not what they were, with checksums that are right: loading says which, and what
was expected. A bundle that loads all the same answers."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist import bundle
from shortlist._typing import Array
from shortlist.bundle.manifest import digest
from shortlist.errors import BundleError, DataError, RequestError

ARRAYS = [
    "items/item_representations.npy",
    "items/item_vectors.npy",
    "items/log_popularity.npy",
    "users/columns/0.npy",
    "users/seen_indices.npy",
    "users/seen_indptr.npy",
]
SLOWLY = [pytest.param(name, marks=pytest.mark.slow) for name in ARRAYS[1:5]]
TEXTS = ["items/columns/columns.json", "items/ids.json", "users/as_of.json", "users/columns/columns.json"]
ODD: list[Any] = [None, True, -1, 10**30, 1.5, "x", "", [], {}, [1], ["x"], {"a": 1}, "\0"]


@dataclass(frozen=True)
class Forged:
    """A bundle on disk that may be changed, and its manifest."""

    folder: Path
    manifest: dict[str, Any]

    def load(self, name: str, content: bytes) -> str:
        """What loading says while a file holds something else; "" where that loads and answers."""
        path, before = self.folder / name, (self.folder / name).read_bytes()
        listed = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
        try:
            path.write_bytes(content)
            self.write({**self.manifest, "files": {**self.manifest["files"], name: listed}})
            return self.said()
        finally:
            path.write_bytes(before)

    def write(self, manifest: dict[str, Any]) -> None:
        text = json.dumps({**manifest, "digest": digest(manifest)})
        (self.folder / "manifest.json").write_text(text)

    def said(self) -> str:
        try:
            recommender = bundle.load(self.folder)
        except BundleError as error:
            return str(error)
        try:
            recommender.recommend(["3", "nobody"], k=3)
        except DataError as error:  # of numbers that are not finite, which only `verify` looks for
            assert "NaN" in str(error) or "finite" in str(error)
        except (BundleError, RequestError):  # of a manifest that names another encoder, or another head
            pass
        return ""


@pytest.fixture(scope="module")
def forged(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Forged:
    folder = Path(shutil.copytree(saved, tmp_path_factory.mktemp("forged") / "joint"))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (folder / "recommend.onnx").unlink()
    del manifest["files"]["recommend.onnx"]
    return Forged(folder, manifest | {"recommend": {}})


def saved_array(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def headed(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)


def no_arrays(content: bytes) -> Iterator[bytes]:
    yield from (b"", b"text", content[:20], content[:128], content[:-3], b"PK\x03\x04" + content)
    for shape in ("(99999999999999999999,)", "(-4,)", "'x'", "(1.5,)"):
        yield headed(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n")
    yield headed("{'descr': 'O', 'fortran_order': False, 'shape': (1,), }\n")


def other_arrays(array: Array) -> Iterator[Array]:
    yield from (array[:0], array[:-1], np.concatenate([array, array[-1:]]), array[..., None])
    yield from (array.reshape(-1)[0], np.concatenate([array, array], -1), array.T, array.astype("U3"))
    yield from (array.astype(kind) for kind in ("f2", "f8", "i4", "i8", "u1", "?", "c8", ">i4", ">f4"))
    if array.dtype.kind == "i":
        for value in (-1, -(2**31), 2**31 - 1):
            changed = array.copy()
            changed[len(array) // 2] = value
            yield changed


@pytest.mark.parametrize("name", [ARRAYS[0], *SLOWLY, ARRAYS[5]])
def test_arrays_that_are_none_are_named(forged: Forged, name: str) -> None:
    for content in no_arrays((forged.folder / name).read_bytes()):
        assert f"{name} holds no array of numbers" in forged.load(name, content)


@pytest.mark.parametrize("name", [ARRAYS[0], *SLOWLY, pytest.param(ARRAYS[5], marks=pytest.mark.slow)])
def test_other_arrays_are_named_or_answer(forged: Forged, name: str) -> None:
    array = np.load(forged.folder / name)
    places = {name, name.replace("0.npy", "columns.json"), name.replace("indices", "indptr")}
    with np.errstate(all="ignore"):
        said = [forged.load(name, saved_array(other)) for other in other_arrays(array)]
    assert all(any(place in told for place in places) for told in said if told)
    assert sum(map(bool, said)) >= 12, "most of them fit nothing"


def places_of(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places in plain values, few of a list."""
    yield at
    inner = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inner = [(n, value[n]) for n in sorted({0, len(value) // 2, len(value) - 1}) if 0 <= n < len(value)]
    for key, item in inner:
        yield from places_of(item, (*at, key))


def changed(value: Any, at: tuple[Any, ...], odd: Any) -> Any:
    if not at:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = changed(copy[at[0]], at[1:], odd)
    return copy


def no_json(content: bytes) -> Iterator[bytes]:
    yield from (b"", content[: len(content) // 2], b"text", b"\0", b'"\xff"', b"[" * 99_999)


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in TEXTS[::3]), *TEXTS[1:3]]
)
def test_other_json_is_named_or_answers(forged: Forged, name: str) -> None:
    content = (forged.folder / name).read_bytes()
    plain = json.loads(content)
    others = [json.dumps(changed(plain, at, odd)).encode() for at in places_of(plain) for odd in ODD[::2]]
    for other in [*no_json(content), *others]:
        said = forged.load(name, other)
        assert not said or str(forged.folder / name.split("/")[0]) in said, other[:200]


@pytest.mark.slow
@pytest.mark.parametrize("odd", ODD)
def test_no_value_of_a_manifest_is_a_fault(forged: Forged, odd: Any) -> None:
    plain = {key: value for key, value in forged.manifest.items() if key != "provenance"}
    for at in places_of(plain):
        if at:
            forged.write({**forged.manifest, **changed(plain, at, odd)})
            forged.said()


def test_columns_are_of_the_types_the_model_reads(forged: Forged) -> None:
    change: Callable[[Array], Array] = lambda ages: ages.astype(np.int64)  # noqa: E731
    ages = np.load(forged.folder / "users/columns/0.npy")
    assert not forged.load("users/columns/0.npy", saved_array(change(ages))), "whole numbers are numbers"
    said = forged.load("users/columns/0.npy", saved_array(np.stack([ages, ages], 1)))
    assert "users/columns/columns.json: 'age' is float64 lists, and the model reads float" in said


def test_vectors_are_as_wide_as_the_graph_makes_them(forged: Forged) -> None:
    vectors = np.load(forged.folder / "items/item_vectors.npy")
    said = forged.load("items/item_vectors.npy", saved_array(np.concatenate([vectors, vectors], 1)))
    assert f"holds vectors of {2 * vectors.shape[1]} numbers, candidate.onnx makes {vectors.shape[1]}" in said
