"""How a bundle comes to its place: whole or not at all, and written again the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist import bundle
from shortlist.bundle import Part, placing
from shortlist.bundle.writing import OTHER
from shortlist.errors import BundleCorrupted, BundleError
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility
from shortlist.state.users import Users

Made = tuple[Recommender, dict[str, Part]]


@pytest.mark.parametrize("models", ["joint", "apart"])
def test_saves_again_identically(
    make_bundle: Callable[..., Made], saved: Path, tmp_path: Path, models: str
) -> None:
    if models != "joint":
        make_bundle(models)[0].save(tmp_path / "made")
    original = saved if models == "joint" else tmp_path / "made"
    after = bundle.load(original)
    after.save(tmp_path / "first")
    again = bundle.load(tmp_path / "first")
    again.save(tmp_path / "first")  # onto itself
    again.save(tmp_path / "second")
    for copy in ("first", "second"):
        assert contents(tmp_path / copy) == contents(original)
    assert {"first", "second"} <= set(os.listdir(tmp_path)) <= {"made", "first", "second"}
    replace(again, utility=Utility(0.9)).save(tmp_path / "second")
    assert bundle.load(tmp_path / "second").utility == Utility(0.9)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_manifest_says_what_it_is(saved: Path, made: Made) -> None:
    manifest = bundle.verify(saved)
    assert manifest == bundle.inspect(saved)
    assert (manifest["format"], manifest["minor"]) == (2, 0)
    seen = len(made[0].users.seen)
    assert manifest["sizes"] == {"items": 60, "users": 25, "seen": seen}
    assert manifest["licence"] == {"bundle": "CC0", "data": ""}
    assert manifest["index"] == {"kind": "exact", "items": 60, "recall": 1.0}
    assert manifest["versions"].keys() == {"shortlist", "onnxruntime", "numpy", "python"}
    assert manifest["size"] == sum(file["bytes"] for file in manifest["files"].values())
    asked = {i["name"] for i in manifest["recommend"]["graph"]["inputs"]}
    assert asked == {"user_id", "timestamp", "age", "exclude", "k"}
    assert manifest["provenance"] == {"recipe": {"seed": 3}, "data": {"name": "synthetic"}, "licence": "CC0"}
    assert manifest["pipeline"] == {
        "num_retrieved": 20,
        "utility": {"rating_weight": 0.4, "head": "rating"},
        "seen_bonus": 0.0,
        "seen_as_of": "row",
    }
    request = {column["name"]: column for column in manifest["request"]}
    assert request["timestamp"] == {
        "name": "timestamp", "side": "query", "type": "int", "required": False, "default": 893_286_638,
    }  # fmt: skip
    assert request["age"]["default"] == "stored"
    needs = manifest["parts"]["model"]["graphs"]["candidate"]["operators"]
    assert needs["com.microsoft"] == ["Tokenizer"] and needs["ai.onnx.ml"] == ["LabelEncoder"]
    assert [name for name, column in request.items() if column["required"]] == ["item_id"]
    assert set(manifest["parts"]["model"]["graphs"]) == {"query", "candidate", "pairs", "rank", "lists"}
    inputs = manifest["parts"]["model"]["graphs"]["query"]["inputs"]
    assert {"name": "user_id", "type": "tensor(string)", "shape": ["b"]} in inputs
    for name, file in manifest["files"].items():
        content = (saved / name).read_bytes()
        assert file == {"bytes": len(content), "sha256": sha256(content).hexdigest()}


def test_a_bundle_is_replaced_and_nothing_else(saved: Path, tmp_path: Path) -> None:
    rec = bundle.load(saved)
    rec.save(tmp_path / "new" / "deep")
    (tmp_path / "empty").mkdir()
    rec.save(tmp_path / "empty")
    for name, make_it in {
        "file": lambda p: p.write_text("mine"),
        "folder": lambda p: (p.mkdir(), (p / "thesis.txt").write_text("mine")),
        "other": lambda p: (p.mkdir(), (p / "manifest.json").write_text('{"name": "web app"}')),
    }.items():
        make_it(tmp_path / name)
        before = contents(tmp_path)
        with pytest.raises(BundleError, match="is there already"):
            rec.save(tmp_path / name)
        assert contents(tmp_path) == before


def test_an_interrupted_save_leaves_the_old_bundle(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(copy)
    rec = bundle.load(copy)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Users, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rec.save(copy)
    assert contents(copy) == before
    assert os.listdir(copy.parent) == ["copy"]


def test_what_the_system_refuses_is_told_with_the_path(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(27, "File too large")  # as a write says it: of which file, it does not

    before = (copy / "manifest.json").read_bytes()
    monkeypatch.setattr("shortlist.bundle.writing.save_array", full)
    with pytest.raises(BundleError, match=rf"cannot write {copy}: File too large") as said:
        bundle.load(copy).save(copy)
    assert "no file of this size" in said.value.hint
    assert (copy / "manifest.json").read_bytes() == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_parts_have_names(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has the part 'model'"):
        bundle.save(bundle.load(saved), {"models": Part({}, None)}, tmp_path / "x")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from shortlist import bundle
from shortlist.state.users import Users
recommender = bundle.load(sys.argv[1])
Users.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
recommender.save(sys.argv[1])
"""


