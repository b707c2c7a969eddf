"""A bundle that is replaced while it is read, copied or exported: what comes of it is one or the other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shortlist import bundle
from shortlist.api.exporting import export_bundle
from shortlist.bundle import Part, reading
from shortlist.bundle import files as bundle_files
from shortlist.bundle.moments import of_one_moment
from shortlist.errors import BundleError
from shortlist.pipeline import onnx_graphs
from shortlist.pipeline.recommender import Recommender

Made = tuple[Recommender, dict[str, Part]]


def train_of(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "rows").write_text(text)

    return write


@pytest.fixture(scope="module")
def two(make_bundle: Callable[..., Made], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Bundles of the same columns and other weights."""
    places = []
    for name in ("a", "b"):
        recommender, parts = make_bundle("joint")
        places.append(tmp_path_factory.mktemp("two") / name)
        bundle.save(recommender, parts, places[-1], train=train_of(name), recommend_left_out="a test")
    return places[0], places[1]


@pytest.fixture
def place(two: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(two[0], tmp_path / "place"))


def once(before: Callable[[], Any], act: Callable[..., Any]) -> Callable[..., Any]:
    """`act`, before whose first call something happens."""
    left = [before]

    def acted(*args: Any, **options: Any) -> Any:
        if left:
            left.pop()()
        return act(*args, **options)

    return acted


def is_of(folder: Path, original: Path) -> bool:
    names = ("model/weights.bin", "items/item_vectors.npy", "items/item_representations.npy")
    same = {(folder / name).read_bytes() == (original / name).read_bytes() for name in names}
    if (folder / "train").exists():
        same.add((folder / "train/rows").read_text() == (original / "train/rows").read_text())
    assert len(same) == 1, "it is of two bundles"
    return same.pop()


@pytest.mark.parametrize("name", ["put", "copy_listed", "_loaded"])
def test_a_copy_is_of_one_bundle(
    two: tuple[Path, Path], place: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replacing = partial(bundle.load(two[1]).save, place)
    monkeypatch.setattr(reading, name, once(replacing, getattr(reading, name)))
    bundle.copy(place, place.parent / "out")
    is_of(place.parent / "out", two[1])
    bundle.verify(place.parent / "out")


@pytest.mark.parametrize("options", [{"serving": True}, {"users": False}])
@pytest.mark.parametrize("name", ["_parts", "_loaded"])
def test_an_export_is_of_one_bundle(
    two: tuple[Path, Path], place: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]
) -> None:
    replacing = partial(bundle.load(two[1]).save, place)
    monkeypatch.setattr(reading, name, once(replacing, getattr(reading, name)))
    export_bundle(place, place.parent / "out", **options)
    assert is_of(place.parent / "out", two[1])


@pytest.mark.parametrize("read", [bundle.inspect, bundle.verify, bundle.parts_of, bundle.load])
def test_a_bundle_that_is_replaced_is_not_called_damaged(
    saved: Path, place: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], Any]
) -> None:
    """The files are of the second bundle, the manifest was read of the first."""
    replacing = partial(bundle.load(saved).save, place)
    monkeypatch.setattr(reading, "require_files", once(replacing, bundle_files.require_files))
    read(place)


def test_one_that_is_replaced_all_the_time_is_said_to_be(place: Path) -> None:
    def act() -> None:
        os.utime(place / "manifest.json", ns=(next(times), next(times)))

    times = iter(range(1, 10**9))
    with pytest.raises(BundleError, match="is being replaced all the time"):
        of_one_moment(place, act)


def test_a_session_that_fails_as_its_folder_goes_is_opened_of_what_was_read(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = list(bundle.load(place).recommend("3", k=5))
    loaded = bundle.load(place)
    opening = once(partial(shutil.rmtree, place), onnx_graphs.open_session)
    monkeypatch.setattr(onnx_graphs, "open_session", opening)
    assert list(loaded.recommend("3", k=5)) == want


def test_only_what_is_listed_is_copied(place: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("s")
    (place / "train" / ".hidden").symlink_to(tmp_path / "secret")
    bundle.copy(place, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out" / "train").iterdir()] == ["rows"]


@pytest.mark.parametrize("name", ["train/more", "items/more", "more"])
def test_a_link_to_a_folder_is_refused(place: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("s")
    (place / name).symlink_to(tmp_path / "secret")
    for read in (bundle.load, bundle.inspect, bundle.verify):
        with pytest.raises(BundleError, match="more is not in the manifest"):
            read(place)


def test_nothing_is_written_into_a_bundle(saved: Path, place: Path) -> None:
    loaded = bundle.load(saved)
    for inside in (place / "new", place / "items", place / "train" / "x" / "y"):
        with pytest.raises(BundleError, match="lies inside of the bundle"):
            loaded.save(inside)
        with pytest.raises(BundleError, match="lies inside of the bundle"):
            export_bundle(saved, inside)
    bundle.verify(place)
    run = place.parent / "run"
    run.mkdir()
    replace(loaded, num_retrieved=9).save(run / "bundle")
    loaded.save(run / "bundle")
