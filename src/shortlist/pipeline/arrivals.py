"""Items that come after training: read, checked, encoded and put at the end of the catalogue; and that go.

An id that training never saw goes through the unknown slot of its `Id` feature, so that what is known of a
new item are its other columns; with `Id(id_dropout=...)` that slot was learned. NumPy only, but for files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist._typing import Array, Bools, Columns, Floats, Longs
from shortlist.errors import RequestError, did_you_mean
from shortlist.features.columns import ColumnType
from shortlist.features.fitted import type_of
from shortlist.features.history import DERIVED
from shortlist.features.requests import is_missing, read_request
from shortlist.features.schema import Schema
from shortlist.index.rows import Rows
from shortlist.pipeline.questions import Ids, candidate_columns, id_list
from shortlist.state.catalogue import Items

if TYPE_CHECKING:
    from shortlist.pipeline.recommender import Recommender

Table = Any
"""A path, a polars, pandas or Arrow table, a dict (one item), a list of dicts or a dict of lists."""
ADDED, UPDATED, REMOVED = "items_added", "items_updated", "items_removed"
"""Where a recommender's provenance counts them."""
_COPIED = 1 << 16  # rows that are simply copied when some change


def add_items(
    recommender: Recommender, table: Table, *, item: str = "", replace_known: bool = False
) -> Recommender:
    """The recommender with the items of a table; see `Recommender.add_items`."""
    source = recommender.provenance.get("recipe", {}).get("data", {})
    given = read_items(table, recommender.items, recommender.schema, item, source)
    return added(recommender, given, replace_known=replace_known)


def added(recommender: Recommender, given: Columns, *, replace_known: bool = False) -> Recommender:
    """The recommender with items that were read."""
    places = _places(given["item_id"], recommender.items, replace_known=replace_known)
    known = _present(recommender.items, places)
    if not known.all():
        _require_features(given, recommender.schema)
    columns = {name: column for name, column in given.items() if name != "item_id"}
    fresh = given["item_id"][places >= len(recommender.items)]
    items = recommender.items.updated(fresh, columns, places)
    provenance = dict(recommender.provenance)
    counts = {ADDED: int((~known).sum()), UPDATED: int(known.sum())}
    provenance |= {name: provenance.get(name, 0) + n for name, n in counts.items() if n}
    grown = replace(recommender, items=items, provenance=provenance)
    return _encoded(grown, candidate_columns(items, grown.schema, columns, places, grown.raters), places)


def remove_items(recommender: Recommender, ids: Ids) -> Recommender:
    """The recommender without some items; see `Recommender.remove_items`."""
    places = np.unique([recommender.items.position(name) for name in id_list("ids", ids)]).astype(np.int64)
    if recommender.items.retired is not None:
        places = places[~recommender.items.retired[places]]
    if not len(places):
        return recommender
    provenance = dict(recommender.provenance)
    provenance[REMOVED] = provenance.get(REMOVED, 0) + len(places)
    index = None if recommender.index is None else recommender.index.without(places)
    items = recommender.items.without(places)
    return replace(recommender, items=items, index=index, provenance=provenance)


def _encoded(grown: Recommender, features: Any, places: Longs) -> Recommender:
    """With the vectors and representations of the items at `places` made of the features, others kept."""
    both = None if grown.retriever is None else grown.retriever.encode_candidate(features)
    vectors, representations, index = grown.item_vectors, grown.item_representations, grown.index
    if vectors is not None and both is not None and both[1] is not None:
        vectors = _put(vectors, places, both[1])
        index = None if index is None else index.updated(places, both[1])
    if representations is not None and grown.ranker is not None:
        if both is None or grown.ranker is not grown.retriever:
            both = grown.ranker.encode_candidate(features)
        representations = _put(representations, places, both[0])
    return replace(grown, item_vectors=vectors, item_representations=representations, index=index)


def _put(rows: Any, places: Longs, values: Floats) -> Any:
    """rows [N, d] with values [n, d] at these places, some of them beyond the end. Many rows are not copied:
    what changes stands beside them."""
    if isinstance(rows, Rows) or len(rows) > _COPIED:
        return (rows if isinstance(rows, Rows) else Rows.of(rows)).updated(places, values)
    out = np.empty((max(len(rows), int(places.max()) + 1), rows.shape[1]), rows.dtype)
    out[: len(rows)] = rows
    out[places] = values
    return out


# Reading


