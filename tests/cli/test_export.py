"""Copies with less in them: smaller tables, whose loss is measured or said not to be, and no users."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import shortlist as sl
from shortlist import bundle
from shortlist.api.weighing import weighed
from shortlist.export.packing import unpack

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Said

    Refused = Callable[..., None]
    Loaded = sl.Recommender

ASKED: list[Any] = [{"user_id": str(user)} for user in range(10)]


@pytest.fixture(scope="module")
def smaller(cli: Cli, run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    """The run's bundle with int8 tables, and what the command said."""
    output = tmp_path_factory.mktemp("exports") / "int8"
    return output, cli("export", run, "-o", output, "--serving", "--weights", "int8", "--json")


def changed(run: Path, path: Path, **provenance: Any) -> Path:
    """The run's bundle, saying something else of where it came from."""
    recommender = sl.load(run)
    replace(recommender, provenance=recommender.provenance | provenance).save(path)
    return path


def stated(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / "manifest.json").read_text())["provenance"].get("weights", {}))


def test_what_smaller_tables_lose_is_measured_on_held_out_rows(smaller: tuple[Path, Said], run: Path) -> None:
    output, said = smaller
    assert said.code == 0, said.err
    told = said.json["weights"]
    assert told == stated(output) and told["type"] == "int8"
    assert told["bytes"] < told["float32_bytes"]
    recipe = sl.load(run).provenance["split"]
    assert told["rows"] == recipe["rows"]["test"] and "random" in told["measured_on"]
    error = told["metrics"]["rmse"]
    assert error["difference"] == pytest.approx(error["after"] - error["before"], abs=2e-6)
    assert error["low"] <= error["difference"] <= error["high"]
    assert "rmse" in said.err and "% of what they were" in said.err


def test_what_is_measured_is_what_serves(smaller: tuple[Path, Said], run: Path) -> None:
    before, after = sl.load(run), sl.load(smaller[0])
    bundle.verify(smaller[0])
    vectors = [r.item_vectors for r in (before, after)]
    assert vectors[0] is not None and vectors[1] is not None
    assert 0 < np.abs(vectors[0] - vectors[1]).max() < 0.02 * np.abs(vectors[0]).max()
    again = after.retriever.encode_candidate({"item_id": after.items.ids})[1]  # type: ignore[union-attr]
    assert np.array_equal(vectors[1], again)
    scores = [r.recommend(ASKED, k=5).columns["score"] for r in (before, after)]
    assert scores[0] == pytest.approx(scores[1], abs=0.05) and not np.array_equal(*scores)
    assert (smaller[0] / "recommend.onnx").is_file()


@pytest.mark.parametrize(
    ("provenance", "reason"),
    [
        ({"recipe": None}, "holds no recipe"),
        ({"trained_on": "all rows"}, "no row is held out"),
        ({"data": {"described": {"interactions": 7}}}, "not what it was"),
        ({"split": {"rule": "time=80%"}}, "not the one it was trained on"),
    ],
)
def test_what_cannot_be_measured_says_why(run: Path, provenance: dict[str, Any], reason: str) -> None:
    recommender = sl.load(run)
    said = {name: v for name, v in (recommender.provenance | provenance).items() if v is not None}
    told = weighed(replace(recommender, provenance=said), recommender, None)
    assert list(told) == ["not_measured"] and reason in told["not_measured"]


def test_rows_that_were_moved_leave_the_loss_unmeasured(cli: Cli, run: Path, tmp_path: Path) -> None:
    recipe = dict(sl.load(run).provenance["recipe"])
    recipe["data"] = recipe["data"] | {"interactions": "gone.csv"}
    start = changed(run, tmp_path / "start", recipe=recipe)
    said = cli("export", start, "-o", tmp_path / "out", "--weights", "bf16")
    assert said.code == 0 and "not measured" in said.err and "gone.csv" in said.err
    assert "gone.csv" in stated(tmp_path / "out")["not_measured"]
    assert "metrics" not in stated(tmp_path / "out")


def test_the_data_of_another_recipe_can_be_named(
    cli: Cli, run: Path, tables: Path, tmp_path: Path, refused: Refused
) -> None:
    start = changed(run, tmp_path / "start", trained_on="all rows")
    words = ("export", start, "-o", tmp_path / "out", "--weights", "int8", "--recipe")
    said = cli(*words, tables / "tiny.toml", "--json")
    assert said.code == 0, said.err
    assert said.json["weights"]["rows"] > 0
    refused(cli(*words, "no-such-recipe", "--force"), "no recipe 'no-such-recipe'")


def test_small_weights_stay_as_they_are_and_become_no_others(
    cli: Cli, smaller: tuple[Path, Said], tmp_path: Path, refused: Refused
) -> None:
    assert cli("export", smaller[0], "-o", tmp_path / "same", "--weights", "int8").code == 0
    assert stated(tmp_path / "same") == stated(smaller[0])
    for other in ("bf16", "float32"):
        refused(cli("export", smaller[0], "-o", tmp_path / "other", "--weights", other), "are int8", other)
    assert not (tmp_path / "other").exists()


