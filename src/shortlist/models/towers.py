"""Towers: a side's features, put together, to one vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist.errors import SpecError, did_you_mean
from shortlist.features.history import GAP_BUCKETS
from shortlist.models.bags import Shared, is_spread, listed_sum, shared_sum, spread_sum
from shortlist.models.layers import MLP, Dense, drop, generator, lookup, masked_mean, parameter
from shortlist.models.sequence import build_encoder, kept
from shortlist.specs.features import Bag, FeatureSpec, HasBiases, History, Id, Tags, Text, Vector
from shortlist.specs.features import TableSpec as HasTable
from shortlist.specs.models import Tower


class BuildTower(Protocol):
    """Makes a module of yours: called once with the width of each feature's vector.

    The module is called per example with {feature key: vector [width]} and a key (None when not training),
    and returns a vector [out].
    """

    def __call__(
        self, widths: Mapping[str, int], out: int, *, key: Array, **options: Any
    ) -> Callable[..., Array]: ...


_REGISTERED: dict[str, BuildTower] = {}
_KEY_DIM = 2  # uint32 numbers in a random key


def register_tower(name: str) -> Callable[[BuildTower], BuildTower]:
    """Decorator: make a tower of your own known as `Tower(layer=name)`."""

    def keep(build: BuildTower) -> BuildTower:
        _REGISTERED[name] = build
        return build

    return keep


class TowerLayer(eqx.Module):
    """Built from a `Tower`; `width` is the size of the vector it returns."""

    projections: dict[str, Dense]
    encoders: dict[str, Any]
    mlp: MLP | None
    custom: Callable[..., Array] | None
    spec: Tower = eqx.field(static=True)
    width: int = eqx.field(static=True)
    noise_dim: int = eqx.field(static=True)

    def __init__(self, spec: Tower, side: str, sizes: Mapping[str, int], *, seed: int) -> None:
        self.spec = spec
        widths: dict[str, int] = {}
        projections: dict[str, Dense] = {}
        shared = next(iter(spec.table_dims)) if spec.combine == "sum" else None
        for feature in spec.features:
            size = sizes[f"{side}/{feature.table_name}"]
            width = feature.dim if isinstance(feature, HasTable) else size
            target = feature.dim if isinstance(feature, Vector) else width
            if shared is not None and not isinstance(feature, HasTable):
                target = shared
            if target != width or isinstance(feature, Vector):
                rng = generator(seed, f"{side}/{feature.key}/projection")
                projections[feature.key] = Dense(width, target, rng, use_bias=False)
            widths[feature.key] = target
        self.projections = projections
        self.encoders = {
            f.key: build_encoder(
                f.encoder, f.length, f.dim, GAP_BUCKETS, seed=seed, name=f"{side}/{f.key}", **f.options
            )
            for f in spec.features
            if isinstance(f, History)
        }
        self.mlp, self.custom, self.width = _top(spec, side, widths, seed)
        dropped = sum(f.dim for f in spec.features if isinstance(f, HasTable) and f.dropout)
        inside = sum(encoder.noise_dim for encoder in self.encoders.values())
        own = _KEY_DIM if self.custom is not None else self.mlp.noise_dim if self.mlp is not None else 0
        last = self.width if spec.out_dropout else 0
        self.noise_dim = len(self.words) + dropped + inside + own + last

    @property
    def words(self) -> dict[str, int]:
        """Where the random word stands in an example's noise that decides which events, or whether its id, a
        feature drops."""
        return {f.key: place for place, f in enumerate(filter(drops_whole, self.spec.features))}

    def __call__(
        self, rows: dict[str, Array], encoded: dict[str, Array], *, noise: Array | None = None
    ) -> Array:
        """One example's gathered table rows and encoded features -> vector [width].

        noise: uint32 [noise_dim], random bits for dropout while training.
        """
        parts: dict[str, Array] = {}
        start = len(self.words)
        for feature in self.spec.features:
            word = noise[self.words[feature.key]] if noise is not None and feature.key in self.words else None
            encoder = self.encoders.get(feature.key)
            inside = None
            if encoder is not None and noise is not None:
                inside = noise[start : start + encoder.noise_dim]
                start += encoder.noise_dim
            vector = self._embed(feature, rows.get(feature.key), encoded, word, inside)
            if isinstance(feature, HasTable) and feature.dropout and noise is not None:
                vector = drop(vector, feature.dropout, noise[start : start + feature.dim])
                start += feature.dim
            parts[feature.key] = vector
        rest = None if noise is None else noise[start:]
        last = None if noise is None else noise[self.noise_dim - self.width :]
        return drop(self._joined(parts, rest), self.spec.out_dropout, last)

    def _joined(self, parts: dict[str, Array], rest: Array | None) -> Array:
        """The features' vectors as one."""
        if self.custom is not None:
            return self.custom(parts, key=None if rest is None else jax.random.wrap_key_data(rest[:_KEY_DIM]))
        vectors = list(parts.values())
        x = sum(vectors[1:], vectors[0]) if self.spec.combine == "sum" else jnp.concatenate(vectors)
        if self.mlp is None:
            return x
        y = self.mlp(x, noise=rest)
        return x + y if self.spec.residual else y

    def _embed(
        self,
        feature: FeatureSpec,
        rows: Array | None,
        encoded: dict[str, Array],
        word: Array | None,
        noise: Array | None,
    ) -> Array:
        if isinstance(feature, Bag) and (rows is None or rows.ndim == 1):
            return jnp.zeros(feature.dim) if rows is None else rows  # added later, or summed already
        own = encoded[feature.key]
        if isinstance(feature, HasTable):
            assert rows is not None
            if isinstance(feature, Bag):
                return listed_sum(feature, rows, own, encoded.get(f"{feature.key}@weight"), word)
            if isinstance(feature, History):
                valid = own >= 0
                if word is not None:
                    valid = valid & kept(word, own, feature.event_dropout)
                gap = encoded[f"{feature.key}@gap"]
                vector: Array = self.encoders[feature.key](rows, valid, gap, noise=noise)
                return vector
            return masked_mean(rows, own >= 0) if isinstance(feature, Tags | Text) else rows
        return self.projections[feature.key](own) if feature.key in self.projections else own


