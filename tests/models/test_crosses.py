"""Crosses against plain loops; padding and gradients."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.errors import SpecError
from shortlist.models.crosses import CrossLayers, DotInteractions, ResidualAttention

B, L, D, G = 16, 6, 4, 5


def drawn(module: Any) -> Any:
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(0.5 * rng.normal(size=x.shape), jnp.float32), module)


@pytest.mark.parametrize("rank", [None, 2])
def test_cross_layers_compute_what_loops_do(rank: int | None) -> None:
    cross = drawn(CrossLayers(D, 3, np.random.default_rng(0), rank=rank))
    x = np.random.default_rng(1).normal(size=D)
    found = cross(jnp.asarray(x, jnp.float32))
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
    found = layer(jnp.asarray(vectors))
    wanted = [vectors[i] @ vectors[j] for i in range(5) for j in range(i + 1, 5)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert found.shape == (layer.width,) == (10,)


def pasts(seed: int = 1) -> list[np.ndarray]:
    """target, vectors, residuals, valid, gap; some similarities beyond the clip, one past all padding."""
    rng = np.random.default_rng(seed)
    valid = rng.random((B, L)) < 0.6
    valid[0] = False
    target, vectors = 3 * rng.normal(size=(B, D)), rng.normal(size=(B, L, D))
    return [target, vectors, rng.normal(size=(B, L)), valid, rng.integers(0, G, (B, L))]


ATTENTION = drawn(ResidualAttention(L, G))


@eqx.filter_jit
def attend(attention: Any, *given: Any) -> Any:
    def loss(attention: Any, target: Any, vectors: Any, residuals: Any, valid: Any, gap: Any) -> Any:
        found = jax.vmap(attention)(target, vectors, residuals, valid, gap)
        return jnp.sin(found).sum(), found

    grads, found = jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True)(attention, *given)
    return found, grads


def run(given: list[np.ndarray]) -> Any:
    floats = [jnp.asarray(x, jnp.float32) for x in given[:3]]
    found, grads = attend(ATTENTION, *floats, jnp.asarray(given[3]), jnp.asarray(given[4], jnp.int32))
    return np.asarray(found), jax.tree.map(np.asarray, grads)


def test_residual_attention_computes_what_loops_do() -> None:
    given = pasts()
    found, _ = run(given)
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), ATTENTION)
    c = np.log1p(np.exp(exact.c[0]))
    clipped = 0
    for b, (target, vectors, residuals, valid, gap) in enumerate(zip(*given, strict=True)):
        total = weighted = 0.0
        for i in np.flatnonzero(valid):
            log = vectors[i] @ target + exact.gap_weight[gap[i]] + exact.rank_weight[i]
            clipped += abs(log) > 6
            weight = np.exp(min(max(log, -6), 6))
            total, weighted = total + weight, weighted + weight * residuals[i]
        np.testing.assert_allclose(
            found[b], [weighted / (total + c), np.log(1 + total)], rtol=1e-5, atol=1e-5
        )
    assert clipped > 3 and not found[0].any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_padding_of_a_past_never_matters_and_has_finite_gradients(seed: int) -> None:
    given = pasts(seed)
    wanted, _ = run(given)
    valid = given[3]
    given[1][~valid], given[2][~valid], given[4][~valid] = np.nan, np.inf, 10**6
    found, grads = run(given)
    np.testing.assert_array_equal(found, wanted)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert not grads[2][~valid].any() and not grads[3][~valid].any()


def test_residual_attention_shrinks_by_c_and_events_change_places_only_with_their_rank_weight() -> None:
    new = ResidualAttention(L, G, shrinkage=5.0)
    valid, gap = jnp.asarray(np.arange(L) < 3), jnp.zeros(L, jnp.int32)
    call = eqx.filter_jit(new)
    pair = call(jnp.zeros(D), jnp.ones((L, D)), jnp.ones(L), valid, gap)
    np.testing.assert_allclose(pair, [3 / 8, np.log(4)], rtol=1e-6)
    for shrinkage in (1e-3, 0.5, 50.0):
        c = np.log1p(np.exp(np.float64(ResidualAttention(L, G, shrinkage=shrinkage).c)))
        np.testing.assert_allclose(c, shrinkage, rtol=1e-4)
    target, *events = (np.asarray(x[3], x.dtype if x.dtype == bool else np.float32) for x in pasts())
    events[-1] = events[-1].astype(np.int32)
    order = np.random.default_rng(0).permutation(L)
    one, two = call(target, *events), call(target, *(x[order] for x in events))
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(SpecError, match="at least 2 vectors, got 1"):
        DotInteractions(1)
    with pytest.raises(SpecError, match="at least 1, got 0"):
        CrossLayers(D, 1, np.random.default_rng(0), rank=0)
    with pytest.raises(SpecError, match="above 0, got 0"):
        ResidualAttention(L, G, shrinkage=0)
