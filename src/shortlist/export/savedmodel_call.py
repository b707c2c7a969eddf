"""How a SavedModel is called: with ids and what a request gives; the rest is taken from what is stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from shortlist._typing import Array, Columns
from shortlist.export.savedmodel_features import Features, Tensor, Tensors
from shortlist.features.encoder import TIME, Encoder, Side
from shortlist.features.fitted import type_of
from shortlist.features.history import DERIVED
from shortlist.features.requests import take_rows
from shortlist.state.catalogue import Items
from shortlist.state.users import Users

ITEM = "item_id"
USER = "user_id"
TITLES = {"title": ("movie_title", "title")}
"""Item columns by which an item may be named too, under which names: as the tutorials name a film."""


class Call:
    """What is stored of users and items, as lookup tables and columns beside them.

    A column that is stored is taken from there, as `Recommender.score` does; a user's time too, where none is
    given. Others, and all that is made of past events, are to be given.
    """

    def __init__(self, tf: Any, encoder: Encoder, items: Items, users: Users) -> None:
        self.tf, self.encoder, self.features = tf, encoder, Features(tf)
        people = np.array([*users.vocabulary.values, None], object)[:-1]
        self.users = self.features.table(*_first_of(people), 0)
        self.items = {ITEM: self.features.table(*_first_of(items.ids), 0)}
        self.named = {ITEM: ITEM}
        for column, names in TITLES.items():
            if column in items.columns and type_of(items.columns[column]) == "string":
                self.items[column] = self.features.table(*_first_of(items.columns[column]), 0)
                self.named = {name: column for name in names} | self.named
        self.stored = {
            "query": self._columns(encoder.query, users.columns),
            "candidate": self._columns(encoder.candidate, items.columns | {ITEM: items.ids}),
        }
        self.as_of = users.as_of

    def forms(self) -> list[dict[str, Any]]:
        """The dictionaries it may be called with, as specs; the first is the default's."""
        known = {USER, ITEM, TIME, *self.stored["query"], *self.stored["candidate"]}
        read = self.features.specs(self.encoder.query, self.encoder.candidate)
        given = {name: spec for name, spec in read.items() if name not in known}
        times: list[dict[str, Any]] = [{TIME: read[TIME]}] if TIME in read else [{}]
        if TIME in read and self.as_of is not None:
            times.append({})
        ids = [{n: self.tf.TensorSpec([None], "string", name=n) for n in (USER, item)} for item in self.named]
        return [named | time | given for named in ids for time in times]

    def columns(self, given: Tensors) -> tuple[Tensors, Tensors]:
        """The raw columns of both sides."""
        name = next(name for name in self.named if name in given)
        places = {
            "query": self.users.lookup(given[USER]),
            "candidate": self.items[self.named[name]].lookup(given[name]),
        }
        given = given | {self.named[name]: given[name]}
        query, candidate = (
            {column: self._filled(side, column, given, places[side]) for column in fitted.columns}
            for side, fitted in (("query", self.encoder.query), ("candidate", self.encoder.candidate))
        )
        return query, candidate

    def as_in_tutorials(self, outputs: Tensors) -> Any:
        """Vectors of both sides where the model retrieves, then what its heads predict: of one head a tensor
        [b, 1], of several by name. What stands alone comes without a tuple around it."""
        vectors = [
            outputs[f"{side}_vector"] for side in ("query", "candidate") if f"{side}_vector" in outputs
        ]
        heads = {name: x for name, x in outputs.items() if not name.endswith("_vector")}
        predicted = [heads if len(heads) > 1 else next(iter(heads.values()))] if heads else []
        found = (*vectors, *predicted)
        return found if len(found) > 1 else found[0]

    def _filled(self, side: str, name: str, given: Tensors, places: Tensor) -> Tensor:
        """As given, else as stored at each place, else (of times) the latest that training saw."""
        stored = self.stored[side].get(name)
        column = given.get(name)
        if stored is not None:
            column = self._or(column, self.tf.gather(stored, places))
        if name == TIME and self.as_of is not None:
            latest = self.tf.fill(self.tf.shape(places), self.tf.constant(self.as_of, "int64"))
            column = self._or(column, latest)
        return column

    def _or(self, column: Tensor | None, other: Tensor) -> Tensor:
        """A column [n], what is missing in it taken from another."""
        if column is None or len(other.shape) > 1:
            return other
        text = column.dtype == self.tf.string
        return self.tf.where(column == "" if text else self.features.missing(column), other, column)

    def _columns(self, side: Side, columns: Columns) -> Tensors:
        """Stored columns the side reads, before their rows one of missing values."""
        return {
            name: self._tensor(take_rows(columns[name], np.arange(-1, len(columns[name]))))
            for name, kind in side.columns.items()
            if name in columns and name not in DERIVED
        }

    def _tensor(self, column: Array) -> Tensor:
        text = column.dtype.kind == "O"
        return self.tf.constant(column.tolist() if text else column, "string" if text else column.dtype)


def _first_of(values: Array) -> tuple[Array, Array]:
    """Distinct values that are there, and of each the place, from 1, where it first stands."""
    first = {value: place for place, value in reversed([*enumerate(values.tolist(), start=1)])}
    first.pop("", None)
    return np.array([*first, None], object)[:-1], np.array([*first.values()], np.int64)
