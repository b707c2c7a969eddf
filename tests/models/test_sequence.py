"""History encoders against plain loops; padding, gradients and the dropping of events."""

from __future__ import annotations

from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.errors import SpecError
from shortlist.features.history import GAP_BUCKETS
from shortlist.models.sequence import build_encoder, kept
from shortlist.specs.gaps import GAPS

B, L, D, G = 24, 6, 4, 5
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "weighted": ("weighted", {}),
    "weighted, 3 heads": ("weighted", {"heads": 3}),
    "mean": ("mean", {}),
    "gru": ("gru", {"hidden": 3}),
    "attention": ("attention", {"num_heads": 2}),
    "attention, 2 blocks": ("attention", {"num_blocks": 2}),
    "attention, 2 blocks, all see all": ("attention", {"num_blocks": 2, "num_heads": 2, "causal": False}),
}


@cache
def drawn(name: str) -> Any:
    """An encoder whose every parameter is drawn, those that start at zero too."""
    kind, options = KINDS[name]
    rng = np.random.default_rng(0)
    encoder = build_encoder(kind, L, D, G, seed=0, name="test", **options)
    return jax.tree.map(
        lambda x: jax.device_put(np.asarray(0.5 * rng.normal(size=x.shape), np.float32)), encoder
    )


@cache
def compiled(name: str) -> Any:
    """(vectors [B, L, D], valid, gap) -> results [B, D], gradients of the encoder and of the vectors."""

    def loss(both: Any, valid: Any, gap: Any) -> Any:
        encoder, vectors = both
        results = jax.vmap(encoder)(vectors, valid, gap)
        return jnp.sum(jnp.sin(results + 1)), results

    grad = eqx.filter_jit(eqx.filter_grad(loss, has_aux=True))

    def run(vectors: Any, valid: Any, gap: Any) -> tuple[np.ndarray, Any, np.ndarray]:
        given = (
            jax.device_put(np.asarray(vectors, np.float32)),
            jax.device_put(valid),
            jax.device_put(np.asarray(gap, np.int32)),
        )
        (own, of_vectors), results = grad((drawn(name), given[0]), *given[1:])
        return np.asarray(results), own, np.asarray(of_vectors)

    return run