def _top(
    spec: Tower, side: str, widths: dict[str, int], seed: int
) -> tuple[MLP | None, Callable[..., Array] | None, int]:
    """What stands on the features' vectors, and the width of its result."""
    if spec.layer:
        if spec.layer not in _REGISTERED:
            raise SpecError(
                f"no tower is registered as {spec.layer!r}",
                hint=did_you_mean(spec.layer, _REGISTERED) or "shortlist.register_tower makes one known",
            )
        assert spec.out is not None
        return None, _own_layer(spec, spec.out, side, widths, seed), spec.out
    joined = next(iter(widths.values())) if spec.combine == "sum" else sum(widths.values())
    if not spec.hidden and spec.out is None:
        return None, None, joined
    rng = generator(seed, f"{side}/mlp")
    out = joined if spec.residual else spec.out
    mlp = MLP(joined, spec.hidden, out, rng, activation=spec.activation, dropout=spec.dropout)
    if spec.residual and mlp.last is not None:  # what is added starts at nothing
        mlp = eqx.tree_at(lambda m: m.last.weight, mlp, parameter(np.zeros(mlp.last.weight.shape)))
    return mlp, None, mlp.width


def _own_layer(spec: Tower, out: int, side: str, widths: dict[str, int], seed: int) -> Callable[..., Array]:
    """The registered module; SpecError where it returns another shape than it should."""
    key = jax.random.fold_in(jax.random.key(seed), 0 if side == "query" else 1)
    layer = _REGISTERED[spec.layer](widths, out, key=key, **spec.options)
    stand_in: Any = jax.ShapeDtypeStruct
    features = {name: stand_in((width,), jnp.float32) for name, width in widths.items()}
    given = eqx.filter_eval_shape(layer, features, key=None)
    shape = getattr(given, "shape", None)
    if shape != (out,):
        found = f"an array of shape {shape}" if shape is not None else f"a {type(given).__name__}"
        raise SpecError(f"the tower {spec.layer!r} returns {found}, expected ({out},), its out=")
    return layer


