"""Models: towers of features, and the tasks that read them."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Literal

import msgspec

from shortlist.errors import SpecError
from shortlist.specs.features import Feature, FeatureSpec, HasBiases, OfPast, TableSpec, Text, WithVocabulary
from shortlist.specs.spec import Spec, share
from shortlist.specs.tasks import Activation, Head, Retrieval, TaskSpec


class Tower(Spec, frozen=True):
    """One side of a model: features, put together, through dense layers, to one vector.

    combine: "concat" joins the features' vectors; "sum" adds them (tables of equal `dim`; other features are
    projected to it). hidden: dense layers with `activation`. out: width of a last linear layer; None leaves
    the vector as it is. residual: x + layers(x) in place of layers(x), at the width of x. out_dropout: of the
    tower's vector. layer: the name of an Equinox module of your own, registered with
    `shortlist.register_tower`, that takes the features' vectors by name and stands in for all of these;
    `options` are handed to it.
    """

    features: tuple[FeatureSpec, ...]
    out: int | None = None
    hidden: tuple[int, ...] = ()
    combine: Literal["concat", "sum"] = "concat"
    activation: Activation = "relu"
    dropout: float = 0.0
    out_dropout: float = 0.0
    residual: bool = False
    layer: str = ""
    options: dict[str, Any] = msgspec.field(default_factory=dict)

    def check(self) -> None:
        share(self, "dropout", "out_dropout")
        if not self.features:
            raise SpecError("a Tower needs at least one feature", hint="such as Id('user_id', 32)")
        keys = [f.key for f in self.features]
        twice = {k for k in keys if keys.count(k) > 1}
        if twice:
            raise SpecError(f"a Tower holds the feature {sorted(twice)[0]!r} twice")
        self._check_shared()
        if self.dropout and (self.layer or not self.hidden):
            raise SpecError(
                "Tower.dropout acts before hidden layers, and there are none",
                hint="give hidden= widths, or the features a dropout of their own",
            )
        if self.residual and (self.layer or not self.hidden or self.out is not None):
            raise SpecError(
                "Tower.residual adds hidden layers to their input, at its width",
                hint="give hidden= widths, and neither out= nor layer=",
            )
        if self.out is not None and self.out <= 0:
            raise SpecError(f"Tower.out must be above 0, got {self.out}")
        if any(width <= 0 for width in self.hidden):
            raise SpecError(f"Tower.hidden needs widths above 0, got {self.hidden}")
        if self.layer and self.out is None:
            raise SpecError(f"a Tower with the layer {self.layer!r} needs out=, the width it returns")
        dims = self.table_dims
        if self.combine == "sum" and len(dims) != 1:
            raise SpecError(
                f'combine="sum" adds vectors of one width, got {sorted(dims) or "no table feature"}',
                hint="give the features the same dim",
            )

    def _check_shared(self) -> None:
        """Features that share a table have one vocabulary and one start: they must declare the same."""
        by_name = sorted(self.features, key=lambda f: f.table_name)
        for name, group in groupby(by_name, key=lambda f: f.table_name):
            first, *others = group
            for other in others:
                one, two = _table_of(first), _table_of(other)
                for what in one:
                    if one[what] != two[what]:
                        raise SpecError(
                            f"{_named(first)} and {_named(other)} share the table {name!r}, but {what}"
                            f" is {one[what]} of one and {two[what]} of the other",
                            hint="declare the same for both, or give each a table of its own",
                        )

    @property
    def table_dims(self) -> set[int]:
        return {f.dim for f in self.features if isinstance(f, TableSpec)}


def _named(feature: Feature) -> str:
    return f"{type(feature).__name__}({feature.column!r})"


def _table_of(feature: FeatureSpec) -> dict[str, Any]:
    """What features must agree on to share a table."""
    if not isinstance(feature, WithVocabulary):
        return {"what has a row": "nothing"}
    min_count, vocabulary = feature.limits
    words = "a word" if isinstance(feature, Text) else "a whole value"
    start = {"dim": feature.dim, "scale": feature.scale}
    return {"what has a row": words, **start, "min_count": min_count, "vocabulary": vocabulary}


class Model(Spec, frozen=True, tag_field="kind"):
    """What all models have: a query tower, a candidate tower, and `all_tasks`."""

    query: Tower
    candidate: Tower

    @property
    def all_tasks(self) -> tuple[TaskSpec, ...]:
        raise NotImplementedError

    def features(self, side: str) -> tuple[FeatureSpec, ...]:
        """All features of a side ("query" or "candidate"): its tower's, then those of heads."""
        tower = self.query if side == "query" else self.candidate
        return (*tower.features, *(f for head in self.heads for f in head.own[side]))

    def biases(self, side: str, feature: FeatureSpec) -> tuple[str, ...]:
        """The names of the tasks to whose outputs each row of a feature's table adds a number: those of heads
        with biases and of retrieval with `item_bias`. A head with features of its own on a side has biases
        of these only."""
        if not isinstance(feature, HasBiases):
            return ()
        heads = [h for h in self.heads if h.biases]
        owner = next((h for h in self.heads if feature in h.own[side]), None)
        if owner is not None:
            return (owner.name,) if owner.biases else ()
        slots = [h.name for h in heads if not h.own[side]]
        if side == "candidate" and self.retrieval is not None and self.retrieval.item_bias:
            slots.append(self.retrieval.name)
        return tuple(slots)

    @property
    def sees_future(self) -> bool:
        """Whether an input sees events later than its row (as_of="leave-one-out")."""
        sides = (*self.features("query"), *self.features("candidate"))
        past = [f.as_of for f in sides if isinstance(f, OfPast)]
        pairs = [a.as_of for head in self.heads for a in head.aggregates]
        seen = self.retrieval.seen if self.retrieval is not None else ""
        return "leave-one-out" in (*past, *pairs, seen)

    @property
    def retrieval(self) -> Retrieval | None:
        """Its retrieval task, if it has one."""
        return next((t for t in self.all_tasks if isinstance(t, Retrieval)), None)

    @property
    def heads(self) -> tuple[Head, ...]:
        """Its tasks that predict one number a pair."""
        return tuple(t for t in self.all_tasks if isinstance(t, Head))

    def check(self) -> None:
        names = [t.name for t in self.all_tasks]
        twice = {n for n in names if names.count(n) > 1}
        if not names:
            raise SpecError(f"{type(self).__name__} needs at least one task")
        if twice:
            raise SpecError(f"{type(self).__name__} has two tasks named {sorted(twice)[0]!r}")
        owned = {f.key for head in self.heads for f in head.own["candidate"]}
        for side, column in (("query", "item_id"), ("candidate", "user_id")):
            for feature in self.features(side):
                if not isinstance(feature, OfPast):
                    continue
                if feature.column != column or (side == "candidate" and feature.key not in owned):
                    raise SpecError(
                        f"{type(feature).__name__}({feature.column!r}) cannot be a feature of the {side}"
                        " tower",
                        hint="a query has a past of items; among a head's candidate features"
                        ' Bag(column="user_id") tells who had the item',
                    )
        if all(t.weight == 0 for t in self.all_tasks):
            raise SpecError("every task has weight 0: nothing would be learned")


class TwoTower(Model, frozen=True, tag="two-tower"):
    """Retrieval alone."""

    task: Retrieval = msgspec.field(default_factory=Retrieval)

    @property
    def all_tasks(self) -> tuple[TaskSpec, ...]:
        return (self.task,)


class Ranker(Model, frozen=True, tag="ranker"):
    """Ranking alone: one or more heads on the two towers' vectors."""

    tasks: tuple[TaskSpec, ...] = ()

    @property
    def all_tasks(self) -> tuple[TaskSpec, ...]:
        return self.tasks

    def check(self) -> None:
        super().check()
        if self.retrieval is not None:
            raise SpecError("a Ranker has no Retrieval task", hint="use MultiTask to train both together")


class MultiTask(Model, frozen=True, tag="multi-task"):
    """Retrieval and ranking trained jointly on shared towers."""

    tasks: tuple[TaskSpec, ...] = ()

    @property
    def all_tasks(self) -> tuple[TaskSpec, ...]:
        return self.tasks


ModelSpec = TwoTower | Ranker | MultiTask
