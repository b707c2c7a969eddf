"""What may be taken from where it is already: only where every element is the same."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.export.builder import GraphBuilder
from shortlist.export.graph import Ref
from shortlist.export.views import as_wide, bounds, joined_part, keeps_order, narrow_rows, shaped

TABLE = np.arange(6, dtype=np.float32).reshape(6, 1)


def test_moves_of_axes_are_looked_through_and_a_transpose_is_not() -> None:
    g = GraphBuilder()
    x = g.input("x", np.float32, (2, 3))
    long = g.op("Reshape", [x, np.array([6])])
    assert shaped(g, long, (2, 3)) is x and shaped(g, long, (3, 2)) is None
    assert shaped(g, g.op("Transpose", [x], perm=[1, 0]), (2, 3)) is None


def test_order_is_kept_where_only_axes_of_one_element_move() -> None:
    g = GraphBuilder()
    b, n = g.input("x", np.float32, ("b", "n")).shape
    assert keeps_order((2, 1, 3), (1, 0, 2)) and keeps_order((b, 1, 3), (0, 2, 1))
    assert not keeps_order((2, 1, 3), (2, 1, 0))
    assert not keeps_order((b, 1, n), (0, 2, 1))  # kept, but two sizes would have to be measured


@pytest.mark.parametrize(
    ("table", "axis", "shape"),
    [(TABLE, 1, ("b",)), (TABLE.reshape(3, 2), 0, ("b",)), (TABLE, 0, ("b", 1)), (None, 0, ("b",))],
)
def test_only_rows_of_one_number_are_looked_up_without_their_axis(
    table: np.ndarray, axis: int, shape: tuple[str | int, ...]
) -> None:
    g = GraphBuilder()
    at = g.input("at", np.int64, ("b",))
    array = g.input("table", np.float32, (6, 1)) if table is None else table
    assert narrow_rows(g, g.op("Gather", [array, at], axis=axis), g.shape(shape)) is None
    rows = narrow_rows(g, g.op("Gather", [TABLE, at], axis=0), at.shape)
    assert isinstance(rows, Ref) and rows.shape == at.shape


def test_whole_parts_of_a_join_are_taken_and_nothing_less() -> None:
    g = GraphBuilder()
    parts = [g.input(name, np.float32, (4, size)) for name, size in (("a", 2), ("b", 3), ("c", 1))]
    joined = g.op("Concat", parts, axis=-1)
    taken = {
        (start, size): joined_part(g, joined, (0, start), (4, size))
        for start in range(6)
        for size in range(5)
    }
    whole = {(0, 2): parts[:1], (2, 3): parts[1:2], (5, 1): parts[2:], (2, 4): parts[1:]}
    assert {place: found for place, found in taken.items() if found is not None} == whole
    assert joined_part(g, joined, (0, 0), (3, 2)) is None  # fewer rows
    assert joined_part(g, parts[0], (0, 0), (4, 2)) is None


def test_bounds_are_known_through_moves_and_types_of_whole_numbers() -> None:
    g = GraphBuilder()
    x = g.bound(g.input("x", np.int64, ("b", 2)), -1, 7)
    assert bounds(g, g.op("Transpose", [g.cast(x, np.int32)], perm=[1, 0])) == (-1, 7)
    assert bounds(g, g.op("Abs", [x])) is None and bounds(g, g.input("y", np.int64, ("b",))) is None
    numbers = g.bound(g.input("z", np.float32, ("b",)), 0, 1)
    assert bounds(g, g.cast(numbers, np.int64)) is None


@pytest.mark.parametrize(
    ("low", "high", "same"),
    [(-1, 7, True), (-(2**31), 2**31 - 1, True), (-(2**31) - 1, 0, False), (0, 2**31, False)],
)
def test_an_index_is_widened_where_int32_holds_it(low: int, high: int, same: bool) -> None:
    g = GraphBuilder()
    x = g.bound(g.input("x", np.int64, ("b",)), low, high)
    index = g.cast(x, np.int32)
    assert as_wide(g, index) is (x if same else index)
    assert as_wide(g, x) is x
    unknown = g.cast(g.input("y", np.int64, ("b",)), np.int32)
    assert as_wide(g, unknown) is unknown
    short = g.cast(g.bound(g.input("z", np.int16, ("b",)), 0, 9), np.int32)
    assert as_wide(g, short) is short
    moved = g.op("Unsqueeze", [g.bound(g.input("v", np.int64, ("b",)), 0, 9), np.array([1])])
    assert as_wide(g, moved) is moved  # known, but no cast