def drops_whole(feature: FeatureSpec) -> bool:
    """Whether a feature leaves out whole events, or ids, while training."""
    if isinstance(feature, Id):
        return feature.id_dropout > 0
    return isinstance(feature, History | Bag) and feature.event_dropout > 0


Noise = Callable[[FeatureSpec], Array | None]
"""The random words [n] that decide which events, or which rows' ids, a feature drops, while training."""
UNKNOWN = "@unknown"
"""After a feature's key: int [1], where the table's row of unknown ids is, if it is not the first."""


def gather(
    tables: dict[str, Array],
    features: tuple[FeatureSpec, ...],
    side: str,
    encoded: dict[str, Array],
    words: Noise,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """(the rows that encoded features [n, ...] name, by feature key ("key#head" for biases): [n, ..., dim];
    what is left of the encoded). Bags that are given as weights are summed here."""
    rows: dict[str, Array] = {}
    left = dict(encoded)
    for feature in features:
        if isinstance(feature, Bag) and isinstance(encoded.get(feature.key), Shared):
            shared: Any = left.pop(feature.key)
            rows[feature.key] = shared_sum(tables[f"{side}/{feature.table_name}"], shared)
        elif isinstance(feature, Bag) and feature.key in encoded and is_spread(encoded[feature.key]):
            weights, slots = left.pop(feature.key), left.pop(f"{feature.key}@slots", None)
            table = tables[f"{side}/{feature.table_name}"]
            rows[feature.key] = spread_sum(feature, table, weights, slots, words(feature))
        elif isinstance(feature, Id):
            unknown = left.pop(feature.key + UNKNOWN, None)
            left[feature.key] = _dropped(feature, left[feature.key], words(feature), unknown)
    for name, table in tables.items():
        readers = {f.key: left[f.key] for f in features if f.key in left and _reads(f, side, name)}
        own = "".join(name.partition("#")[1:])
        rows |= {f"{key}{own}": found for key, found in _looked_up(table, readers).items()}
    return rows, left


def _dropped(feature: Id, ids: Array, word: Array | None, unknown: Array | None) -> Array:
    """Rows' ids [n], some of which become the unknown one: that of ids which training never saw."""
    if word is None or not feature.id_dropout:
        return ids
    dropped = (word < jnp.uint32(feature.id_dropout * 2**32)) & (ids >= 0)
    return jnp.where(dropped, 0 if unknown is None else unknown, ids)


def _reads(feature: FeatureSpec, side: str, table: str) -> bool:
    name, _, bias = table.partition("#")
    kind = HasBiases if bias else HasTable
    return isinstance(feature, kind) and name == f"{side}/{feature.table_name}"


def _looked_up(table: Array, readers: dict[str, Array]) -> dict[str, Array]:
    """Rows of one table for each of its readers. One look-up for all: its gradient is one sum over all ids,
    where one a reader would each fill a table, and round as the compiler puts them together."""
    if len(readers) < 2:
        return {key: lookup(table, ids) for key, ids in readers.items()}
    columns = [ids if ids.ndim > 1 else ids[:, None] for ids in readers.values()]
    found = lookup(table, jnp.concatenate(columns, axis=1))
    ends = np.cumsum([ids.shape[1] for ids in columns])
    parts = jnp.split(found, ends[:-1], axis=1)
    return {
        key: part if ids.ndim > 1 else part[:, 0]
        for (key, ids), part in zip(readers.items(), parts, strict=True)
    }
