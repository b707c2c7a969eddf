"""From a model's spec and the encoder's sizes to tables and modules, and what they compute together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist.errors import SpecError
from shortlist.models.heads import HeadLayer, Projected
from shortlist.models.layers import generator, masked_mean, normalize, parameter
from shortlist.models.lists import score_lists
from shortlist.models.towers import TowerLayer, gather
from shortlist.specs.features import FeatureSpec, TableSpec
from shortlist.specs.models import Model, Tower

Tables = dict[str, Array]


class Net(eqx.Module):
    """Everything but the tables.

    A side's *representation* of a row is its tower's vector, one summed bias for each head that has biases
    (and, for candidates, one for retrieval with `item_bias`), and the vector of each head's own features: all
    that heads and retrieval need to know of that side, so each side is computed once however many pairs it
    appears in.

    own: the towers of heads' own features, by "head/side". seen: what retrieval adds to the score of items
    the user had before; log_temperature: the logarithm of what it divides scores by, beside the task's own.
    """

    query: TowerLayer
    candidate: TowerLayer
    own: dict[str, TowerLayer]
    heads: dict[str, HeadLayer]
    seen: Array | None
    log_temperature: Array | None
    spec: Model = eqx.field(static=True)

    def represent(
        self, side: str, rows: dict[str, Array], encoded: dict[str, Array], *, noise: Array | None = None
    ) -> Array:
        """One example of a side -> representation [r]."""
        start, vectors = 0, []
        for tower in self.towers(side):
            part = None if noise is None else noise[start : start + tower.noise_dim]
            vectors.append(tower(rows, encoded, noise=part))
            start += tower.noise_dim
        biases = [
            sum(
                (_bias(rows, encoded, name) for name in rows if name.endswith(f"#{slot}")),
                start=jnp.zeros(()),
            )
            for slot in bias_slots(self.spec, side)
        ]
        summed = [jnp.stack(biases)] if biases else []
        return jnp.concatenate([vectors[0], *summed, *vectors[1:]])

    def towers(self, side: str) -> list[TowerLayer]:
        """The side's tower, then those of heads, in order."""
        own = [self.own[f"{h.name}/{side}"] for h in self.spec.heads if h.own[side]]
        return [self.query if side == "query" else self.candidate, *own]

    def words(self, side: str, noise: Array | None) -> Callable[[FeatureSpec], Array | None]:
        """Of noise [n, noise_dim], the random word [n] that decides which events, or ids, a feature drops."""
        places: dict[str, int] = {}
        start = 0
        for tower in self.towers(side):
            places |= {key: start + place for key, place in tower.words.items()}
            start += tower.noise_dim
        return lambda f: None if noise is None or f.key not in places else noise[:, places[f.key]]

    def query_vector(self, representation: Array) -> Array:
        """Query representation [r] -> the vector whose inner products with items are retrieval's scores."""
        task = self.spec.retrieval
        assert task is not None
        vector = representation[: self.query.width]
        vector = (normalize(vector) if task.normalize else vector) / task.temperature
        if self.log_temperature is not None:
            vector = vector * jnp.exp(-self.log_temperature)
        return jnp.concatenate([vector, jnp.ones(1)]) if task.item_bias else vector

    def candidate_vector(self, representation: Array) -> Array:
        """Candidate representation [r] -> item vector [d]."""
        task = self.spec.retrieval
        assert task is not None
        width = self.candidate.width
        vector = representation[:width]
        vector = normalize(vector) if task.normalize else vector
        if not task.item_bias:
            return vector
        bias = width + bias_slots(self.spec, "candidate").index(task.name)
        return jnp.concatenate([vector, representation[bias : bias + 1]])

    def predict(
        self,
        query: Array,
        candidate: Array,
        aggregates: dict[str, Array] | None = None,
        *,
        noise: Array | None = None,
    ) -> dict[str, Array]:
        """Representations [r] of a pair, and of each head that has aggregates [F] -> one number a head."""
        q, c = self.query.width, self.candidate.width
        out, start = {}, 0
        for name, head in self.heads.items():
            bias: Array | float = 0.0
            if head.spec.biases:
                i = bias_slots(self.spec, "query").index(name)
                bias = query[q + i] + candidate[c + i]
            part = None if noise is None else noise[start : start + head.mlp.noise_dim]
            start += head.mlp.noise_dim
            own = self._own("query", name, query), self._own("candidate", name, candidate)
            given = (aggregates or {}).get(name)
            out[name] = head(query[:q], candidate[:c], bias, own=own, aggregates=given, noise=part)
        return out

    def predict_lists(
        self, query: Array, candidate: Array, rows: Array, aggregates: dict[str, Array] | None = None
    ) -> dict[str, Array]:
        """What `predict` says of k candidates of each of b queries: representations [b, r] and [m, r], rows
        of the latter [b, k], aggregates [b, k, F] -> [b, k] of each head."""
        return {
            name: score_lists(
                head, partial(self._projected, name), query, candidate, rows, (aggregates or {}).get(name)
            )
            for name, head in self.heads.items()
        }

    def _projected(self, name: str, side: str, representation: Array) -> Projected:
        """What a side's representation is to a head."""
        head, width = self.heads[name], (self.query if side == "query" else self.candidate).width
        bias: Array | float = 0.0
        if head.spec.biases:
            bias = representation[width + bias_slots(self.spec, side).index(name)]
        return head.projected(side, representation[:width], bias, self._own(side, name, representation))

    def _own(self, side: str, head: str, representation: Array) -> Array | None:
        """The vector of a head's own features in a side's representation."""
        if f"{head}/{side}" not in self.own:
            return None
        start = self.own_start(side, head)
        return representation[start : start + self.own[f"{head}/{side}"].width]

    def own_start(self, side: str, head: str) -> int:
        """Where the vector of a head's own features begins in a side's representation."""
        tower = self.query if side == "query" else self.candidate
        start = tower.width + len(bias_slots(self.spec, side))
        before = self.spec.heads[: [h.name for h in self.spec.heads].index(head)]
        return start + sum(self.own[f"{h.name}/{side}"].width for h in before if h.own[side])

    def width(self, side: str) -> int:
        """Numbers of a side's representation."""
        return sum(tower.width for tower in self.towers(side)) + len(bias_slots(self.spec, side))

    @property
    def noise_dims(self) -> tuple[int, int, int]:
        """Random numbers dropout takes of an example: in the query tower, the candidate tower, the heads."""
        heads = sum(head.mlp.noise_dim for head in self.heads.values())
        query, candidate = (sum(t.noise_dim for t in self.towers(s)) for s in ("query", "candidate"))
        return query, candidate, heads


