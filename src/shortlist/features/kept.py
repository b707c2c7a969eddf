"""Things that are dear to make, kept within a bound: those asked for least recently go. Threads share it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Kept(Generic[T]):
    """Up to `most` of what the things weigh, in whatever unit. What alone weighs more is not kept."""

    most: int
    _things: OrderedDict[Hashable, tuple[T, int]] = field(default_factory=OrderedDict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _held: int = field(default=0, init=False, repr=False)

    def __len__(self) -> int:
        return len(self._things)

    @property
    def held(self) -> int:
        """What all of it weighs."""
        return self._held

    def get(self, key: Hashable) -> T | None:
        """What was put there, unless it had to go."""
        with self._lock:
            found = self._things.get(key)
            if found is None:
                return None
            self._things.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, thing: T, weight: int) -> T:
        """Keep a thing; returns it."""
        with self._lock:
            if (before := self._things.pop(key, None)) is not None:
                self._held -= before[1]
            if weight <= self.most:
                self._things[key] = thing, weight
                self._held += weight
            while self._held > self.most:
                self._held -= self._things.popitem(last=False)[1][1]
        return thing
