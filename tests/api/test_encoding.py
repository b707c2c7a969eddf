"""`encode` on disk is `prepare` in memory, bit for bit, and `fit` learns the same from both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
import pytest

import shortlist as sl
from shortlist.api import encoding
from shortlist.api.encoding import encode
from shortlist.api.preparing import Prepared, prepare
from shortlist.api.stored import Stored
from shortlist.data.dataset import from_tables
from shortlist.data.splits import Split
from shortlist.errors import DataError, SpecError
from shortlist.features.batches import Examples

ROWS = 400


def interactions(rows: int = ROWS) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    topics = np.array(["a", "b", "", "c"], object)
    lists = [[str(t) for t in rng.choice(topics, rng.integers(0, 4))] for _ in range(rows)]
    return pl.DataFrame(
        {
            "user_id": rng.integers(0, 40, rows),
            "item_id": [f"i{i}" for i in rng.integers(0, 25, rows)],
            "rating": rng.integers(1, 6, rows).astype(float),
            "timestamp": rng.integers(0, 10**9, rows),
            "weight": rng.integers(0, 3, rows) / 2,
            "device": [["tv", "phone", "", None][i] for i in rng.integers(0, 4, rows)],
            "price": [None if i == 0 else i / 7 for i in rng.integers(0, 50, rows)],
            "shop": rng.integers(0, 7, rows),
            "query": [["Red Shoes", "red hat", None][i] for i in rng.integers(0, 3, rows)],
            "topics": [None if i % 11 == 0 else lists[i] for i in range(rows)],
            "picture": [None if i % 13 == 0 else [float(i), 1.0] for i in range(rows)],
        }
    )


USERS = pl.DataFrame({"user_id": range(3, 35), "city": [f"c{u % 5}" for u in range(3, 35)]})
ITEMS = pl.DataFrame({"item_id": [f"i{i}" for i in range(3, 30)]}).with_columns(
    title="The " + pl.col("item_id")
)


def everything(rows: pl.DataFrame, **options: Any) -> Split:
    """A split that trains on all rows."""
    data = from_tables(rows, **options)
    nothing = data.interactions.clear()
    return Split(data.interactions, nothing, nothing, data.users, data.items, "all")


def ids() -> Any:
    return sl.TwoTower(sl.Tower([sl.Id("user_id", 4)]), sl.Tower([sl.Id("item_id", 4)]))


def model() -> Any:
    query = [
        sl.Id("user_id", 4),
        sl.Category("device", min_count=2),
        sl.Category("city"),
        sl.Category("shop"),
        sl.Normalize("price"),
        sl.Bucket("timestamp", 10, 4),
        sl.Bucket("price", 5, 4, method="quantile"),
        sl.Cyclic("timestamp"),
        sl.Text("query", length=2),
        sl.Tags("topics", table="things"),
        sl.Id("shop", 16, table="things"),  # whole numbers beside texts
        sl.Vector("picture"),
    ]
    items = [sl.Id("item_id", 4), sl.Text("title")]
    return sl.MultiTask(sl.Tower(query, 4), sl.Tower(items, 4), (sl.Retrieval(), sl.Rating(hidden=[])))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    rows = interactions()
    for part, start in enumerate(range(0, ROWS, 150)):
        rows[start : start + 150].write_parquet(folder / f"{part}.parquet")
    return folder


@pytest.fixture(scope="module")
def in_memory() -> Split:
    return everything(interactions(), users=USERS, items=ITEMS)


@pytest.fixture(scope="module")
def stored(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("stored") / "rows"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "SORTED_AT_ONCE", 64)
        return encode(model(), source, folder, users=USERS, items=ITEMS, chunk_rows=70)


def assert_same(one: Prepared, other: Prepared) -> None:
    assert one.encoder == other.encoder
    assert one.encoder.content_hash == other.encoder.content_hash
    assert one.users == other.users
    parts = [(vars(p.examples), vars(p.catalogue), vars(p.seen), p.times) for p in (one, other)]
    assert jax.tree.structure(parts[0]) == jax.tree.structure(parts[1])
    for a, b in zip(jax.tree.leaves(parts[0]), jax.tree.leaves(parts[1]), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    for a, b in ((one.queries, other.queries), (one.items, other.items)):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_rows_on_disk_are_those_prepared_in_memory_bit_for_bit(stored: Stored, in_memory: Split) -> None:
    assert_same(stored.prepared, prepare(model(), in_memory))
    assert stored.split.items.equals(in_memory.items)
    assert stored.split.users.equals(in_memory.users)
    assert isinstance(stored.prepared.examples.candidates, np.memmap)
    assert len(stored) == ROWS


def test_without_tables_of_users_and_items_they_come_from_the_rows(source: Path, tmp_path: Path) -> None:
    lazy = pl.scan_parquet(sorted(source.iterdir()))
    found = encode(ids(), lazy, tmp_path / "rows").prepared
    assert_same(found, prepare(ids(), everything(interactions())))


def test_columns_are_renamed_as_for_tables_in_memory(tmp_path: Path) -> None:
    names = {"user": "user_id", "item": "item_id", "rating": "rating", "timestamp": "timestamp"}
    rows = interactions().rename({role: f"my {role}" for role in names.values()})
    rows.write_parquet(tmp_path / "rows.parquet")
    plain = sl.Ranker(sl.Tower([sl.Cyclic("timestamp")]), sl.Tower([sl.Id("item_id")]), (sl.Rating(),))
    roles: Any = {name: f"my {role}" for name, role in names.items()}
    found = encode(plain, tmp_path / "rows.parquet", tmp_path / "rows", **roles).prepared
    assert_same(found, prepare(plain, everything(rows, **roles)))


def resident(stored: Stored) -> Stored:
    """The same with its rows in memory: rows of mapped files may be shuffled in another way."""
    examples = jax.tree.map(np.array, vars(stored.prepared.examples))
    return replace(stored, prepared=replace(stored.prepared, examples=Examples(**examples)))


def test_stored_rows_are_fitted_as_those_in_memory(stored: Stored, in_memory: Split, tmp_path: Path) -> None:
    # it also leaves features out and gives others a width of their own
    query, items = sl.Tower([sl.Id("user_id", 8), sl.Category("city")], 4), sl.Tower([sl.Id("item_id", 8)], 4)
    small = sl.MultiTask(query, items, (sl.Retrieval(), sl.Rating(hidden=[])))
    options: Any = {"epochs": 1, "batch_size": 128}
    here, there = sl.fit(small, resident(stored), **options), sl.fit(small, in_memory, **options)
    for a, b in zip(jax.tree.leaves(here.scorer.tables), jax.tree.leaves(there.scorer.tables), strict=True):
        np.testing.assert_array_equal(a, b)
    here.recommender().save(tmp_path / "bundle")
    loaded = sl.load(tmp_path / "bundle")
    slates = [recommender.recommend("7", k=3) for recommender in (loaded, there.recommender())]
    assert slates[0].columns["item_id"].tolist() == slates[1].columns["item_id"].tolist()


def test_mapped_rows_are_learned_from(stored: Stored) -> None:
    ranker = sl.Ranker(sl.Tower([sl.Id("user_id", 4)]), sl.Tower([sl.Id("item_id", 4)]), (sl.Rating(),))
    fitted = sl.fit(ranker, stored, epochs=8, batch_size=128)
    assert fitted.history["loss of rating"][-1] < fitted.history["loss of rating"][0]


def test_validation_rows_give_a_figure_an_epoch(source: Path, tmp_path: Path) -> None:
    plain = ids()
    held = pl.DataFrame({"user_id": ["7", "8"], "item_id": ["i2", "new"], "rating": [1.0, 2.0]})
    stored = encode(plain, source, tmp_path / "rows", validation=held)
    assert stored.split.items["item_id"][-1] == "new"
    fitted = sl.fit(plain, stored, epochs=1, batch_size=128)
    assert "validation ndcg@10" in fitted.history


def test_a_model_that_reads_what_was_not_encoded_is_refused(stored: Stored) -> None:
    item = sl.Tower([sl.Id("item_id")])
    for tower, said in (
        (sl.Tower([sl.Category("price")]), "no query feature Category"),
        (sl.Tower([sl.Category("device", min_count=9)]), "were encoded with"),
    ):
        with pytest.raises(SpecError, match=said):
            sl.fit(sl.TwoTower(tower, item), stored)
    heads = (sl.Rating(label="stars"),)
    with pytest.raises(SpecError, match="no label 'stars'"):
        sl.fit(sl.Ranker(sl.Tower([sl.Id("user_id")]), item, heads), stored)


def test_another_encoder_and_a_damaged_table_are_named(source: Path, tmp_path: Path) -> None:
    plain = ids()
    encode(plain, source, tmp_path / "rows")
    (tmp_path / "rows" / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"items\.parquet is missing or damaged"):
        Stored.open(tmp_path / "rows")
    path = tmp_path / "rows" / "encoder.json"
    path.write_text(path.read_text().replace("i1", "i999"))
    with pytest.raises(DataError, match=r"encoder\.json is not the encoder"):
        Stored.open(tmp_path / "rows")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"item_id": pl.Series(["i1"] * 299 + [""] + ["i1"] * 100)}, r"row 19.*expected an id.*from row 280"),
        ({"rating": pl.Series([1.0] * 399 + [None], dtype=pl.Float64)}, "rating"),
        ({"weight": 0.0}, "all zero"),
        ({"price": float("inf")}, "finite"),
    ],
)
def test_bad_rows_are_found_and_nothing_is_left(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    columns = {name: pl.lit(value) for name, value in change.items()}
    rows = interactions().with_columns(**columns)
    rows.write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=said):
        encode(model(), tmp_path / "bad.parquet", tmp_path / "rows", users=USERS, items=ITEMS, chunk_rows=70)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.parquet"]


def test_sources_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing PAR1")
    interactions().clear().write_parquet(tmp_path / "none.parquet")
    interactions().drop("item_id").write_parquet(tmp_path / "itemless.parquet")
    for name, said in (
        ("empty", "holds no Parquet file"),
        ("broken.parquet", "cannot read"),
        ("none.parquet", "no training rows"),
        ("rows.csv", "no Parquet file"),
        ("itemless.parquet", "no column 'item_id'"),
    ):
        with pytest.raises(DataError, match=said):
            encode(model(), tmp_path / name, tmp_path / "rows", users=USERS)
