"""The memory a run needs, by arithmetic over what was read, beside the memory there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shortlist.api.preparing import Prepared
from shortlist.data.machine import available_memory, resident
from shortlist.data.splits import Split
from shortlist.errors import NotEnoughMemory
from shortlist.evaluation.costs import baseline_bytes
from shortlist.specs.recipe import Recipe
from shortlist.training.cost import Cost, TrainingCost, net_of, training_cost
from shortlist.training.optimizers import rule_of

MIB = 2**20
PROGRAMS = 320 * MIB
"""What JAX, its compiler, its programs and ONNX Runtime come to hold: 250 to 430 MiB were measured."""
TEST_ROW = 200
"""Bytes of a test row beside its vectors: its user's id as Python and as NumPy text, ranks, ratings, keys."""
LISTED = 40
"""Bytes of a retrieved candidate: position, log p, predictions, their order."""
FIGURES = 28
"""Figures of an entrant at two cut-offs, each a sum and a count a user."""


@dataclass(frozen=True)
class StageMemory:
    """What is held at the height of a stage of a run."""

    name: str
    parts: tuple[Cost, ...]

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)


@dataclass(frozen=True)
class Memory:
    """The memory of a run, stage by stage. held: of the process now; available: what it may have in all, and
    which limit that is."""

    stages: tuple[StageMemory, ...]
    held: int
    available: int
    limit: str

    @property
    def highest(self) -> StageMemory:
        return max(self.stages, key=lambda stage: stage.nbytes)

    @property
    def fits(self) -> bool:
        return self.highest.nbytes <= self.available

    def require(self) -> None:
        """Raises NotEnoughMemory, with the arithmetic, where the run does not fit."""
        if self.fits:
            return
        stage = self.highest
        largest = sorted(stage.parts, key=lambda part: -part.nbytes)[:4]
        listed = "; ".join(f"{part.what} {said(part.nbytes)} = {part.how}" for part in largest)
        raise NotEnoughMemory(
            f"this run needs {said(stage.nbytes)} at its height ({stage.name}), and there are"
            f" {said(self.available)} ({self.limit}). The largest parts: {listed}",
            hint=_advice(stage.name, largest[0].what),
        )


def said(nbytes: float) -> str:
    """Bytes for people."""
    return f"{nbytes / MIB:,.0f} MiB" if nbytes < 10 * 1024 * MIB else f"{nbytes / MIB / 1024:,.1f} GiB"


def _advice(stage: str, largest: str) -> str:
    if stage == "baselines":
        return "evaluation.baselines = false, or fewer items"
    if largest.startswith(("table", "parameters", "graphs", "scratch")):
        return (
            "a smaller dim, min_count= or max_size= on the feature of that table, or Adagrad instead of Adam"
        )
    if largest.startswith("rows"):
        return 'training.stream = "always", or fewer rows'
    return "fewer rows, or train from files with shortlist.encode, which streams them"


def memory_of(recipe: Recipe, split: Split, prepared: Prepared, *, scratch: int | None = None) -> Memory:
    """What a run of the recipe will hold, after its tables were read, divided and encoded.

    scratch: of a step, where a compiled program has told it. No array is made and nothing compiled.
    """
    held = resident()
    cost = training_cost(
        recipe.model, prepared.encoder.sizes, prepared.examples, prepared.catalogue, recipe.training
    )
    if scratch is not None:
        told = Cost(cost.parts[-1].what, scratch, "planned by the compiler")
        cost = TrainingCost(cost.parameters, (*cost.parts[:-1], told))
    available, limit = available_memory()
    common = (
        Cost("process and tables", held, "measured after reading, dividing and encoding"),
        Cost("compiled programs", PROGRAMS, "JAX, its compiler, ONNX Runtime: as a rule"),
    )
    shape = _Shape(recipe, split, prepared, cost)
    stages = (StageMemory(name, (*common, *parts)) for name, parts in shape.stages())
    return Memory(tuple(stages), held, held + available, limit)


@dataclass(frozen=True)
class _Shape:
    recipe: Recipe
    split: Split
    prepared: Prepared
    cost: TrainingCost

    def stages(self) -> Iterator[tuple[str, tuple[Cost, ...]]]:
        recipe, split, cost = self.recipe, self.split, self.cost
        largest = max(cost.parts, key=lambda part: part.nbytes if part.what.startswith("table") else 0)
        states = len(rule_of(recipe.training.optimizer).start)  # kept for warm starts
        how = f"{largest.how.split(' x (')[0]}, and what is smaller, x (1 + {states} of the optimiser)"
        kept = Cost("parameters", cost.parameters * (1 + states), how)
        if split.validation.height:
            best = (Cost("best epoch", cost.parameters, "a copy"),) if recipe.training.patience else ()
            judged = self._rows("validation rows", split.validation.height)
            lists = self._lists(split.validation["user_id"].n_unique())
            yield "choosing", (*cost.parts, *best, judged, lists)
        yield "training", (*cost.parts, *self._refit())
        num_users = split.test["user_id"].n_unique()
        entrants = 9 if recipe.evaluation.baselines else 2
        width = entrants * FIGURES * len(recipe.evaluation.k) // 2
        figures = Cost(
            "figures by user",
            num_users * width * 2 * 8 * 2,
            f"{num_users:,} users x {width} figures x 32 bytes",
        )
        tested = self._rows("test rows", split.test.height)
        yield "evaluation", (kept, *self._refit(), tested, self._lists(num_users), figures)
        if recipe.evaluation.baselines:
            name, nbytes = self._baseline()
            said_of = Cost(f"baseline {name}", nbytes, "its matrices at their largest")
            rows = split.train.height + split.validation.height
            pairs = Cost("interactions", 100 * rows, f"{rows:,} rows x 100 bytes")
            yield "baselines", (kept, *self._refit(), tested, pairs, said_of)
        graphs = Cost(
            "graphs", 4 * cost.parameters, "two graphs hold the tables, one is written and one checked"
        )
        yield "export", (kept, *self._refit(), graphs)

    def _refit(self) -> tuple[Cost, ...]:
        rows = self.split.validation.height
        if not rows:
            return ()
        table = int(self.split.train.estimated_size() + self.split.validation.estimated_size())
        encoded = self.prepared.examples.nbytes
        how = "train and validation in one table, and encoded"
        return (Cost("rows of both parts", table + encoded, how),)

    def _rows(self, what: str, num_rows: int) -> Cost:
        model = self.recipe.model
        net = net_of(model, self.prepared.encoder.sizes, self.prepared.aggregate_widths)
        width = net.width("query")
        width += net.query.width + 1 if model.retrieval is not None else 0
        width *= self.recipe.training.members
        how = f"{num_rows:,} rows x ({width} numbers x 4 bytes x 2 + {TEST_ROW})"
        return Cost(what, num_rows * (width * 8 + TEST_ROW), how)

    def _lists(self, num_users: int) -> Cost:
        two = self.recipe.model.retrieval is not None and bool(self.recipe.model.heads)
        num = min(self.recipe.serving.retrieve, self.split.items.height) if two else 10
        return Cost("candidates", num_users * num * LISTED, f"{num_users:,} users x {num} x {LISTED} bytes")

    def _baseline(self) -> tuple[str, int]:
        """The baseline that takes most."""
        counts = np.diff(self.prepared.seen.indptr).astype(np.float64)
        rows = self.split.train.height + self.split.validation.height
        rated = "rating" in self.split.train.columns
        sizes = len(counts), self.split.items.height
        found = baseline_bytes(rows, *sizes, float((counts**2).sum()), rated=rated)
        return max(found.items(), key=lambda pair: pair[1])
