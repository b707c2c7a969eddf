"""Items: positions, popularity, and themselves again after disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist._typing import MISSING_INT, Columns
from shortlist.errors import DataError, RequestError
from shortlist.state.catalogue import Items

COLUMNS: Columns = {
    "title": np.array(["Heat (1995)", "", "Amélie\n2"], object),
    "genres": np.array([["War", ""], ["", ""], ["Drama", "War"]], object),
    "year": np.array([1995, MISSING_INT, 2001]),
    "score/../x": np.array([0.5, np.nan, -1.0]),
    "image": np.array([[1, 2], [np.nan, np.nan], [3, 4]], np.float32),
}


def test_positions_are_rows() -> None:
    items = Items.of(["9", "x", "3"], COLUMNS, [4, 0, 2])
    assert len(items) == 3
    assert items.ids.tolist() == ["9", "x", "3"]
    assert items.positions(["3", 9, "no", ""]).tolist() == [2, 0, -1, -1]
    assert items.position("x") == 1
    np.testing.assert_allclose(items.log_popularity, np.log(np.array([5, 1, 3]) / 9))


def test_an_unknown_item_gets_the_nearest_ids() -> None:
    with pytest.raises(RequestError, match="item 'item_4' is not in the catalogue") as caught:
        Items.of(["item_40", "other"], {}, [1, 1]).position("item_4")
    assert "'item_40'" in caught.value.hint


@pytest.mark.parametrize(
    ("ids", "columns", "message"),
    [
        (["1", "1", "2"], {}, "'1' appears more than once"),
        (["1", "", "2"], {}, "missing value"),
        (["1", "2", "3"], {"title": np.array(["a"], object)}, "3 items, but column 'title' has 1 rows"),
        (["1", "2"], {}, "2 items, but column 'counts' has 3 rows"),
    ],
)
def test_what_does_not_fit_together_is_refused(ids: list[str], columns: Columns, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Items.of(ids, columns, [1, 1, 1])


def test_an_update_puts_values_in_their_places_and_leaves_the_rest() -> None:
    items = Items.of(["9", "x", "3"], COLUMNS, [4, 0, 2])
    given: Columns = {
        "genres": np.array([["A", "B", "C"], ["D", "", ""]], object),
        "year": np.array([MISSING_INT, 7]),
        "unheard of": np.array([1, 2]),
    }
    grown = items.updated(np.array(["new"], object), given, np.array([2, 3]))
    assert grown.ids.tolist() == ["9", "x", "3", "new"]
    assert grown.columns["genres"].tolist() == [["War", "", ""], ["", "", ""], ["A", "B", "C"], ["D", "", ""]]
    assert grown.columns["year"].tolist() == [1995, MISSING_INT, MISSING_INT, 7]
    assert grown.columns["title"].tolist() == ["Heat (1995)", "", "Amélie\n2", ""]
    assert np.isnan(grown.columns["image"][3]).all() and grown.columns["image"].dtype == np.float32
    assert set(grown.columns) == set(COLUMNS)
    assert grown.log_popularity.tolist() == [*items.log_popularity, items.log_popularity[1]]
    assert len(items) == 3 and items.columns["genres"].shape == (3, 2)


@pytest.mark.parametrize("column", ["title", "genres"])
def test_texts_follow_what_was_replaced(column: str) -> None:
    """What a column's texts are looked up by, once it was read, is that of the new values: of all places."""
    items = Items.of(["9", "x", "3"], COLUMNS, [4, 0, 2])
    assert items.texts(column).among(["new"]).sum() == 0
    values = np.array([["new"], ["newer"]] if column == "genres" else ["new", "newer"], object)
    grown = items.updated(np.array(["n"], object), {column: values}, np.array([0, 3]))
    found = grown.texts(column)
    ask = found.holding if column == "genres" else lambda text: found.among([text])
    for text in ("new", "newer", "War", "Heat (1995)"):
        rows = [text in (row if column == "genres" else [row]) for row in grown.columns[column].tolist()]
        assert ask(text).tolist() == rows, text


def test_disk_changes_nothing(tmp_path: Path) -> None:
    items = Items.of(["9", "x", "3"], {"item_id": np.array(["9", "x", "3"], object), **COLUMNS}, [4, 0, 2])
    items.save(tmp_path / "items")
    again = Items.load(tmp_path / "items")
    assert again.vocabulary.values == items.vocabulary.values
    np.testing.assert_array_equal(again.log_popularity, items.log_popularity)
    assert isinstance(again.log_popularity.base, np.memmap)
    assert list(again.columns) == list(COLUMNS)
    for name, column in COLUMNS.items():
        assert again.columns[name].dtype == column.dtype
        np.testing.assert_array_equal(again.columns[name], column)


@given(st.lists(st.text(min_size=1), unique=True, min_size=1), st.data())
def test_any_text_is_an_id(ids: list[str], data: st.DataObject) -> None:
    items = Items.of(np.array(ids, object), {}, np.ones(len(ids)))
    some = data.draw(st.lists(st.sampled_from(ids)))
    assert [items.ids[p] for p in items.positions(np.array(some, object))] == some
