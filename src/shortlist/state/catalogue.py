"""The items a recommender chooses from: ids, raw columns and how often training saw each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from shortlist._typing import MISSING_INT, Array, Columns, Doubles, Longs
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError, RequestError, did_you_mean
from shortlist.state.storage import load_array, load_columns, load_json, save_array, save_columns, save_json


@dataclass(frozen=True, eq=False)
class Items:
    """N items in catalogue order; an item's position is its row.

    columns: raw columns of N rows, for features and for display, without item_id.
    log_popularity: float64 [N], log of each item's smoothed share of the training rows.
    """

    vocabulary: Vocabulary = field(repr=False)
    columns: Columns = field(repr=False)
    log_popularity: Doubles = field(repr=False)

    @classmethod
    def of(cls, ids: ArrayLike, columns: Columns, counts: ArrayLike) -> Items:
        """Items from their ids [N], columns and training counts [N].

        One row is added to every count, so that an item without any can still be ordered. Raises DataError
        for repeated or missing ids and columns of another length.
        """
        vocabulary = Vocabulary.of([str(i) for i in np.asarray(ids, object).tolist()])
        smoothed = np.asarray(counts, np.float64) + 1
        kept = {name: column for name, column in columns.items() if name != "item_id"}
        for name, column in {**kept, "counts": smoothed}.items():
            if len(column) != len(vocabulary):
                raise DataError(f"{len(vocabulary)} items, but column {name!r} has {len(column)} rows")
        return cls(vocabulary, kept, np.log(smoothed) - np.log(smoothed.sum()))

    def __len__(self) -> int:
        return len(self.vocabulary)

    @cached_property
    def ids(self) -> Array:
        """Item ids by position: object [N]."""
        return np.array([*self.vocabulary.values, None], object)[:-1]

    def positions(self, ids: ArrayLike) -> Longs:
        """Catalogue positions of ids (text or whole numbers) as int64, -1 where unknown."""
        return self.vocabulary.lookup(np.asarray(ids, object)).astype(np.int64) - 1

    def position(self, item_id: str | int) -> int:
        """The position of one item; RequestError where there is none."""
        found = int(self.positions([item_id])[0])
        if found < 0:
            known = map(str, islice(self.vocabulary.values, 5000))
            raise RequestError(
                f"item {item_id!r} is not in the catalogue", hint=did_you_mean(str(item_id), known)
            )
        return found

    def updated(self, ids: Array, columns: Columns, places: Longs) -> Items:
        """The items with more at the end, `ids` [m], and the values given at `places` int64 [n], positions of
        items there were or of new ones. What is not given stays as it was, or is missing; columns that are
        not stored are left out. New items are as popular as the least popular one there was.
        """
        vocabulary = Vocabulary.of([*self.vocabulary.values, *ids.tolist()])
        grown = {n: _grown(c, len(vocabulary), columns.get(n), places) for n, c in self.columns.items()}
        least = np.full(len(ids), self.log_popularity.min())
        return Items(vocabulary, grown, np.append(self.log_popularity, least))

    def save(self, folder: Path) -> None:
        """Write into a new folder."""
        folder.mkdir()
        save_json(folder / "ids.json", self.vocabulary.values)
        save_array(folder / "log_popularity.npy", self.log_popularity)
        save_columns(folder / "columns", self.columns)

    @classmethod
    def load(cls, folder: Path) -> Items:
        """What `save` wrote; arrays are memory-mapped."""
        vocabulary = Vocabulary.of(load_json(folder / "ids.json"))
        return cls(vocabulary, load_columns(folder / "columns"), load_array(folder / "log_popularity.npy"))


def _grown(column: Array, count: int, values: Array | None, places: Longs) -> Array:
    """A column of `count` rows: as it was, the values at their places, and missing where there is neither."""
    missing = {"O": "", "i": MISSING_INT}.get(column.dtype.kind, np.nan)
    widths = [x.shape[1] for x in (column, values) if x is not None and x.ndim == 2]
    out = np.full((count, max(widths)) if widths else count, missing, column.dtype)
    for rows, given in ((np.arange(len(column)), column), (places, values)):
        if given is None:
            continue
        out[rows] = missing
        if given.ndim == 2:
            out[rows, : given.shape[1]] = given
        else:
            out[rows] = given
    return out
