"""Arrays that share their rows: every snapshot stays what it was, whatever is appended to which."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shortlist.state.growing import Growing, appended


@given(st.lists(st.tuples(st.integers(0, 30), st.lists(st.integers(0, 9), min_size=1, max_size=3))))
def test_every_snapshot_is_itself(steps: list[tuple[int, list[int]]]) -> None:
    snapshots: list[tuple[np.ndarray, Growing | None]] = [(np.array([1, 2]), None)]
    plain = [[1, 2]]
    for start, values in steps:  # any snapshot may be gone on from, more than once
        at = start % len(snapshots)
        array, room = snapshots[at]
        snapshots.append(appended(array, np.array(values), room))
        plain.append(plain[at] + values)
    assert [array.tolist() for array, _ in snapshots] == plain


def test_rows_are_not_copied() -> None:
    first, room = appended(np.zeros(10_000), np.ones(1), None)
    second, again = appended(first, np.ones(3), room)
    assert again is room and np.shares_memory(first, second) and len(second) == 10_004
    branch, other = appended(first, np.ones(3), room)
    assert other is not room and not np.shares_memory(branch, second)
    many, _ = appended(second, np.ones(9_000), room)
    assert len(many) == 19_004 and many[-1] == 1


def test_threads_that_append_to_one_snapshot_get_rows_of_their_own() -> None:
    base, room = appended(np.zeros(100, np.int64), np.zeros(1, np.int64), None)
    found: dict[int, np.ndarray] = {}

    def append(value: int) -> None:
        found[value] = appended(base, np.full(50, value), room)[0]

    threads = [threading.Thread(target=append, args=(value,)) for value in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[value][101:] == value).all() for value in range(1, 9))
