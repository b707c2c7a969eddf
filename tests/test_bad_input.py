"""Bad input, by the kind of it: one clear error in Python and on the command line, nothing half-written.

Where the input is poor but has a meaning (one user, equal ratings, k beyond the catalogue), what is
documented happens instead.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import shortlist as sl
from shortlist.api.evaluating import evaluate_bundle
from shortlist.cli import app
from shortlist.data.dataset import describe, from_tables
from shortlist.errors import (
    BundleCorrupted,
    BundleError,
    DataError,
    RecipeError,
    RequestError,
    ShortlistError,
)
from shortlist.recipes.run import find_recipe, run

NUM_USERS, NUM_ITEMS, ROWS_EACH = 30, 40, 12
HEADER = "user_id,item_id,rating,timestamp"

RECIPE = """
name = "tiny"
[data]
interactions = "events.csv"
users = "users.csv"
items = "items.csv"
[split]
validation = 0.0
[model]
kind = "multi-task"
[model.query]
features = [
    { kind = "id", column = "user_id", dim = 4 },
    { kind = "normalize", column = "timestamp" },
    { kind = "normalize", column = "age" },
]
out = 4
[model.candidate]
features = [ { kind = "id", column = "item_id", dim = 4 } ]
[[model.tasks]]
kind = "retrieval"
[[model.tasks]]
kind = "rating"
hidden = [4]
[training]
epochs = 1
batch_size = 64
[evaluation]
k = [5]
baselines = false
resamples = 20
[serving]
retrieve = 10
rating_weight = 0.5
"""


def table(header: str, rows: list[tuple[Any, ...]]) -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def good_rows() -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(0)
    taken = [(user, item) for user in range(NUM_USERS) for item in rng.permutation(NUM_ITEMS)[:ROWS_EACH]]
    return [(f"u{user}", f"i{item}", rng.integers(1, 6), 60 * at) for at, (user, item) in enumerate(taken)]


def write_tables(folder: Path) -> None:
    (folder / "events.csv").write_text(table(HEADER, good_rows()))
    (folder / "users.csv").write_text(table("user_id,age", [(f"u{u}", 20 + u % 9) for u in range(NUM_USERS)]))
    items = [(f"i{item}", f"The Item {item}") for item in range(NUM_ITEMS)]
    (folder / "items.csv").write_text(table("item_id,title", items))
    (folder / "tiny.toml").write_text(RECIPE)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good tables, a recipe of them, and the run of it."""
    folder = tmp_path_factory.mktemp("good")
    write_tables(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(find_recipe("tiny.toml"), "run")
    return folder


@pytest.fixture(scope="session")
def bundle(trained: Path) -> Path:
    return trained / "run" / "bundle"


@pytest.fixture(scope="session")
def loaded(bundle: Path) -> sl.Recommender:
    return sl.load(bundle)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with good tables and a recipe, to be spoilt."""
    write_tables(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listing(folder: Path) -> dict[str, Any]:
    """Every file and folder, hidden ones too, with sizes and times of change."""
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


def assert_python_refuses(
    ask: Callable[[], Any], kind: type[ShortlistError], words: tuple[str, ...], folder: Path
) -> None:
    before = listing(folder)
    with pytest.raises(kind) as caught:
        ask()
    said = f"{caught.value}\n{caught.value.hint}"
    for word in words:
        assert word in said, said
    assert listing(folder) == before


def assert_cli_refuses(command: str, words: tuple[str, ...], folder: Path) -> None:
    """Exit code 1, nothing on stdout; on stderr one error, perhaps its hint, and nothing else."""
    before = listing(folder)
    result = CliRunner().invoke(app, command.split(), env={"SHORTLIST_DEBUG": ""}, prog_name="shortlist")
    assert result.exit_code == 1, (command, result.output, result.exception)
    assert result.stdout == ""
    first, *rest = result.stderr.splitlines()
    assert first.startswith("error: "), result.stderr
    assert len(rest) <= 1 and all(line.startswith("hint: ") for line in rest), result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
    assert listing(folder) == before


def cli_json(command: str) -> Any:
    result = CliRunner().invoke(app, command.split(), env={"SHORTLIST_DEBUG": "1"}, prog_name="shortlist")
    assert result.exit_code == 0, (command, result.stderr, result.exception)
    return json.loads(result.stdout)


# Tables


@dataclass(frozen=True)
class BadTable:
    """A spoilt file: what it holds (None: it is not there), and what is said of it."""

    name: str
    content: bytes | None
    words: tuple[str, ...]
    file: str = "events.csv"

    def spoil(self, place: Path) -> None:
        (place / self.file).unlink()
        if self.content is not None:
            (place / self.file).write_bytes(self.content)


def rows(*lines: str, header: str = HEADER) -> bytes:
    return ("\n".join([header, *lines]) + "\n").encode()


FINE = ("u1,i1,3,100", "u1,i2,4,160", "u2,i1,5,220")
BAD_TABLES = [
    BadTable("missing file", None, ("no such file: events.csv",)),
    BadTable("empty file", b"", ("events.csv is empty",)),
    BadTable("header alone", rows(), ("events.csv", "at least one row")),
    BadTable(
        "missing column", rows("u1,3", header="user_id,rating"), ("events.csv has no column 'item_id'",)
    ),
    BadTable(
        "misspelt column",
        rows("u1,i1,3,1", header="user_id,itme_id,rating,timestamp"),
        ("events.csv has no column 'item_id'", "did you mean 'itme_id'?"),
    ),
    BadTable("text as rating", rows(*FINE, "u2,i2,good,9"), ("'rating', row 3", "number", "'good'")),
    BadTable(
        "text as time",
        rows("u1,i1,3,1998-04-01", "u1,i2,4,noon"),
        ("'timestamp', row 1", "expected a time", "'noon'"),
    ),
    BadTable("null user", rows(*FINE[:2], ",i1,3,9"), ("'user_id', row 2", "expected an id")),
    BadTable("null item", rows(*FINE[:1], "u1,,3,9"), ("'item_id', row 1", "expected an id")),
    BadTable("NaN rating", rows(*FINE, "u2,i2,NaN,9"), ("'rating', row 3", "finite number")),
    BadTable("missing rating", rows(*FINE, "u2,i2,,9"), ("'rating', row 3", "finite number")),
    BadTable("infinite rating", rows(*FINE, "u2,i2,inf,9"), ("'rating', row 3", "finite number")),
    BadTable("NaN time", rows(*FINE, "u2,i2,3,NaN"), ("'timestamp', row 3", "seconds", "nan")),
    BadTable("missing time", rows(*FINE, "u2,i2,3,"), ("'timestamp', row 3", "expected a time")),
    BadTable("milliseconds", rows(*FINE, "u2,i2,3,1700000000000"), ("'timestamp', row 3", "milliseconds")),
    BadTable("non-UTF-8", rows(*FINE) + b"u2,caf\xe9,3,9\n", ("events.csv is not UTF-8", "line 5", "iconv")),
    BadTable("ragged rows", rows(*FINE, "u2,i2,3,9,7,8"), ("events.csv",)),
    BadTable("binary", bytes(range(256)) * 9, ("events.csv",)),
    BadTable("missing items", None, ("no such file: items.csv",), "items.csv"),
    BadTable(
        "item twice", rows("i1,A", "i2,B", "i1,C", header="item_id,title"), ("row 2", "'i1'"), "items.csv"
    ),
    BadTable(
        "user without id", rows("u1,20", ",30", header="user_id,age"), ("'user_id', row 1",), "users.csv"
    ),
]


def test_one_text_among_whole_seconds_is_the_one_named(place: Path) -> None:
    (place / "events.csv").write_bytes(rows(*FINE, "u2,i2,3,noon"))
    words = ("'timestamp', row 3", "'noon'")
    assert_python_refuses(lambda: from_tables("events.csv"), DataError, words, place)


@pytest.mark.parametrize("bad", BAD_TABLES, ids=lambda bad: bad.name)
def test_bad_tables(bad: BadTable, place: Path) -> None:
    bad.spoil(place)
    read = lambda: from_tables("events.csv", users="users.csv", items="items.csv")  # noqa: E731
    assert_python_refuses(read, DataError, bad.words, place)
    assert_python_refuses(lambda: run(find_recipe("tiny.toml"), "out/run"), DataError, bad.words, place)
    tables = "events.csv --users users.csv --items items.csv"
    for command in (
        f"data describe {tables}",
        f"data split {tables} -o out/parts",
        "train tiny.toml -o out/run",
    ):
        assert_cli_refuses(command, bad.words, place)


def test_a_misspelt_file_gets_the_nearest_names(place: Path) -> None:
    assert_cli_refuses("data describe event.csv", ("did you mean 'events.csv'?",), place)
    assert_python_refuses(lambda: from_tables("event.csv"), DataError, ("'events.csv'",), place)


# Recipes


@dataclass(frozen=True)
class BadRecipe:
    name: str
    old: str
    new: str
    words: tuple[str, ...]
    kind: type[ShortlistError] = RecipeError


BAD_RECIPES = [
    BadRecipe("unknown key", "epochs = 1", "epoch = 1", ("tiny.toml", "$.training", "'epochs'")),
    BadRecipe(
        "unknown key in a list",
        '"item_id", dim = 4',
        '"item_id", dims = 4',
        ("tiny.toml", "$.model.candidate.features[0]", "did you mean 'dim'?"),
    ),
    BadRecipe("unknown section", "[serving]", "[servin]", ("tiny.toml", "`servin`", "'serving'")),
    BadRecipe("wrong type", "epochs = 1", 'epochs = "one"', ("tiny.toml", "$.training.epochs")),
    BadRecipe("value out of range", "epochs = 1", "epochs = 0", ("tiny.toml", "epochs must be above 0")),
    BadRecipe("unknown kind", 'kind = "rating"', 'kind = "ratings"', ("tiny.toml", "$.model.tasks[1]")),
    BadRecipe("missing section", "[data]", "[evaluation.data]", ("tiny.toml",)),
    BadRecipe("not TOML", "[training]", "[training", ("tiny.toml", "not valid TOML")),
    BadRecipe(
        "unknown feature column",
        'column = "age"',
        'column = "aeg"',
        ("Normalize('aeg')", "did you mean 'age'?"),
        DataError,
    ),
    BadRecipe(
        "unknown item column",
        'column = "item_id", dim = 4 }',
        'column = "item_id", dim = 4 }, { kind = "text", column = "titel", dim = 4 }',
        ("Text('titel')", "items.csv does not have", "did you mean 'title'?"),
        DataError,
    ),
    BadRecipe(
        "text where a number is read",
        'kind = "normalize", column = "age"',
        'kind = "normalize", column = "user_id"',
        ("Normalize('user_id')",),
        DataError,
    ),
    BadRecipe(
        "unknown label",
        'kind = "rating"\n',
        'kind = "rating"\nlabel = "ratng"\n',
        ("label column 'ratng'", "did you mean 'rating'?"),
        DataError,
    ),
    BadRecipe(
        "column of a role",
        'items = "items.csv"',
        'items = "items.csv"\nrating = "stars"',
        ("no column 'stars'",),
        DataError,
    ),
    BadRecipe(
        "unknown rule", "validation = 0.0", 'rule = "randon=80%"', ("'randon=80%'", "forms:"), DataError
    ),
    BadRecipe(
        "unknown data set",
        'interactions = "events.csv"\nusers = "users.csv"\nitems = "items.csv"',
        'dataset = "movielens-100"',
        ("no MovieLens '100'", "'100k'"),
        DataError,
    ),
    BadRecipe(
        "misspelt data set",
        'interactions = "events.csv"\nusers = "users.csv"\nitems = "items.csv"',
        'dataset = "movilens-100k"',
        ("no data set 'movilens-100k'", "movielens-100k"),
        DataError,
    ),
]


@pytest.mark.parametrize("bad", BAD_RECIPES, ids=lambda bad: bad.name)
def test_bad_recipes(bad: BadRecipe, place: Path) -> None:
    assert RECIPE.count(bad.old) == 1
    (place / "tiny.toml").write_text(RECIPE.replace(bad.old, bad.new))
    assert_python_refuses(lambda: run(find_recipe("tiny.toml"), "out/run"), bad.kind, bad.words, place)
    assert_cli_refuses("train tiny.toml -o out/run", bad.words, place)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("cannot read the recipe tiny.toml",)),
        (b"", ("tiny.toml",)),
        (b"name = '\xe9'", ("not UTF-8",)),
    ],
    ids=["missing", "empty", "non-UTF-8"],
)
def test_unreadable_recipes(content: bytes | None, words: tuple[str, ...], place: Path) -> None:
    (place / "tiny.toml").unlink()
    if content is not None:
        (place / "tiny.toml").write_bytes(content)
    assert_python_refuses(lambda: find_recipe("tiny.toml"), RecipeError, words, place)
    assert_cli_refuses("train tiny.toml -o out/run", words, place)


# A recipe for another schema than the bundle's

OTHER_DATA = [
    ("no times", "events.csv", lambda text: _without(text, 3), ("reads the column 'timestamp'",)),
    (
        "other type",
        "users.csv",
        lambda text: text.replace(",2", ",about 2"),
        ("'age' as int", "holds string"),
    ),
    (
        "other items",
        "events.csv",
        lambda text: text.replace(",i7,", ",j7,"),
        ("item 'j7'", "catalogue of 40 items"),
    ),
]


def _without(text: str, column: int) -> str:
    lines = (line.split(",") for line in text.splitlines())
    return "\n".join(",".join(part for at, part in enumerate(line) if at != column) for line in lines) + "\n"


@pytest.mark.parametrize(
    ("file", "spoil", "words"), [x[1:] for x in OTHER_DATA], ids=[x[0] for x in OTHER_DATA]
)
def test_a_recipe_for_another_schema(
    file: str, spoil: Callable[[str], str], words: tuple[str, ...], place: Path, bundle: Path
) -> None:
    (place / file).write_text(spoil((place / file).read_text()))
    recipe = find_recipe("tiny.toml")
    assert_python_refuses(lambda: evaluate_bundle(bundle, recipe=recipe), DataError, words, place)
    assert_cli_refuses(f"evaluate {bundle} --recipe tiny.toml --html out.html", words, place)


def test_a_recipe_without_the_columns_of_users_falls_back_on_the_bundle(place: Path, bundle: Path) -> None:
    """What the bundle stores of its users it need not be told again."""
    own = evaluate_bundle(bundle, recipe=find_recipe("tiny.toml"), baselines=False)
    (place / "tiny.toml").write_text(RECIPE.replace('users = "users.csv"\n', ""))
    again = evaluate_bundle(bundle, recipe=find_recipe("tiny.toml"), baselines=False)
    assert again.entries[0].figures == own.entries[0].figures


def test_another_order_of_the_catalogue_changes_nothing(place: Path, bundle: Path) -> None:
    header, *lines = (place / "items.csv").read_text().splitlines()
    (place / "items.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")
    found = cli_json(f"evaluate {bundle} --recipe tiny.toml --no-baselines --json")
    reported = json.loads((bundle.parent / "report.json").read_text())
    assert "repeats" not in found["protocol"]
    for name, figure in reported["entries"][0]["figures"].items():
        value = found["entries"][0]["figures"][name]["value"]
        assert value == pytest.approx(figure["value"], abs=1e-4), name


def test_rows_the_bundle_was_trained_on_are_counted(place: Path, bundle: Path) -> None:
    (place / "tiny.toml").write_text(RECIPE.replace("validation = 0.0", "validation = 0.0\nseed = 7"))
    report = evaluate_bundle(bundle, recipe=find_recipe("tiny.toml"), baselines=False)
    known, total = np.random.default_rng(42).permutation(360)[:288], np.random.default_rng(7).permutation(360)
    both = len(set(known) & set(total[288:]))
    assert report.protocol["repeats"].startswith(f"{both} of 72 test rows name a pair of training")


# Bundles


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


BAD_FILES: list[tuple[str, Callable[[Path], None], str, type[BundleError]]] = [
    ("manifest.json", _truncate, "cannot be read", BundleCorrupted),
    ("manifest.json", Path.unlink, "is no bundle", BundleError),
    ("model/query.onnx", _truncate, "bytes, expected", BundleCorrupted),
    ("model/pairs.onnx", _flip, "sha256", BundleCorrupted),
    ("model/encoder.json", _flip, "sha256", BundleCorrupted),
    ("items/item_vectors.npy", _flip, "sha256", BundleCorrupted),
    ("items/ids.json", Path.unlink, "is missing", BundleCorrupted),
    ("users/seen_indices.npy", _truncate, "bytes, expected", BundleCorrupted),
]


@pytest.mark.parametrize(
    ("file", "spoil", "words", "kind"), BAD_FILES, ids=[f"{f} {s.__name__}" for f, s, _, _ in BAD_FILES]
)
def test_bad_bundles(
    file: str, spoil: Callable[[Path], None], words: str, kind: type[BundleError], bundle: Path, place: Path
) -> None:
    shutil.copytree(bundle, place / "spoilt")
    spoil(place / "spoilt" / file)
    said = (file.split("/")[-1], words)
    assert_python_refuses(lambda: sl.load("spoilt"), kind, said, place)
    assert_python_refuses(lambda: evaluate_bundle("spoilt"), kind, said, place)
    for command in (
        "recommend spoilt --user u1",
        "score spoilt --user u1 --item i1",
        "similar spoilt --item i1",
        "evaluate spoilt --html page.html",
        "export spoilt -o copy",
        "verify spoilt",
    ):
        assert_cli_refuses(command, said, place)


def test_no_bundle_at_all(place: Path) -> None:
    for name, word in (("gone", "gone"), (".", "is no bundle")):
        for command in (f"recommend {name} --user u1", f"verify {name}", f"export {name} -o copy"):
            assert_cli_refuses(command, (word,), place)
        assert_python_refuses(lambda name=name: sl.load(name), BundleError, ("is no bundle",), place)


# Requests

BAD_REQUESTS: list[tuple[str, Callable[[sl.Recommender], Any], tuple[str, ...], str]] = [
    ("k = 0", lambda r: r.recommend("u1", k=0), ("k must be", "got 0"), "recommend {} --user u1 -k 0"),
    ("k below 0", lambda r: r.recommend("u1", k=-3), ("got -3",), "recommend {} --user u1 -k -3"),
    ("k no number", lambda r: r.recommend("u1", k="ten"), ("got 'ten'",), ""),  # type: ignore[arg-type]
    ("similar k = 0", lambda r: r.similar_items("i1", k=0), ("got 0",), "similar {} --item i1 -k 0"),
    ("empty batch", lambda r: r.recommend([]), ("no rows",), ""),
    ("empty columns", lambda r: r.recommend({"user_id": []}), ("no rows",), ""),
    ("empty batch of pairs", lambda r: r.score([]), ("no rows",), "score {} --input none.csv"),
    ("unknown item", lambda r: r.similar_items("j9"), ("'j9'",), "similar {} --item j9"),
    (
        "misspelt item",
        lambda r: r.similar_items("i33x"),
        ("'i33x'", "did you mean 'i33'"),
        "similar {} --item i33x",
    ),
    ("only unknown", lambda r: r.recommend("u1", only=["j9"]), ("'j9'",), "recommend {} --user u1 --only j9"),
    (
        "unknown column",
        lambda r: r.recommend({"user_id": "u1", "agee": 3}),
        ("'agee'", "did you mean 'age'?"),
        "recommend {} --user u1 --context agee=3",
    ),
    (
        "wrong type",
        lambda r: r.recommend({"user_id": ["u1", "u2"], "age": [3, "old"]}),
        ("column 'age'", "whole number", "'old'"),
        "recommend {} --user u1 --context age=old",
    ),
    ("no item", lambda r: r.score({"user_id": "u1"}), ("no item_id",), "score {} --input users.csv"),
    (
        "null item",
        lambda r: r.score({"user_id": ["u1", "u1"], "item_id": ["i1", None]}),
        ("row 1", "no item_id"),
        "score {} --input null.csv",
    ),
    ("nothing", lambda r: r.score({}), ("no rows",), ""),
    (
        "no text",
        lambda r: r.score({"user_id": "u1", "item_id": "\udce9"}),
        ("row 0, column 'item_id'", "expected text"),
        "",
    ),
]


@pytest.mark.parametrize(
    ("ask", "words", "command"), [x[1:] for x in BAD_REQUESTS], ids=[x[0] for x in BAD_REQUESTS]
)
def test_bad_requests(
    ask: Callable[[sl.Recommender], Any],
    words: tuple[str, ...],
    command: str,
    loaded: sl.Recommender,
    bundle: Path,
    place: Path,
) -> None:
    (place / "none.csv").write_text("user_id,item_id\n")
    (place / "null.csv").write_text("user_id,item_id\nu1,i1\nu1,\n")
    (place / "users.csv").write_text("user_id\nu1\n")
    assert_python_refuses(lambda: ask(loaded), RequestError, words, place)
    if command:
        assert_cli_refuses(command.format(bundle), words, place)


def test_unreadable_files_of_pairs(bundle: Path, place: Path) -> None:
    command = f"score {bundle} --input pairs.csv"
    (place / "pairs.csv").write_bytes(b"")
    assert_cli_refuses(command, ("pairs.csv has no rows",), place)
    (place / "pairs.csv").write_bytes(b"user_id,item_id\nu1,\xe9\n")
    assert_cli_refuses(command, ("pairs.csv is not UTF-8", "iconv"), place)
    assert_cli_refuses(f"score {bundle} --input gone.csv", ("no such file: gone.csv",), place)


# What nobody foresaw


@pytest.mark.parametrize("error", [RuntimeError, EOFError, pl.exceptions.ComputeError, KeyError])
def test_a_fault_is_told_in_a_line_and_has_its_own_exit_code(
    error: type[Exception], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any, **options: Any) -> Any:
        raise error("lost\n\ntrack")

    monkeypatch.setattr("shortlist.recipes.run.read_data", fails)
    before = listing(place)
    result = CliRunner().invoke(app, ["train", "tiny.toml", "-o", "out/run"], env={"SHORTLIST_DEBUG": ""})
    assert (result.exit_code, result.stdout) == (70, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"error: a fault inside Shortlist: {error.__name__}")
    assert second.startswith("hint: ") and "--debug" in second
    assert listing(place) == before


# Poor input with a documented meaning


def test_k_beyond_the_catalogue_gives_what_is_left(loaded: sl.Recommender, bundle: Path) -> None:
    seen = int(np.diff(loaded.users.seen.indptr)[loaded.users.indices(["u1"])[0]])
    slate = loaded.recommend("u1", k=NUM_ITEMS + 1)
    assert len(slate) == NUM_ITEMS - seen
    found = cli_json(f"recommend {bundle} --user u1 -k 1000 --json")
    assert [row["item_id"] for row in found] == slate["item_id"].tolist()
    assert len(loaded.similar_items("i1", k=1000)) == NUM_ITEMS - 1
    assert len(cli_json(f"similar {bundle} --item i1 -k 1000 --json")) == NUM_ITEMS - 1


def test_unknown_users_and_items(loaded: sl.Recommender, bundle: Path) -> None:
    slate = cli_json(f"recommend {bundle} --user nobody -k 5 --json")
    assert {row["source"] for row in slate} == {"popular"} and len(slate) == 5
    pairs = [{"user_id": u, "item_id": i} for u in ("u1", "nobody") for i in ("i1", "nothing")]
    scores = loaded.score(pairs)
    assert np.isfinite(scores["rating"]).all() and np.isfinite(scores["log_p"]).all()
    found = cli_json(f"score {bundle} --user nobody --item i1,nothing --json")
    assert [row["rating"] for row in found] == pytest.approx(scores["rating"][2:].tolist(), rel=1e-6)


@pytest.fixture
def facts(place: Path) -> Iterator[Callable[[list[tuple[Any, ...]]], dict[str, Any]]]:
    """Rows become events.csv, and what describes them is returned, in Python as on the command line."""

    def described(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
        (place / "events.csv").write_text(table(HEADER, rows))
        found: dict[str, Any] = cli_json("data describe events.csv --json")
        found.pop("picture")  # distributions, of which Python's description says nothing
        plain = describe(from_tables("events.csv", name="events"))
        assert {k: v for k, v in plain.items() if k != "name"} == {
            k: v for k, v in found.items() if k != "name"
        }
        return found

    yield described


Facts = Callable[[list[tuple[Any, ...]]], dict[str, Any]]


def entry(place: Path) -> dict[str, Any]:
    """The figures of the model of a run on the command line."""
    entries = cli_json("train tiny.toml -o out/run --json --quiet")["entries"]
    found: dict[str, Any] = next(e["figures"] for e in entries if e["name"] == "Shortlist")
    assert len(sl.load(place / "out" / "run" / "bundle").recommend("u0", k=3)) == 3
    return found


def test_duplicate_rows_are_counted_and_kept(facts: Facts, place: Path) -> None:
    half = good_rows()[::2]
    found = facts([*half, *half])
    assert (found["interactions"], found["duplicate_rows"], found["repeated_pairs"]) == (360, 180, 180)
    figures = entry(place)
    assert all(np.isfinite(figure["value"]) for figure in figures.values())
    report = json.loads((place / "out" / "run" / "report.json").read_text())
    assert "test rows name a pair of training" in report["protocol"]["repeats"]


def test_equal_ratings_train(facts: Facts, place: Path) -> None:
    found = facts([(user, item, 3, time) for user, item, _, time in good_rows()])
    assert found["rating"] == {"mean": 3, "sd": 0, "min": 3, "max": 3, "distinct": 1, "counts": {"3": 360}}
    figures = entry(place)
    assert figures["rmse"]["value"] < 0.5
    assert all(np.isfinite(figure["value"]) for figure in figures.values())


def test_one_user_trains(facts: Facts, place: Path) -> None:
    found = facts([("u0", f"i{item}", 1 + item % 5, 60 * item) for item in range(20)])
    assert found["interactions"] == 20
    figures = entry(place)
    assert np.isfinite(figures["filtered ndcg@5 (user)"]["value"])
    assert figures["filtered ndcg@5 (user)"]["low"] is None  # one user gives no interval


def test_one_item_leaves_nothing_to_retrieve(facts: Facts, place: Path) -> None:
    (place / "tiny.toml").write_text(RECIPE.replace('items = "items.csv"\n', ""))
    found = facts([(f"u{user}", "i0", 1 + user % 5, user) for user in range(30)])
    assert found["items"] == 1
    words = ("retrieval needs at least 2 items", "train a Ranker instead")
    assert_python_refuses(lambda: run(find_recipe("tiny.toml"), "out/run"), DataError, words, place)
    assert_cli_refuses("train tiny.toml -o out/run", words, place)
