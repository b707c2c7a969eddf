"""In-batch softmax through the retrieval task: loss and both gradients, as a training step computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import softmax_case
from clock import emit, emit_seconds, seconds_each

from shortlist.specs.tasks import Retrieval
from shortlist.state.seen import Seen
from shortlist.tasks.known import known_positives
from shortlist.tasks.retrieval import distinct, retrieval_loss, takes_whole

TASK = Retrieval(log_q=True, accidental_hits=True, known_positives=True, reduction="sum")
SIZES = (2048, 65_536)


class _Step:
    """The compiled step of a case: finding the batch's distinct items, the loss, its gradients."""

    def __init__(self, case: softmax_case.Case) -> None:
        num_items, batch = len(case.log_q), len(case.rows)
        seen = Seen.from_pairs(case.known_users, case.known_items, case.num_users)
        whole = takes_whole(num_items, batch)
        known = known_positives(seen.indptr, seen.indices, num_items, whole=whole)
        self.given: tuple[Any, ...] = jax.device_put(
            (case.queries, case.table, case.rows, case.users, np.ones(batch, np.float32), case.log_q, known)
        )

        def loss(q: Any, table: Any, rows: Any, users: Any, weights: Any, log_q: Any, known: Any) -> Any:
            columns = distinct(rows, weights > 0, num_items, whole=False)
            vectors = table if len(columns.items) == num_items else table[columns.items]
            return retrieval_loss(
                TASK,
                q,
                vectors,
                columns,
                weights,
                log_q,
                known=known,
                users=users,
                key=jnp.zeros(2, jnp.uint32),
            )

        self.program = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*self.given).compile()

    def __call__(self) -> Any:
        return jax.block_until_ready(self.program(*self.given))

    @property
    def scratch_mib(self) -> float:
        """What the program needs beside its inputs and outputs, as the compiler plans it."""
        return float(self.program.memory_analysis().temp_size_in_bytes / 2**20)


def softmax_catalogue() -> None:
    """MovieLens' own rows."""
    _measured("softmax-catalogue", softmax_case.catalogue)


def softmax_distinct() -> None:
    """8,192 distinct items."""
    _measured("softmax-distinct", softmax_case.distinct)


def softmax_sizes() -> None:
    """Both at other batch sizes: seconds and scratch memory."""
    found = {}
    for name, make in (("catalogue", softmax_case.catalogue), ("distinct", softmax_case.distinct)):
        for batch in SIZES:
            step = _Step(make(batch))
            found[f"{name}, B = {batch}"] = {
                "seconds": float(np.median(seconds_each(step, repeats=3 if batch < 10_000 else 1, warm=1))),
                "scratch_mib": step.scratch_mib,
                "matrix_mib": batch * batch * 4 / 2**20,
            }
    emit("softmax-sizes", 0.0, **found)


def _measured(name: str, make: Callable[..., softmax_case.Case]) -> None:
    small = make(softmax_case.SMALL)
    loss, (d_queries, d_table) = _Step(small)()
    wrong = softmax_case.errors(small, loss, np.asarray(d_queries), np.asarray(d_table))
    step = _Step(make())
    emit_seconds(
        name,
        step,
        repeats=15,
        warm=3,
        scratch_mib=step.scratch_mib,
        relative_errors=wrong,
        loss=float(step()[0]),
    )
