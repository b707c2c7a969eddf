"""Parts of the test set that hide in an average: users and items a model knows well or hardly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shortlist._typing import Bools
from shortlist.evaluation.intervals import Estimate
from shortlist.evaluation.rows import TestRows


@dataclass(frozen=True)
class SliceFigures:
    """Headline figures of every entrant on a part of the rows."""

    name: str
    num_rows: int
    num_users: int
    figures: Mapping[str, Mapping[str, Estimate]]


def slice_masks(rows: TestRows) -> dict[str, Bools]:
    """The slices that hold some of the rows but not all of them: name -> bool [n]."""
    parts = {
        "warm users (seen in training)": rows.warm,
        "cold users (new)": ~rows.warm,
        "head items (most frequent 20 %)": rows.head,
        "tail items": ~rows.head,
    }
    return {name: mask for name, mask in parts.items() if mask.any() and not mask.all()}


def size_of(mask: Bools, rows: TestRows) -> tuple[int, int]:
    """Rows and users in a slice."""
    return int(mask.sum()), len(np.unique(rows.user_keys[mask]))
