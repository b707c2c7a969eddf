"""The encoder: fitted on training rows, frozen, the same after a trip through JSON."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from shortlist._typing import MISSING_INT, Columns
from shortlist.api.preparing import prepare
from shortlist.data.dataset import Dataset
from shortlist.data.splits import Split
from shortlist.errors import DataError
from shortlist.features.encoder import Encoder
from shortlist.specs.features import Bucket, Category, Cyclic, Id, Normalize, Tags, Text, Vector
from shortlist.specs.models import Tower, TwoTower

MODEL = TwoTower(
    Tower([Id("user_id"), Bucket("t", 9), Normalize("t"), Cyclic("t"), Category("city"), Bucket("age", 3)]),
    Tower([Id("item_id"), Text("title"), Tags("genres"), Vector("image")]),
)
QUERIES: Columns = {
    "user_id": np.array(["é", "b", "é", ""], object),
    "t": np.array([5, 1_000_000_007, MISSING_INT, 3]),
    "city": np.array(["x", "y", "", "x"], object),
    "age": np.array([0.1, np.nan, 1 / 3, 7.0]),
}
ITEMS: Columns = {
    "item_id": np.array([3, 2**53 + 1, -4]),
    "title": np.array(["Se7en", "", 'a "quoted" one'], object),
    "genres": np.array([["a", "b"], ["", ""], ["b", ""]], object),
    "image": np.array([[0.1, 2], [np.nan, np.nan], [3, 4]], np.float32),
}


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[k], other[k]) and one[k].dtype == other[k].dtype for k in one
    )


def test_a_trip_through_json_changes_nothing() -> None:
    encoder = Encoder.fit(MODEL, QUERIES, ITEMS)
    again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again == encoder
    assert hash(again) == hash(encoder)
    assert again.content_hash == encoder.content_hash
    assert again.sizes == encoder.sizes
    assert equal(again.query.encode(QUERIES), encoder.query.encode(QUERIES))
    assert equal(again.candidate.encode(ITEMS), encoder.candidate.encode(ITEMS))


def test_another_fit_is_another_encoder() -> None:
    encoder = Encoder.fit(MODEL, QUERIES, ITEMS)
    for name, value in (("t", 6), ("age", 0.2), ("user_id", "c"), ("city", "z")):
        changed = QUERIES | {name: np.array([value, *QUERIES[name][1:]], QUERIES[name].dtype)}
        other = Encoder.fit(MODEL, changed, ITEMS)
        assert other != encoder
        assert other.content_hash != encoder.content_hash


def test_sizes_are_rows_of_tables_and_widths_of_the_rest() -> None:
    sizes = Encoder.fit(MODEL, QUERIES, ITEMS).sizes
    assert sizes == {
        "query/user_id.id": 3,
        "query/t.bucket": 11,
        "query/t.normalize": 1,
        "query/t.day_of_week": 2,
        "query/city.category": 3,
        "query/age.bucket": 5,
        "candidate/item_id.id": 4,
        "candidate/title.text": 5,
        "candidate/genres.tags": 3,
        "candidate/image.vector": 3,
    }


def test_encoded_arrays_are_what_the_sizes_promise() -> None:
    encoder = Encoder.fit(MODEL, QUERIES, ITEMS)
    for side, columns in (("query", QUERIES), ("candidate", ITEMS)):
        for key, array in getattr(encoder, side).encode(columns).items():
            size = encoder.sizes[f"{side}/{key}"]
            assert len(array) == len(next(iter(columns.values())))
            if array.dtype == np.int32:
                assert -1 <= array.min() <= array.max() < size
            else:
                assert array.shape[1] == size
                assert np.isfinite(array).all()


def test_an_absent_column_is_named_with_its_neighbours() -> None:
    encoder = Encoder.fit(MODEL, QUERIES, ITEMS)
    fewer = {"citi": QUERIES["city"]} | {k: v for k, v in QUERIES.items() if k != "city"}
    with pytest.raises(DataError, match="feature column 'city' is not in the table") as caught:
        encoder.query.encode(fewer)
    assert "did you mean 'citi'?" in caught.value.hint
    with pytest.raises(
        DataError, match=r"query tower's feature Category\('city'\) names a column that is not"
    ) as caught:
        Encoder.fit(MODEL, fewer, ITEMS)
    assert "did you mean 'citi'?" in caught.value.hint
    empty = {k: v[:0] for k, v in QUERIES.items()}
    with pytest.raises(DataError, match=r"no training rows to fit Id\('user_id'\) on"):
        Encoder.fit(MODEL, empty, ITEMS)


def test_fitting_looks_at_training_rows_only() -> None:
    """Values that only validation and test rows hold, on either side, share the unknown row."""
    train = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"], "timestamp": [10, 20]})
    later = pl.DataFrame({"user_id": ["w", "u"], "item_id": ["c", "a"], "timestamp": [900, 15]})
    users = pl.DataFrame({"user_id": ["u", "v", "w"], "city": ["x", "y", "z"]})
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["One", "Two", "Three"], "year": [1, 2, 99]})
    model = TwoTower(
        Tower([Id("user_id"), Category("city"), Bucket("timestamp", 2), Normalize("timestamp")]),
        Tower([Id("item_id"), Text("title"), Bucket("year", 2)]),
    )

    def prepared(test: pl.DataFrame) -> Encoder:
        return prepare(model, Split(train, later[:1], test, users, items, "given", None, "")).encoder

    encoder = prepared(later)
    assert encoder == prepared(later[1:])
    query = encoder.query.encode(
        {
            "user_id": np.array(["w", "u"], object),
            "city": np.array(["z", "x"], object),
            "timestamp": np.array([900, 15]),
        }
    )
    assert query["user_id.id"][0] == query["city.category"][0] == 0
    assert query["user_id.id"][1] > 0
    np.testing.assert_allclose(query["timestamp.normalize"][1], 0.0)
    candidate = encoder.candidate.encode(
        {
            "item_id": np.array(["c", "a"], object),
            "title": np.array(["Three", "One"], object),
            "year": np.array([99, 1]),
        }
    )
    assert candidate["item_id.id"].tolist() == [0, 1]
    assert candidate["title.text"][0, 0] == 0
    assert encoder.candidate.features[2].to_dict() == {"boundaries": [1.0, 2.0]}


def test_movielens_in_full(ml100k: Dataset, split: Split) -> None:
    model = TwoTower(Tower([Id("user_id"), Bucket("timestamp")]), Tower([Id("item_id"), Text("title")]))
    prepared = prepare(model, split)
    assert prepared.encoder.sizes["query/user_id.id"] == split.train["user_id"].n_unique() + 1
    assert prepared.encoder.sizes["candidate/item_id.id"] == split.train["item_id"].n_unique() + 1
    unseen = ~ml100k.items["item_id"].is_in(split.train["item_id"].unique().to_list()).to_numpy()
    assert unseen.any()
    assert ((prepared.catalogue.items["item_id.id"] == 0) == unseen).all()
    assert (np.isneginf(prepared.catalogue.log_q) == unseen).all()


def test_a_shared_table_has_one_vocabulary_and_one_size() -> None:
    query = Tower([Category("city", 4, table="places"), Id("user_id", 4), Id("user_id2", 4, table="places")])
    columns = QUERIES | {"user_id2": np.array(["x", "b", "", "é"], object)}
    encoder = Encoder.fit(TwoTower(query, MODEL.candidate), columns, ITEMS)
    sizes = {name: size for name, size in encoder.sizes.items() if name.startswith("query/")}
    assert sizes == {"query/places": 5, "query/user_id.id": 3}
    text = json.dumps(encoder.to_dict())
    assert [list(f["fitted"]) for f in json.loads(text)["query"]] == [["vocabulary"], ["vocabulary"], []]
    again = Encoder.from_dict(json.loads(text))
    assert again == encoder
    assert again.content_hash == encoder.content_hash
    encoded = again.query.encode(columns)
    assert encoded["city.category"].tolist() == [1, 4 - 1, 0, 1]
    assert equal(encoded, encoder.query.encode(columns))
    own = Encoder.fit(MODEL, QUERIES, ITEMS).to_dict()
    assert all("table" not in feature["spec"] for side in own.values() for feature in side)
