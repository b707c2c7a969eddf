"""Crosses against plain loops."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from shortlist.errors import SpecError
from shortlist.models.crosses import CrossLayers, DotInteractions

D = 4


def drawn(module: Any) -> Any:
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: jax.device_put(np.asarray(0.5 * rng.normal(size=x.shape), np.float32)), module
    )


@pytest.mark.parametrize("rank", [None, 2])
def test_cross_layers_compute_what_loops_do(rank: int | None) -> None:
    cross = drawn(CrossLayers(D, 3, np.random.default_rng(0), rank=rank))
    x = np.random.default_rng(1).normal(size=D)
    found = cross(jax.device_put(np.asarray(x, np.float32)))
    wanted = x
    for factors in cross.layers:
        weight = np.linalg.multi_dot([*(np.asarray(f.weight, np.float64) for f in factors), np.eye(D)])
        y = [sum(weight[j, i] * wanted[j] for j in range(D)) + factors[-1].bias[i] for i in range(D)]
        wanted = np.array([x[i] * y[i] + wanted[i] for i in range(D)])
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert cross.width == D and len(cross.layers) == 3
    sizes = {w.size for w in jax.tree.leaves(cross) if w.ndim == 2}
    assert sizes == ({D * D} if rank is None else {D * rank})


def test_dot_interactions_are_the_upper_triangle_of_all_inner_products() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, D)).astype(np.float32)
    layer = DotInteractions(5)
    found = layer(jax.device_put(vectors))
    wanted = [vectors[i] @ vectors[j] for i in range(5) for j in range(i + 1, 5)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert found.shape == (layer.width,) == (10,)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(SpecError, match="at least 2 vectors, got 1"):
        DotInteractions(1)
    with pytest.raises(SpecError, match="at least 1, got 0"):
        CrossLayers(D, 1, np.random.default_rng(0), rank=0)
