"""A loaded bundle: the same answers as before disk, by ONNX Runtime alone, whatever is put in its place."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import msgspec
import numpy as np
import onnx
import pytest

from shortlist import bundle
from shortlist.bundle import Part
from shortlist.bundle.manifest import digest
from shortlist.errors import BundleVersion, RequestError
from shortlist.models.scorer import JaxScorer
from shortlist.pipeline.onnx_scorer import OnnxScorer
from shortlist.pipeline.recommender import Recommender
from shortlist.state.catalogue import Items

Made = tuple[Recommender, dict[str, Part]]
USERS = [str(i) for i in range(25)]
REQUESTS: list[Any] = [
    *USERS,
    "nobody",
    {"user_id": "3", "timestamp": 880_000_000, "age": 20.0},
    {"user_id": "4", "timestamp": 0},
]
ROWS = [
    {"user_id": "3", "item_id": "m5", "timestamp": 880_000_000},
    {"user_id": "nobody", "item_id": "m7"},
    {"user_id": "9", "item_id": "new", "title": "Le film 3", "genres": ["War", "War", "no such"]},
]


@pytest.fixture(scope="module", params=["joint", "retrieval alone", "ranking alone", "apart"])
def pair(
    request: Any, make_bundle: Callable[..., Made], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recommender, Recommender]:
    """A recommender in JAX and its bundle, loaded."""
    recommender, _ = make_bundle(request.param)
    path = tmp_path_factory.mktemp("bundles") / "export"
    recommender.save(path)
    return recommender, bundle.load(path)


def test_recommends_the_same(pair: tuple[Recommender, Recommender]) -> None:
    before, after = pair
    for request in REQUESTS:
        for options in ({}, {"filter_seen": False, "k": 200}, {"only": ["m1", "m2", "m3"], "exclude": "m2"}):
            want, got = (rec.recommend(request, **options) for rec in pair)  # type: ignore[arg-type]
            np.testing.assert_allclose(got["score"], want["score"], atol=1e-5, rtol=1e-5)
            assert got["source"].tolist() == want["source"].tolist()
            for a, b in zip(got, want, strict=True):
                if a["item_id"] != b["item_id"]:  # allowed only where scores tie
                    assert abs(a["score"] - b["score"]) < 1e-5
    assert after.users.as_of == before.users.as_of


def test_scores_the_same(pair: tuple[Recommender, Recommender]) -> None:
    want, got = (rec.score(ROWS) for rec in pair)
    assert list(got.columns) == list(want.columns)
    for name in set(got.columns) - {"user_id", "item_id"}:
        np.testing.assert_allclose(got[name], want[name], atol=1e-5, rtol=1e-5)
    similar = [rec.similar_items("m4", 5) for rec in pair]
    np.testing.assert_allclose(similar[1]["score"], similar[0]["score"], atol=1e-5)


def test_serves_without_jax_and_polars(saved: Path) -> None:
    program = """
import sys
from shortlist.bundle import load
rec = load(sys.argv[1])
slate = rec.recommend(["3", "nobody"], k=5)
assert len(slate) == 10, slate
rec.score({"user_id": "3", "item_id": "m5"})
rec.similar_items("m5")
str(slate.with_items(["title"]))
if sys.platform == "linux":
    most = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    assert int(most.split()[1]) < 120 * 1024, most
heavy = {"jax", "equinox", "polars", "onnx", "scipy", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program, str(saved)], check=True)


def test_a_loaded_bundle_answers_bad_requests_clearly(saved: Path) -> None:
    rec = bundle.load(saved)
    for ask, message in (
        (lambda: rec.recommend("3", k=0), "at least 1"),
        (lambda: rec.recommend([]), "no rows"),
        (lambda: rec.recommend({"user": "3"}), "unknown column 'user'"),
        (lambda: rec.similar_items("zz"), "not in the catalogue"),
    ):
        with pytest.raises(RequestError, match=message):
            ask()
    assert len(rec.recommend("3", only=[])) == 0
    assert set(rec.recommend("zz")["source"]) == {"popular"}


def test_jax_was_really_the_other_side(pair: tuple[Recommender, Recommender]) -> None:
    scorers = [pair[0].retriever or pair[0].ranker, pair[1].retriever or pair[1].ranker]
    assert isinstance(scorers[0], JaxScorer) and not isinstance(scorers[1], JaxScorer)
    assert all(isinstance(t, jax.Array) for t in scorers[0].tables.values())


