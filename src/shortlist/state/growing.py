"""Arrays that get longer without being copied.

Snapshots of different lengths share one, and rows are only ever written past the end of all of them.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

from shortlist._typing import Array

_ROOM = 0.125  # of the rows there are, at least
_LEAST = 1024


class Growing:
    """An array with room behind its rows."""

    def __init__(self, array: Array) -> None:
        count = len(array)
        room = max(_LEAST, int(count * _ROOM))
        self._rows = np.empty((count + room, *array.shape[1:]), array.dtype)
        self._rows[:count] = array
        self._used = count
        self._lock = Lock()

    def append(self, array: Array, values: Array) -> Array | None:
        """`array`, which is the first rows of this one, with `values` behind it, nothing copied; None where
        another snapshot has taken the room, or there is none."""
        count = len(array) + len(values)
        with self._lock:
            if self._used != len(array) or count > len(self._rows):
                return None
            self._rows[self._used : count] = values
            self._used = count
        return self._rows[:count]


def appended(array: Array, values: Array, room: Growing | None) -> tuple[Array, Growing]:
    """Both, one after the other, and what has room for more. array: the first rows of `room`, if given."""
    if room is not None:
        longer = room.append(array, values)
        if longer is not None:
            return longer, room
    room = Growing(array)
    longer = room.append(array, values)
    if longer is None:  # more than there is room for
        both = np.concatenate([array, values])
        return both, Growing(both)
    return longer, room
