"""A fingerprint follows the rows and nothing else."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from shortlist.data import fingerprint as module
from shortlist.data.dataset import Dataset
from shortlist.data.fingerprint import fingerprint

ROWS = pl.DataFrame({"user_id": ["a", "b", ""], "item_id": ["x", None, "y"], "rating": [1.0, 2.5, None]})
ITEMS = pl.DataFrame(
    {"item_id": ["x", "y"], "genres": [["a", "b"], None], "vector": [[1.0, 2.0], [3.0, 4.0]]},
    schema_overrides={"vector": pl.Array(pl.Float32, 2)},
)
DATA = Dataset(ROWS, pl.DataFrame({"user_id": ["a", "b"]}), ITEMS)


def test_the_same_rows_have_the_same_one() -> None:
    halves = pl.concat([ROWS.head(1), ROWS.tail(2)], rechunk=False)
    again = replace(DATA, interactions=halves, name="other", licence="other")
    assert fingerprint(again) == fingerprint(DATA)
    assert len(fingerprint(DATA)) == 64


def test_it_does_not_depend_on_how_many_rows_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fingerprint(DATA)
    monkeypatch.setattr(module, "_ROWS", 1)
    assert fingerprint(DATA) == whole


def test_anything_else_has_another() -> None:
    changed = [
        replace(DATA, interactions=ROWS.reverse()),
        replace(DATA, interactions=ROWS.with_columns(rating=pl.lit(1.0))),
        replace(DATA, interactions=ROWS.rename({"rating": "stars"})),
        replace(DATA, interactions=ROWS.with_columns(item_id=pl.col("item_id").fill_null(""))),
        replace(DATA, interactions=ROWS.with_columns(pl.col("rating").cast(pl.Float32))),
        replace(DATA, items=ITEMS.with_columns(genres=pl.Series([["a,b"], None], dtype=pl.List(pl.String)))),
        replace(DATA, items=ITEMS.with_columns(genres=pl.Series([["a", "b"], []], dtype=pl.List(pl.String)))),
        replace(DATA, users=DATA.users.head(1)),
    ]
    assert len({fingerprint(data) for data in [DATA, *changed]}) == 9
