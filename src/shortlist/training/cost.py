"""What training holds in memory, from shapes alone: nothing is drawn, placed or compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from shortlist.features.batches import Catalogue, Examples
from shortlist.models.build import Net, build
from shortlist.specs.features import TableSpec
from shortlist.specs.models import Model
from shortlist.specs.training import Training
from shortlist.tasks.known import TABLE_BYTES
from shortlist.tasks.multitask import Corpus, active_retrieval
from shortlist.training.feeding import AHEAD, Feed
from shortlist.training.loop import audience_of, pasts_of
from shortlist.training.optimizers import rule_of
from shortlist.training.steps import learned, plan_of

FLOAT = 4
SCORES = 32 * 2**20
"""What losses hold of the scores of a batch, at most (benchmarks: softmax)."""
ACTIVATIONS = 8
"""Numbers held a row of a batch and number of its towers: values, gradients, and those of each layer."""


@dataclass(frozen=True)
class Cost:
    """A part of what is held: bytes, and the arithmetic behind them."""

    what: str
    nbytes: int
    how: str


@dataclass(frozen=True)
class TrainingCost:
    """What a training run holds beside its examples on the host.

    parameters: bytes of tables and layers, alone. parts: everything; scratch is the last of them.
    """

    parameters: int
    parts: tuple[Cost, ...]

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)


def table_shapes(spec: Model, sizes: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """(rows, numbers a row) of each table that `build` makes of these sizes."""
    shapes: dict[str, tuple[int, int]] = {}
    for side in ("query", "candidate"):
        for feature in spec.features(side):
            if isinstance(feature, TableSpec):
                name = f"{side}/{feature.table_name}"
                shapes[name] = (sizes[name], feature.dim)
                shapes |= {f"{name}#{slot}": (sizes[name], 1) for slot in spec.biases(side, feature)}
    return shapes


def net_of(spec: Model, sizes: Mapping[str, int], aggregates: Mapping[str, int] | None = None) -> Net:
    """The layers alone, built beside tables of one row; aggregates: as `build` takes them."""
    tables = table_shapes(spec, sizes)
    small = {name: 1 if name in tables else size for name, size in sizes.items()}
    return build(spec, small, means={}, seed=0, aggregates=aggregates)[0]


def training_cost(
    spec: Model, sizes: Mapping[str, int], examples: Examples, catalogue: Catalogue, training: Training
) -> TrainingCost:
    """Tables, optimiser, examples on the device and scratch; every table by its rows x numbers x 4 bytes."""
    widths = {name: given.shape[1] for name, given in examples.aggregates.items()}
    net, shapes = net_of(spec, sizes, widths), table_shapes(spec, sizes)
    struct: Any = jax.ShapeDtypeStruct  # has no types
    tables = {name: struct(shape, np.float32) for name, shape in shapes.items()}
    states, members = len(rule_of(training.optimizer).start), training.members
    times = f" x {members} members" if members > 1 else ""
    batch_size = min(training.batch_size, len(examples))
    audience = audience_of(net, examples, batch_size)
    feed = Feed.of(examples, training, queries=audience is None)
    pasts = pasts_of(catalogue)
    corpus = Corpus(catalogue.items, catalogue.log_q, None, audience, *pasts)  # type: ignore[arg-type]
    plan = plan_of((net, tables), feed.forms[0].data, corpus, training, batch_size)

    parts = []
    for group in plan.groups:
        width = sum(shapes[name][1] for name in group.tables)
        sparse = group.sparse(training)
        nbytes = group.num_rows * (width * FLOAT * (1 + states) * members + (4 if sparse else 0))
        how = f"{group.num_rows:,} rows x {width} numbers x 4 bytes x (1 + {states} of the optimiser){times}"
        parts.append(Cost(f"table {group.name}", nbytes, how + (" + 4 a row" if sparse else "")))
    layers = sum(x.nbytes for x in jax.tree.leaves(learned(net)))
    how = f"{layers // FLOAT:,} numbers x 4 bytes x (1 + {states} of the optimiser){times}"
    parts.append(Cost("layers", layers * (1 + states) * members, how))
    parts.append(_examples(feed))
    parts.append(_corpus(net, catalogue))
    if any(tables is not None for tables in pasts):
        held = sum(x.nbytes for x in jax.tree.leaves(pasts))
        parts.append(Cost("users' pasts", 2 * held, f"{len(catalogue.pasts.items):,} items, by user"))  # type: ignore[union-attr]
    dense = [g for g in plan.groups if not g.sparse(training)]
    gradients = sum(g.num_rows * shapes[name][1] * FLOAT for g in dense for name in g.tables)
    widths = (
        net.width("query")
        + net.width("candidate")
        + sum((1, *x.shape)[-1] for x in jax.tree.leaves(learned(net)))
    )
    rows = batch_size * widths * FLOAT * ACTIVATIONS
    how = (
        f"gradients of tables updated whole, {batch_size:,} rows x {widths:,} numbers x {ACTIVATIONS}, scores"
    )
    parts.append(Cost("scratch of a step", (gradients + rows + SCORES) * members, f"{how}{times}"))
    parameters = layers + sum(rows * width * FLOAT for rows, width in shapes.values())
    return TrainingCost(parameters * members, tuple(parts))


def _examples(feed: Feed) -> Cost:
    form = max((form.data for form in feed.forms), key=_nbytes)
    size = _nbytes(form)
    if feed.streamed:
        chunks = AHEAD + 2
        return Cost(
            "rows on the device", 2 * chunks * size, f"{chunks} chunks, on the host and on the device"
        )
    order = 12 * len(feed.examples)
    return Cost(
        "rows on the device", size + order, f"{len(feed.examples):,} rows, and 12 bytes each to shuffle"
    )


def _corpus(net: Net, catalogue: Catalogue) -> Cost:
    nbytes = sum(column.nbytes for column in catalogue.items.values()) + catalogue.log_q.nbytes
    task = active_retrieval(net.spec)
    if task is None or not task.known_positives:
        return Cost("catalogue on the device", nbytes, f"{catalogue.num_items:,} items")
    # made through int64 keys of every pair
    lists = 8 * 3 * len(catalogue.known_items) + TABLE_BYTES
    how = (
        f"{catalogue.num_items:,} items, {len(catalogue.known_items):,} known pairs x 24 bytes and their bits"
    )
    return Cost("catalogue on the device", nbytes + lists, how)


def _nbytes(shapes: Any) -> int:
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(shapes))
