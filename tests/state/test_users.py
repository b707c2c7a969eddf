"""Users: indices, and themselves again after disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shortlist.errors import DataError
from shortlist.state.seen import Seen
from shortlist.state.users import Users

SEEN = Seen.from_pairs([0, 0, 2], [5, 1, 3], 3)


@pytest.mark.parametrize("as_of", [None, 893_286_638])
def test_disk_changes_nothing(tmp_path: Path, as_of: int | None) -> None:
    users = Users.of([7, 42, 3], {"user_id": np.arange(3), "age": np.array([1.0, np.nan, 3.0])}, SEEN, as_of)
    users.save(tmp_path / "users")
    again = Users.load(tmp_path / "users")
    assert again.as_of == as_of
    assert len(again) == 3
    assert again.indices(["42", 3, "x", ""]).tolist() == [1, 2, -1, -1]
    assert list(again.columns) == ["age"]
    np.testing.assert_array_equal(again.columns["age"], users.columns["age"])
    assert [again.seen.of(u).tolist() for u in range(3)] == [[1, 5], [], [3]]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["1", "2"], "2 users, but 'seen' has 3 rows"),
        (["1", "1", "2"], "more than once"),
        (["", "1", "2"], "missing"),
    ],
)
def test_what_does_not_fit_together_is_refused(ids: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Users.of(ids, {}, SEEN)


def test_nobody_who_saw_nothing(tmp_path: Path) -> None:
    for name, ids in (("none", []), ("one", ["1"])):
        Users.of(ids, {}, Seen.from_pairs([], [], len(ids))).save(tmp_path / name)
        again = Users.load(tmp_path / name)
        assert len(again) == len(ids)
        assert again.seen.mask([0, -1], 4).sum() == 0