def _bias(rows: dict[str, Array], encoded: dict[str, Array], name: str) -> Array:
    """One example's bias of a feature, the mean over its values."""
    found = rows[name]
    if found.ndim == 1:
        return found[0]
    return masked_mean(found, encoded[name.partition("#")[0]] >= 0)[0]


def bias_slots(spec: Model, side: str) -> list[str]:
    """The names of the biases at the end of a side's representation, in order."""
    slots = [h.name for h in spec.heads if h.biases]
    if side == "candidate" and spec.retrieval is not None and spec.retrieval.item_bias:
        slots.append("retrieval")
    return slots


def build(
    spec: Model,
    sizes: Mapping[str, int],
    *,
    means: Mapping[str, float],
    seed: int,
    aggregates: Mapping[str, int] | None = None,
) -> tuple[Net, Tables]:
    """Fresh modules and tables; same seed, same bits. `means`: the training mean of each head's label;
    `aggregates`: how many numbers each head that has any is given of a pair."""
    query = TowerLayer(spec.query, "query", sizes, seed=seed)
    candidate = TowerLayer(spec.candidate, "candidate", sizes, seed=seed)
    task = spec.retrieval
    if task is not None and query.width != candidate.width:
        raise SpecError(
            f"retrieval needs towers of one width, got query {query.width} and candidate {candidate.width}",
            hint="give both towers the same out=",
        )
    heads = {
        h.name: HeadLayer(
            h,
            query.width,
            candidate.width,
            mean=means.get(h.name, 0.0),
            seed=seed,
            num_aggregates=(aggregates or {}).get(h.name, 0),
        )
        for h in spec.heads
    }
    own = {
        f"{h.name}/{side}": TowerLayer(
            Tower(features, combine="concat" if h.interaction == "dot" else "sum"), side, sizes, seed=seed
        )
        for h in spec.heads
        for side, features in h.own.items()
        if features
    }
    seen = parameter(np.zeros(())) if task is not None and task.seen else None
    temperature = parameter(np.zeros(())) if task is not None and task.learned_temperature else None
    net = Net(query, candidate, own, heads, seen, temperature, spec)
    return net, {**_side_tables(spec, "query", sizes, seed), **_side_tables(spec, "candidate", sizes, seed)}


def represent(
    net: Net, tables: Tables, side: str, encoded: dict[str, Array], *, noise: Array | None = None
) -> Array:
    """n encoded rows of a side -> representations [n, r]; noise: uint32 [n, noise_dim] while training."""
    words = net.words(side, noise)
    rows, encoded = gather(tables, net.spec.features(side), side, encoded, words)
    return jax.vmap(lambda r, e, bits: net.represent(side, r, e, noise=bits))(rows, encoded, noise)


def _side_tables(spec: Model, side: str, sizes: Mapping[str, int], seed: int) -> Tables:
    tables: Tables = {}
    for feature in spec.features(side):
        if not isinstance(feature, TableSpec):
            continue
        name = f"{side}/{feature.table_name}"
        if name not in tables:
            tables[name] = _uniform(generator(seed, name), feature.scale, sizes[name], feature.dim)
        for bias in (f"{name}#{slot}" for slot in spec.biases(side, feature)):
            if bias not in tables:
                tables[bias] = parameter(np.zeros((sizes[name], 1)))
    return tables


PIECE = 2**22
"""Numbers of a large table that are drawn at a time."""


def _uniform(rng: np.random.Generator, scale: float, num_rows: int, dim: int) -> Array:
    """A table drawn from [-scale, scale], float32 [num_rows, dim]: a large one piece by piece, with no more
    memory than itself and a piece. The numbers are those of one draw; row 0, of what is not known, starts
    at 0: where training never meets it, it says nothing."""
    rows = max(1, PIECE // dim)
    if num_rows <= rows:
        whole = rng.uniform(-scale, scale, (num_rows, dim))
        whole[0] = 0.0
        return parameter(whole)
    table: Array = _zeros(num_rows, dim)
    for start in range(0, num_rows, rows):
        piece = rng.uniform(-scale, scale, (min(rows, num_rows - start), dim)).astype(np.float32)
        piece[0] *= start > 0
        table = _written(table, piece, np.int32(start))
        table.block_until_ready()  # else pieces pile up
    return table


@partial(jax.jit, static_argnums=(0, 1))
def _zeros(num_rows: int, dim: int) -> Array:
    return jnp.zeros((num_rows, dim))


@partial(jax.jit, donate_argnums=0)
def _written(table: Array, piece: Array, start: Array) -> Array:
    changed: Array = jax.lax.dynamic_update_slice(table, piece, (start, 0))
    return changed
