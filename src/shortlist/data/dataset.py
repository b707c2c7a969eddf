"""What people did, who they are, what they chose from: the three tables every other part consumes."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl


@dataclass(frozen=True)
class Dataset:
    """Checked tables that fit together.

    interactions: user_id, item_id (String), optional rating (Float64), timestamp (Int64, seconds),
        weight (Float64) and context columns, in the order they were read.
    users, items: one row an entity; they cover every id of the interactions. The items in their row
        order are the *catalogue*; an item's row there is its position.
    """

    interactions: pl.DataFrame = field(repr=False)
    users: pl.DataFrame = field(repr=False)
    items: pl.DataFrame = field(repr=False)
    name: str = "unnamed"
    licence: str = ""
