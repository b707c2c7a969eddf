"""Bundles: the same answers after disk as before, through ONNX Runtime alone; and ways to break them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shortlist import bundle
from shortlist._typing import MISSING_INT, Columns
from shortlist.bundle import Part
from shortlist.bundle.manifest import digest
from shortlist.errors import BundleCorrupted, BundleError, BundleVersion, RequestError
from shortlist.export.graphs import export_graphs
from shortlist.export.packing import pack
from shortlist.features.encoder import Encoder
from shortlist.features.schema import Schema
from shortlist.models.build import build
from shortlist.models.scorer import JaxScorer
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility
from shortlist.specs.features import Bucket, Id, Normalize, Tags, Text
from shortlist.specs.models import Model, MultiTask, Ranker, Tower, TwoTower
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.state.catalogue import Items
from shortlist.state.seen import Seen
from shortlist.state.users import Users

RNG = np.random.default_rng(5)
NUM_USERS, NUM_ITEMS = 25, 60
USERS = [str(i) for i in range(NUM_USERS)]
ITEM_COLUMNS: Columns = {
    "item_id": np.array([f"m{i}" for i in range(NUM_ITEMS)], object),
    "title": np.array([f"Le film n° {i % 11} ({1950 + i})" for i in range(NUM_ITEMS)], object),
    "genres": np.array([["Drama", "War"], ["", ""], ["War", ""]] * 20, object),
    "year": np.array([1950 + i if i % 5 else MISSING_INT for i in range(NUM_ITEMS)]),
}
QUERIES: Columns = {
    "user_id": np.array(USERS * 4, object),
    "timestamp": RNG.integers(874_724_710, 893_286_638, NUM_USERS * 4),
    "age": np.tile(RNG.normal(35, 9, NUM_USERS), 4),
}
SEEN = RNG.random((NUM_USERS, NUM_ITEMS)) < 0.2
QUERY = Tower((Id("user_id", 8), Bucket("timestamp", 20, 8), Normalize("age")), out=8)
CANDIDATE = Tower((Id("item_id", 8), Text("title", 99, 8), Tags("genres", 8)), out=8)
RATING = Rating(hidden=(16,))
MODELS: dict[str, dict[str, Model]] = {
    "joint": {"model": MultiTask(QUERY, CANDIDATE, tasks=(Retrieval(item_bias=True), RATING))},
    "retrieval alone": {"retrieval": TwoTower(QUERY, CANDIDATE)},
    "ranking alone": {"ranking": Ranker(QUERY, CANDIDATE, tasks=(RATING,))},
    "apart": {
        "retrieval": TwoTower(Tower((Id("user_id", 8),), out=4), Tower((Id("item_id", 8),), out=4)),
        "ranking": Ranker(QUERY, CANDIDATE, tasks=(RATING,)),
    },
}
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


def make(models: dict[str, Model]) -> tuple[Recommender, dict[str, Part]]:
    """A recommender of untrained (but not zero) models in JAX, and what a bundle of it is written from."""
    scorers, parts = {}, {}
    for name, model in models.items():
        encoder = Encoder.fit(model, QUERIES, ITEM_COLUMNS)
        net, tables = build(model, encoder.sizes, means={"rating": 3.5}, seed=3)
        tables = {k: jnp.asarray(RNG.normal(size=t.shape), jnp.float32) for k, t in tables.items()}
        scorers[name] = JaxScorer(net, tables, encoder)
        graphs, weights = pack(export_graphs(net, tables, encoder, queries=QUERIES, candidates=ITEM_COLUMNS))
        parts[name] = Part(graphs, encoder, weights)
    user, item = np.nonzero(SEEN)
    recommender = Recommender.of(
        Items.of(ITEM_COLUMNS["item_id"], ITEM_COLUMNS, SEEN.sum(0)),
        Users.of(
            USERS, {"age": QUERIES["age"][:NUM_USERS]}, Seen.from_pairs(user, item, NUM_USERS), 893_286_638
        ),
        Schema.of(*(part.encoder for part in parts.values())),
        retriever=scorers.get("model", scorers.get("retrieval")),
        ranker=scorers.get("model", scorers.get("ranking")),
        utility=Utility(0.4 if "ranking" in models or "model" in models else 0.0),
        num_retrieved=20,
        provenance={"recipe": {"seed": 3}, "data": {"name": "synthetic"}, "licence": "CC0"},
        writer=lambda rec, path: bundle.save(rec, parts, path),
    )
    return recommender, parts


@pytest.fixture(scope="module", params=MODELS)
def pair(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recommender, Recommender]:
    """A recommender in JAX and its bundle, loaded."""
    recommender, _ = make(MODELS[request.param])
    path = tmp_path_factory.mktemp("bundles") / "export"
    recommender.save(path)
    return recommender, bundle.load(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "joint"
    make(MODELS["joint"])[0].save(path)
    return path


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


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


def test_saves_again_identically(pair: tuple[Recommender, Recommender], tmp_path: Path) -> None:
    after = pair[1]
    after.save(tmp_path / "first")
    again = bundle.load(tmp_path / "first")
    again.save(tmp_path / "first")  # onto itself
    again.save(tmp_path / "second")
    original = after.writer.args[0]  # type: ignore[union-attr]
    for copy in ("first", "second"):
        assert contents(tmp_path / copy) == contents(original)
    assert sorted(os.listdir(tmp_path)) == ["first", "second"]
    replace(again, utility=Utility(0.9)).save(tmp_path / "second")
    assert bundle.load(tmp_path / "second").utility == Utility(0.9)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_manifest_says_what_it_is(saved: Path) -> None:
    manifest = bundle.verify(saved)
    assert manifest == bundle.inspect(saved)
    assert (manifest["format"], manifest["minor"]) == (2, 0)
    assert manifest["sizes"] == {"items": NUM_ITEMS, "users": NUM_USERS, "seen": int(SEEN.sum())}
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
    assert [name for name, column in request.items() if column["required"]] == ["item_id"]
    assert set(manifest["parts"]["model"]["graphs"]) == {"query", "candidate", "pairs", "rank"}
    inputs = manifest["parts"]["model"]["graphs"]["query"]["inputs"]
    assert {"name": "user_id", "type": "tensor(string)", "shape": ["b"]} in inputs
    for name, file in manifest["files"].items():
        content = (saved / name).read_bytes()
        assert file == {"bytes": len(content), "sha256": sha256(content).hexdigest()}


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
heavy = {"jax", "equinox", "polars", "onnx", "scipy", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program, str(saved)], check=True)


# Saving


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


def test_parts_have_names(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has the part 'model'"):
        bundle.save(bundle.load(saved), {"models": Part({}, None)}, tmp_path / "x")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


# Broken bundles


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [(cut, r"has \d+ bytes, expected \d+"), (flip, "was altered"), (Path.unlink, "is missing")],
)
def test_every_file_is_checked(copy: Path, harm: Callable[[Path], None], message: str) -> None:
    intact = contents(copy)
    for name in intact:
        if name == "manifest.json":
            continue
        harm(copy / name)
        with pytest.raises(BundleCorrupted, match=message) as caught:
            bundle.load(copy)
        assert str(copy / name) in str(caught.value)
        (copy / name).write_bytes(intact[name])
    bundle.load(copy)


def edit(path: Path, change: Callable[[dict[str, Any]], Any], *, forge: bool = False) -> None:
    """Change a manifest; forging it makes its digest fit."""
    plain = json.loads((path / "manifest.json").read_bytes())
    change(plain)
    if forge:
        plain["digest"] = digest(plain)
    (path / "manifest.json").write_text(json.dumps(plain))


def test_an_altered_manifest_is_noticed(copy: Path) -> None:
    edit(copy, lambda m: m["pipeline"]["utility"].update(rating_weight=5.0))
    with pytest.raises(BundleCorrupted, match=r"manifest.json was altered"):
        bundle.load(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": "1"}', "\xff"])
def test_an_unreadable_manifest_is_named(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text, "latin-1")
    with pytest.raises(BundleCorrupted, match=r"manifest.json cannot be read"):
        bundle.load(copy)


def test_what_a_later_version_adds_is_ignored(copy: Path) -> None:
    edit(copy, lambda m: m.update(later="more"), forge=True)
    bundle.load(copy)


def test_a_newer_format_is_refused(copy: Path) -> None:
    edit(copy, lambda m: m.update(format=3, something="new"))
    with pytest.raises(BundleVersion, match="format 3, newer than 2"):
        bundle.load(copy)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "items/../../secret", "..\\secret", "link/secret"]
)
def test_no_path_leads_out(copy: Path, name: str) -> None:
    secret = copy.parent / "secret"
    secret.write_text("s")
    (copy / "link").symlink_to(copy.parent)
    entry = {"bytes": 1, "sha256": sha256(b"s").hexdigest()}
    edit(copy, lambda m: m["files"].update({name: entry}), forge=True)
    with pytest.raises(BundleCorrupted, match="lies outside of the bundle"):
        bundle.load(copy)


def test_an_unlisted_file_is_refused(copy: Path) -> None:
    (copy / "items" / "extra.npy").write_bytes(b"x")
    with pytest.raises(BundleCorrupted, match=r"extra.npy is not in the manifest"):
        bundle.load(copy)
    (copy / "items" / "extra.npy").unlink()
    (copy / ".DS_Store").write_bytes(b"x")
    bundle.load(copy)


def test_pickles_are_never_read(copy: Path) -> None:
    path = copy / "items" / "log_popularity.npy"
    np.save(path, np.array([partial(print, "pwned")], object), allow_pickle=True)
    forge(copy, "items/log_popularity.npy")
    with pytest.raises(BundleCorrupted, match=r"log_popularity.npy holds no array of numbers"):
        bundle.load(copy)


def forge(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    entry = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    edit(copy, lambda m: m["files"].update({name: entry}), forge=True)


def test_a_graph_of_another_encoder_is_refused(copy: Path) -> None:
    other = make(
        {"model": MultiTask(replace_dim(QUERY), CANDIDATE, tasks=(Retrieval(item_bias=True), RATING))}
    )[1]
    (copy / "model" / "query.onnx").write_bytes(other["model"].graphs["query"])
    forge(copy, "model/query.onnx")
    rec = bundle.load(copy)
    with pytest.raises(BundleCorrupted, match=r"query.onnx: this graph was made for another encoder"):
        rec.recommend("3")
    with pytest.raises(BundleCorrupted):
        bundle.verify(copy)


def replace_dim(tower: Tower) -> Tower:
    return Tower((Id("user_id", 8), Bucket("timestamp", 10, 8), Normalize("age")), out=tower.out)


def test_a_graph_that_is_none_is_named(copy: Path) -> None:
    (copy / "model" / "pairs.onnx").write_bytes(b"not a graph")
    forge(copy, "model/pairs.onnx")
    with pytest.raises(BundleCorrupted, match=r"model/pairs.onnx: ONNX Runtime cannot open"):
        bundle.load(copy).recommend("3")


@pytest.mark.parametrize("harm", [shutil.rmtree, lambda p: (p / "manifest.json").unlink()])
def test_no_bundle_at_all(copy: Path, harm: Callable[[Path], None]) -> None:
    harm(copy)
    with pytest.raises(BundleError, match=r"is no bundle: there is no manifest.json in it"):
        bundle.load(copy)


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
