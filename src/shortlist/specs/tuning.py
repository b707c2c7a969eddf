"""What a search may change of a recipe: ranges of its keys, and how the search is judged and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shortlist.errors import SpecError, did_you_mean
from shortlist.specs.spec import Spec, not_negative, positive

SECTIONS = ("model", "training")
EXAMPLE = '"training.optimizer.learning_rate" = { low = 1e-3, high = 3e-2, log = true } under [tune]'


class Tuning(Spec, frozen=True, kw_only=True):
    """How a search is judged and bounded: the keys of `[tune]` without a dot.

    objective: a validation figure, such as "ndcg@10" or "rmse of rating"; "": NDCG@10 of rows where the model
    retrieves, else the RMSE of its first head. trials: in all, earlier ones included. minutes: of one
    invocation. pruner: "median" gives up a trial that at some epoch is worse than half of the others were.
    """

    objective: str = ""
    trials: int = 50
    minutes: float = 30.0
    seed: int = 42
    pruner: Literal["median", "none"] = "median"

    def check(self) -> None:
        positive(self, "trials", "minutes")
        not_negative(self, "seed")


class Span(Spec, frozen=True, kw_only=True):
    """Numbers from low to high, both included; whole ones where both ends (and the step) are whole.

    log: even in the logarithm. step: only low, low + step, ...
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    def check(self) -> None:
        if not self.low < self.high:
            raise SpecError(f"low = {self.low!r} must be below high = {self.high!r}")
        if self.log and self.low <= 0:
            raise SpecError(f"log = true needs low above 0, got {self.low!r}")
        if self.log and self.step is not None:
            raise SpecError("log = true and step exclude each other")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise SpecError(f"step = {self.step!r} must be above 0 and within high - low")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return all(not isinstance(value, float) for value in (self.low, self.high, self.step))

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are tried on the recipe before the search."""
        return (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether the range has this value."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.high and abs(steps - round(steps)) < 1e-9

    def tidy(self, value: float) -> int | float:
        """The value as a recipe shows it: whole, or of four digits, within the range."""
        if self.whole:
            return int(value)
        digits = 4 if self.step is None else 10
        return float(min(max(float(f"{value:.{digits}g}"), self.low), self.high))


class Choices(Spec, frozen=True):
    """One of several values, of any kind a key may have."""

    values: tuple[Any, ...]

    def check(self) -> None:
        if len(self.values) < 2:
            raise SpecError(f"a list of choices needs at least two, got {list(self.values)!r}")
        if any(value in self.values[:at] for at, value in enumerate(self.values)):
            raise SpecError(f"a choice is there twice in {list(self.values)!r}")

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values

    def holds(self, value: Any) -> bool:
        """Whether it is one of them."""
        return value in self.values


Range = Span | Choices


@dataclass(frozen=True)
class Declared:
    """A recipe's `[tune]`, taken apart. ranges: by dotted key."""

    tuning: Tuning
    ranges: dict[str, Range]


def declared(plain: Mapping[str, Any]) -> Declared:
    """What `[tune]` says: dotted keys are ranges, the others settings of the search.

    Raises SpecError, naming the key, for anything else.
    """
    ranges = {key: _range(key, value) for key, value in plain.items() if "." in key}
    settings = {key: value for key, value in plain.items() if "." not in key}
    for key, value in settings.items():
        if isinstance(value, dict):
            raise SpecError(
                f"tune.{key} is a table",
                hint=f"put quotes around the whole dotted key: {EXAMPLE}",
            )
        if key not in Tuning.__struct_fields__:
            raise SpecError(f"tune.{key} is no setting", hint=did_you_mean(key, Tuning.__struct_fields__))
    try:
        return Declared(Tuning.from_dict(settings), ranges)
    except SpecError as error:
        raise SpecError(f"tune: {error}", hint=error.hint) from error


def _range(key: str, value: Any) -> Range:
    where = f'tune."{key}"'
    section = key.split(".")[0]
    if section not in SECTIONS:
        raise SpecError(
            f"{where} cannot be searched: only keys of {' and '.join(SECTIONS)} can",
            hint="data and split say which rows a trial is judged on; the others do not change the model",
        )
    try:
        if isinstance(value, Span | Choices):
            return value
        if isinstance(value, list | tuple):
            return Choices(tuple(value))
        if isinstance(value, Mapping):
            return Span.from_dict(value)
    except SpecError as error:
        raise SpecError(f"{where}: {error}", hint=error.hint) from error
    raise SpecError(
        f"{where} is {value!r}: neither a range nor a list of choices",
        hint="{ low = 4, high = 16 }, or [0.3, 1.0, 3.0]",
    )
