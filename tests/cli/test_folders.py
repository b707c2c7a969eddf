from __future__ import annotations

from pathlib import Path

import pytest

from shortlist.cli.folders import bundle_folder, new_folder, require_file
from shortlist.errors import BundleError, DataError

SIGN = "sign.json"


def write(path: Path, text: str, *, force: bool = False) -> None:
    with new_folder(path, force=force, sign=SIGN) as folder:
        (folder / SIGN).write_text(text)
        if text == "bad":
            raise ValueError(text)


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "place"
    with pytest.raises(ValueError, match="bad"):
        write(place, "bad")
    assert list(place.parent.iterdir()) == []
    write(place, "good")
    assert [p.name for p in place.parent.iterdir()] == ["place"]
    assert [p.name for p in place.iterdir()] == [SIGN]


def test_only_force_replaces_and_only_what_bears_the_sign(tmp_path: Path) -> None:
    write(tmp_path / "a", "first")
    with pytest.raises(DataError, match="exists already"):
        write(tmp_path / "a", "second")
    with pytest.raises(ValueError, match="bad"):
        write(tmp_path / "a", "bad", force=True)
    assert (tmp_path / "a" / SIGN).read_text() == "first"
    write(tmp_path / "a", "second", force=True)
    assert (tmp_path / "a" / SIGN).read_text() == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_text("")
    with pytest.raises(DataError, match=r"holds no sign\.json"):
        write(tmp_path / "photos", "x", force=True)
    assert (tmp_path / "photos" / "me.jpg").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file"):
        write(tmp_path / "file", "x", force=True)


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    write(tmp_path, "here")
    assert (tmp_path / SIGN).read_text() == "here"


def test_a_bundle_is_found_by_itself_or_in_its_run(tmp_path: Path) -> None:
    (tmp_path / "demo" / "bundle").mkdir(parents=True)
    assert bundle_folder(tmp_path / "demo") == tmp_path / "demo" / "bundle"
    assert bundle_folder(tmp_path / "demo" / "bundle") == tmp_path / "demo" / "bundle"
    with pytest.raises(BundleError) as caught:
        bundle_folder(tmp_path / "demoo")
    assert caught.value.hint == f"did you mean {tmp_path / 'demo'}?"
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="is a file"):
        bundle_folder(tmp_path / "file")


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    require_file(None)
    require_file(Path("-"))
    require_file(tmp_path / "new.json")
    with pytest.raises(DataError, match="is a folder, not a file"):
        require_file(tmp_path)
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        require_file(tmp_path / "nowhere" / "new.json")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="there is no folder"):
        require_file(tmp_path / "file" / "new.json")


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    for name in ("one/bundle", "two"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").write_text("{}")
    (tmp_path / "other").mkdir()
    with pytest.raises(BundleError, match="is a folder of runs") as caught:
        bundle_folder(tmp_path)
    assert {"one", "two"} == {
        Path(name).name for name in caught.value.hint.removeprefix("name one: ").split(", ")
    }