def test_no_users(cli: Cli, run: Path, tmp_path: Path) -> None:
    assert (run / "bundle" / "users").is_dir()
    said = cli("export", run, "-o", tmp_path / "out", "--without-users")
    assert said.code == 0, said.err
    assert "popular items" in said.err and "ids training knew stay in the graphs" in said.err
    bundle.verify(tmp_path / "out")
    alone = sl.load(tmp_path / "out")
    assert len(alone.users) == 0 and len(alone.users.seen) == 0 and alone.provenance["users"] == "left out"
    assert not (tmp_path / "out" / "train").exists()
    answer = alone.recommend(ASKED, k=3)
    assert set(answer.columns["source"]) == {"popular"} and len(answer) == 30
    written = "".join(p.read_text(errors="replace") for p in (tmp_path / "out" / "users").rglob("*.json"))
    assert '"17"' not in written


def test_a_bundle_with_other_items_gets_its_graph_back(cli: Cli, run: Path, tmp_path: Path) -> None:
    sl.load(run).add_items({"item_id": "new", "title": "New"}).save(tmp_path / "grown")
    assert not (tmp_path / "grown" / "recommend.onnx").exists()
    assert cli("export", tmp_path / "grown", "-o", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "recommend.onnx").is_file()
    assert len(sl.load(tmp_path / "out").items) == len(sl.load(run).items) + 1


def test_a_savedmodel_is_of_a_bundle_as_it_is(cli: Cli, run: Path, tmp_path: Path, refused: Refused) -> None:
    output = tmp_path / "model"
    words = ("export", run, "-o", output, "--format", "savedmodel")
    refused(cli(*words, "--weights", "int8"), "--format savedmodel goes with none of")
    refused(cli("export", run, "-o", output, "--part", "ranking"), "--part is of a SavedModel")
    if find_spec("tensorflow") is None:
        refused(cli(*words), "tensorflow", "extra 'tensorflow'")
    assert not output.exists()


def test_items_that_came_and_went_are_so_in_the_copy(cli: Cli, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "bundle", tmp_path / "b")
    gone = sl.load(run).items.ids[3]
    with sl.open_live(tmp_path / "b") as live:
        live.add_items({"item_id": "new", "title": "New"})
        live.remove_items([gone])
    for name, words in {"plain": (), "small": ("--weights", "bf16"), "serving": ("--serving",)}.items():
        said = cli("export", tmp_path / "b", "-o", tmp_path / name, *words)
        assert said.code == 0, said.err
        assert "the 2 operations of" in said.err
        assert (tmp_path / name / "train").exists() == (name != "serving")
        bundle.verify(tmp_path / name)
        copied = sl.load(tmp_path / name)
        offered = copied.recommend(ASKED, k=99, filter_seen=False)["item_id"]
        assert "new" in offered and gone not in offered
        assert (tmp_path / name / "recommend.onnx").is_file() and not (tmp_path / name / "live").exists()


def test_a_recipe_without_weights_is_refused(cli: Cli, run: Path, tmp_path: Path, refused: Refused) -> None:
    words = ("export", run, "-o", tmp_path / "out", "--recipe", "ml100k-ids")
    refused(cli(*words), "--recipe is of --weights")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [(), ("--force",), ("--format", "savedmodel")])
def test_nothing_is_exported_into_a_bundle(
    cli: Cli, run: Path, tmp_path: Path, refused: Refused, words: tuple[str, ...]
) -> None:
    shutil.copytree(run / "bundle", tmp_path / "b")
    refused(cli("export", run, "-o", tmp_path / "b" / "new", *words), "lies inside of the bundle")
    bundle.verify(tmp_path / "b")


def test_an_early_bundle_says_what_its_tables_were(run: Path, tmp_path: Path) -> None:
    """Of one whose graphs hold their weights themselves."""
    parts = {
        name: bundle.Part(unpack(part.graphs, bytes(part.weights)), part.encoder)
        for name, part in bundle.parts_of(run).items()
    }
    bundle.save(sl.load(run), parts, tmp_path / "early")
    told = sl.export_bundle(tmp_path / "early", tmp_path / "small", weights="int8")
    assert told["bytes"] < told["float32_bytes"]
    packed = sum(len(part.weights) for part in bundle.parts_of(run).values())
    assert told["float32_bytes"] == pytest.approx(packed, abs=64), "but for what aligns the tables"


def test_provenance_of_other_weights_is_no_matter(run: Path, tmp_path: Path) -> None:
    start = changed(run, tmp_path / "start", weights=[1])
    assert sl.export_bundle(start, tmp_path / "out", weights="bf16")["type"] == "bf16"
