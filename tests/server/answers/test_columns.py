"""Rows with columns of any names, in any order, encoded as dicts are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.server.answers.catalogue import Act, Item
from shortlist.server.answers.columns import beside, row_of

NAMES = st.sampled_from(["timestamp", "rating", "column_1", "title", "a b", "class", "é", "__init__", ""])


@given(st.dictionaries(NAMES, st.none() | st.integers(0, 9) | st.text(max_size=3), max_size=6), st.data())
def test_a_row_is_written_as_its_columns_are(columns: dict[str, Any], data: Any) -> None:
    named = data.draw(st.permutations([("item_id", "1"), *columns.items()]))
    row = row_of(Act, dict(named))
    assert msgspec.json.encode(row) == msgspec.json.encode(dict(named))
    assert row.item_id == "1"
    assert row.timestamp == columns.get("timestamp", msgspec.UNSET)


def test_a_field_that_must_be_there_is_not_forgotten() -> None:
    with pytest.raises(TypeError):
        row_of(Item, {"item_id": "1", "title": "one"})


def test_rows_of_the_same_columns_are_of_one_type() -> None:
    assert beside(Act, ("item_id", "title")) is beside(Act, ("item_id", "title"))
    assert beside(Act, ("title", "item_id")) is not beside(Item, ("title", "item_id"))
