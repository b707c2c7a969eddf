"""A recipe: one run from tables to a bundle, as a value and as a TOML file."""

from __future__ import annotations

import tomllib
from math import inf
from pathlib import Path
from typing import Any, Literal

import msgspec

from shortlist.errors import RecipeError, SpecError
from shortlist.specs.models import ModelSpec
from shortlist.specs.spec import Spec, not_negative, positive
from shortlist.specs.training import Training
from shortlist.specs.tuning import declared


class DataSource(Spec, frozen=True, kw_only=True):
    """Where the tables are: a named `dataset` (such as "movielens-100k"; `path` where it lies) or files of
    your own, and what their columns are.

    user to weight: columns of the interactions; an optional one that is "" is not looked for. event: a column
    of types of events, each of which counts what event_weights says; those of 0 are left out. time_unit: of
    the times, "s", "ms", "us", "ns", "yyyymmdd" or a strptime pattern ("" finds out). user_key, item_key: the
    columns of the ids in `users` and `items`, where they are called otherwise there. lists: columns of texts
    that hold several values, with the sign between these. delimiter: of text files ("" finds out). licence:
    of the tables, for whoever gets a bundle made of them.
    """

    dataset: str = ""
    path: str = ""
    interactions: str = ""
    users: str = ""
    items: str = ""
    user: str = "user_id"
    item: str = "item_id"
    rating: str = "rating"
    timestamp: str = "timestamp"
    weight: str = "weight"
    event: str = ""
    event_weights: dict[str, float] = msgspec.field(default_factory=dict)
    time_unit: str = ""
    user_key: str = ""
    item_key: str = ""
    lists: dict[str, str] = msgspec.field(default_factory=dict)
    delimiter: str = ""
    licence: str = ""

    def check(self) -> None:
        if bool(self.dataset) == bool(self.interactions):
            raise SpecError(
                "data needs either dataset= or interactions=",
                hint='dataset = "movielens-100k", or interactions = "events.csv"',
            )
        self._check_events()
        if self.time_unit not in ("", "s", "ms", "us", "ns", "yyyymmdd") and "%" not in self.time_unit:
            raise SpecError(
                f"data.time_unit is {self.time_unit!r}",
                hint='one of "s", "ms", "us", "ns", "yyyymmdd", or a pattern such as "%d/%m/%Y %H:%M"',
            )
        if empty := [name for name, sign in self.lists.items() if not sign]:
            raise SpecError(f"data.lists: no sign is given for {empty[0]!r}", hint='for instance "|"')

    def _check_events(self) -> None:
        if self.event_weights and not self.event:
            raise SpecError(
                "data.event_weights are of a column that data.event does not name",
                hint='event = "event_type"',
            )
        for kind, weight in self.event_weights.items():
            if not 0 <= weight < inf:
                raise SpecError(f"data.event_weights: {kind!r} must count at least 0, got {weight!r}")


class SplitRule(Spec, frozen=True, kw_only=True):
    """How rows are divided. rule: "random=80%", "time=80%" or "hold_last=1"; `validation` is the share of the
    training rows that settings are chosen on (they train the final model too)."""

    rule: str = "random=80%"
    validation: float = 0.1
    seed: int = 42

    def check(self) -> None:
        if not 0 <= self.validation < 1:
            raise SpecError(f"split.validation must lie in [0, 1), got {self.validation}")


class Evaluation(Spec, frozen=True, kw_only=True):
    """What is measured: cut-offs, baselines beside the model, resamples behind each interval."""

    k: tuple[int, ...] = (10, 100)
    baselines: bool = True
    resamples: int = 1000

    def check(self) -> None:
        if not self.k or any(k <= 0 for k in self.k):
            raise SpecError(f"evaluation.k needs cut-offs above 0, got {self.k}")
        positive(self, "resamples")


class Serving(Spec, frozen=True, kw_only=True):
    """How two stages become one list: so many candidates are `retrieved`, then ordered by
    log p(item) + weight * predicted rating. `rating_weight` = None chooses the weight on validation rows.
    all_rows: once it is judged, the model is fitted again on all rows, the test rows among them, and that one
    is kept. index: how the catalogue is searched; "auto" is exact for up to 100,000 items, or as long as that
    answers within `latency_ms`, and approximate beyond. recall: share of the exact best 100 that an
    approximate index must find."""

    retrieve: int = 100
    rating_weight: float | None = None
    weights: tuple[float, ...] = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
    all_rows: bool = False
    index: Literal["auto", "exact", "ann"] = "auto"
    recall: float = 0.95
    latency_ms: float | None = None

    def check(self) -> None:
        positive(self, "retrieve")
        if not 0 < self.recall < 1:
            raise SpecError(f"serving.recall must lie in (0, 1), got {self.recall}")
        if self.latency_ms is not None:
            positive(self, "latency_ms")
        if self.rating_weight is not None:
            not_negative(self, "rating_weight")


