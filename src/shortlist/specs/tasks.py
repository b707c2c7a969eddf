"""Tasks: what a model learns to do, each with a weight on its loss.

Losses are means over examples, so weights mean what they say and the learning rate does not depend on the
batch size. `reduction="sum"` restores the sum that TensorFlow Recommenders' retrieval task uses.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from shortlist.errors import SpecError
from shortlist.specs.aggregates import AggregateSpec
from shortlist.specs.features import FeatureSpec, TableSpec, WithVocabulary
from shortlist.specs.spec import Spec, not_negative, positive, share

Reduction = Literal["mean", "sum"]
Activation = Literal["relu", "gelu", "silu", "tanh"]


class Task(Spec, frozen=True, tag_field="kind"):
    """What is learned, and how much it counts."""

    @property
    def name(self) -> str:
        """The name of its loss in histories and reports."""
        raise NotImplementedError


class Retrieval(Task, frozen=True, tag="retrieval", kw_only=True):
    """Softmax over candidates: the item of the row against others.

    loss: "in_batch" (the other items of the batch are the negatives) or "full" (the whole catalogue).
    log_q: subtract the log sampling probability, estimated from training counts (Yi et al., RecSys 2019);
        without it in-batch negatives punish popular items.
    accidental_hits: remove the row's own item where it appears again as a negative.
    known_positives: also remove the user's other training items from the negatives.
    hard_negatives: keep only so many of the highest-scoring negatives of a row (0: all).
    extra_negatives: so many more negatives a batch, drawn uniformly from the catalogue
        (mixed negative sampling, Yang et al., WWW 2020); log_q accounts for them.
    temperature: divides the scores; `learned_temperature` starts there (as CLIP does, Radford et al., ICML
        2021). item_bias: learn one number an item, which starts at the log of its popularity.
    seen: learn one number that is added to the score of every item the user had before: far below 0 where
        nobody takes an item twice, above where people come back. "row": had at an earlier second;
        "leave-one-out": in any other training row.
    """

    weight: float = 1.0
    loss: Literal["in_batch", "full"] = "in_batch"
    log_q: bool = True
    accidental_hits: bool = True
    known_positives: bool = False
    hard_negatives: int = 0
    extra_negatives: int = 0
    temperature: float = 1.0
    normalize: bool = False
    learned_temperature: bool = False
    item_bias: bool = False
    seen: Literal["", "row", "leave-one-out"] = ""
    reduction: Reduction = "mean"

    @property
    def name(self) -> str:
        return "retrieval"

    def check(self) -> None:
        not_negative(self, "weight", "hard_negatives", "extra_negatives")
        positive(self, "temperature")
        if self.loss == "full" and self.extra_negatives:
            raise SpecError(
                "Retrieval: extra_negatives add nothing to the full softmax", hint="drop one of them"
            )


class Head(Task, frozen=True):
    """A task that reads one number per (query, candidate) pair off a small network of its own.

    interaction: what the network sees: "concat" is [query, candidate]; "product" is [p, c, p * c], with p . c
    added to the output, where p and c are both vectors projected to `dim` numbers (0: as they are, in
    which case l2 on the features' rows is a matrix factorisation's regularisation); "dot" is [p, c] and the
    inner products of all pairs of vectors (DLRM: Naumov et al., 2019), both projections and each of the
    head's own features, with p . c added to the output.
    biases: add the training mean of the label and one learned number per table row of either side, penalised
    by bias_l2. l2 penalises the weights of the network, projection_l2 those of the projections beside it.
    query, candidate: features of the head's own, each of `dim` numbers, added to p and c: what rating needs
    to know beside what retrieval does. aggregates: numbers of each pair, made of other events; they are
    joined to what the network sees (inputs="both"), or all it sees ("aggregates"), and a linear term adds
    them to the output. cross: layers of DCN-v2 (Wang et al., WWW 2021) of what the network sees.
    """

    label: str = "rating"
    hidden: tuple[int, ...] = (256, 128)
    weight: float = msgspec.field(default=1.0)
    interaction: Literal["concat", "product", "dot"] = "concat"
    dim: int = 0
    activation: Activation = "relu"
    dropout: float = 0.0
    biases: bool = True
    bias_l2: float = 0.0
    l2: float = 0.0
    projection_l2: float = 0.0
    query: tuple[FeatureSpec, ...] = ()
    candidate: tuple[FeatureSpec, ...] = ()
    aggregates: tuple[AggregateSpec, ...] = ()
    inputs: Literal["both", "aggregates"] = "both"
    cross: int = 0
    reduction: Reduction = "mean"

    @property
    def name(self) -> str:
        return self.label

    @property
    def own(self) -> dict[str, tuple[FeatureSpec, ...]]:
        """The features of its own of each side, under names that no tower's feature has."""
        return {
            side: tuple(_owned(self.name, feature) for feature in features)
            for side, features in (("query", self.query), ("candidate", self.candidate))
        }

    def check(self) -> None:
        self._check_own()
        if self.interaction == "dot" and not self.dim:
            raise SpecError(f"{type(self).__name__}: interaction='dot' needs dim=, the width of the vectors")
        if "#" in self.name:
            raise SpecError(f"{type(self).__name__}: {self.name!r} names no task: '#' is kept for biases")
        not_negative(self, "weight", "dim", "bias_l2", "l2", "projection_l2")
        share(self, "dropout")
        if self.dropout and not self.hidden:
            raise SpecError(
                f"{type(self).__name__}.dropout acts before hidden layers, and there are none",
                hint="give hidden= widths, or leave dropout at 0",
            )
        if any(width <= 0 for width in self.hidden):
            raise SpecError(f"{type(self).__name__}.hidden needs widths above 0, got {self.hidden}")

    def _check_own(self) -> None:
        what = type(self).__name__
        if self.query or self.candidate:
            if self.interaction == "concat" or not self.dim:
                raise SpecError(
                    f"{what}: features of its own are added to the projections of interaction='product'",
                    hint="give interaction='product' (or 'dot') and dim=, the features' width",
                )
            for feature in (*self.query, *self.candidate):
                narrow = self.interaction == "dot" or isinstance(feature, TableSpec)
                if narrow and getattr(feature, "dim", 1) != self.dim:
                    raise SpecError(
                        f"{what}: {type(feature).__name__}({feature.column!r}) has"
                        f" dim={getattr(feature, 'dim', 1)}, the head dim={self.dim}",
                        hint="give both the same",
                    )
        if not self.aggregates and self.inputs == "aggregates":
            raise SpecError(f"{what}: inputs='aggregates' needs aggregates")
        not_negative(self, "cross")


def _owned(head: str, feature: FeatureSpec) -> FeatureSpec:
    changes = {"name": f"{head}:{feature.key}"}
    if isinstance(feature, WithVocabulary) and feature.table:
        changes["table"] = f"{head}:{feature.table}"
    return msgspec.structs.replace(feature, **changes)


class Rating(Head, frozen=True, tag="rating"):
    """Predict a number on the label's own scale by squared error."""


class Custom(Head, frozen=True, tag="custom"):
    """A task of your own: `loss` names a function registered with `shortlist.register_task`."""

    loss: str = ""
    options: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.loss

    def check(self) -> None:
        super().check()
        if not self.loss:
            raise SpecError(
                "Custom needs the name of a registered loss", hint="shortlist.register_task('name')"
            )


TaskSpec = Retrieval | Rating | Custom
