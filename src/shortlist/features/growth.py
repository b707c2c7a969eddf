"""An encoder that has met more rows: vocabularies grow at their end, all else stays as it was fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shortlist.data.coded import Column, Table
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError
from shortlist.features.encoder import Encoder, Side, training_column
from shortlist.features.fitted import Fitted, fit_feature, fit_shared, type_of
from shortlist.specs.features import Bag, Category, History, Id, Tags

GROWS = (Id, Category, Tags, History, Bag)
"""Features whose values are told apart one by one. Words of texts stay: a new one says little at first."""


def grown(encoder: Encoder, queries: Table, candidates: Table) -> Encoder:
    """The encoder over more rows, those it was fitted on included: a value that would now have a row of a
    table gets one after those there are. The same rows give the same encoder.

    Bucket edges, means and deviations, words of texts and the lengths of lists stay, so that what tables and
    layers have learned keeps its meaning. Raises DataError for a column that is not there or of another type.
    """
    return Encoder(
        _grown_side("query", encoder.query, queries), _grown_side("candidate", encoder.candidate, candidates)
    )


def _grown_side(name: str, side: Side, columns: Table) -> Side:
    readers: dict[str, list[Fitted]] = {}
    for feature in side.features:
        readers.setdefault(feature.spec.table_name, []).append(feature)
    out: dict[str, Fitted] = {}
    for group in readers.values():
        given = [training_column(name, f.spec, columns) for f in group]
        for feature, column in zip(group, given, strict=True):
            _check_type(name, feature, column)
        more = _with_more(group, given) if all(isinstance(f.spec, GROWS) for f in group) else group
        out |= {f.spec.key: f for f in more}
    return Side(tuple(out[f.spec.key] for f in side.features))


def _with_more(group: Sequence[Fitted], columns: Sequence[Column]) -> list[Fitted]:
    specs = [f.spec for f in group]
    fresh: Any = fit_shared(specs, columns)[0] if len(group) > 1 else fit_feature(specs[0], columns[0])
    first: Any = group[0]
    vocabulary = extended(first.vocabulary, fresh.vocabulary)
    return [replace(f, vocabulary=vocabulary) for f in group]  # type: ignore[arg-type]


def extended(known: Vocabulary, fresh: Vocabulary) -> Vocabulary:
    """The known values in their slots, then the fresh ones that are not among them; counts are the fresh."""
    if known.kind != fresh.kind:
        raise DataError(f"a vocabulary of kind {known.kind!r} cannot take values of kind {fresh.kind!r}")
    more = [value for value in fresh.values if value not in known]
    values: Any = (*known.values, *more)
    slots = fresh.lookup(
        np.array([*values, None], object)[:-1] if known.kind == "str" else np.array(values, np.int64)
    )
    counts = np.concatenate([[0], np.where(slots > 0, fresh.counts[slots], 0)]).astype(np.int64)
    counts[0] = fresh.counts.sum() - counts.sum()
    return Vocabulary(values, counts, known.kind)


def _check_type(side: str, feature: Fitted, column: Column) -> None:
    kind = type_of(column)
    if kind != feature.type:
        raise DataError(
            f"the {side} tower's column {feature.spec.column!r} holds {kind}, it held {feature.type} when the"
            " encoder was fitted",
            hint="give the new rows the type of the old",
        )
