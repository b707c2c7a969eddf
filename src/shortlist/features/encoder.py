"""The encoder: every feature of both sides of a model, fitted once on training rows, then frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np

from shortlist._typing import Array
from shortlist.data.coded import Coded, Column, Table, blocks, expanded
from shortlist.errors import DataError, did_you_mean
from shortlist.features.columns import ColumnType
from shortlist.features.fitted import Fitted, Lookup, Words, columns_of, fit_feature, fit_shared, load_feature
from shortlist.features.history import Recent, Total
from shortlist.specs.features import FeatureSpec
from shortlist.specs.models import Model

Encoded = dict[str, Array]
"""Feature key -> encoded array, rows first. Further arrays of a feature are named "<key>@<what>"."""
TIME = "timestamp"


@dataclass(frozen=True)
class Side:
    """The fitted features of one tower, in the order they were declared."""

    features: tuple[Fitted, ...]

    @property
    def columns(self) -> dict[str, ColumnType]:
        """The raw columns it needs, and their types."""
        return {name: kind for f in self.features for name, kind in columns_of(f).items()}

    @property
    def lengths(self) -> dict[str, int]:
        """Of the lists of past events it reads: how long each need be at most."""
        longest: dict[str, int] = {}
        for feature in self.features:
            if isinstance(feature, Recent | Total):
                for name, length in feature.lengths.items():
                    longest[name] = max(longest.get(name, 0), length)
        return longest

    def encode(self, columns: Table) -> Encoded:
        """Raw columns of n rows -> encoded arrays of n rows. DataError names a column that is not there."""
        need(columns, self.columns)
        encoded: Encoded = {}
        for f in self.features:
            if isinstance(f, Recent | Total):
                encoded |= f.encode(columns)
            else:
                encoded[f.spec.key] = _encoded(f, columns[f.spec.column])
        return encoded

    def without(self, kind: type) -> Side:
        """The side less its features of a kind."""
        return Side(tuple(f for f in self.features if not isinstance(f, kind)))

    def only(self, kind: type) -> Side:
        """Its features of a kind alone."""
        return Side(tuple(f for f in self.features if isinstance(f, kind)))

    def encode_blocks(self, columns: Table) -> Iterator[tuple[str, Array]]:
        """As `encode`, feature by feature and block by block: (feature key, rows of its array)."""
        need(columns, self.columns)
        for feature in self.features:
            assert not isinstance(feature, Recent | Total)  # refused where the log is not in memory
            column = columns[feature.spec.column]
            encode = _block_encoder(feature, column)
            for block in blocks(len(column)):
                yield feature.spec.key, encode(column[block])

    def to_list(self) -> list[dict[str, Any]]:
        """Plain values; of features that share a table, the first has the vocabulary."""
        plain: list[dict[str, Any]] = []
        named: set[str] = set()
        for f in self.features:
            fitted = f.to_dict()
            if f.spec.table_name in named:
                del fitted["vocabulary"]
            named.add(f.spec.table_name)
            # what is usual goes without saying: encoders from before it could be otherwise keep their hash
            usual = {"table": "", "name": "", "l2_all": 0.0, "id_dropout": 0.0}
            spec = {name: value for name, value in f.spec.to_dict().items() if usual.get(name) != value}
            plain.append({"spec": spec, "type": f.type, "fitted": fitted})
        return plain

    @classmethod
    def from_list(cls, plain: list[dict[str, Any]]) -> Side:
        features: list[Fitted] = []
        known: dict[str, dict[str, Any]] = {}
        for p in plain:
            spec: FeatureSpec = msgspec.convert(p["spec"], FeatureSpec)
            shared = known.setdefault(spec.table_name, {"vocabulary": p["fitted"].get("vocabulary")})
            features.append(load_feature(spec, p["type"], shared | p["fitted"]))
        return cls(tuple(features))


@dataclass(frozen=True)
class Encoder:
    """Both sides' fitted features."""

    query: Side
    candidate: Side

    @classmethod
    def fit(cls, model: Model, queries: Table, candidates: Table) -> Encoder:
        """Fit on training rows: `queries` holds one row an interaction, `candidates` one row an item."""
        return cls(
            _fit_side("query", model.features("query"), queries),
            _fit_side("candidate", model.features("candidate"), candidates),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each table and widths of each array without one, by "side/table name" (the feature's key,
        unless it names a table)."""
        sides = {"query": self.query, "candidate": self.candidate}
        return {
            f"{name}/{f.spec.table_name}": f.rows if f.rows is not None else f.width
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
    assert not isinstance(feature, Recent | Total)
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
    readers: dict[str, list[FeatureSpec]] = {}
    for spec in specs:
        readers.setdefault(spec.table_name, []).append(spec)
    fitted: dict[str, Fitted] = {}
    for group in readers.values():
        own = [training_column(side, spec, columns) for spec in group]
        found = fit_shared(group, own) if len(group) > 1 else [fit_feature(group[0], own[0])]
        fitted |= {
            f.spec.key: replace(f, timed=TIME in columns) if isinstance(f, Recent) else f for f in found
        }
    return Side(tuple(fitted[spec.key] for spec in specs))


def training_column(side: str, spec: FeatureSpec, columns: Table) -> Column:
    """The column a feature of a side is fitted on, checked to be there and to have rows."""
    if spec.column not in columns:
        raise DataError(
            f"the {side} tower's feature {type(spec).__name__}({spec.column!r}) names a column"
            " that is not there",
            hint=did_you_mean(spec.column, columns),
        )
    column = columns[spec.column]
    if not len(column):
        raise DataError(f"no training rows to fit {type(spec).__name__}({spec.column!r}) on")
    return column if isinstance(column, Coded) else np.asarray(column)