def read_items(
    table: Table, items: Items, schema: Schema, item: str = "", source: Mapping[str, Any] | None = None
) -> Columns:
    """A table's columns in canonical form: item_id, and any that the model reads or the catalogue holds.

    item: the table's name of item_id; left out, that of the recipe's tables will do too. source: how the
    recipe read these. RequestError names what cannot be read, a row without item_id, and an id given twice.
    """
    source = source or {}
    stored = items.columns
    types: dict[str, ColumnType] = {name: type_of(column) for name, column in stored.items()}
    types |= {name: kind for name, kind in schema.candidate.items() if name not in DERIVED}
    types.pop("item_id", None)
    usual = source.get("item_key") or source.get("item") or "item_id"
    ids = (item,) if item else tuple(dict.fromkeys(("item_id", usual)))
    types |= dict.fromkeys(ids, "string")
    sizes = {name: column.shape[1] for name, column in stored.items() if column.ndim == 2} | schema.sizes
    vectors = {name: size for name, size in sizes.items() if types.get(name) == "vector"}
    plain = _plain(table, types, source)
    if item:
        _require_column(plain, item)
    columns = read_request(plain, types, sizes=vectors, id_column=ids[0])
    named = [name for name in ids if name in columns]
    if len(named) != 1:
        what = f"no column {ids[0]!r}" if not named else f"the columns {' and '.join(map(repr, named))}"
        raise RequestError(f"the new items have {what}", hint="say which column holds the ids: item=")
    columns["item_id"] = columns.pop(named[0])
    gone = is_missing(columns["item_id"])
    if gone.any():
        raise RequestError(f"row {int(np.argmax(gone))} of the new items has no item_id")
    first: dict[str, int] = {}
    for row, name in enumerate(columns["item_id"].tolist()):
        if first.setdefault(name, row) != row:
            raise RequestError(
                f"rows {first[name]} and {row} of the new items are both item {name!r}",
                hint="keep one row an id",
            )
    return columns


def _require_column(table: Any, name: str) -> None:
    """RequestError where a table has its columns' names and this is none of them."""
    if isinstance(table, list) and all(isinstance(row, Mapping) for row in table):
        names = dict.fromkeys(str(key) for row in table for key in row)
    elif isinstance(table, Mapping) or hasattr(table, "columns"):
        names = dict.fromkeys(map(str, table if isinstance(table, Mapping) else table.columns))
    else:
        return
    if name not in names:
        hint = did_you_mean(name, names) or f"their columns: {', '.join(names)}"
        raise RequestError(f"the new items have no column {name!r} of ids", hint=hint)


def _plain(table: Table, types: Mapping[str, ColumnType], source: Mapping[str, Any]) -> Any:
    """What `read_request` takes. In a text file several values are a text, "Drama|War" (or with the sign of
    the recipe's tables), and a vector is one, "[0.5, 1]"."""
    if not (isinstance(table, str | PathLike) or _needs_polars(table)):
        return table
    texts = [name for name, kind in types.items() if kind in ("string", "strings")]
    columns = _read(table, texts, source.get("delimiter", ""))
    signs = {name: source.get("lists", {}).get(name, "|") for name in columns}
    return {
        name: [_listed(value, types.get(name), sign) for value in columns[name]]
        for name, sign in signs.items()
    }


def _read(table: Table, texts: list[str], delimiter: str) -> dict[str, list[Any]]:
    """The columns of a file or an Arrow table. A base install reads CSV, TSV and JSON lines: MissingExtra."""
    if isinstance(table, str | PathLike) and find_spec("polars") is None:
        from shortlist.data.plain import read_columns

        return read_columns(Path(table), strings=texts, delimiter=delimiter)
    from shortlist.data.reading import read_table

    return read_table(table, strings=texts, delimiter=delimiter).to_dict(as_series=False)


def _needs_polars(table: Table) -> bool:
    """Arrow tables and relations, and lazy frames; polars' and pandas' own give their columns as lists."""
    streams = hasattr(table, "__arrow_c_stream__") or hasattr(table, "collect")
    return streams and not hasattr(table, "to_dict")


def _listed(value: Any, kind: ColumnType | None, sign: str) -> Any:
    if not isinstance(value, str) or kind not in ("strings", "vector"):
        return value
    if kind == "strings":
        return [part.strip() for part in value.split(sign)]
    try:
        return json.loads(value)
    except ValueError:
        return value  # refused by name where columns are read


# Checking


def _present(items: Items, places: Longs) -> Bools:
    """Of places, whether an item is there that is not retired: bool [n]."""
    present = places < len(items)
    if items.retired is not None:
        present[present] = ~items.retired[places[present]]
    return present


def _places(ids: Array, items: Items, *, replace_known: bool) -> Longs:
    """Where each item of the table goes: its own place, or one after the last; int64 [n]."""
    places = items.positions(ids)
    new = places < 0
    places[new] = len(items) + np.arange(int(new.sum()))
    known = _present(items, places)
    if known.any() and not replace_known:
        row, more = int(np.argmax(known)), int(known.sum()) - 1
        raise RequestError(
            f"row {row} of the new items: item {ids[row]!r} is in the catalogue already"
            + (f" (and {more} more)" if more else ""),
            hint="give it another id, or update what is known of it with replace=True",
        )
    return places


def _require_features(given: Columns, schema: Schema) -> None:
    for name in schema.candidate:
        if name not in given and name not in DERIVED:
            raise RequestError(
                f"the model reads the column {name!r} of items, which the new items do not have",
                hint="give the column, with nothing in it (None) where it is not known",
            )
