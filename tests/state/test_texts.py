"""Texts by their numbers against texts one by one, after any change."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shortlist._typing import Array
from shortlist.state.texts import Texts

WORDS = ["", "a", "b", "c", "long"]
ROW = st.lists(st.sampled_from(WORDS), min_size=2, max_size=2)


def column(rows: list[list[str]]) -> Array:
    out = np.empty((len(rows), 2), object)
    for at, row in enumerate(rows):
        out[at] = row
    return out


def assert_is(texts: Texts, rows: list[list[str]]) -> None:
    for word in WORDS[1:]:
        assert texts.holding(word).tolist() == [word in row for row in rows]
    assert texts.among(["b", "long", "", "x"]).tolist() == [bool({"b", "long"} & {*row}) for row in rows]
    assert texts.there.tolist() == [any(row) for row in rows]
    assert {word for row in rows for word in row if word} <= set(texts.distinct())


@given(st.lists(ROW, min_size=1, max_size=6), st.lists(ROW, min_size=1, max_size=6), st.data())
def test_changed_or_longer_they_are_those_of_the_rows(
    rows: list[list[str]], new: list[list[str]], data: st.DataObject
) -> None:
    before = Texts.of(column(rows))
    changed = data.draw(st.sets(st.integers(0, len(rows) - 1)))
    after = [new[0] if at in changed else row for at, row in enumerate(rows)] + new[1:]
    places = np.array([*sorted(changed), *range(len(rows), len(after))], np.int64)
    grown = before.updated(column(after), places)
    assert_is(grown, after)
    assert_is(before, rows)
    assert len(grown) == len(after)


def test_of_one_text_a_row() -> None:
    texts = Texts.of(np.array(["x", "", "y"], object))
    assert texts.holding("x").tolist() == [True, False, False]
    assert texts.there.tolist() == [True, False, True]
    wider = texts.updated(column([["x", "z"], ["", ""], ["y", ""]]), np.array([0]))
    assert wider.holding("z").tolist() == [True, False, False]
