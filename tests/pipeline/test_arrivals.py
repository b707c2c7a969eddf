"""Items added after training: answered at once, before and after disk, and nothing else changes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import shortlist as sl
from shortlist import bundle
from shortlist._typing import MISSING_INT
from shortlist.errors import MissingExtra, RequestError
from shortlist.pipeline.recommender import Recommender

# Of known answers (see conftest): a new id has the vector of an unknown one, years move the ratings.
NEW = [
    {"item_id": "new", "year": 40, "title": "Brand new", "genres": ["War"]},
    {"item_id": 7, "year": None, "title": None, "genres": None},
]


def test_new_items_are_answered_at_once_and_the_recommender_stays_as_it_was(joint: Recommender) -> None:
    grown = joint.add_items(NEW)
    assert (len(joint.items), len(grown.items)) == (30, 32)
    for filter_seen in (True, False):
        slate = grown.recommend(["u3", "u5"], k=40, filter_seen=filter_seen)
        assert {"new", "7"} <= set(slate.of(0)["item_id"])  # u5 has seen everything there was
        assert (set(slate.of(1)["item_id"]) == {"new", "7"}) == filter_seen
    shown = grown.recommend("u3", only=["new", "7"]).with_items(["title", "genres", "year"])
    told = {row["item_id"]: (row["title"], row["genres"], row["year"]) for row in shown}
    assert told == {"new": ("Brand new", ["War"], 40), "7": ("", [], None)}
    assert "new" not in grown.recommend("u3", k=40, exclude=["new"])["item_id"]
    assert grown.similar_items("7", 1)["item_id"].tolist() == ["new"]  # both have the unknown vector
    assert grown.score({"user_id": "u1", "item_id": "new"})["rating"] == pytest.approx(
        joint.score({"user_id": "u1", "item_id": "not there", "year": 40})["rating"]
    )
    assert grown.provenance["items_added"] == 2 and "items_added" not in joint.provenance


def test_new_items_come_last_among_the_popular(joint: Recommender) -> None:
    before, after = (r.recommend("nobody", k=99)["item_id"].tolist() for r in (joint, joint.add_items(NEW)))
    assert after == [*before, "new", "7"]


def test_a_known_item_is_updated_where_that_is_asked_for(joint: Recommender) -> None:
    table = {"item_id": ["i07", "new"], "year": [990, 5]}
    with pytest.raises(
        RequestError, match="row 0 of the new items: item 'i07' is in the catalogue"
    ) as caught:
        joint.add_items(table)
    assert "replace=True" in caught.value.hint
    grown = joint.add_items(table, replace=True)
    assert len(grown.items) == 31
    assert grown.items.columns["year"][[0, 1, 30]].tolist() == [0, 990, 5]
    assert grown.items.columns["title"][[1, 30]].tolist() == ["Film i07", ""]  # what is not given stays
    assert grown.items.log_popularity[1] == joint.items.log_popularity[1]
    assert joint.item_representations is not None and grown.item_representations is not None
    changed = (grown.item_representations[:30] != joint.item_representations).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [1]
    again = joint.add_items({"item_id": "i07", "genres": ["a", "b", "c"]}, replace=True)  # no year: it stays
    assert again.items.columns["genres"][1].tolist() == ["a", "b", "c"]
    assert again.items.columns["genres"][0].tolist() == ["War", "Drama", ""]
    np.testing.assert_array_equal(again.item_representations, joint.item_representations)


def test_every_form_of_a_table_is_read_alike(
    joint: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["01", "n"],
            "year": [1990, None],
            "genres": [["War", "Drama"], None],
            "title": ["A", None],
        }
    )
    rows = frame.to_dicts()
    texts = frame.with_columns(pl.col("genres").list.join("|"))
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ndjson(tmp_path / "a.jsonl")
    texts.write_csv(tmp_path / "a.csv")
    texts.write_csv(tmp_path / "a.tsv", separator="\t")
    tables: list[Any] = [rows, frame, frame.to_dict(as_series=False), frame.to_arrow(), frame.lazy()]
    tables.append(pd.DataFrame(rows))
    for table in [*tables, *map(str, tmp_path.iterdir()), tmp_path / "a.csv"]:
        items = joint.add_items(table).items
        assert items.ids[30:].tolist() == ["01", "n"], table
        assert items.columns["year"][30:].tolist() == [1990, MISSING_INT], table
        assert items.columns["genres"][30:].tolist() == [["War", "Drama"], ["", ""]], table
        assert items.columns["title"][30:].tolist() == ["A", ""], table
    source = {"item": "sku", "lists": {"genres": ", "}, "delimiter": ";"}
    other = texts.rename({"item_id": "sku"}).with_columns(genres=pl.lit("War, Drama"))
    other.write_csv(tmp_path / "b.csv", separator=";")
    as_trained = replace(joint, provenance={"recipe": {"data": source}}).add_items(tmp_path / "b.csv").items
    assert as_trained.ids[30:].tolist() == ["01", "n"]
    assert as_trained.columns["genres"][31].tolist() == ["War", "Drama"]
    monkeypatch.setitem(sys.modules, "polars", None)  # as in a base install
    alone = replace(joint, provenance={"recipe": {"data": source}})
    for recommender, name in ((joint, "a.csv"), (joint, "a.tsv"), (joint, "a.jsonl"), (alone, "b.csv")):
        with_polars = as_trained if name == "b.csv" else joint.add_items(rows).items
        items = recommender.add_items(tmp_path / name).items
        assert items.ids.tolist() == with_polars.ids.tolist(), name
        for column in ("year", "genres", "title"):
            np.testing.assert_array_equal(items.columns[column], with_polars.columns[column], name)
    with pytest.raises(MissingExtra, match=r"reading .parquet .* needs the package 'polars'") as caught:
        joint.add_items(tmp_path / "a.parquet")
    assert "'tables'" in caught.value.hint
    monkeypatch.undo()
    renamed = frame.rename({"item_id": "sku"})
    assert joint.add_items(renamed, item="sku").items.ids[30:].tolist() == ["01", "n"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"item_id": "n"}, "the model reads the column 'year' of items"),
        ({"item_id": "n", "year": "soon"}, "row 0, column 'year': expected a whole number"),
        ([{"item_id": "n", "year": 1}, {"item_id": "m", "year": [1]}], "row 1, column 'year'"),
        ({"item_id": "n", "year": 1, "yaer": 2}, "unknown column 'yaer'"),
        ({"item_id": "n", "year": 1, "genres": "War"}, "row 0, column 'genres': expected a list of texts"),
        (
            [{"item_id": "n", "year": 1}, {"item_id": "n", "year": 2}],
            "rows 0 and 1 of the new items are both",
        ),
        ([{"item_id": "n", "year": 1}, {"item_id": "", "year": 2}], "row 1 of the new items has no item_id"),
        ({"year": 1}, "no column 'item_id'"),
        ([], "no rows"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(joint: Recommender, table: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        joint.add_items(table)


def test_a_column_of_ids_there_is_not_is_named(joint: Recommender) -> None:
    row = {"item_id": "n", "year": 1990}
    for table in (row, [row], pl.DataFrame([row]), {"item_id": ["n"], "year": [1990]}):
        with pytest.raises(RequestError, match="no column 'item' of ids") as caught:
            joint.add_items(table, item="item")
        assert "did you mean 'item_id'?" in caught.value.hint


YEARS = st.one_of(st.none(), st.integers(0, 3000))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(years=st.lists(YEARS, min_size=1, max_size=6), data=st.data())
def test_adding_changes_no_other_score_and_order_does_not_matter(
    joint: Recommender, years: list[int | None], data: st.DataObject
) -> None:
    new = [{"item_id": f"n{i}", "year": year} for i, year in enumerate(years)]
    mixed = data.draw(st.permutations(new))
    cut = data.draw(st.integers(0, len(new)))
    grown = joint.add_items(new)
    parts = joint
    for part in (mixed[:cut], mixed[cut:]):
        parts = parts.add_items(part) if part else parts
    pairs = [{"user_id": "u2", "item_id": name} for name in joint.items.ids]
    before, after = joint.score(pairs), grown.score(pairs)
    np.testing.assert_array_equal(before["rating"], after["rating"])
    gap = before["log_p"] - after["log_p"]  # what the new ones take of the whole, the same of all
    np.testing.assert_allclose(gap, gap[0], atol=1e-5)
    assert gap[0] > 0
    pairs += [{"user_id": "u2", "item_id": row["item_id"]} for row in new]
    for name in ("rating", "log_p"):
        np.testing.assert_allclose(grown.score(pairs)[name], parts.score(pairs)[name], atol=1e-5)


# Every kind of item feature, trained for a moment, with JAX and from disk


@pytest.fixture(scope="module")
def trained() -> Recommender:
    rng = np.random.default_rng(0)
    events = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in rng.integers(0, 6, 60)],
            "item_id": [f"i{i}" for i in rng.integers(0, 8, 60)],
            "rating": rng.integers(1, 6, 60).astype(float),
            "timestamp": rng.integers(10**9, 10**9 + 10**6, 60),
        }
    )
    items = pl.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(8)],
            "maker": ["x", "y", None, "x", "z", "y", "x", "z"],
            "tags": [["a", "b"], ["b"], [], None, ["c"], ["a"], ["b"], ["c"]],
            "about": ["some words", "other words", "", None, "more", "words", "a", "b"],
            "price": [1.5, 2.0, None, 9.0, 3.0, 1.0, 4.0, 7.5],
            "since": rng.integers(10**8, 10**9, 8),
            "image": [[float(i), -1.0] if i % 3 else None for i in range(8)],
            "note": [f"note {i}" for i in range(8)],
        }
    )
    data = sl.datasets.from_tables(events, items=items)
    features = [
        sl.Id("item_id", 4, id_dropout=0.3),
        sl.Category("maker", 4),
        sl.Tags("tags", 4),
        sl.Text("about", 50, 4),
        sl.Bucket("price", 3, 4),
        sl.Normalize("price"),
        sl.Cyclic("since", period="day_of_year"),
        sl.Vector("image", 4),
    ]
    rating = sl.Rating(
        hidden=[4],
        interaction="product",
        dim=2,
        candidate=[sl.Bag(column="user_id", dim=2)],
        aggregates=[sl.Aggregate(by=["item_id"]), sl.Aggregate(by=["user_id", "maker"])],
    )
    model = sl.MultiTask(
        query=sl.Tower([sl.History(dim=4, length=4), sl.Bag(dim=4, rated=True)], out=4),
        candidate=sl.Tower(features, out=4),
        tasks=[sl.Retrieval(loss="full", item_bias=True, seen="row"), rating],
    )
    split = sl.splits.random(data, test=0.1, seed=1)
    return sl.fit(model, split, epochs=1, batch_size=32, seed=1).recommender(rating_weight=0.5)


FULL = {
    "item_id": "full", "maker": "y", "tags": ["a", "zz", "b"], "about": "some NEW words", "price": 2.5,
    "since": 5 * 10**8, "image": [0.5, 0.25], "note": "n",
}  # fmt: skip
STRANGE = FULL | {
    "item_id": "strange",
    "maker": "who",
    "tags": ["q"],
    "about": "zz",
    "price": 1e9,
    "since": 0,
}
NOTHING = dict.fromkeys(FULL) | {"item_id": "nothing"}
VISITOR = {"user_id": "a visitor", "history": ["full", "i3", "nothing"], "history_rating": [5, 2, 4]}


def same(one: Recommender, other: Recommender) -> None:
    """The same ids, and scores to what ONNX Runtime and JAX may differ by."""
    asked = [{"user_id": "u1"}, {"user_id": "nobody"}, VISITOR]
    slates = [r.recommend(asked, k=20, filter_seen=False) for r in (one, other)]
    assert slates[0]["item_id"].tolist() == slates[1]["item_id"].tolist()
    for name in ("score", "rating", "retrieval_score"):
        np.testing.assert_allclose(slates[0][name], slates[1][name], atol=2e-5)
    np.testing.assert_allclose(one.item_vectors, other.item_vectors, atol=1e-5)


@pytest.fixture(scope="module")
def loaded(trained: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    folder = tmp_path_factory.mktemp("bundles") / "before"
    trained.save(folder)
    return sl.load(folder)


def test_every_kind_of_feature_is_encoded_alike_by_jax_and_from_disk(
    trained: Recommender, loaded: Recommender, tmp_path: Path
) -> None:
    table = [FULL, STRANGE, NOTHING]
    grown, other = trained.add_items(table), loaded.add_items(table)
    replace(grown, writer=loaded.writer).save(tmp_path / "one")  # lowered once is enough
    other.save(tmp_path / "two")
    for again in (other, *(sl.load(tmp_path / name) for name in ("one", "two"))):
        same(grown, again)
        assert again.items.ids[-3:].tolist() == ["full", "strange", "nothing"]
        assert again.raters is not None and again.raters.log.num_users == 11
    assert bundle.inspect(tmp_path / "two")["sizes"]["items"] == 11
    vectors = grown.item_vectors
    assert vectors is not None and np.isfinite(vectors).all()
    assert (
        len({tuple(v) for v in vectors[8:].round(6).tolist()}) == 3
    )  # what is known of them tells them apart


def test_an_item_updated_with_nothing_keeps_what_its_raters_say_of_it(trained: Recommender) -> None:
    again = trained.add_items({"item_id": trained.items.ids.tolist()}, replace=True)
    assert again.provenance["items_updated"] == len(trained.items)
    same(trained, again)
    np.testing.assert_allclose(again.item_representations, trained.item_representations, atol=1e-5)


def test_a_bundle_needs_neither_jax_nor_polars_to_grow(loaded: Recommender, tmp_path: Path) -> None:
    loaded.save(tmp_path / "b")
    code = (
        f"import sys, shortlist as sl; r = sl.load({str(tmp_path / 'b')!r})\n"
        f"r = r.add_items([{FULL!r}]); r.save({str(tmp_path / 'c')!r}); r.recommend({VISITOR!r}, k=3)\n"
        "print(*sorted({'jax', 'polars', 'scipy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
    assert len(sl.load(tmp_path / "c").items) == 9


def test_scores_of_other_items_stay_and_an_item_is_what_it_says(loaded: Recommender) -> None:
    grown = loaded.add_items([STRANGE, NOTHING])
    pairs = [{"user_id": u, "item_id": i} for u in ("u0", "nobody") for i in loaded.items.ids]
    before, after = loaded.score(pairs), grown.score(pairs)
    np.testing.assert_array_equal(before["rating"], after["rating"])
    gap = (before["log_p"] - after["log_p"]).reshape(2, 8)
    np.testing.assert_allclose(gap, gap[:, :1].repeat(8, axis=1), atol=1e-5)
    # told about an item that is not there, the model says of it what it says once it is
    asked = {"user_id": "u0", **{name: STRANGE[name] for name in STRANGE if name != "note"}}
    there = grown.score({"user_id": "u0", "item_id": "strange"})
    np.testing.assert_allclose(there["rating"], loaded.score(asked)["rating"], atol=1e-5)


def test_an_updated_item_is_encoded_again(loaded: Recommender) -> None:
    again = loaded.add_items({"item_id": "i0", "maker": "z"}, replace=True)
    back = again.add_items({"item_id": "i0", "maker": "x"}, replace=True)
    assert loaded.item_vectors is not None and again.item_vectors is not None
    assert np.abs(again.item_vectors[0] - loaded.item_vectors[0]).max() > 1e-4
    np.testing.assert_array_equal(again.item_vectors[1:], loaded.item_vectors[1:])
    np.testing.assert_allclose(back.item_vectors, loaded.item_vectors, atol=1e-6)


def test_a_new_item_in_a_history_is_one_training_never_saw(loaded: Recommender) -> None:
    """It counts as an event and is left out of the shortlist; of taste it says what the unknown slot says."""
    grown = loaded.add_items([FULL, NOTHING])
    first, second = ({"user_id": "v", "history": [name, "i3"]} for name in ("full", "nothing"))
    np.testing.assert_array_equal(grown.query_vectors(first), grown.query_vectors(second))
    alone = grown.query_vectors({"user_id": "v", "history": ["i3"]})
    assert np.abs(grown.query_vectors(first) - alone).max() > 1e-6
    assert "full" not in grown.recommend(first, k=20)["item_id"]
