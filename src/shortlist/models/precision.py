"""Precision of matrix products, chosen while a program is traced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax.numpy as jnp
from jax import Array

_FORM: ContextVar[str] = ContextVar("precision", default="float32")


@contextmanager
def precision(form: str) -> Iterator[None]:
    """Trace matrix products inside with factors of this type: "float32" or "bfloat16"."""
    token = _FORM.set(form)
    try:
        yield
    finally:
        _FORM.reset(token)


def product(a: Array, b: Array) -> Array:
    """a @ b in float32; with "bfloat16" both factors are rounded to it first and their products summed in
    float32, as matrix units of accelerators do."""
    if _FORM.get() == "float32":
        return a @ b
    return jnp.matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)
