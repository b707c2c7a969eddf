"""The users training knew: their raw columns, what they have seen, and until when."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from shortlist._typing import Columns, Longs
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError
from shortlist.state.past import Past
from shortlist.state.seen import Seen
from shortlist.state.storage import (
    load_array,
    load_columns,
    load_ids,
    load_json,
    save_array,
    save_columns,
    save_json,
)


@dataclass(frozen=True, eq=False)
class Users:
    """U training users; a user's index is its row.

    columns: raw columns of U rows (such as age), used where a request leaves them out.
    seen: each user's training items. as_of: the latest time training saw (seconds), the time of a request
    that names none; None where there were no times. past: what users did, in order, where a model reads it.
    """

    vocabulary: Vocabulary = field(repr=False)
    columns: Columns = field(repr=False)
    seen: Seen = field(repr=False)
    as_of: int | None = None
    past: Past | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        ids: ArrayLike,
        columns: Columns,
        seen: Seen,
        as_of: int | None = None,
        past: Past | None = None,
    ) -> Users:
        """Users from their ids [U]. Raises DataError for repeated or missing ids and for other lengths."""
        vocabulary = Vocabulary.of([str(i) for i in np.asarray(ids, object).tolist()])
        kept = {name: column for name, column in columns.items() if name != "user_id"}
        lengths = {**{name: len(column) for name, column in kept.items()}, "seen": seen.num_users}
        for name, length in lengths.items():
            if length != len(vocabulary):
                raise DataError(f"{len(vocabulary)} users, but {name!r} has {length} rows")
        return cls(vocabulary, kept, seen, as_of, past)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def indices(self, ids: ArrayLike) -> Longs:
        """Rows of user ids (text or whole numbers) as int64, -1 where unknown."""
        return self.vocabulary.lookup(np.asarray(ids, object)).astype(np.int64) - 1

    def save(self, folder: Path) -> None:
        """Write into a new folder."""
        folder.mkdir()
        save_json(folder / "ids.json", self.vocabulary.values)
        save_json(folder / "as_of.json", self.as_of)
        save_array(folder / "seen_indptr.npy", self.seen.indptr)
        save_array(folder / "seen_indices.npy", self.seen.indices)
        save_columns(folder / "columns", self.columns)
        if self.past is not None:
            self.past.save(folder / "past")

    @classmethod
    def load(cls, folder: Path) -> Users:
        """What `save` wrote; arrays are memory-mapped."""
        seen = Seen(load_array(folder / "seen_indptr.npy"), load_array(folder / "seen_indices.npy"))
        vocabulary = load_ids(folder / "ids.json")
        past = Past.load(folder / "past") if (folder / "past").is_dir() else None
        return cls(vocabulary, load_columns(folder / "columns"), seen, load_json(folder / "as_of.json"), past)