def examples(seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, valid and gaps; events are dropped anywhere, the first example is all padding."""
    rng = np.random.default_rng(seed)
    valid = rng.random((B, L)) < 0.6
    valid[0], valid[1], valid[2] = False, True, np.arange(L) < 2
    return rng.normal(size=(B, L, D)), valid, rng.integers(0, G, (B, L))


@eqx.filter_jit
def batched(encoder: Any, vectors: Any, valid: Any, gap: Any, noise: Any) -> Any:
    return jax.vmap(lambda *given: encoder(*given[:3], noise=given[3]))(vectors, valid, gap, noise)


def called(encoder: Any, vectors: Any, valid: Any, gap: Any, noise: Any = None) -> np.ndarray:
    given = (
        jax.device_put(np.asarray(vectors, np.float32)),
        jax.device_put(valid),
        jax.device_put(np.asarray(gap, np.int32)),
    )
    return np.asarray(batched(encoder, *given, noise))


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def weighted(e: Any, v: np.ndarray, events: list[int], gap: np.ndarray) -> np.ndarray:
    total = np.zeros(D)
    for h in range(e.rank_weight.shape[0]):
        w = [np.exp(e.rank_weight[h, i] + e.gap_weight[h, gap[i]]) for i in events]
        s = sum(w_i * v[i] for w_i, i in zip(w, events, strict=True)) / np.sqrt(sum(x * x for x in w) + 0.1)
        total = total + (s if h == 0 else s @ e.maps[(h - 1) * D : h * D])
    return total


def mean(e: Any, v: np.ndarray, events: list[int], gap: np.ndarray) -> np.ndarray:
    return sum(v[i] for i in events) / len(events)


def gru(e: Any, v: np.ndarray, events: list[int], gap: np.ndarray) -> np.ndarray:
    (wr, wz, wn), (br, bz, bn) = np.split(e.inputs.weight, 3, axis=1), np.split(e.inputs.bias, 3)
    ur, uz, un = np.split(e.recurrent, 3, axis=1)
    h = np.zeros(len(ur))
    for i in reversed(events):
        x = v[i] + e.gaps[gap[i]]
        r, z = sigmoid(x @ wr + br + h @ ur), sigmoid(x @ wz + bz + h @ uz)
        h = z * h + (1 - z) * np.tanh(x @ wn + bn + r * (h @ un))
    return h @ e.last.weight


def attention(e: Any, v: np.ndarray, events: list[int], gap: np.ndarray) -> np.ndarray:
    x = {i: v[i] + e.ranks[i] + e.gaps[gap[i]] for i in events}
    for block in e.blocks:
        y = {i: normed(x[i], block.norms[0]) for i in events}
        width = D // block.num_heads
        for i in events:
            seen = [j for j in events if j >= i or not e.causal]
            parts = []
            for h in range(block.num_heads):
                at = slice(h * width, (h + 1) * width)
                q = dense(block.query, y[i])[at]
                a = np.exp([q @ (y[j] @ block.key.weight)[at] / np.sqrt(width) for j in seen])
                values = [dense(block.value, y[j])[at] for j in seen]
                parts.append(sum(p * u for p, u in zip(a / a.sum(), values, strict=True)))
            out = x[i] + dense(block.joined, np.concatenate(parts))
            wide = dense(block.wide, normed(out, block.norms[1]))
            gelu = 0.5 * wide * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
            x[i] = out + dense(block.narrow, gelu)
    return x[events[0]]


def normed(x: np.ndarray, norm: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-6) * norm[0] + norm[1]


def dense(layer: Any, x: np.ndarray) -> np.ndarray:
    return x @ layer.weight + layer.bias


LOOPS = {"weighted": weighted, "mean": mean, "gru": gru, "attention": attention}


@pytest.mark.parametrize("name", KINDS)
def test_an_encoder_computes_what_plain_loops_do(name: str) -> None:
    vectors, valid, gap = examples()
    found, *_ = compiled(name)(vectors, valid, gap)
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), drawn(name))
    for b in range(B):
        events = np.flatnonzero(valid[b]).tolist()
        loop = LOOPS[KINDS[name][0]]
        wanted = loop(exact, vectors[b], events, gap[b]) if events else np.zeros(D)
        np.testing.assert_allclose(found[b], wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", KINDS)
def test_padding_gives_zeros_and_finite_gradients_whatever_it_holds(name: str) -> None:
    vectors, valid, gap = examples()
    clean = compiled(name)(vectors, valid, gap)
    vectors[~valid], gap[~valid] = np.nan, 10**6
    found, own, of_vectors = compiled(name)(vectors, valid, gap)
    assert not found[0].any() and np.isfinite(found).all()
    np.testing.assert_array_equal(found, clean[0])
    assert not of_vectors[~valid].any() and np.isfinite(of_vectors).all()
    assert of_vectors[valid].any()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(own))
    nothing = compiled(name)(vectors, np.zeros_like(valid), gap)
    assert not nothing[0].any() and not nothing[2].any()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(nothing[1]))


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_content_of_padding_never_matters(name: str, seed: int) -> None:
    vectors, valid, gap = examples(seed)
    other_vectors, _, other_gap = examples(seed ^ 1)
    run = compiled(name)
    mixed = np.where(valid[..., None], vectors, 1e3 * other_vectors), valid, np.where(valid, gap, other_gap)
    np.testing.assert_array_equal(run(vectors, valid, gap)[0], run(*mixed)[0])


@pytest.mark.parametrize("name", ["mean", "gru"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_where_padding_stands_does_not_matter_without_ranks(name: str, seed: int) -> None:
    vectors, valid, gap = examples(seed)
    order = np.argsort(~valid, axis=1, kind="stable")
    moved = [np.take_along_axis(x, order, axis=1) for x in (valid, gap)]
    packed = np.take_along_axis(vectors, order[..., None], axis=1)
    run = compiled(name)
    np.testing.assert_allclose(run(vectors, valid, gap)[0], run(packed, *moved)[0], atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_mean_ignores_order_and_a_weighted_sum_without_rank_weights_too(seed: int) -> None:
    vectors, valid, gap = examples(seed)
    order = np.random.default_rng(seed).permutation(L)
    shuffled = vectors[:, order], valid[:, order], gap[:, order]
    run = compiled("mean")
    np.testing.assert_allclose(run(vectors, valid, gap)[0], run(*shuffled)[0], atol=1e-6)
    encoder = eqx.tree_at(lambda e: e.rank_weight, drawn("weighted"), jnp.zeros((1, L)))
    one, two = called(encoder, vectors, valid, gap), called(encoder, *shuffled)
    np.testing.assert_allclose(one, two, atol=1e-6)
    moved = run(vectors, valid[:, order], gap)[0]
    assert not np.allclose(run(vectors, valid, gap)[0], moved) or (valid == valid[:, order]).all()


def test_new_encoders_start_as_stated() -> None:
    given = vectors, *_ = [x[1:2] for x in examples()]
    plain = vectors.sum(1) / np.sqrt(L + 0.1)
    for heads in (1, 3):
        encoder = build_encoder("weighted", L, D, G, seed=0, name="x", heads=heads)
        np.testing.assert_allclose(called(encoder, *given), plain, atol=1e-6)
    several = build_encoder("weighted", L, D, G, seed=0, name="x", heads=3)
    first, second = np.asarray(several.rank_weight)[1:]  # type: ignore[attr-defined]
    assert not np.allclose(first, second), "heads that start alike stay alike"
    newest = build_encoder("attention", L, D, G, seed=0, name="x", num_blocks=2)
    np.testing.assert_array_equal(called(newest, *given), vectors[:, 0].astype(np.float32))


@pytest.mark.parametrize("kind", ["weighted", "gru", "attention"])
def test_the_same_seed_and_name_give_the_same_bits(kind: str) -> None:
    options = {"heads": 2} if kind == "weighted" else {}
    made = [build_encoder(kind, L, D, G, seed=3, name=n, **options) for n in ("a", "a", "b")]
    one, same, other = ([np.asarray(x) for x in jax.tree.leaves(m)] for m in made)
    assert all(np.array_equal(x, y) for x, y in zip(one, same, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(one, other, strict=True))


def test_dropout_takes_its_words_and_drops_numbers_of_the_events() -> None:
    num, rate = 4000, 0.25
    vectors = np.broadcast_to(examples()[0][1], (num, L, D))
    given = vectors, np.ones((num, L), bool), np.zeros((num, L))
    words = jax.device_put(np.asarray(np.random.default_rng(0).integers(0, 2**32, (num, 5)), np.uint32))
    new = build_encoder("attention", L, D, G, seed=0, name="x", num_blocks=2, dropout=rate)
    assert new.noise_dim == 5
    found = called(new, *given, words)
    gone = found == 0
    np.testing.assert_allclose(found, np.where(gone, 0, vectors[:, 0] / (1 - rate)), rtol=1e-6)
    assert np.all(np.abs(gone.mean(0) - rate) < 5 * np.sqrt(rate * (1 - rate) / num))
    gru = build_encoder("gru", L, D, G, seed=0, name="x", dropout=rate)
    assert gru.noise_dim == 1 and build_encoder("gru", L, D, G, seed=0, name="x").noise_dim == 0
    one, other, *_ = called(gru, *given, words[:, :1])
    assert not np.allclose(one, other) and not np.allclose(one, called(gru, *given)[0])


def test_events_are_dropped_at_the_rate_independently_and_by_slot_alone() -> None:
    rng, rate = np.random.default_rng(0), 0.2
    words = jax.device_put(np.asarray(rng.integers(0, 2**32, 4000), np.uint32))
    slots = jnp.arange(64, dtype=jnp.int32)
    decide = jax.jit(jax.vmap(lambda word, slots: kept(word, slots, rate), (0, None)))
    dropped = ~np.asarray(decide(words, slots))
    n, spread = len(words), np.sqrt(rate * (1 - rate))
    assert abs(dropped.mean() - rate) < 5 * spread / np.sqrt(dropped.size)
    assert np.all(np.abs(dropped.mean(0) - rate) < 5 * spread / np.sqrt(n))  # each slot
    assert np.all(np.abs(dropped.mean(1) - rate) < 6 * spread / np.sqrt(len(slots)))  # each word
    correlated = np.corrcoef(dropped.T) - np.eye(len(slots))
    assert np.abs(correlated).max() < 5 / np.sqrt(n)
    assert abs(np.corrcoef(dropped[1:].ravel(), dropped[:-1].ravel())[0, 1]) < 5 / np.sqrt(dropped.size)
    near = ~np.asarray(decide(jnp.arange(n, dtype=jnp.uint32), slots))  # words that hardly differ
    assert abs(np.corrcoef(near[1:].ravel(), near[:-1].ravel())[0, 1]) < 5 / np.sqrt(near.size)
    order = rng.permutation(64)
    np.testing.assert_array_equal(~np.asarray(decide(words, slots[order])), dropped[:, order])


def test_the_hash_is_murmur3s_finaliser() -> None:
    """Known outcomes: 0 -> 0 and 1 -> 0x514E28B7. Slot 0 leaves the word as it is."""
    at = 0x514E28B7 / 2**32
    one, zero = jnp.uint32(1), jnp.zeros(1, jnp.int32)
    assert kept(one, zero, at)[0] and not kept(one, zero, at + 2**-31)[0]
    assert kept(one, zero, 0.0)[0] and not kept(jnp.uint32(0), zero, 2**-31)[0]


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("wieghted", {}, "no history encoder"),
        ("weighted", {"head": 2}, "no option 'head'"),
        ("mean", {"heads": 2}, "no option 'heads'"),
        ("weighted", {"heads": 0}, "at least 1, got 0"),
        ("attention", {"num_heads": 3}, "must divide the width 4, got 3"),
        ("attention", {"num_blocks": 0}, "at least 1, got 0"),
        ("gru", {"dropout": 1.0}, r"\[0, 1\), got 1.0"),
    ],
)
def test_what_cannot_be_built_is_refused(kind: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        build_encoder(kind, L, D, G, seed=0, name="x", **options)


def test_gap_boundaries_rise_evenly_in_their_logarithm() -> None:
    assert len(GAPS) + 2 == GAP_BUCKETS and GAPS[0] == 1  # one more for times not known
    steps = np.diff(np.log1p(GAPS))
    assert steps.min() > 0.4 and steps.max() < 0.52  # whole seconds
    assert 2 * 365 * 86_400 < GAPS[-1] < 3 * 365 * 86_400