# What is put in its place


def answers(recommender: Recommender) -> list[Any]:
    return [list(recommender.recommend(USERS, k=5)), list(recommender.score(ROWS))]


@pytest.mark.parametrize("harm", ["replaced", "removed"])
def test_what_is_loaded_stays_as_it_was(copy: Path, make_bundle: Callable[..., Made], harm: str) -> None:
    want = answers(bundle.load(copy))
    loaded = bundle.load(copy)  # none of its sessions is open yet
    if harm == "removed":
        shutil.rmtree(copy)
    else:
        make_bundle("joint")[0].save(copy)
        assert answers(bundle.load(copy)) != want
    assert answers(loaded) == want


@pytest.mark.skipif(sys.platform != "linux", reason="reads which files are mapped")
def test_tables_are_mapped_once_and_never_copied(saved: Path) -> None:
    loaded = bundle.load(saved)
    answers(loaded)
    assert isinstance(loaded.retriever, OnnxScorer)
    sessions = [loaded.retriever.stored.session("query") for _ in range(3)]
    found = Path("/proc/self/smaps").read_text(encoding="utf-8").split(str(saved / "model" / "weights.bin"))
    assert len(found) - 1 > len(sessions), "every session maps the file"
    copied = [re.search(r"Anonymous: +(\d+) kB", region) for region in found[1:]]
    assert all(c is not None and c[1] == "0" for c in copied), "and has no page of its own"


def test_graphs_may_hold_their_weights(made: Made, saved: Path, tmp_path: Path) -> None:
    """As those of earlier formats do."""
    recommender, parts = made
    whole = {
        name: Part({g: unpacked(m, saved / name) for g, m in part.graphs.items()}, part.encoder)
        for name, part in parts.items()
    }
    bundle.save(recommender, whole, tmp_path / "b")
    assert not (tmp_path / "b" / "model" / "weights.bin").exists()
    assert answers(bundle.load(tmp_path / "b")) == answers(bundle.load(saved))
    bundle.verify(tmp_path / "b")


def unpacked(graph: bytes, folder: Path) -> bytes:
    model = onnx.load_from_string(graph)
    onnx.load_external_data_for_model(model, str(folder))
    return bytes(model.SerializeToString())


def test_the_first_format_still_loads(made: Made, saved: Path, tmp_path: Path) -> None:
    recommender, parts = made
    bundle.save(recommender, parts, tmp_path / "b")
    path = tmp_path / "b" / "manifest.json"
    plain = msgspec.json.decode(path.read_bytes())
    for name in ("minor", "size", "versions", "licence", "index", "recommend"):
        del plain[name]
    del plain["files"]["MODEL_CARD.md"]
    (tmp_path / "b" / "MODEL_CARD.md").unlink()
    plain["format"] = 1
    path.write_bytes(msgspec.json.encode({**plain, "digest": digest(plain)}))
    assert answers(bundle.load(tmp_path / "b")) == answers(bundle.load(saved))
    bundle.verify(tmp_path / "b")
    bundle.copy(tmp_path / "b", tmp_path / "c")
    assert bundle.inspect(tmp_path / "c")["format"] == 2


def test_a_ranker_without_lists_is_refused(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "b")
    path = tmp_path / "b" / "manifest.json"
    plain = msgspec.json.decode(path.read_bytes())
    part = next(name for name, about in plain["parts"].items() if "lists" in about["graphs"])
    del plain["parts"][part]["graphs"]["lists"], plain["files"][f"{part}/lists.onnx"]
    (tmp_path / "b" / part / "lists.onnx").unlink()
    path.write_bytes(msgspec.json.encode({**plain, "digest": digest(plain)}))
    with pytest.raises(BundleVersion, match="has no graph 'lists'") as raised:
        bundle.load(tmp_path / "b")
    assert "train again" in raised.value.hint


def test_a_bundle_replaced_while_it_is_read_is_read_again(
    copy: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(bundle.load(saved), num_retrieved=7)
    load_items, times = Items.load, []

    def replaced(folder: Path) -> Items:
        if not times:
            other.save(copy)
        times.append(folder)
        return load_items(folder)

    monkeypatch.setattr(Items, "load", replaced)
    assert bundle.load(copy).num_retrieved == 7
    assert len(times) == 2
