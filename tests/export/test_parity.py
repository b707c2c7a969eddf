"""When two results are the same: by how much, at which size, and of whole shortlists."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist._typing import Columns
from shortlist.errors import ExportError
from shortlist.export.parity import difference, require_equal, require_same_answers


def test_a_difference_is_absolute_up_to_16_and_in_proportion_above() -> None:
    want = np.array([0.0, 16, 160])
    for step, largest in (([1, 0, 0], 1), ([0, 1, 0], 1), ([0, 0, 1], 0.1), ([0.3, -0.4, 0], 0.4)):
        assert difference(want, want + step) == pytest.approx(largest)
    assert difference(want[:1], np.array([np.nan])) == np.inf
    assert difference(want[:0], want[:0]) == 0


def test_what_differs_is_refused_with_its_name_and_size() -> None:
    want = np.array([1.0, 2.0])
    require_equal("rank", "rating", want, want + 0.9e-5)
    for have, message in (
        (want + 1.2e-5, "graph 'rank' differs from JAX by 1.2e-05 in rating, more than 1e-05"),
        (np.array([1, np.nan]), "differs from JAX by inf in rating"),
        (want[None], r"gives rating of shape \(1, 2\), JAX of shape \(2,\)"),
    ):
        with pytest.raises(ExportError, match=message):
            require_equal("rank", "rating", want, have)
    for broken in (np.inf, np.nan):  # in which both agree
        with pytest.raises(ExportError, match="gives rating that is not finite"):
            require_equal("rank", "rating", np.array([broken]), np.array([broken]))


def answer(ids: str, scores: list[float], rating: list[float] | None = None) -> Columns:
    numbers = np.array(scores), np.array(scores if rating is None else rating)
    return {"item_id": np.array(["" if i == "-" else i for i in ids], object), "score": numbers[0]} | {
        "rating": numbers[1]
    }


WANT = answer("abcd", [4, 3, 3, 1])


@pytest.mark.parametrize(
    "have",
    [
        answer("abcd", [4, 3, 3, 1]),
        answer("acbd", [4, 3, 3, 1]),  # equal scores
        answer("abcx", [4, 3, 3, 1]),  # the last equal to the next
        answer("abcd--", [4, 3, 3, 1, -np.inf, -np.inf]),
    ],
)
def test_shortlists_may_differ_where_scores_are_equal(have: Columns) -> None:
    require_same_answers(WANT, have)


@pytest.mark.parametrize(
    ("have", "message"),
    [
        (answer("abxy", [4, 3, 3, 1]), "other items"),
        (answer("aacd", [4, 4, 3, 1]) | {"item_id": np.array([*"aaad"], object)}, "other items"),
        (answer("abcde", [4, 3, 3, 1, 0]), "other items"),
        (answer("bacd", [3, 4, 3, 1]), "in the order"),
        (answer("abcd", [4, 3, 3, 1.1]), "in score"),
        (answer("abcd", [4, 3, 3, 1], [4, 3, 3.1, 1]), "in rating"),
        (answer("abc", [4, 3, 3]), "other items"),  # fewer, though there are more
        (answer("abc-", [4, 3, 3, -np.inf]), "other items"),
    ],
)
def test_shortlists_that_differ_otherwise_are_refused(have: Columns, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        require_same_answers(WANT, have)