def test_a_killed_save_leaves_the_old_bundle(copy: Path) -> None:
    before = contents(copy)
    assert subprocess.run([sys.executable, "-c", KILLED, str(copy)]).returncode == -signal.SIGKILL
    assert contents(copy) == before
    bundle.verify(copy)
    bundle.load(copy).save(copy)  # what is left beside it is in nobody's way


@pytest.mark.parametrize("exchange", [True, False])
def test_several_writers_and_a_reader(
    saved: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:  # as on systems that cannot
        monkeypatch.setattr(placing, "_exchange", lambda *_: False)
    loaded = bundle.load(saved)
    writers = [replace(loaded, num_retrieved=n) for n in (21, 22, 23)]
    found = []
    with ThreadPoolExecutor(3) as pool:
        writing = [pool.submit(writer.save, copy) for writer in writers]
        while not all(w.done() for w in writing):
            try:
                found.append(bundle.load(copy).num_retrieved)
            except BundleError as error:  # without an exchange there is none for a moment
                assert not exchange, error
    assert [w.result() for w in writing] == [None] * 3
    assert set(found) <= {20, 21, 22, 23}
    assert bundle.load(copy).num_retrieved in (21, 22, 23)
    assert os.listdir(copy.parent) == ["copy"]


# What does not belong to what is hashed, and what goes when something else changes


def test_live_changes_are_neither_listed_nor_copied(copy: Path, tmp_path: Path) -> None:
    (copy / "live").mkdir()
    (copy / "live" / "journal").write_bytes(b"x")
    bundle.copy(copy, tmp_path / "other")
    assert not (tmp_path / "other" / "live").exists()
    assert contents(tmp_path / "other") == {n: c for n, c in contents(copy).items() if "live" not in n}
    with pytest.raises(BundleCorrupted, match="live/journal is damaged at byte 0"):
        bundle.verify(copy)


def test_a_graph_of_all_goes_when_something_it_is_made_of_changes(saved: Path, tmp_path: Path) -> None:
    loaded = bundle.load(saved)
    replace(loaded, provenance={**loaded.provenance, "note": "?"}).save(tmp_path / "same")
    assert (tmp_path / "same" / "recommend.onnx").exists()
    other = replace(loaded.items, log_popularity=loaded.items.log_popularity + np.log(2))
    for n, changed in enumerate((replace(loaded, num_retrieved=3), replace(loaded, items=other))):
        changed.save(tmp_path / str(n))
        assert not (tmp_path / str(n) / "recommend.onnx").exists()
        assert bundle.inspect(tmp_path / str(n))["recommend"] == {"left_out": OTHER}
        bundle.verify(tmp_path / str(n))


def test_it_is_said_why_a_graph_is_left_out(made: Made, tmp_path: Path) -> None:
    recommender, parts = made
    bundle.save(recommender, parts, tmp_path / "b", recommend_left_out="there are too many items")
    assert bundle.inspect(tmp_path / "b")["recommend"] == {"left_out": "there are too many items"}
    assert "no recommend.onnx: there are too many items" in (tmp_path / "b" / "MODEL_CARD.md").read_text()
    bundle.copy(tmp_path / "b", tmp_path / "c")
    assert contents(tmp_path / "b") == contents(tmp_path / "c")


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(3), np.array([1, 2]), {1: "a"}, float("nan")])
def test_numbers_of_any_kind_may_stand_in_provenance(saved: Path, tmp_path: Path, value: Any) -> None:
    loaded = bundle.load(saved)
    replace(loaded, provenance={**loaded.provenance, "x": value}).save(tmp_path / "b")
    found = bundle.verify(tmp_path / "b")["provenance"]["x"]
    if isinstance(value, dict):
        assert found == {"1": "a"}
    elif isinstance(value, float) and value != value:
        assert found is None
    else:
        assert np.array_equal(found, value)


@pytest.mark.parametrize("value", [object(), 1j])
def test_what_json_cannot_hold_is_told(saved: Path, tmp_path: Path, value: Any) -> None:
    loaded = bundle.load(saved)
    with pytest.raises(BundleError, match="provenance cannot be written"):
        replace(loaded, provenance={**loaded.provenance, "x": value}).save(tmp_path / "b")
    assert not list(tmp_path.iterdir())
