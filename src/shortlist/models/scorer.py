"""A trained model seen from outside: raw columns in, NumPy arrays out. Meets `_typing.Scorer`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import numpy as np

from shortlist._typing import Floats, Longs
from shortlist.data.coded import Table
from shortlist.features.encoder import Encoded, Encoder
from shortlist.models.bags import SPREAD, spread
from shortlist.models.build import Tables
from shortlist.models.ensemble import Trained, represent
from shortlist.specs.features import Bag

LARGEST = 8192
"""Rows computed at a time; fewer are padded to a power of two, so that few programs are compiled."""


@dataclass(frozen=True)
class JaxScorer:
    """Modules, tables and the encoder that feeds them."""

    net: Trained = field(repr=False)
    tables: Tables = field(repr=False)
    encoder: Encoder = field(repr=False)

    def encode_query(self, columns: Table) -> tuple[Floats, Floats | None]:
        """Raw query columns of b rows -> representations [b, r] and, if it retrieves, vectors [b, d]."""
        return self.represent("query", self.encoder.query.encode(columns))

    def encode_candidate(self, columns: Table) -> tuple[Floats, Floats | None]:
        """Raw item columns of n rows -> representations [n, r] and, if it retrieves, item vectors [n, d]."""
        return self.represent("candidate", self.encoder.candidate.encode(columns))

    def represent(self, side: str, encoded: Encoded) -> tuple[Floats, Floats | None]:
        """Encoded rows of a side -> representations and vectors."""
        used = {k: v for k, v in self.tables.items() if k.startswith(f"{side}/")}
        out = _in_blocks(lambda rows: _represent(self.net, used, side, self._spread(side, rows)), encoded)
        return (out[0], out[1]) if len(out) == 2 else (out[0], None)

    def predict(
        self,
        query: Floats,
        candidate: Floats,
        aggregates: dict[str, Floats] | None = None,
        rows: Longs | None = None,
    ) -> dict[str, Floats]:
        """Representations of n pairs, [n, r] each, and the aggregates [n, F] of heads that have any -> one
        output [n] a head; with rows [b, k] one [b, k], see `_typing.Scorer`. Lists are taken apart into pairs
        here, whose programs are compiled already: it is the graphs that answer requests."""
        if not self.net.heads:
            return {}
        if rows is not None:
            flat = {name: x.reshape(-1, x.shape[-1]) for name, x in (aggregates or {}).items()}
            apart = self.predict(np.repeat(query, rows.shape[1], axis=0), candidate[rows.reshape(-1)], flat)
            return {name: values.reshape(rows.shape) for name, values in apart.items()}
        given = {f"a:{name}": numbers for name, numbers in (aggregates or {}).items()}
        arrays = {"q": query, "c": candidate, **given}
        out = _in_blocks(lambda rows: _predict(self.net, rows), arrays)
        return dict(zip(sorted(self.net.heads), out, strict=True))

    def _spread(self, side: str, encoded: Encoded) -> Encoded:
        """Lists of bags as weights, where that is the cheaper form."""
        out, sizes = dict(encoded), self.encoder.sizes
        for feature in self.net.spec.features(side):
            if isinstance(feature, Bag) and feature.key in out:
                slots, num_rows = out[feature.key], sizes[f"{side}/{feature.table_name}"]
                if num_rows <= SPREAD * slots.shape[1]:
                    out[feature.key] = spread(slots, out.pop(f"{feature.key}@weight", None), num_rows)
        return out


@eqx.filter_jit
def _represent(net: Trained, tables: Tables, side: str, encoded: Any) -> tuple[Any, ...]:
    representation = represent(net, tables, side, encoded)
    if net.spec.retrieval is None:
        return (representation,)
    vector = net.query_vector if side == "query" else net.candidate_vector
    return representation, jax.vmap(vector)(representation)


@eqx.filter_jit
def _predict(net: Trained, rows: Any) -> tuple[Any, ...]:
    given = {name.removeprefix("a:"): x for name, x in rows.items() if name.startswith("a:")}
    heads = jax.vmap(lambda q, c, a: net.predict(q, c, a))(rows["q"], rows["c"], given)
    return tuple(heads[name] for name in sorted(heads))


def _in_blocks(compute: Any, arrays: Encoded) -> list[Floats]:
    """Run `compute` over blocks of LARGEST rows, or one smaller block, padded by repeating the last row."""
    count = len(next(iter(arrays.values())))
    parts = []
    for start in range(0, count, LARGEST):
        block = {k: v[start : start + LARGEST] for k, v in arrays.items()}
        size = len(next(iter(block.values())))
        target = LARGEST if count > LARGEST else 1 << max(0, size - 1).bit_length()
        padded = {k: np.concatenate([v, np.repeat(v[-1:], target - size, axis=0)]) for k, v in block.items()}
        parts.append([np.asarray(x)[:size] for x in compute(padded)])
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]
