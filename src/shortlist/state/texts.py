"""A column of texts by its distinct texts, so that a question about a text is answered once for all rows.

Not `data.coded.Coded`, whose values stand in order: here a text that comes later gets the next number, so
that a change touches the changed rows only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from shortlist._typing import Array, Bools, Ints, Longs

_NONE = 0  # the number of a missing text


class _Numbers(dict[str, int]):
    """The number of every text there was. It only grows, and snapshots share it: an older one has no row of
    a number that came later."""

    def __init__(self) -> None:
        super().__init__({"": _NONE})
        self.growing = Lock()

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts of n rows, up to L each.

    codes: int32 [L, n], the number of each text, 0 where there is none. numbers: text -> its number.
    """

    codes: Ints = field(repr=False)
    numbers: _Numbers = field(repr=False)

    @classmethod
    def of(cls, column: Array) -> Texts:
        """Of an object column [n] or [n, L], "" where missing."""
        numbers = _Numbers()
        return cls(_codes(column, numbers), numbers)

    def __len__(self) -> int:
        return int(self.codes.shape[1])

    def updated(self, column: Array, places: Longs) -> Texts:
        """Of the column with other texts at these places; the others are those there were."""
        fresh = _codes(column[places], self.numbers)
        depth = max(len(self.codes), len(fresh))
        codes = np.zeros((depth, len(column)), np.int32)
        codes[: len(self.codes), : len(self)] = self.codes
        codes[:, places] = 0
        codes[: len(fresh), places] = fresh
        return Texts(codes, self.numbers)

    def holding(self, text: str) -> Bools:
        """Rows that have this text: bool [n]."""
        code = self.numbers.get(text, _NONE)
        if code == _NONE:
            return np.zeros(len(self), np.bool_)
        found: Bools = self.codes[0] == code
        for more in self.codes[1:]:
            found |= more == code
        return found

    def among(self, texts: Iterable[str]) -> Bools:
        """Rows that have one of these texts: bool [n]."""
        codes = [number for text in texts if (number := self.numbers.get(text, _NONE)) != _NONE]
        chosen = np.zeros(len(self.numbers), np.bool_)
        chosen[codes] = True
        found: Bools = chosen[self.codes[0]]
        for more in self.codes[1:]:
            found |= chosen[more]
        return found

    def distinct(self) -> list[str]:
        """Every text there is, and some there may have been."""
        return list(self.numbers)[1:]

    @property
    def there(self) -> Bools:
        """Rows with a text: bool [n]."""
        return np.asarray((self.codes != _NONE).any(axis=0))


def _codes(column: Array, numbers: _Numbers) -> Ints:
    wide = column[:, None] if column.ndim == 1 else column
    flat = wide.T.reshape(-1).tolist()
    with numbers.growing:
        return np.fromiter(map(numbers.__getitem__, flat), np.int32, len(flat)).reshape(wide.shape[::-1])
