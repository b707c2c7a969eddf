"""Embedding tables: the update of touched rows alone, at every size, and the choice of its form.

8,192 distinct rows of 64 numbers a step; ids and gradients are given, and a step finds the distinct rows,
brings the accumulator up to date and changes the table, as `training.steps` does.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clock import emit

from shortlist.specs.training import Adagrad, Adam, Training
from shortlist.training.optimizers import rule_of
from shortlist.training.pages import use_huge_pages
from shortlist.training.tables import Group, distinct_rows, update_rows

BATCH, DIM, STEPS = 8192, 64, 10
SIZES = (100_000, 10_000_000)
CHOICES = (8192, 16_384, 32_768, 65_536, 131_072)
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


def _seconds(run: Any, rows: int, kind: str = "adagrad", repeats: int = 5) -> float:
    """Median seconds a step."""
    carry, given = _case(rows, kind)
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        carry = jax.block_until_ready(run(carry, given, rows=rows, kind=kind))
        found.append((time.perf_counter() - start) / STEPS)
    return statistics.median(found[1:])


@cache
def _growth() -> dict[int, float]:
    return {rows: _seconds(_sparse, rows) for rows in SIZES}


def tables() -> None:
    """Row-sparse Adagrad at the largest size, and the memory of the process against what it has to hold."""
    found = _growth()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
    held = 2 * SIZES[-1] * DIM * 4 / 2**20
    emit("tables", found[SIZES[-1]], peak_mib=round(peak), table_and_accumulator_mib=round(held))


def tables_growth() -> None:
    """How much longer the largest size takes than the smallest."""
    found = _growth()
    sizes = {f"{rows:,} rows": round(seconds * 1e3, 3) for rows, seconds in found.items()}
    emit("tables-growth", found[SIZES[-1]] / found[SIZES[0]], ms=sizes)


@cache
def _choices() -> dict[str, dict[str, float]]:
    """Seconds of both forms and of the automatic choice, by rule and size."""
    found = {}
    for kind, spec in RULES.items():
        for rows in CHOICES:
            both = _in_turn(rows, kind)
            form = "sparse" if _group(rows).sparse(Training(optimizer=spec)) else "dense"
            found[f"{kind}, {rows:,} rows"] = both | {"chosen": both[form], "better": min(both.values())}
    return found


def _in_turn(rows: int, kind: str, repeats: int = 9) -> dict[str, float]:
    """Least seconds a step of both forms, run in turn: two figures are compared, and noise only adds."""
    runs = {"dense": _dense, "sparse": _sparse}
    carries = {form: _case(rows, kind) for form in runs}
    found: dict[str, list[float]] = {form: [] for form in runs}
    for _ in range(repeats + 1):
        for form, run in runs.items():
            carry, given = carries[form]
            start = time.perf_counter()
            carries[form] = jax.block_until_ready(run(carry, given, rows=rows, kind=kind)), given
            found[form].append((time.perf_counter() - start) / STEPS)
    return {form: min(seconds[1:]) for form, seconds in found.items()}


def _worst() -> dict[str, float]:
    return max(_choices().values(), key=lambda one: one["chosen"] / one["better"])


def tables_choice() -> None:
    """What the automatic choice costs where it is worst against the better form, of both rules."""
    ms = {name: {k: round(v * 1e3, 3) for k, v in one.items()} for name, one in _choices().items()}
    emit("tables-choice", _worst()["chosen"], ms=ms)


def tables_better() -> None:
    """What the better form costs there."""
    emit("tables-better", _worst()["better"])
