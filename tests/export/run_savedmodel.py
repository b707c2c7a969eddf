"""SavedModels beside what they were written from: `make test-savedmodel`.

TensorFlow lies in an environment of its own, whose Python runs this file; in another it fails. The file is
not named test_*, so that only a command which names it runs it.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import shortlist as sl
from shortlist import bundle
from shortlist._typing import MISSING_INT, Array
from shortlist.api.savedmodels import write_savedmodel
from shortlist.errors import BundleError, ExportError
from shortlist.export import savedmodel
from shortlist.export.savedmodel_features import ENCODERS, Features
from shortlist.features.encoder import Side
from shortlist.features.fitted import Buckets, Fitted, fit_feature
from shortlist.features.history import Recent, Total
from shortlist.recipes.run import find_recipe
from shortlist.recipes.tutorials import as_printed

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's own

USERS = ["42", "1", "943", "no such user", ""]
FILMS = ["Speed (1994)", "Dances with Wolves (1990)", "M*A*S*H (1970)", "No Such Film (2001)", "Amélie"]
TIME = 881_250_949


@pytest.fixture(scope="module")
def tf() -> Any:
    return savedmodel.tensorflow()


def onnx_cases() -> ModuleType:
    """The cases that ONNX's forms of the features are held to."""
    spec = importlib.util.spec_from_file_location("onnx_cases", Path(__file__).with_name("test_encoders.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["ranking", "context-with-time", "multitask-joint"])
def tutorial(
    request: pytest.FixtureRequest, tf: Any, tmp_path_factory: Any
) -> Iterator[tuple[str, Any, Any]]:
    """A tutorial's model, trained as it is printed, saved as a bundle, and that bundle as a SavedModel."""
    ((name, _, fitted),) = as_printed((request.param,), epochs=1)
    folder = tmp_path_factory.mktemp(name)
    fitted.recommender().save(folder / "bundle")
    written = write_savedmodel(folder / "bundle", folder / "model")
    assert sorted(p.name for p in folder.iterdir()) == ["bundle", "model"]
    yield name, sl.load(folder / "bundle"), tf.saved_model.load(str(written))


def pairs() -> tuple[list[str], list[str]]:
    return [user for user in USERS for _ in FILMS], FILMS * len(USERS)


def test_the_dictionary_of_the_tutorials_gets_the_answer_of_the_recommender(
    tutorial: tuple[str, Any, Any],
) -> None:
    name, recommender, model = tutorial
    given: dict[str, Any] = {"user_id": np.array(["42"]), "movie_title": ["Speed (1994)"]}
    if name == "context-with-time":
        given["timestamp"] = np.array([TIME])
    answer = model(given)
    rows = [{"user_id": "42", "item_id": "Speed (1994)", **({"timestamp": TIME} if len(given) > 2 else {})}]
    expected = recommender.score(rows).columns
    if name == "context-with-time":
        assert [x.shape for x in answer] == [(1, 32), (1, 32)]
    else:
        rating = answer[-1] if isinstance(answer, tuple) else answer
        assert (rating.shape, rating.dtype) == ((1, 1), np.float32)
        np.testing.assert_allclose(rating.numpy()[:, 0], expected["rating"], atol=1e-5)
    if name != "ranking":
        query, candidate = (x.numpy() for x in answer[:2])
        np.testing.assert_allclose(query, recommender.query_vectors(rows_of_queries(rows)), atol=1e-5)
        position = recommender.items.position("Speed (1994)")
        np.testing.assert_allclose(candidate[0], recommender.item_vectors[position], atol=1e-5)


def rows_of_queries(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "item_id"} for row in rows]


def test_many_rows_known_and_unknown_are_scored_alike(tutorial: tuple[str, Any, Any]) -> None:
    name, recommender, model = tutorial
    users, films = pairs()
    given: dict[str, Any] = {"user_id": users, "item_id": films}
    asked = [{"user_id": u, "item_id": f} for u, f in zip(users, films, strict=True)]
    served = model.signatures["serving_default"]
    outputs = model(given)  # a time that is not given is the user's own
    if name == "context-with-time":
        known = [i for i, film in enumerate(films) if film in recommender.items.vocabulary]
        positions = recommender.items.positions(np.array(films, object)[known])
        scores = np.einsum("bd,bd->b", outputs[0].numpy(), outputs[1].numpy())[known]
        vectors = recommender.query_vectors([{"user_id": users[i]} for i in known])
        wanted = np.einsum("bd,bd->b", vectors, recommender.item_vectors[positions])
        np.testing.assert_allclose(scores, wanted, atol=1e-4)
        return
    rating = outputs[-1] if isinstance(outputs, tuple) else outputs
    expected = recommender.score(asked).columns["rating"]
    np.testing.assert_allclose(rating.numpy()[:, 0], expected, atol=1e-5)
    titled = served(user_id=np.array(users), movie_title=np.array(films))
    np.testing.assert_allclose(titled["rating"].numpy()[:, 0], expected, atol=1e-5)
    ranked = model.signatures["rank"](user_id=np.array(users), item_id=np.array(films))["rating"]
    np.testing.assert_allclose(ranked.numpy(), expected, atol=1e-5)


def test_the_guide_is_right(tf: Any, split: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = find_recipe("ml100k-ids")
    fitted = sl.fit(recipe.model, split, training=recipe.training, epochs=1)
    write_savedmodel(fitted, tmp_path / "savedmodel")
    page = Path(__file__).parents[2] / "docs" / "guides" / "other-languages.md"
    (shown,) = re.findall(r"^```py\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(shown, page.name, "exec"), names)
    recommender = fitted.recommender()
    (place,) = np.flatnonzero(recommender.items.columns["title"] == "Speed (1994)")
    row = {"user_id": "42", "item_id": recommender.items.ids[place], "timestamp": TIME}
    np.testing.assert_allclose(names["rating"][0], recommender.score([row]).columns["rating"], atol=1e-5)
    assert names["user"].shape == names["film"].shape


def test_features_encode_as_numpy_does(tf: Any) -> None:
    for spec, training, column in onnx_cases().CASES:
        fitted = fit_feature(spec, training)
        agree(tf, fitted, {spec.column: column})


def test_features_of_the_past_encode_as_numpy_does(tf: Any) -> None:
    cases = onnx_cases()
    for spec in cases.PASTS:
        fitted = fit_feature(spec, cases.IDS[:4])
        for timed in (True, False):
            fitted = replace(fitted, timed=timed) if isinstance(fitted, Recent) else fitted
            columns = cases.past_columns(fitted)
            for rows, width in ((slice(None), 5), (slice(0, 1), 1), (slice(3, 4), 5)):
                given = {n: c[rows, :width] if c.ndim == 2 else c[rows] for n, c in columns.items()}
                agree(tf, fitted, given)


def agree(tf: Any, fitted: Fitted, columns: dict[str, Array]) -> None:
    features, side = Features(tf), Side((fitted,))
    specs = features.specs(side)
    given = {name: savedmodel.tensor(tf, columns[name], spec) for name, spec in specs.items()}
    run = tf.function(lambda x: features.encode(side, x), autograph=False, input_signature=[specs])
    for key, want in side.encode(columns).items():
        got = run(given)[key].numpy()
        if want.ndim == 2:  # lists may be padded further than NumPy's
            wide = np.full(got.shape, -1 if key == fitted.spec.key else 0, want.dtype)
            wide[:, : want.shape[1]] = want
            want = wide
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6, err_msg=key)


def test_no_kind_of_feature_is_forgotten() -> None:
    cases = onnx_cases()
    kinds = {type(fit_feature(spec, training)) for spec, training, _ in cases.CASES}
    assert set(ENCODERS) == kinds and not kinds & {Recent, Total}


QUERIES: dict[str, Any] = {
    "history": [["50", "181", ""], ["258", "", ""], ["", "", ""], ["no such", "50", "1"]],
    "history_timestamp": [[TIME - 5, TIME - 90_000, 0], [TIME, 0, 0], [0, 0, 0], [TIME - 1] * 3],
    "seen": [["50", "181"], ["258", ""], ["", ""], ["50", "1"]],
    "seen_residual": [[0.5, -1.0], [2.0, np.nan], [np.nan, np.nan], [0.0, 1.0]],
    "occupation": ["student", "", "no such", "writer"],
    "age": [20, 30, MISSING_INT, 99],
    "timestamp": [TIME, TIME + 3600, TIME, MISSING_INT],
}


@pytest.fixture(scope="module")
def everything(tf: Any, split: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any, Any]:
    """The bundle of a model with histories, bags, tags, texts, cycles, aggregates and two members, it as a
    SavedModel, and raw queries: as columns and as tensors."""
    query = (
        sl.History(dim=8, length=10),
        sl.Bag(dim=8, rated=True),
        sl.Category("occupation", dim=8),
        sl.Bucket("age", 8, dim=8),
        sl.Cyclic("timestamp", "hour_of_day"),
        sl.Normalize("timestamp"),
    )
    candidate = (sl.Id("item_id", 8), sl.Tags("genres", 8), sl.Text("title", 500, 8))
    rating = sl.Rating(hidden=(8,), aggregates=(sl.Aggregate(), sl.Aggregate(by=("item_id",))))
    tasks = (sl.Retrieval(item_bias=True, seen="row"), rating)
    model = sl.MultiTask(sl.Tower(query, out=8), sl.Tower(candidate, out=8), tasks)
    fitted = sl.fit(model, split, training=sl.Training(epochs=1, batch_size=4096, members=2))
    folder = tmp_path_factory.mktemp("everything")
    fitted.recommender().save(folder / "bundle")
    loaded = tf.saved_model.load(str(write_savedmodel(folder / "bundle", folder / "model")))
    columns, tensors = {}, {}
    for name, spec in loaded.signatures["query"].structured_input_signature[1].items():
        columns[name] = np.array(
            QUERIES[name], object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype
        )
        tensors[name] = savedmodel.tensor(tf, columns[name], spec)
    return sl.load(folder / "bundle"), loaded, columns, tensors


def test_raw_rows_are_represented_as_in_the_bundle(everything: tuple[Any, Any, Any, Any]) -> None:
    recommender, loaded, columns, tensors = everything
    found = loaded.signatures["query"](**tensors)
    representation, vector = recommender.retriever.encode_query(columns)
    np.testing.assert_allclose(found["representation"], representation, atol=1e-5)
    np.testing.assert_allclose(found["vector"], vector, atol=1e-5)


def test_what_is_not_given_is_taken_from_what_is_stored(everything: tuple[Any, Any, Any, Any]) -> None:
    recommender, loaded, columns, tensors = everything
    films, known = recommender.items, recommender.users
    position = films.columns["title"].tolist().index("Speed (1994)")
    numbers = np.array([[0.5, -0.5], [0, 0], [1, 1], [-2, 3]], np.float32)
    asked = {name: x for name, x in tensors.items() if name not in ("occupation", "age")}
    ids = {"user_id": np.array(["42"] * 4), "movie_title": np.array(["Speed (1994)"] * 4)}
    answer = loaded({**asked, **ids, "rating_aggregates": numbers})
    user = known.indices(["42"])[0]
    stored = {name: known.columns[name][[user] * 4] for name in ("occupation", "age")}
    times = np.append(columns["timestamp"][:3], known.columns["timestamp"][user])
    representation, vector = recommender.ranker.encode_query(columns | stored | {"timestamp": times})
    items = np.asarray(recommender.item_representations)[[position] * 4]
    wanted = recommender.ranker.predict(representation, items, {"rating": numbers})["rating"]
    np.testing.assert_allclose(answer[0], vector, atol=1e-5)
    np.testing.assert_allclose(answer[1], recommender.item_vectors[[position] * 4], atol=1e-5)
    np.testing.assert_allclose(answer[2].numpy()[:, 0], wanted, atol=1e-5)


def small(split: Any, *features: Any) -> Any:
    """A small model of ratings, fitted."""
    query = sl.Tower((sl.Id("user_id", 4), *features))
    return sl.fit(
        sl.Ranker(query, sl.Tower((sl.Id("item_id", 4),)), (sl.Rating(hidden=()),)), split, epochs=1
    )


def test_what_is_there_is_kept_unless_it_is_a_savedmodel(split: Any, tmp_path: Path) -> None:
    fitted = small(split)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(ExportError, match="no SavedModel"):
        write_savedmodel(fitted, tmp_path / "mine")
    for _ in range(2):
        write_savedmodel(fitted, tmp_path / "model")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "model"]
    fitted.recommender().save(tmp_path / "bundle")
    bundle.copy(tmp_path / "bundle", tmp_path / "serving", serving=True)
    with pytest.raises(BundleError, match="nothing of its training"):
        write_savedmodel(tmp_path / "serving", tmp_path / "model")


def test_what_differs_from_jax_is_not_written(
    split: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = small(split, sl.Bucket("timestamp", 10, 4))
    reached = Features.reached
    monkeypatch.setattr(Features, "reached", lambda self, bounds, x: reached(self, bounds, x) // 2)
    with pytest.raises(ExportError, match="'query' differs from JAX"):
        write_savedmodel(fitted, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_feature_without_a_form_is_named(
    split: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = small(split, sl.Bucket("timestamp", 10, 4))
    monkeypatch.delitem(ENCODERS, Buckets)
    with pytest.raises(ExportError, match=r"Bucket\('timestamp'\) has no form in TensorFlow"):
        write_savedmodel(fitted, tmp_path / "model")
    assert not list(tmp_path.iterdir())
