"""History encoders: a user's events, the most recent first, to one vector.

All are called per example as `encoder(vectors [L, d], valid bool [L], gap int32 [L], *, noise=None) -> [d]`.
Position 0 is the most recent event; where `valid` is False is padding, whose content never matters, and an
example that is all padding gives zeros. `gap` is the bucket of the time between query and event (specs/gaps).
`noise`, uint32 [noise_dim], is the randomness of training.
"""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist.errors import SpecError, did_you_mean
from shortlist.models.layers import Dense, generator, lookup, masked_mean, parameter
from shortlist.models.precision import product


class Encoder(Protocol):
    """What `build_encoder` returns. noise_dim: random words a call takes while training."""

    noise_dim: int

    def __call__(self, vectors: Array, valid: Array, gap: Array, *, noise: Array | None = None) -> Array: ...


class WeightedSum(eqx.Module):
    """sum_l w_l v_l / sqrt(sum_l w_l^2 + 0.1), w_l = exp(rank_weight[l] + gap_weight[gap_l]) of valid events.

    With several heads each weighs the same vectors in its own way; all but the first pass through a linear
    map of their own, and the results are added. Starts as equal weights of the first head alone: the maps
    are zero, and the other heads' weights differ a little, or they would stay equal for ever.
    """

    rank_weight: Array
    gap_weight: Array
    maps: Array | None
    noise_dim: int = eqx.field(static=True)

    def __init__(self, length: int, dim: int, num_gaps: int, *, seed: int, name: str, heads: int = 1) -> None:
        if heads < 1:
            raise SpecError(f"a weighted history needs heads of at least 1, got {heads}")
        start = 0.1 * generator(seed, name).normal(size=(heads, length))
        start[0] = 0.0
        self.rank_weight, self.gap_weight = parameter(start), parameter(np.zeros((heads, num_gaps)))
        self.maps = parameter(np.zeros(((heads - 1) * dim, dim))) if heads > 1 else None
        self.noise_dim = 0

    def __call__(self, vectors: Array, valid: Array, gap: Array, *, noise: Array | None = None) -> Array:
        logs = self.rank_weight + lookup(self.gap_weight.T, gap).T
        weights = jnp.where(valid, jnp.exp(logs), 0.0)
        present = jnp.where(valid[:, None], vectors, 0.0)
        scaled = product(weights, present) * jax.lax.rsqrt((weights * weights).sum(1, keepdims=True) + 0.1)
        return scaled[0] if self.maps is None else scaled[0] + product(scaled[1:].reshape(-1), self.maps)


class Mean(eqx.Module):
    """The plain mean of the valid events."""

    noise_dim: int = eqx.field(static=True)

    def __init__(self, length: int, dim: int, num_gaps: int, *, seed: int, name: str) -> None:
        self.noise_dim = 0

    def __call__(self, vectors: Array, valid: Array, gap: Array, *, noise: Array | None = None) -> Array:
        return masked_mean(vectors, valid)


