"""The past of users as it lies in a bundle: what does not fit is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist import bundle
from shortlist.bundle.contents import misfits_of_users, problems
from shortlist.features.log import Log
from shortlist.pipeline.recommender import Recommender
from shortlist.state.past import Past


@pytest.fixture(scope="module")
def remembering(saved: Path) -> Recommender:
    """25 users of four events each, in the order of time."""
    loaded = bundle.load(saved)
    log = Log(
        np.arange(26) * 4,
        np.arange(100, dtype=np.int32) % 60,
        np.tile(np.arange(4), 25),
        np.full(100, 3.0, np.float32),
    )
    return replace(loaded, users=replace(loaded.users, past=Past(log, 3.0, True)))


def wrong(recommender: Recommender) -> Iterator[str]:
    """What loading finds, and what only `verify` does."""
    yield from misfits_of_users(Path("b"), recommender.users, len(recommender.items), {})
    yield from problems(Path("b"), recommender)


def test_a_past_that_fits(remembering: Recommender) -> None:
    assert list(wrong(remembering)) == []


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("indptr", lambda a: a[:-1], "indptr.npy has 25 rows, expected 26"),
        ("indptr", lambda a: a[::-1], "indptr.npy: these are no rows of items.npy"),
        ("items", lambda a: a + 60, "items.npy names item 119 of 60"),
        ("items", lambda a: a - 1, "items.npy names item -1 of 60"),
        ("times", lambda a: a[:-1], "times.npy has 99 rows, expected 100"),
        ("times", lambda a: a[::-1].copy(), "times.npy goes back in time within a user"),
        ("times", lambda a: a + 0.5, "times.npy holds float64"),
        ("ratings", lambda a: a[:-1], "ratings.npy has 99 rows, expected 100"),
        ("ratings", lambda a: a * np.nan, "ratings.npy holds numbers that are not finite"),
    ],
)
def test_a_past_that_does_not_fit(
    remembering: Recommender, name: str, change: Callable[[Any], Any], message: str
) -> None:
    past = remembering.users.past
    assert past is not None
    other = replace(past, log=replace(past.log, **{name: change(getattr(past.log, name))}))
    changed = replace(remembering, users=replace(remembering.users, past=other))
    assert any(f"b/users/past/{message}" in problem for problem in wrong(changed))
