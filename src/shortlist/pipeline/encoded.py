"""What scorers make of questions: representations and vectors, kept where they take long to make.

A model that reads the past looks at all a user did to encode one question. As long as neither user, time,
what is told nor what else is given differs, nor does the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist._typing import Columns, Floats, Scorer
from shortlist.features.kept import Kept
from shortlist.features.requests import is_missing
from shortlist.pipeline.histories import TOLD
from shortlist.pipeline.shortlists import asked_columns

if TYPE_CHECKING:
    from shortlist.pipeline.recommender import Recommender
    from shortlist.pipeline.shortlists import Asked

MOST = 1 << 22
"""Numbers that are held: 16 MB."""

Both = tuple[Floats, Floats | None]


@dataclass(frozen=True, eq=False)
class Encoded:
    """Questions that were encoded, by scorer ("retriever", "ranker")."""

    kept: Kept[Both] = field(default_factory=lambda: Kept(MOST), repr=False)

    def of(self, recommender: Recommender, name: str, asked: Asked) -> Both:
        """What `Scorer.encode_query` says of questions."""
        scorer: Scorer = getattr(recommender, name)
        if recommender.events is None or asked.unknown or not len(asked):
            return scorer.encode_query(asked_columns(recommender, asked))
        keys = [(name, key) for key in keys_of(asked)]
        found = [self.kept.get(key) for key in keys]
        new = np.array([row for row, known in enumerate(found) if known is None], np.int64)
        if len(new):
            part = asked if len(new) == len(asked) else asked[new]
            first, second = scorer.encode_query(asked_columns(recommender, part))
            if len(new) == len(asked):
                self._keep(keys, first, second)
                return first, second
            self._keep([keys[row] for row in new], first, second)
            for place, row in enumerate(new.tolist()):
                found[row] = first[place], None if second is None else second[place]
        representations, vectors = zip(*(both for both in found if both is not None), strict=True)
        return np.stack(representations), None if vectors[0] is None else np.stack(vectors)

    def _keep(self, keys: list[Any], first: Floats, second: Floats | None) -> None:
        for place, key in enumerate(keys):
            both = first[place].copy(), None if second is None else second[place].copy()
            size = both[0].size + (0 if both[1] is None else both[1].size)
            self.kept.put(key, both, size + weight_of(key[1]))


def keys_of(asked: Asked) -> list[Any]:
    """Of each question what it says: equal of equal questions only. A time that is given is among the times,
    and what is missing is as if it were not given."""
    told, times, users = asked.told, asked.times.tolist(), asked.users.tolist()
    pasts: list[bytes | None] = [None] * len(users)
    if told is not None:
        pasts = [told.key(row) if tells else None for row, tells in enumerate(told.rows.tolist())]
    given = [_values(asked.columns, column) for column in asked.columns if column not in _TIMED]
    each = zip(*given, strict=True)
    return [
        (user, time, past, *(value for value in values if value is not None))
        for user, time, past, values in zip(users, times, pasts, each, strict=True)
    ]


def weight_of(key: Any) -> int:
    """What one of `keys_of` takes, about, in numbers of four bytes; texts of up to as many bytes a sign."""
    _, _, past, *given = key
    return _BESIDE + len(past or b"") // 4 + sum(_size(value) for _, value in given)


def _size(value: Any) -> int:
    if isinstance(value, tuple):
        return 16 + sum(map(_size, value))
    return 16 + (len(value) if isinstance(value, str) else 0)


_BESIDE = 64
_TIMED = {*TOLD, "timestamp"}


def _values(columns: Columns, name: str) -> list[Any]:
    """A column's name and value in every row, None where it is missing."""
    column = columns[name]
    values = column.tolist() if column.ndim == 1 else list(map(tuple, column.tolist()))
    return [None if gone else (name, v) for gone, v in zip(is_missing(column).tolist(), values, strict=True)]