class GRU(eqx.Module):
    """A gated recurrent unit from the oldest event to the newest (Cho et al., EMNLP 2014; here the reset gate
    acts after the product); gap embeddings are added to the events. The result is a linear map of the last
    state.

    hidden: width of the state, `dim` where not given. dropout: of the events' numbers, while training.
    """

    gaps: Array
    inputs: Dense
    recurrent: Array
    last: Dense
    dropout: float = eqx.field(static=True)
    noise_dim: int = eqx.field(static=True)

    def __init__(
        self,
        length: int,
        dim: int,
        num_gaps: int,
        *,
        seed: int,
        name: str,
        hidden: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        rng, width = generator(seed, name), dim if hidden is None else hidden
        self.gaps = parameter(np.zeros((num_gaps, dim)))
        self.inputs = Dense(dim, 3 * width, rng)
        orthogonal = [np.linalg.qr(rng.normal(size=(width, width)))[0] for _ in range(3)]
        self.recurrent = parameter(np.hstack(orthogonal))
        self.last = Dense(width, dim, rng, use_bias=False)
        self.dropout, self.noise_dim = _rate(dropout), 1 if dropout else 0

    def __call__(self, vectors: Array, valid: Array, gap: Array, *, noise: Array | None = None) -> Array:
        x = jnp.where(valid[:, None], vectors, 0.0) + lookup(self.gaps, gap)
        gates = self.inputs(_dropped(x, self.dropout, noise, 0))
        width = self.last.weight.shape[0]

        def step(state: Array, event: tuple[Array, Array]) -> tuple[Array, None]:
            x, present = event
            h = product(state, self.recurrent)
            reset, update = jnp.split(jax.nn.sigmoid(x[: 2 * width] + h[: 2 * width]), 2)
            new = jnp.tanh(x[2 * width :] + reset * h[2 * width :])
            return jnp.where(present, update * state + (1 - update) * new, state), None

        state, _ = jax.lax.scan(step, jnp.zeros(width), (gates, valid), reverse=True)
        return self.last(state)


class Block(eqx.Module):
    """A pre-norm transformer block: attention of some positions to all, then a feed-forward layer of four
    times the width, each added to its input. Their last maps start at zero: a new block is the identity."""

    norms: tuple[Array, Array]
    query: Dense
    key: Dense
    value: Dense
    joined: Dense
    wide: Dense
    narrow: Dense
    num_heads: int = eqx.field(static=True)
    dropout: float = eqx.field(static=True)

    def __init__(self, dim: int, num_heads: int, dropout: float, rng: np.random.Generator) -> None:
        unit = np.stack([np.ones(dim), np.zeros(dim)])
        self.norms = (parameter(unit), parameter(unit))
        self.query, self.value = Dense(dim, dim, rng), Dense(dim, dim, rng)
        self.key = Dense(dim, dim, rng, use_bias=False)  # a bias would add the same to all of a softmax
        self.joined, self.narrow = _zeroed(Dense(dim, dim, rng)), _zeroed(Dense(4 * dim, dim, rng))
        self.wide = Dense(dim, 4 * dim, rng)
        self.num_heads, self.dropout = num_heads, dropout

    def __call__(self, x: Array, own: Array, mask: Array, noise: Array | None) -> Array:
        """Events x [L, d], those to be computed own [Q, d], mask [Q, L] of what each may see -> [Q, d]."""
        own = own + _dropped(self._attend(x, own, mask), self.dropout, noise, 0)
        fed = self.narrow(jax.nn.gelu(self.wide(_normed(own, self.norms[1]))))
        return own + _dropped(fed, self.dropout, noise, 1)

    def _attend(self, x: Array, own: Array, mask: Array) -> Array:
        events = _normed(x, self.norms[0])
        query = self._heads(self.query(_normed(own, self.norms[0])))
        if own.shape[0] == 1:
            return self.joined(self._read(query, events, mask).reshape(own.shape))
        key, value = self._heads(self.key(events)), self._heads(self.value(events))
        weights = _weights(product(query, key.transpose(0, 2, 1)), mask, query.shape[-1])
        return self.joined(product(weights, value).transpose(1, 0, 2).reshape(own.shape))

    def _read(self, query: Array, events: Array, mask: Array) -> Array:
        """Heads' means for one position, query [num_heads, 1, c] -> [d]. By linearity the query passes
        through the keys' map and the mean through the values', where else every event would pass both."""
        key, value = (dense.weight.reshape(-1, *query.shape[::2]) for dense in (self.key, self.value))
        asked = product(query, key.transpose(1, 2, 0))[:, 0]
        means = product(_weights(product(asked, events.T), mask, query.shape[-1]), events)
        found = product(means[:, None], value.transpose(1, 0, 2)).reshape(-1)
        assert self.value.bias is not None
        return found + self.value.bias

    def _heads(self, x: Array) -> Array:
        """[n, d] -> [num_heads, n, d / num_heads]."""
        return x.reshape(x.shape[0], self.num_heads, -1).transpose(1, 0, 2)


class SelfAttention(eqx.Module):
    """Self-attention blocks over the events with learned embeddings of rank and gap added (SASRec: Kang and
    McAuley, ICDM 2018; here pre-norm, as Xiong et al., ICML 2020). Each event sees itself and earlier ones,
    with `causal=False` all. The result is the vector of the most recent valid event; the last block computes
    no other. A new encoder gives that event's vector as it is.
    """

    ranks: Array
    gaps: Array
    blocks: tuple[Block, ...]
    causal: bool = eqx.field(static=True)
    dropout: float = eqx.field(static=True)
    noise_dim: int = eqx.field(static=True)

    def __init__(
        self,
        length: int,
        dim: int,
        num_gaps: int,
        *,
        seed: int,
        name: str,
        num_blocks: int = 1,
        num_heads: int = 1,
        dropout: float = 0.0,
        causal: bool = True,
    ) -> None:
        if num_heads < 1 or dim % num_heads:
            raise SpecError(f"attention's num_heads must divide the width {dim}, got {num_heads}")
        if num_blocks < 1:
            raise SpecError(f"attention needs num_blocks of at least 1, got {num_blocks}")
        rng = generator(seed, name)
        self.ranks, self.gaps = parameter(np.zeros((length, dim))), parameter(np.zeros((num_gaps, dim)))
        self.blocks = tuple(Block(dim, num_heads, _rate(dropout), rng) for _ in range(num_blocks))
        self.causal, self.dropout = causal, dropout
        self.noise_dim = 1 + 2 * num_blocks if dropout else 0

    def __call__(self, vectors: Array, valid: Array, gap: Array, *, noise: Array | None = None) -> Array:
        x = jnp.where(valid[:, None], vectors, 0.0) + self.ranks + lookup(self.gaps, gap)
        x = _dropped(x, self.dropout, noise, 0)
        rank = np.arange(valid.shape[0])
        mask = valid & (rank[:, None] <= rank) if self.causal else jnp.broadcast_to(valid, (rank.size,) * 2)
        words = [None if noise is None else noise[2 * i + 1 : 2 * i + 3] for i in range(len(self.blocks))]
        for block, own in zip(self.blocks[:-1], words[:-1], strict=True):
            x = block(x, x, mask, own)
        newest = jnp.where(valid, rank, rank.size).min()
        reader = jnp.where((rank == newest)[:, None], x, 0.0).sum(0, keepdims=True)
        # The newest event sees every valid one: none is more recent.
        read = self.blocks[-1](x, reader, valid[None], words[-1])[0]
        return jnp.where(valid.any(), read, 0.0)


ENCODERS: dict[str, type[eqx.Module]] = {
    "weighted": WeightedSum,
    "mean": Mean,
    "gru": GRU,
    "attention": SelfAttention,
}


def build_encoder(
    kind: str, length: int, dim: int, num_gaps: int, *, seed: int, name: str, **options: Any
) -> Encoder:
    """The encoder of this kind for `length` events of width `dim`; `name` names its random numbers.

    Raises SpecError for an unknown kind or option.
    """
    if kind not in ENCODERS:
        hint = did_you_mean(kind, ENCODERS) or f"there are {', '.join(ENCODERS)}"
        raise SpecError(f"no history encoder is called {kind!r}", hint=hint)
    given = inspect.signature(ENCODERS[kind].__init__).parameters
    known = [option for option, p in given.items() if p.default is not inspect.Parameter.empty]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) or f"its options: {', '.join(known) or 'none'}"
            raise SpecError(f"the history encoder {kind!r} has no option {option!r}", hint=hint)
    built: Any = ENCODERS[kind](length, dim, num_gaps, seed=seed, name=name, **options)
    encoder: Encoder = built
    return encoder


