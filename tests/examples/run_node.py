"""The examples that recommend without Shortlist, beside Shortlist itself: `make test-node`.

Node.js with onnxruntime-node lies in build/node, a Python with NumPy and ONNX Runtime alone in
build/onnxruntime; without them this fails. The file is not named test_*, so that only a command which names
it runs it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shortlist as sl

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
NODE = Path(os.environ.get("NODE_FOLDER", ROOT / "build" / "node"))
PYTHON = Path(os.environ.get("PLAIN_PYTHON", ROOT / "build" / "onnxruntime" / "bin" / "python"))

K = 15
USERS = ["42", "1", "7", "13", "405", "655", "943", "no such user", ""]
MIDDLE = 884_000_000
"""A time at which some users have a past, some have none yet."""


def everything() -> Any:
    """A model that reads every column there is of a user's past."""
    past = (
        sl.History(dim=8, length=10),
        sl.History(dim=8, length=10, as_of="leave-one-out", name="around"),
        sl.Bag(dim=8, rated=True),
        sl.Bag(dim=8, rated=True, as_of="leave-one-out", name="all"),
        *(sl.Bucket(name, 8, dim=8) for name in ("past_count", "past_gap", "past_span", "session_count")),
        sl.Normalize("timestamp"),
        sl.Category("occupation", dim=8),
    )
    rating = sl.Rating(hidden=(8,))
    tasks = (sl.Retrieval(item_bias=True, seen="leave-one-out"), rating)
    return sl.MultiTask(sl.Tower(past, out=8), sl.Tower((sl.Id("item_id", 8),), out=8), tasks)


@pytest.fixture(scope="module", params=["ml100k-ids", "ml100k-retrieval", "everything"])
def bundle(request: pytest.FixtureRequest, split: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The joint recipe without a past, one with histories and bags, and a model with all lists there are."""
    from shortlist.recipes.run import find_recipe

    model, training = everything(), sl.Training(batch_size=1000, optimizer=sl.Adam(0.01))
    if request.param != "everything":
        recipe = find_recipe(request.param)
        model, training = recipe.model, recipe.training
    fitted = sl.fit(model, split, training=training, epochs=1)
    folder = tmp_path_factory.mktemp(request.param) / "bundle"
    fitted.recommender(rating_weight=0.5 if fitted.model.heads else 0.0).save(folder)
    return folder


def node(*words: str) -> subprocess.CompletedProcess[str]:
    """The example in Node.js, beside the packages its lock file names."""
    assert (NODE / "node_modules" / "onnxruntime-node").is_dir(), f"no {NODE}: run `make test-node`"
    for script in (EXAMPLES / "node").glob("*.mjs"):
        shutil.copy(script, NODE)
    return run(["node", "recommend.mjs", *words])


def plain(*words: str) -> subprocess.CompletedProcess[str]:
    """The example in Python, where there is no Shortlist."""
    assert PYTHON.is_file(), f"no {PYTHON}: run `make test-node`"
    return run([str(PYTHON), str(EXAMPLES / "onnxruntime_only.py"), *words])


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=NODE, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


LANGUAGES = pytest.mark.parametrize("language", [node, plain], ids=["node", "python"])


@LANGUAGES
@pytest.mark.parametrize("timestamp", [None, MIDDLE], ids=["last", "earlier"])
def test_the_same_items_as_from_shortlist(bundle: Path, language: Any, timestamp: int | None) -> None:
    words = [word for user in USERS for word in ("--user", user)]
    words += [] if timestamp is None else ["--timestamp", str(timestamp)]
    done = language(str(bundle), *words, "-k", str(K), "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["user_id"] for answer in answers] == USERS
    recommender = sl.load(bundle)
    for answer in answers:
        query = {"user_id": answer["user_id"]} | ({} if timestamp is None else {"timestamp": timestamp})
        require_same(answer["items"], recommender.recommend([query], K + 5).columns)


def require_same(items: list[dict[str, Any]], want: dict[str, Any]) -> None:
    """The same ids in the same order, but where scores are equal within 1e-5; and the same scores."""
    place = {item: rank for rank, item in enumerate(want["item_id"])}
    assert len(items) == K
    ranks = [place[item["item_id"]] for item in items]
    assert len(set(ranks)) == K
    for name in ("score", "retrieval_score", *({"rating"} & want.keys())):
        np.testing.assert_allclose([item[name] for item in items], want[name][:K], atol=1e-5)
        np.testing.assert_allclose(want[name][ranks], want[name][:K], atol=1e-5)


@LANGUAGES
def test_a_table_is_printed(bundle: Path, language: Any) -> None:
    done = language(str(bundle.parent), "--user", "42", "-k", "3")  # also of the folder of a run
    assert done.returncode == 0, done.stderr[-4000:]
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    want = sl.load(bundle).recommend("42", 3).columns
    assert [(user, rank) for user, rank, *_ in rows] == [("42", "1"), ("42", "2"), ("42", "3")]
    np.testing.assert_allclose([float(score) for *_, score in rows], want["score"], atol=1e-4)


@LANGUAGES
def test_a_bundle_without_the_graph_is_refused_with_its_reason(
    bundle: Path, language: Any, tmp_path: Path
) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    manifest["recommend"] = {"left_out": "a good reason"}
    (tmp_path / "bundle" / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    (tmp_path / "bundle" / "recommend.onnx").unlink()
    done = language(str(tmp_path / "bundle"), "--user", "42")
    assert done.returncode != 0 and "a good reason" in done.stderr


def test_the_guide_is_right(bundle: Path) -> None:
    page = (ROOT / "docs" / "guides" / "other-languages.md").read_text("utf-8")
    (shown,) = re.findall(r"^```js\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    node(str(bundle), "--user", "42")  # copies the files it imports
    (NODE / "guide.mjs").write_text(shown.replace("runs/demo", str(bundle)), "utf-8")
    done = run(["node", "guide.mjs"])
    assert done.returncode == 0, done.stderr[-4000:]
    found = [line.split() for line in done.stdout.splitlines()]
    want = sl.load(bundle).recommend("42", 10).columns
    np.testing.assert_allclose([float(score) for _, score in found], want["score"], atol=1e-5)


def test_python_has_neither_shortlist_nor_jax() -> None:
    code = "import sys; from importlib.util import find_spec as f; print(*map(f, sys.argv[1:]))"
    assert run([str(PYTHON), "-c", code, "shortlist", "jax", "polars"]).stdout.split() == ["None"] * 3


def test_the_packages_are_installed_without_scripts_and_from_one_registry() -> None:
    """What their install scripts would fetch comes from elsewhere."""
    folder = EXAMPLES / "node"
    assert "ignore-scripts=true" in (folder / ".npmrc").read_text("utf-8").splitlines()
    packages = json.loads((folder / "package-lock.json").read_text("utf-8"))["packages"]
    assert "node_modules/onnxruntime-node" in packages
    for name, package in packages.items():
        assert not name or (package["integrity"].startswith("sha512-") and "resolved" not in package)
