"""What people did, who they are, what they chose from: the three tables every other part consumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from shortlist.data.display import dataset_view
from shortlist.data.importing import read_entities, read_events
from shortlist.data.reading import Source, describe_source
from shortlist.data.tables import split_lists
from shortlist.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Checked tables that fit together.

    interactions: user_id, item_id (String), optional rating (Float64), timestamp (Int64, seconds),
        weight (Float64) and context columns, in the order they were read.
    users, items: one row an entity; they cover every id of the interactions. The items in their row
        order are the *catalogue*; an item's row there is its position.
    notes: what was guessed or converted when the tables were read, a sentence each. place: what messages call
        the interactions, such as the path of their file.
    """

    interactions: pl.DataFrame = field(repr=False)
    users: pl.DataFrame = field(repr=False)
    items: pl.DataFrame = field(repr=False)
    name: str = "unnamed"
    licence: str = field(default="", repr=False)
    notes: tuple[str, ...] = ()
    place: str = field(default="", repr=False, compare=False)

    def _repr_html_(self) -> str:
        return dataset_view(self)


def from_tables(
    interactions: Source,
    users: Source | None = None,
    items: Source | None = None,
    *,
    name: str = "unnamed",
    licence: str = "",
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    timestamp: str | None = None,
    weight: str | None = None,
    event: str | None = None,
    event_weights: Mapping[str, float] | None = None,
    time_unit: str = "",
    user_key: str | None = None,
    item_key: str | None = None,
    lists: Mapping[str, str] | None = None,
    delimiter: str = "",
    guess: bool = True,
    place: str = "",
    unrated: bool = False,
) -> Dataset:
    """A data set of your own tables: files, folders or objects (see `reading.read_table`).

    user, item, rating, timestamp, weight, event: the columns of the interactions with these roles (see
    `tables.interactions`, of event_weights and time_unit too). Those not given are guessed from names and
    values (`roles.guess_roles`), and `notes` of the data set say what was guessed; "" stands for no column.
    user_key, item_key: the ids in the tables of users and items, found by what they hold where not given.
    lists: columns of texts that hold several values, with the sign between them: {"genres": "|"}.
    delimiter: of text files, where it is not to be found out. guess=False takes the usual names only:
    user_id, item_id, and rating, timestamp and weight where there are such columns. place: what messages call
    the interactions. unrated: rows may have no rating, and keep none (null).

    Users and items that only the interactions know are appended to their table, in order of first appearance,
    with nulls in the other columns. Raises DataError as these functions do.
    """
    named = {"user": user, "item": item, "rating": rating, "timestamp": timestamp, "weight": weight}
    read = read_events(
        interactions,
        named | {"event": event},
        weights=event_weights,
        time_unit=time_unit,
        delimiter=delimiter,
        guess=guess,
        place=place,
        unrated=unrated,
    )
    sides = {"user": (users, user_key), "item": (items, item_key)}
    entities = {
        side: read_entities(source, side, read, key=key, delimiter=delimiter, guess=guess)
        for side, (source, key) in sides.items()
        if source is not None
    }
    split = {side: split_lists(found.table, lists or {}) for side, found in entities.items()}
    return Dataset(
        split_lists(read.rows, lists or {}),
        covering(split.get("user"), read.rows, "user_id"),
        covering(split.get("item"), read.rows, "item_id"),
        name,
        licence,
        (*read.guesses, *read.notes, *(n for e in entities.values() for n in (*e.guesses, *e.notes))),
        place or describe_source(interactions),
    )


def covering(table: pl.DataFrame | None, interactions: pl.DataFrame, key: str) -> pl.DataFrame:
    """`table` with a row for every `key` of the interactions; made from them when there is no table."""
    seen = interactions.select(pl.col(key).unique(maintain_order=True))
    if table is None:
        return seen
    absent = seen.join(table.select(key), on=key, how="anti", maintain_order="left")
    return pl.concat([table, absent], how="diagonal") if absent.height else table


def deduplicate_titles(dataset: Dataset) -> Dataset:
    """The same data with items keyed by title: `item_id` becomes the title.

    This is the convention of the TensorFlow Recommenders tutorials (MovieLens 100K: 1,682 ids become
    1,664 titles). The first item of a title gives the other columns; items without a title keep their
    id. Interactions keep their rows and order, so a user who rated two ids of one title now has two
    rows of one item. Raises DataError when the items have no column `title`.
    """
    if "title" not in dataset.items.columns:
        raise DataError(f"the items have no column 'title', only {dataset.items.columns}")
    titles = dataset.items.select("item_id", pl.coalesce("title", "item_id").alias("_title"))
    renamed = [pl.col("_title").alias("item_id")]
    items = dataset.items.join(titles, on="item_id", how="left", maintain_order="left")
    items = items.with_columns(renamed).drop("_title").unique("item_id", keep="first", maintain_order=True)
    rows = dataset.interactions.join(titles, on="item_id", how="left", maintain_order="left")
    return replace(dataset, interactions=rows.with_columns(renamed).drop("_title"), items=items)


def describe(dataset: Dataset) -> dict[str, Any]:
    """Counts and shapes, JSON-ready: rows, users, items, sparsity, repeated rows, rows per user and per
    item (quantiles), time span, ratings. Parts without their column are left out. Raises DataError for what
    is no Dataset."""
    if not isinstance(dataset, Dataset):
        raise DataError(
            f"describe needs a Dataset, got {type(dataset).__name__}",
            hint="datasets.from_tables(...) makes one",
        )
    rows = dataset.interactions
    cells = dataset.users.height * dataset.items.height
    pairs = rows.select("user_id", "item_id").n_unique()
    facts: dict[str, Any] = {
        "name": dataset.name,
        "licence": dataset.licence,
        "interactions": rows.height,
        "users": dataset.users.height,
        "items": dataset.items.height,
        "users_without_interactions": dataset.users.height - rows["user_id"].n_unique(),
        "items_without_interactions": dataset.items.height - rows["item_id"].n_unique(),
        "sparsity": 1 - pairs / cells,
        "repeated_pairs": rows.height - pairs,
        "duplicate_rows": rows.height - rows.n_unique(),
        "rows_per_user": _quantiles(rows["user_id"]),
        "rows_per_item": _quantiles(rows["item_id"]),
    }
    if "timestamp" in rows.columns:
        facts["time"] = _time_span(rows["timestamp"])
    if "rating" in rows.columns:
        facts["rating"] = _ratings(rows["rating"])
    return facts


def _quantiles(ids: pl.Series) -> dict[str, float]:
    counts = ids.value_counts()["count"]
    shares = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "q99": 0.99, "max": 1.0}
    return {name: float(counts.quantile(share, "linear") or 0.0) for name, share in shares.items()}


def _time_span(times: pl.Series) -> dict[str, Any]:
    stamps = pl.Series([times.min(), times.max()], dtype=pl.Int64)
    first, last = pl.from_epoch(stamps, time_unit="s")
    return {
        "first": f"{first:%Y-%m-%dT%H:%M:%SZ}",
        "last": f"{last:%Y-%m-%dT%H:%M:%SZ}",
        "days": (stamps[1] - stamps[0]) / 86_400,
    }


def _ratings(ratings: pl.Series) -> dict[str, Any]:
    counts = ratings.value_counts().sort("rating")
    facts: dict[str, Any] = {
        "mean": ratings.mean(),
        "sd": ratings.std(ddof=0),
        "min": ratings.min(),
        "max": ratings.max(),
        "distinct": counts.height,
    }
    if counts.height <= 20:
        facts["counts"] = {f"{value:g}": count for value, count in counts.iter_rows()}
    return facts
