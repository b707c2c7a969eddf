"""The encoder: every feature of both sides of a model, fitted once on training rows, then frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np

from shortlist._typing import Array
from shortlist.data.coded import Coded, Column, Table, blocks, expanded
from shortlist.errors import DataError, did_you_mean
from shortlist.features.fitted import ColumnType, Fitted, Lookup, Words, fit_feature, load_feature
from shortlist.specs.features import FeatureSpec
from shortlist.specs.models import Model

Encoded = dict[str, Array]
"""Feature key -> encoded array, rows first."""


@dataclass(frozen=True)
class Side:
    """The fitted features of one tower, in the order they were declared."""

    features: tuple[Fitted, ...]

    @property
    def columns(self) -> dict[str, ColumnType]:
        """The raw columns it needs, and their types."""
        return {f.spec.column: f.type for f in self.features}

    def encode(self, columns: Table) -> Encoded:
        """Raw columns of n rows -> encoded arrays of n rows. DataError names a column that is not there."""
        need(columns, self.columns)
        return {f.spec.key: _encoded(f, columns[f.spec.column]) for f in self.features}

    def encode_blocks(self, columns: Table) -> Iterator[tuple[str, Array]]:
        """As `encode`, feature by feature and block by block: (feature key, rows of its array)."""
        need(columns, self.columns)
        for feature in self.features:
            column = columns[feature.spec.column]
            encode = _block_encoder(feature, column)
            for block in blocks(len(column)):
                yield feature.spec.key, encode(column[block])

    def to_list(self) -> list[dict[str, Any]]:
        return [{"spec": f.spec.to_dict(), "type": f.type, "fitted": f.to_dict()} for f in self.features]

    @classmethod
    def from_list(cls, plain: list[dict[str, Any]]) -> Side:
        return cls(
            tuple(
                load_feature(msgspec.convert(p["spec"], FeatureSpec), p["type"], p["fitted"]) for p in plain
            )
        )


@dataclass(frozen=True)
class Encoder:
    """Both sides' fitted features."""

    query: Side
    candidate: Side

    @classmethod
    def fit(cls, model: Model, queries: Table, candidates: Table) -> Encoder:
        """Fit on training rows: `queries` holds one row an interaction, `candidates` one row an item."""
        return cls(
            _fit_side("query", model.query.features, queries),
            _fit_side("candidate", model.candidate.features, candidates),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each table and widths of each array without one, by "side/feature key"."""
        sides = {"query": self.query, "candidate": self.candidate}
        return {
            f"{name}/{f.spec.key}": f.rows if f.rows is not None else f.width
            for name, side in sides.items()
            for f in side.features
        }

    def to_dict(self) -> dict[str, Any]:
        return {"query": self.query.to_list(), "candidate": self.candidate.to_list()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Encoder:
        return cls(Side.from_list(plain["query"]), Side.from_list(plain["candidate"]))

    @property
    def content_hash(self) -> str:
        """Equal hashes encode equally: what training saw is what serving does."""
        return sha256(msgspec.json.encode(self.to_dict(), order="deterministic")).hexdigest()


def _encoded(feature: Fitted, column: Column) -> Array:
    if isinstance(feature, Lookup | Words):
        return feature.encode(column)
    return feature.encode(expanded(column))


def _block_encoder(feature: Fitted, column: Column) -> Callable[[Any], Array]:
    """Of coded columns each distinct text is looked up once for all blocks."""
    if isinstance(column, Coded) and isinstance(feature, Lookup | Words):
        table = feature.table_of(column)
        return lambda block: feature.gather(table, block.codes)
    return lambda block: _encoded(feature, block)


def need(columns: Table, names: dict[str, ColumnType]) -> None:
    """Check that the named columns are there."""
    for name in names:
        if name not in columns:
            raise DataError(f"feature column {name!r} is not in the table", hint=did_you_mean(name, columns))


def _fit_side(side: str, specs: tuple[FeatureSpec, ...], columns: Table) -> Side:
    fitted = []
    for spec in specs:
        if spec.column not in columns:
            raise DataError(
                f"the {side} tower's feature {type(spec).__name__}({spec.column!r}) names a column"
                " that is not there",
                hint=did_you_mean(spec.column, columns),
            )
        if not len(columns[spec.column]):
            raise DataError(f"no training rows to fit {type(spec).__name__}({spec.column!r}) on")
        column = columns[spec.column]
        fitted.append(fit_feature(spec, column if isinstance(column, Coded) else np.asarray(column)))
    return Side(tuple(fitted))
