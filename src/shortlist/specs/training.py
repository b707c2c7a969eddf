"""How a model is trained: optimiser, schedule, epochs."""

from __future__ import annotations

from typing import Literal

import msgspec

from shortlist.specs.spec import Spec, not_negative, positive, share

Schedule = Literal["constant", "cosine", "linear"]
STRIDE = 1_640_531_527
"""Between members' seeds: 2^32 over the golden ratio squared, whose multiples spread evenly."""


class Optimizer(Spec, frozen=True, tag_field="kind"):
    """An update rule and the course of its learning rate.

    schedule: "constant", or from the full rate down to 2 % of it along a cosine or a line over the whole run;
    warmup: the share of the run over which the rate first rises from 0.
    """

    learning_rate: float
    schedule: Schedule = "constant"
    warmup: float = 0.0

    def check(self) -> None:
        positive(self, "learning_rate")
        share(self, "warmup")


class Adagrad(Optimizer, frozen=True, tag="adagrad"):
    """Adagrad (Duchi et al., JMLR 2011) with the defaults of Keras."""

    initial_accumulator: float = 0.1
    epsilon: float = 1e-7

    def check(self) -> None:
        super().check()
        not_negative(self, "initial_accumulator", "epsilon")


class Adam(Optimizer, frozen=True, tag="adam"):
    """Adam (Kingma and Ba, ICLR 2015)."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def check(self) -> None:
        super().check()
        share(self, "beta1", "beta2")
        positive(self, "epsilon")


OptimizerSpec = Adagrad | Adam


class Training(Spec, frozen=True, kw_only=True):
    """The course of a training run.

    patience: stop after so many epochs without a better validation figure and keep the best (0: run all
    epochs; needs validation rows otherwise).
    half_life: days; a row counts half as much as one so much later (0: all rows count the same).
    new_users: a share of the rows, drawn once, that are learned from as if their users had just come, without
    id and past, so that the model knows what to say to such users.
    tables: update "dense" (the whole table a step), "sparse" (touched rows only; Adam's moments of other rows
    then rest) or "auto", by the size of each table. precision: of matrix products, "float32", or "bfloat16"
    with float32 sums, for accelerators. stream: read training rows chunk by chunk, shuffled in two levels,
    instead of holding them all ("auto": where they take more than 1 GiB).
    members: so many models, alike but for their seeds, are trained side by side on the same batches, and
    answer with their mean.
    """

    epochs: int = 8
    batch_size: int = 1000
    optimizer: OptimizerSpec = msgspec.field(default_factory=lambda: Adam(1e-2, schedule="cosine"))
    seed: int = 42
    patience: int = 0
    half_life: float = 0.0
    new_users: float = 0.0
    tables: Literal["auto", "dense", "sparse"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    stream: Literal["auto", "always", "never"] = "auto"
    members: int = 1

    def check(self) -> None:
        positive(self, "epochs", "batch_size", "members")
        not_negative(self, "patience", "seed", "half_life")
        share(self, "new_users")

    @property
    def seeds(self) -> tuple[int, ...]:
        """Each member's seed, the first that of a model alone; far apart, so that the ensembles of
        neighbouring seeds share no member."""
        return (self.seed, *((self.seed + k * STRIDE) % 2**31 for k in range(1, self.members)))
