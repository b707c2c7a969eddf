"""Matrix products in bfloat16: factors rounded, sums not, and only where asked for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from shortlist.models.precision import precision, product


def rounded(x: np.ndarray) -> np.ndarray:
    """To the nearest of 8 significant bits, ties to even: bfloat16 by its definition."""
    bits = x.astype(np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def test_factors_are_rounded_and_sums_are_not() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 300)).astype(np.float32), rng.normal(size=(300, 4)).astype(np.float32)
    with precision("bfloat16"):
        found = jax.jit(product)(a, b)
    exact = rounded(a).astype(np.float64) @ rounded(b).astype(np.float64)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, atol=1e-4)
    assert np.abs(exact - a.astype(np.float64) @ b).max() > 1e-2  # the rounding shows


def test_float32_is_what_it_always_was_and_comes_back() -> None:
    a = np.float32([[1 + 2**-12]])
    with precision("bfloat16"):
        assert float(product(a, a)[0, 0]) == 1.0
    assert float(product(jnp.asarray(a), jnp.asarray(a))[0, 0]) == float(a[0, 0] * a[0, 0])
