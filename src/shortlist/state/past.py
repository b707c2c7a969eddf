"""What every user did, in the order of time: what a model may read of it as of any moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import msgspec

from shortlist.features.log import Log
from shortlist.state.storage import load_array, load_json, save_array, save_json


class _About(msgspec.Struct, frozen=True):
    """What is said of a log that was saved."""

    mean: float
    timed: bool
    rated: bool
    unrated: float | None = None


@dataclass(frozen=True, eq=False)
class Past:
    """The training rows' log. mean: of their ratings. timed: whether they had times. unrated: the number that
    stands in the log for ratings that rows lacked; None where none did, or where it cannot be told apart."""

    log: Log = field(repr=False)
    mean: float
    timed: bool
    unrated: float | None = None

    @cached_property
    def scale(self) -> tuple[float, float] | None:
        """The least and the greatest rating; None where there are none."""
        ratings = self.log.ratings
        if ratings is None or not len(ratings):
            return None
        return float(ratings.min()), float(ratings.max())

    def given(self, rating: float | None) -> float | None:
        """A rating as the log has it; None where nobody gave it."""
        return None if rating is None or rating == self.unrated else rating

    def save(self, folder: Path) -> None:
        """Write into a new folder."""
        folder.mkdir()
        for name in ("indptr", "items", "times"):
            save_array(folder / f"{name}.npy", getattr(self.log, name))
        if self.log.ratings is not None:
            save_array(folder / "ratings.npy", self.log.ratings)
        rated = self.log.ratings is not None
        about = {"mean": self.mean, "timed": self.timed, "rated": rated}
        if self.unrated is not None:
            about["unrated"] = self.unrated
        save_json(folder / "about.json", about)

    @classmethod
    def load(cls, folder: Path) -> Past:
        """What `save` wrote; arrays are memory-mapped."""
        about: _About = load_json(folder / "about.json", _About)
        indptr, items, times = (load_array(folder / f"{name}.npy") for name in ("indptr", "items", "times"))
        ratings = load_array(folder / "ratings.npy") if about.rated else None
        return cls(Log(indptr, items, times, ratings), about.mean, about.timed, about.unrated)
