"""From a model's spec and the encoder's sizes to tables and modules, and what they compute together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist.errors import SpecError
from shortlist.models.heads import HeadLayer
from shortlist.models.layers import generator, normalize, parameter
from shortlist.models.towers import TowerLayer, gather
from shortlist.specs.features import HasBiases, TableSpec
from shortlist.specs.models import Model

Tables = dict[str, Array]


class Net(eqx.Module):
    """Everything but the tables.

    A side's *representation* of a row is its tower's vector followed by one summed bias for each head that
    has biases (and, for candidates, one for retrieval with `item_bias`): all that heads and retrieval need to
    know of that side, so each side is computed once however many pairs it appears in.
    """

    query: TowerLayer
    candidate: TowerLayer
    heads: dict[str, HeadLayer]
    spec: Model = eqx.field(static=True)

    def represent(
        self, side: str, rows: dict[str, Array], encoded: dict[str, Array], *, noise: Array | None = None
    ) -> Array:
        """One example of a side -> representation [r]."""
        tower = self.query if side == "query" else self.candidate
        vector = tower(rows, encoded, noise=noise)
        biases = [
            sum((rows[name][0] for name in rows if name.endswith(f"#{slot}")), start=jnp.zeros(()))
            for slot in bias_slots(self.spec, side)
        ]
        return jnp.concatenate([vector, jnp.stack(biases)]) if biases else vector

    def query_vector(self, representation: Array) -> Array:
        """Query representation [r] -> the vector whose inner products with items are retrieval's scores."""
        task = self.spec.retrieval
        assert task is not None
        vector = representation[: self.query.width]
        vector = (normalize(vector) if task.normalize else vector) / task.temperature
        return jnp.concatenate([vector, jnp.ones(1)]) if task.item_bias else vector

    def candidate_vector(self, representation: Array) -> Array:
        """Candidate representation [r] -> item vector [d]."""
        task = self.spec.retrieval
        assert task is not None
        vector = representation[: self.candidate.width]
        vector = normalize(vector) if task.normalize else vector
        return jnp.concatenate([vector, representation[-1:]]) if task.item_bias else vector

    def predict(self, query: Array, candidate: Array, *, noise: Array | None = None) -> dict[str, Array]:
        """Representations [r] of a pair -> one number a head."""
        q, c = self.query.width, self.candidate.width
        out, start = {}, 0
        for name, head in self.heads.items():
            bias: Array | float = 0.0
            if head.spec.biases:
                i = bias_slots(self.spec, "query").index(name)
                bias = query[q + i] + candidate[c + i]
            own = None if noise is None else noise[start : start + head.mlp.noise_dim]
            start += head.mlp.noise_dim
            out[name] = head(query[:q], candidate[:c], bias, noise=own)
        return out

    @property
    def noise_dims(self) -> tuple[int, int, int]:
        """Random numbers dropout takes of an example: in the query tower, the candidate tower, the heads."""
        heads = sum(head.mlp.noise_dim for head in self.heads.values())
        return self.query.noise_dim, self.candidate.noise_dim, heads


def bias_slots(spec: Model, side: str) -> list[str]:
    """The names of the biases at the end of a side's representation, in order."""
    slots = [h.name for h in spec.heads if h.biases]
    if side == "candidate" and spec.retrieval is not None and spec.retrieval.item_bias:
        slots.append("retrieval")
    return slots


def build(
    spec: Model, sizes: Mapping[str, int], *, means: Mapping[str, float], seed: int
) -> tuple[Net, Tables]:
    """Fresh modules and tables; same seed, same bits. `means`: the training mean of each head's label."""
    query = TowerLayer(spec.query, "query", sizes, seed=seed)
    candidate = TowerLayer(spec.candidate, "candidate", sizes, seed=seed)
    if spec.retrieval is not None and query.width != candidate.width:
        raise SpecError(
            f"retrieval needs towers of one width, got query {query.width} and candidate {candidate.width}",
            hint="give both towers the same out=",
        )
    heads = {
        h.name: HeadLayer(h, query.width, candidate.width, mean=means.get(h.name, 0.0), seed=seed)
        for h in spec.heads
    }
    net = Net(query, candidate, heads, spec)
    return net, {**_side_tables(spec, "query", sizes, seed), **_side_tables(spec, "candidate", sizes, seed)}


def represent(
    net: Net, tables: Tables, side: str, encoded: dict[str, Array], *, noise: Array | None = None
) -> Array:
    """n encoded rows of a side -> representations [n, r]; noise: uint32 [n, noise_dim] while training."""
    tower = net.spec.query if side == "query" else net.spec.candidate
    rows = gather(tables, tower, side, encoded)
    return jax.vmap(lambda r, e, bits: net.represent(side, r, e, noise=bits))(rows, encoded, noise)


def _side_tables(spec: Model, side: str, sizes: Mapping[str, int], seed: int) -> Tables:
    tower = spec.query if side == "query" else spec.candidate
    tables: Tables = {}
    for feature in tower.features:
        if not isinstance(feature, TableSpec):
            continue
        name = f"{side}/{feature.table_name}"
        if name not in tables:
            tables[name] = _uniform(generator(seed, name), feature.scale, sizes[name], feature.dim)
        slots = bias_slots(spec, side) if isinstance(feature, HasBiases) else []
        for bias in (f"{name}#{slot}" for slot in slots):
            if bias not in tables:
                tables[bias] = parameter(np.zeros((sizes[name], 1)))
    return tables


PIECE = 2**22
"""Numbers of a large table that are drawn at a time."""


def _uniform(rng: np.random.Generator, scale: float, num_rows: int, dim: int) -> Array:
    """A table drawn from [-scale, scale], float32 [num_rows, dim]: a large one piece by piece, with no more
    memory than itself and a piece. The numbers are those of one draw."""
    rows = max(1, PIECE // dim)
    if num_rows <= rows:
        return parameter(rng.uniform(-scale, scale, (num_rows, dim)))
    table: Array = _zeros(num_rows, dim)
    for start in range(0, num_rows, rows):
        piece = rng.uniform(-scale, scale, (min(rows, num_rows - start), dim)).astype(np.float32)
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
