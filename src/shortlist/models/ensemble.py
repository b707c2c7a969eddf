"""Models that differ in their seeds alone, as one: its scores and predictions are the means of theirs.

While they are trained, members are one `Net` and tables whose arrays have a first axis [K]: `jax.vmap` goes
over it. Trained, they are an `Ensemble`, whose tables stand side by side under names of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist.errors import TrainingError
from shortlist.models import build
from shortlist.models.build import Net, Tables
from shortlist.models.heads import HeadLayer
from shortlist.specs.models import Model


class Ensemble(eqx.Module):
    """Several nets of one spec, with the interface of a trained `Net`.

    A representation is the members' own, one after the other, and so is a vector: the query's is divided by
    the number of members, so that inner products with items' are the mean of the members' scores. Their
    tables are named "side/member/name".
    """

    members: tuple[Net, ...]

    @property
    def spec(self) -> Model:
        return self.members[0].spec

    @property
    def heads(self) -> dict[str, HeadLayer]:
        """The first member's: all are alike in form."""
        return self.members[0].heads

    @property
    def seen(self) -> Array | None:
        """What retrieval adds to the score of items the user had before."""
        learned = [m.seen for m in self.members if m.seen is not None]
        return jnp.mean(jnp.stack(learned)) if learned else None

    def width(self, side: str) -> int:
        """Numbers of a side's representation."""
        return sum(m.width(side) for m in self.members)

    def represent(self, tables: Tables, side: str, encoded: dict[str, Array]) -> Array:
        """n encoded rows of a side -> representations [n, r]."""
        parts = []
        for k, net in enumerate(self.members):
            start = f"{side}/{k}/"
            own = {f"{side}/{n.removeprefix(start)}": x for n, x in tables.items() if n.startswith(start)}
            parts.append(build.represent(net, own, side, encoded))
        return jnp.concatenate(parts, axis=1)

    def query_vector(self, representation: Array) -> Array:
        """Query representation [r] -> vector [K d]."""
        parts = self._parts("query", representation)
        vectors = [m.query_vector(r) for m, r in zip(self.members, parts, strict=True)]
        return jnp.concatenate(vectors) / len(self.members)

    def candidate_vector(self, representation: Array) -> Array:
        """Candidate representation [r] -> item vector [K d]."""
        parts = self._parts("candidate", representation)
        return jnp.concatenate([m.candidate_vector(r) for m, r in zip(self.members, parts, strict=True)])

    def predict(
        self, query: Array, candidate: Array, aggregates: dict[str, Array] | None = None
    ) -> dict[str, Array]:
        """Representations [r] of a pair, and of each head that has aggregates [F] -> one number a head."""
        pairs = zip(self._parts("query", query), self._parts("candidate", candidate), strict=True)
        found = [m.predict(q, c, aggregates) for m, (q, c) in zip(self.members, pairs, strict=True)]
        return {name: jnp.stack([f[name] for f in found]).mean() for name in self.heads}

    def predict_lists(
        self, query: Array, candidate: Array, rows: Array, aggregates: dict[str, Array] | None = None
    ) -> dict[str, Array]:
        """What `predict` says of k candidates of each of b queries; see `Net.predict_lists`."""
        pairs = zip(self._parts("query", query), self._parts("candidate", candidate), strict=True)
        found = [
            m.predict_lists(q, c, rows, aggregates) for m, (q, c) in zip(self.members, pairs, strict=True)
        ]
        return {name: jnp.stack([f[name] for f in found]).mean(0) for name in self.heads}

    def _parts(self, side: str, representation: Array) -> list[Array]:
        return jnp.split(representation, len(self.members), axis=-1)


Trained: TypeAlias = Net | Ensemble


def represent(net: Trained, tables: Tables, side: str, encoded: dict[str, Array]) -> Array:
    """n encoded rows of a side -> representations [n, r]."""
    if isinstance(net, Ensemble):
        return net.represent(tables, side, encoded)
    return build.represent(net, tables, side, encoded)


def stacked(make: Callable[[int], tuple[Net, Tables]], seeds: tuple[int, ...]) -> tuple[Net, Tables]:
    """What `make` makes of each seed, array by array with a first axis [K]; of a single seed as it is.

    Raises TrainingError where members differ in more than arrays: a module of one's own may hold numbers
    that depend on its key.
    """
    if len(seeds) == 1:
        return make(seeds[0])
    arrays: list[np.ndarray] = []
    first: Any = None
    for k, seed in enumerate(seeds):
        own, rest = eqx.partition(make(seed), eqx.is_array)
        leaves, form = jax.tree.flatten(own)
        alike = form, [x.shape for x in leaves], _settings(rest)
        if k == 0:
            first, kept = alike, rest
            arrays = [np.empty((len(seeds), *x.shape), x.dtype) for x in leaves]
        if alike != first:
            raise TrainingError(
                f"members of an ensemble may differ in arrays alone; those of seeds {seeds[0]} and {seed}"
                " differ in more",
                hint="hold what depends on the key as a jax.Array, or train with members=1",
            )
        for array, x in zip(arrays, leaves, strict=True):
            array[k] = x
    params: tuple[Net, Tables] = eqx.combine(jax.tree.unflatten(form, jax.device_put(arrays)), kept)
    return params


def _settings(rest: Any) -> list[Any]:
    """What is neither an array of JAX nor a function."""
    leaves = [x for x in jax.tree.leaves(rest) if not callable(x)]
    return [x.tolist() if isinstance(x, np.ndarray) else x for x in leaves]


def unstacked(net: Net, tables: Tables, count: int) -> tuple[Trained, Tables]:
    """Trained members as an Ensemble, with arrays of its own; a single one as it is."""
    if count == 1:
        return net, tables
    params = [_member((net, tables), k) for k in range(count)]
    named = {
        name.replace("/", f"/{k}/", 1): table
        for k, (_, own) in enumerate(params)
        for name, table in own.items()
    }
    return Ensemble(tuple(own for own, _ in params)), named


def restacked(net: Trained, tables: Tables) -> tuple[Net, Tables]:
    """The inverse of `unstacked`, with arrays of its own; a single model as it is."""
    if isinstance(net, Net):
        return net, tables
    members = []
    for k, member in enumerate(net.members):
        names = [n for n in tables if n.split("/", 2)[1] == str(k)]
        members.append((member, {n.replace(f"/{k}/", "/", 1): tables[n] for n in names}))
    arrays = [eqx.filter(own, eqx.is_array) for own in members]
    both = jax.tree.map(lambda *xs: jax.device_put(np.stack([np.asarray(x) for x in xs])), *arrays)
    params: tuple[Net, Tables] = eqx.combine(both, eqx.filter(members[0], eqx.is_array, inverse=True))
    return params


def _member(params: Any, k: int) -> Any:
    return jax.tree.map(lambda x: jax.device_put(np.asarray(x)[k]) if eqx.is_array(x) else x, params)