Goal = Literal["rating", "retrieval", "two-stage"]


class Auto(Spec, frozen=True, tag_field="kind", tag="auto", kw_only=True):
    """A model to be inferred from the training rows, in place of a declared one."""

    goal: Goal = "two-stage"


def _check_name(name: str) -> None:
    """A run's folder is called so: one name, not a path to somewhere else."""
    if name in (".", "..") or "/" in name or "\\" in name or (name and not name.isprintable()):
        raise SpecError(
            f"name is {name!r}, but a folder of runs/ is called so",
            hint="a plain name; to write elsewhere: --output FOLDER",
        )


class Recipe(Spec, frozen=True, kw_only=True):
    """One run. tune: what a search may change of it (see `specs.tuning`). licence: of its bundle."""

    data: DataSource
    model: ModelSpec
    name: str = ""
    split: SplitRule = msgspec.field(default_factory=SplitRule)
    training: Training = msgspec.field(default_factory=Training)
    evaluation: Evaluation = msgspec.field(default_factory=Evaluation)
    serving: Serving = msgspec.field(default_factory=Serving)
    tune: dict[str, Any] | None = None
    licence: str = ""
    format: Literal[1] = 1

    def check(self) -> None:
        _check_name(self.name)
        declared(self.tune or {})


class Outline(Spec, frozen=True, kw_only=True):
    """A run whose model is inferred: `Recipe` with gaps.

    data: the tables, where the recipe names any. split: None holds out each user's last row where rows have
    times and ratings are not the goal, else a random fifth. training: keys of `Training` that replace
    inferred ones.
    """

    model: Auto
    data: DataSource | None = None
    name: str = ""
    split: SplitRule | None = None
    training: dict[str, Any] = msgspec.field(default_factory=dict)
    evaluation: Evaluation = msgspec.field(default_factory=Evaluation)
    serving: Serving = msgspec.field(default_factory=Serving)
    tune: dict[str, Any] | None = None
    licence: str = ""
    format: Literal[1] = 1

    def check(self) -> None:
        _check_name(self.name)
        Training.from_dict(self.training)
        declared(self.tune or {})

    @property
    def source(self) -> DataSource:
        """Where the tables are. Raises RecipeError where it does not say."""
        if self.data is None:
            raise RecipeError(
                "the recipe names no data",
                hint="give --interactions FILE (and --items, --users), or a [data] section",
            )
        return self.data

    def rule(self, *, timed: bool) -> SplitRule:
        """How rows are divided, by whether they have times."""
        last = timed and self.model.goal != "rating"
        return self.split or SplitRule(rule="hold_last=1" if last else "random=80%")

    def filled(self, model: ModelSpec, training: Training, split: SplitRule) -> Recipe:
        """The recipe with its gaps filled; what it says of training goes before what was inferred."""
        return Recipe(
            data=self.source,
            model=model,
            name=self.name,
            split=split,
            training=Training.from_dict(training.to_dict() | self.training),
            evaluation=self.evaluation,
            serving=self.serving,
            tune=self.tune,
            licence=self.licence,
        )


def read_recipe(path: str | Path) -> Recipe:
    """A recipe from a TOML file; RecipeError names the file and the place in it."""
    found = read_outline(path)
    if isinstance(found, Outline):
        raise RecipeError(
            f"{path} infers its model: until it is run there is no recipe",
            hint="shortlist train it; the run's folder holds the recipe",
        )
    return found


def read_outline(path: str | Path) -> Recipe | Outline:
    """A recipe from a TOML file, or one whose model is to be inferred; raises as `read_recipe` does."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"the recipe {path} is not UTF-8 (byte {error.start})") from error
    try:
        return Outline.from_toml(text) if _is_auto(text) else Recipe.from_toml(text)
    except SpecError as error:
        raise RecipeError(
            f"{path}: {error}", hint=error.hint or "see docs/recipes.md for every key"
        ) from error


def _is_auto(text: str) -> bool:
    try:
        model = tomllib.loads(text).get("model")
    except tomllib.TOMLDecodeError:
        return False  # Recipe says what is wrong
    return isinstance(model, dict) and model.get("kind") == "auto"
