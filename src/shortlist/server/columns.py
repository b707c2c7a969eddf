"""What columns hold: those that are stored, and those of a question that the model reads."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import UNSET

from shortlist._typing import Array
from shortlist.features.history import DERIVED
from shortlist.features.requests import is_missing
from shortlist.pipeline.recommender import Recommender
from shortlist.server.answers.bundles import ColumnAbout, ColumnRead
from shortlist.server.answers.catalogue import Of

if TYPE_CHECKING:
    from shortlist.server.browsing import Browser

_SAMPLE = 50_000  # rows that tell what a column holds
_VALUES, _COUNTED = 100, 1_000  # values that are listed, and counted


def columns_of(browser: Browser[Any]) -> list[ColumnAbout]:
    """What every column that is shown holds."""
    return [column_about(name, column, name == browser.name) for name, column in browser.shown.items()]


def column_about(name: str, column: Array, names_rows: bool = False) -> ColumnAbout:
    """What a column holds. distinct: how many different values, None: more than are counted; names_rows:
    whether rows are called by it."""
    some = _sampled(column)
    kept = some[~is_missing(some)] if some.dtype.kind in "Oif" else some
    found = _of_texts(kept, names_rows) if column.dtype.kind == "O" else _of_numbers(kept, name)
    return ColumnAbout(
        name=name, missing=len(some) - len(kept), sampled=True if len(some) < len(column) else UNSET, **found
    )


def _of_numbers(kept: Array, name: str) -> dict[str, Any]:
    distinct = np.unique(kept)
    flag = kept.dtype.kind == "b" or (0 < len(distinct) <= 2 and set(distinct.tolist()) <= {0, 1})
    return {
        "kind": "flag" if flag else "time" if name == "timestamp" else "number",
        "distinct": len(distinct) if len(distinct) <= _COUNTED else None,
        "least": distinct[0].item() if len(kept) else UNSET,
        "most": distinct[-1].item() if len(kept) else UNSET,
        "examples": distinct[:3].tolist(),
    }


def _of_texts(kept: Array, names_rows: bool) -> dict[str, Any]:
    counts = _counted(kept)
    text = kept.ndim == 1 and (names_rows or 2 * len(counts) > max(len(kept), 100))
    return {
        "kind": "tags" if kept.ndim == 2 else "text" if text else "category",
        "distinct": len(counts) if len(counts) <= _COUNTED else None,
        "examples": [value for value, _ in counts.most_common(3 if text else _VALUES)],
    }


def columns_read(recommender: Recommender) -> list[ColumnRead]:
    """Columns of the question that the model reads, but for the user's id and past."""
    stored, out = recommender.users.columns, []
    for name, type_ in recommender.schema.query.items():
        if name in DERIVED or name == "user_id":
            continue
        one = ColumnRead(name=name, type=type_, kind=_kind_of_type(name, type_))
        column = stored.get(name)
        if one.kind == "category" and column is not None and column.dtype.kind == "O":
            one.values = [value for value, _ in _counted(_sampled(column)).most_common(_VALUES)]
        out.append(one)
    return out


def _kind_of_type(name: str, type_: str) -> Of:
    if name == "timestamp":
        return "time"
    kinds: dict[str, Of] = {"string": "category", "strings": "tags", "vector": "vector"}
    return kinds.get(type_, "number")


def _sampled(column: Array) -> Array:
    step = max(1, -(-len(column) // _SAMPLE))
    some: Array = np.asarray(column[::step] if step > 1 else column)
    return some


def _counted(column: Array) -> Counter[str]:
    """Texts and how often there are: of lists, each of them."""
    return Counter(text for text in column.reshape(-1).tolist() if text)
