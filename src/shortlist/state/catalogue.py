"""The items a recommender chooses from: ids, raw columns and how often training saw each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from shortlist._typing import MISSING_INT, Array, Bools, Columns, Doubles, Ints, Longs
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError, RequestError, did_you_mean, shortened
from shortlist.state.growing import Growing, appended
from shortlist.state.storage import load_array, load_columns, load_ids, save_array, save_columns, save_json
from shortlist.state.texts import Texts

_COMPARED = 100_000  # characters of ids that are compared with one that is not there


@dataclass(frozen=True, eq=False)
class Items:
    """N items in catalogue order; an item's position is its row.

    columns: raw columns of N rows, for features and for display, without item_id.
    log_popularity: float64 [N], log of each item's smoothed share of the training rows.
    retired: bool [N], items that are recommended no more, though what is known of them stays; None: none.
    """

    vocabulary: Vocabulary = field(repr=False)
    columns: Columns = field(repr=False)
    log_popularity: Doubles = field(repr=False)
    retired: Bools | None = field(default=None, repr=False)
    _room: dict[str, Growing] = field(default_factory=dict, init=False, repr=False)
    _texts: dict[str, Texts] = field(default_factory=dict, init=False, repr=False)

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

    @cached_property
    def by_popularity(self) -> Ints:
        """Positions of all items, the most popular first (as float32), then by position: int32 [N]."""
        return np.argsort(-self.log_popularity.astype(np.float32), kind="stable").astype(np.int32)

    @cached_property
    def num_present(self) -> int:
        """How many items may be recommended: all but the retired."""
        return len(self) - (0 if self.retired is None else int(self.retired.sum()))

    def positions(self, ids: ArrayLike) -> Longs:
        """Catalogue positions of ids (text or whole numbers) as int64, -1 where unknown; retired items have
        theirs."""
        return self.vocabulary.lookup(np.asarray(ids, object)).astype(np.int64) - 1

    def position(self, item_id: str | int) -> int:
        """The position of one item; RequestError where there is none."""
        found = int(self.positions([item_id])[0])
        if found < 0:
            asked = str(item_id)
            some = islice(self.vocabulary.values, min(5_000, _COMPARED // max(1, len(asked))))
            told = shortened(asked) if isinstance(item_id, str) else item_id
            raise RequestError(
                f"item {told!r} is not in the catalogue", hint=did_you_mean(asked, map(str, some))
            )
        return found

    def texts(self, name: str) -> Texts:
        """A column of texts, or of lists of texts, by its distinct texts; read when first asked for."""
        found = self._texts.get(name)
        if found is None:
            found = self._texts.setdefault(name, Texts.of(self.columns[name]))
        return found

    def updated(self, ids: Array, columns: Columns, places: Longs) -> Items:
        """The items with more at the end, `ids` [m], and the values given at `places` int64 [n], positions of
        items there were or of new ones; none of them is retired. What is not given stays as it was, or is
        missing; columns that are not stored are left out. New items are as popular as the least popular one
        there was. Arrays that only get longer share their rows with those of `self`.
        """
        vocabulary, room = self.vocabulary.extended(ids.tolist()), dict(self._room)
        count, new = len(vocabulary), np.arange(len(self), len(vocabulary))
        grown: Columns = {}
        for name, column in self.columns.items():
            values = columns.get(name)
            grown[name] = _grown(column, count, values, places, room, f"column {name}")
        least = np.full(len(ids), self.log_popularity.min(initial=0))
        popularity = _longer(self.log_popularity, least, room, "log_popularity")
        made = Items(vocabulary, grown, popularity, _without(self.retired, count, places))
        made.__dict__["ids"] = _longer(self.ids, ids, room, "ids")
        if "by_popularity" in self.__dict__:  # new ones are least popular, and last of these
            later = np.arange(len(self), count, dtype=np.int32)
            made.__dict__["by_popularity"] = np.append(self.by_popularity, later)
        made._room.update(room)
        made._texts.update(
            (name, texts.updated(grown[name], places if name in columns else new))
            for name, texts in list(self._texts.items())
        )
        return made

    def without(self, places: Longs) -> Items:
        """The items with those at `places` retired."""
        retired = np.zeros(len(self), np.bool_) if self.retired is None else self.retired.copy()
        retired[places] = True
        made = replace(self, retired=retired)
        made.__dict__["ids"] = self.ids
        if "by_popularity" in self.__dict__:
            made.__dict__["by_popularity"] = self.by_popularity
        made._room.update(self._room)
        made._texts.update(list(self._texts.items()))
        return made

    def save(self, folder: Path) -> None:
        """Write into a new folder."""
        folder.mkdir()
        save_json(folder / "ids.json", self.vocabulary.values)
        save_array(folder / "log_popularity.npy", self.log_popularity)
        save_columns(folder / "columns", self.columns)
        if self.retired is not None and self.retired.any():
            save_array(folder / "retired.npy", self.retired)

    @classmethod
    def load(cls, folder: Path) -> Items:
        """What `save` wrote; arrays are memory-mapped."""
        vocabulary = load_ids(folder / "ids.json")
        retired = load_array(folder / "retired.npy") if (folder / "retired.npy").is_file() else None
        popularity = load_array(folder / "log_popularity.npy")
        return cls(vocabulary, load_columns(folder / "columns"), popularity, retired)


def _without(retired: Bools | None, count: int, places: Longs) -> Bools | None:
    if retired is None:
        return None
    longer = np.zeros(count, np.bool_)
    longer[: len(retired)] = retired
    longer[places] = False
    return longer if longer.any() else None


def _longer(array: Array, values: Array, room: dict[str, Growing], name: str) -> Array:
    """Both, one after the other; `room` keeps what the next rows go into."""
    if not len(values):
        return array
    both, room[name] = appended(array, values, room.get(name))
    return both


def _grown(
    column: Array, count: int, values: Array | None, places: Longs, room: dict[str, Growing], name: str
) -> Array:
    """A column of `count` rows: as it was, the values at their places, and missing where there is neither."""
    missing = {"O": "", "i": MISSING_INT}.get(column.dtype.kind, np.nan)
    widths = [x.shape[1] for x in (column, values) if x is not None and x.ndim == 2]
    shape = (count, max(widths)) if widths else (count,)
    new = places >= len(column)
    fresh = np.full((count - len(column), *shape[1:]), missing, column.dtype)
    if values is not None:
        _put(fresh, places[new] - len(column), values[new])
    if (values is None or new.all()) and shape[1:] == column.shape[1:]:
        return _longer(column, fresh, room, name)
    room.pop(name, None)
    out = np.full(shape, missing, column.dtype)
    _put(out, np.arange(len(column)), column)
    out[len(column) :] = fresh
    if values is not None:
        out[places[~new]] = missing
        _put(out, places[~new], values[~new])
    return out


def _put(out: Array, places: Longs, values: Array) -> None:
    if values.ndim == 2:
        out[places, : values.shape[1]] = values
    else:
        out[places] = values