def kept(noise_word: Array, slots: Array, rate: float) -> Array:
    """Which events to keep when whole events are dropped while training: slots int32 [L] -> bool [L].

    noise_word: one uint32 an example, fresh every step. The decision is a hash of the word and of the slot
    alone, so all lists and bags of an example that share the word drop the same items, wherever they stand in
    them, and no more than one random number is drawn. Each slot is dropped with probability `rate`,
    independently of other slots and of other words.
    """
    bits = _mixed(noise_word ^ _mixed(slots.astype(jnp.uint32)))
    keep: Array = bits >= jnp.uint32(_rate(rate) * 2**32)
    return keep


def _mixed(x: Array) -> Array:
    """The finaliser of MurmurHash3 (Appleby, 2011): a bijection of uint32 whose outcome looks random."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _dropped(x: Array, rate: float, noise: Array | None, at: int) -> Array:
    """Dropout of x by the random word noise[at]: the bits for its numbers are hashes of the word."""
    if noise is None or rate == 0:
        return x
    keep = kept(noise[at], jnp.arange(x.size, dtype=jnp.int32).reshape(x.shape), rate)
    return jnp.where(keep, x / (1 - rate), 0.0)


def _rate(dropout: float) -> float:
    if not 0 <= dropout < 1:
        raise SpecError(f"a dropout rate must lie in [0, 1), got {dropout}")
    return dropout


def _weights(logits: Array, mask: Array, width: int) -> Array:
    """Softmax of logits / sqrt(width) over the events that mask allows. Masked ones are finite, so that where
    nothing is allowed there is no NaN; what stands there is never read."""
    return jax.nn.softmax(jnp.where(mask, logits / np.float32(np.sqrt(width)), -1e9), axis=-1)


def _normed(x: Array, norm: Array) -> Array:
    """Layer normalisation of x [n, d] (Ba et al., 2016); norm [2, d]: scale and shift."""
    centred = x - x.mean(1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(1, keepdims=True) + 1e-6) * norm[0] + norm[1]


def _zeroed(dense: Dense) -> Dense:
    zeros = parameter(np.zeros(dense.weight.shape))
    made: Dense = eqx.tree_at(lambda d: d.weight, dense, zeros)
    return made
