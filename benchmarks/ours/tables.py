"""Embedding tables: the update of touched rows alone, at every size, and the choice of its form.

8,192 distinct rows of 64 numbers a step; ids and gradients are given, and a step finds the distinct rows,
brings the accumulator up to date and changes the table, as `training.steps` does.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clock import emit

from shortlist.specs.training import Adagrad, Adam, Training
from shortlist.training.optimizers import rule_of
from shortlist.training.pages import use_huge_pages
from shortlist.training.tables import Group, distinct_rows, update_rows

BATCH, DIM, STEPS = 8192, 64, 20
SIZES = (100_000, 1_000_000, 10_000_000)
CHOICES = (4096, 16_384, 32_768, 65_536, 131_072, 262_144, 1_048_576)
RULES = {"adagrad": Adagrad(0.1), "adam": Adam(0.1)}


def _group(num_rows: int) -> Group:
    return Group(("table",), (("query", "id"),), num_rows, BATCH)


@partial(jax.jit, static_argnames=("rows", "kind"), donate_argnums=0)
def _sparse(carry: Any, given: Any, *, rows: int, kind: str) -> Any:
    group, rule = _group(rows), rule_of(RULES[kind])

    def step(carry: Any, now: Any) -> Any:
        table, state, scratch, count = carry
        owner, _, scratch = distinct_rows(now[0], rows, scratch)
        tables, states = update_rows(
            group,
            rule,
            {"table": table},
            {"table": state},
            owner,
            {"table": now[1]},
            jnp.float32(0.1),
            count + 1,
        )
        return (tables["table"], states["table"], scratch, count + 1), None

    return jax.lax.scan(step, carry, given)[0]


@partial(jax.jit, static_argnames=("rows", "kind"), donate_argnums=0)
def _dense(carry: Any, given: Any, *, rows: int, kind: str) -> Any:
    rule = rule_of(RULES[kind])

    def step(carry: Any, now: Any) -> Any:
        table, state, scratch, count = carry
        gradient = jnp.zeros_like(table).at[now[0]].add(now[1])
        change, state = rule.change(gradient, state, jnp.float32(0.1), count + 1)
        return (table + change, state, scratch, count + 1), None

    return jax.lax.scan(step, carry, given)[0]


def _case(rows: int, kind: str = "adagrad") -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    ids = [rng.choice(rows, BATCH, replace=rows < BATCH) for _ in range(STEPS)]
    gradients = rng.standard_normal((STEPS, BATCH, DIM), np.float32)
    table = jax.jit(lambda: jnp.zeros((rows, DIM)))()
    state = tuple(jnp.full((rows, DIM), value) for value in rule_of(RULES[kind]).start)
    use_huge_pages((table, *state))
    carry = (table, state, jnp.zeros(rows, jnp.int32), jnp.int32(0))
    return carry, (jnp.asarray(np.stack(ids), jnp.int32), jnp.asarray(gradients))


def _seconds(run: Any, rows: int, kind: str = "adagrad", repeats: int = 7) -> float:
    """Median seconds a step."""
    carry, given = _case(rows, kind)
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        carry = jax.block_until_ready(run(carry, given, rows=rows, kind=kind))
        found.append((time.perf_counter() - start) / STEPS)
    return statistics.median(found[1:])


def tables() -> None:
    """Row-sparse Adagrad at every size; the value is that of the largest."""
    found = {rows: _seconds(_sparse, rows) for rows in SIZES}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
    sizes = {f"{rows:,} rows": seconds * 1e3 for rows, seconds in found.items()}
    held = 2 * SIZES[-1] * DIM * 4 / 2**20
    emit("tables", found[SIZES[-1]], ms=sizes, peak_mib=round(peak), table_and_accumulator_mib=round(held))
    emit("tables-growth", found[SIZES[-1]] / found[SIZES[0]], ms=sizes)


def tables_choice() -> None:
    """What the automatic choice costs where it is worst against the better form, of both rules."""
    worst, detail = 0.0, {}
    value: dict[str, float] = {}
    for kind in RULES:
        for rows in CHOICES:
            both = {"dense": _seconds(_dense, rows, kind), "sparse": _seconds(_sparse, rows, kind)}
            chosen = both["sparse" if _group(rows).sparse(Training(optimizer=RULES[kind])) else "dense"]
            detail[f"{kind}, {rows:,} rows"] = {k: round(v * 1e3, 3) for k, v in both.items()}
            if chosen / min(both.values()) > worst:
                worst = chosen / min(both.values())
                value = {"tables-choice": chosen, "tables-better": min(both.values())}
    for name, seconds in value.items():
        emit(name, seconds, ms=detail, worst_of_chosen_over_better=round(worst, 3))
