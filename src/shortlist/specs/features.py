"""Features: how a column of a table becomes numbers, declared before any data is seen.

Each is fitted on training rows only. Those with a table (`Id`, `Category`, `Tags`, `Text`, `Bucket`) learn
one vector of `dim` numbers per value; unknown and missing values share slot 0. A side of a model takes any
list of features; a context feature is switched off by leaving it out.

Features of one tower that name the same `table` look up the same rows: one vocabulary, fitted on all their
values, and one table, to which each brings its own dropout and l2.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from shortlist.errors import SpecError
from shortlist.specs.spec import Spec, not_negative, positive, share

PERIODS = {
    "hour": 3_600.0,
    "hour_of_day": 86_400.0,
    "day_of_week": 604_800.0,
    "day_of_year": 365.2425 * 86_400.0,
}
"""Named periods of `Cyclic`, in seconds. Unix time begins on a Thursday at midnight UTC."""


AsOf = Literal["row", "leave-one-out"]
"""Which other rows a feature may see: events of an earlier second only ("row"), or all other training rows
("leave-one-out", which sees the future of the training period)."""


class Named(Spec, frozen=True, tag_field="kind", kw_only=True):
    """What may have a name of its own; `name` tells apart features of one kind and column."""

    name: str = ""


class Feature(Named, frozen=True):
    """A column and what to make of it."""

    column: str

    @property
    def key(self) -> str:
        """Its name inside a model: unique within a side."""
        return self.name or self.usual_key

    @property
    def usual_key(self) -> str:
        """Its name where it was given none."""
        return f"{self.column}.{self.__struct_config__.tag}"

    @property
    def table_name(self) -> str:
        """The name of its table, or of its array where it has none: unique within a side, unless shared."""
        return self.key

    def check(self) -> None:
        if not self.column:
            raise SpecError(f"{type(self).__name__} needs the name of a column")
        for what in (self.column, self.name):
            if "#" in what or "@" in what:  # they set apart the biases and further arrays of a feature
                raise SpecError(f"a column's name must not hold '#' or '@': {what!r}", hint="rename it")


class WithVocabulary(Feature, frozen=True, kw_only=True):
    """A column of values to be told apart, a row of a table each; `table` names one to share.

    l2_all penalises the squared norm of the whole table, as a prior does that all rows have in common; beside
    `l2`, which penalises a row as often as it is touched. Every step then updates the whole table.
    """

    table: str = ""
    l2_all: float = 0.0

    @property
    def table_name(self) -> str:
        return self.table or self.key

    @property
    def limits(self) -> tuple[int, int | None]:
        """How often a value must be seen to get a row, and how many get one at most."""
        return 1, None

    def check(self) -> None:
        super().check()
        not_negative(self, "l2_all")
        if "#" in self.table:
            raise SpecError(f"a table's name must not hold '#': {self.table!r}", hint="rename the table")


class Id(WithVocabulary, frozen=True, tag="id"):
    """An entity's own identifier (strings or integers), one vector each.

    `dropout` zeroes numbers of the vector while training, `l2` penalises the squared norm of touched rows,
    rows start uniform in [-scale, scale]. `id_dropout` is the share of ids that count as unknown while
    training, anew in every step: the unknown slot and the features beside the id then learn to stand for ids
    that training never saw, such as new items (as in DropoutNet, Volkovs et al., NIPS 2017).
    """

    dim: int = 32
    dropout: float = 0.0
    l2: float = 0.0
    scale: float = 0.05
    id_dropout: float = 0.0

    def check(self) -> None:
        super().check()
        positive(self, "dim")
        share(self, "dropout", "id_dropout")
        not_negative(self, "l2", "scale")


class Category(WithVocabulary, frozen=True, tag="category"):
    """A column with few distinct values, such as a country.

    Values seen fewer than `min_count` times are unknown.
    """

    dim: int = 8
    min_count: int = 1
    dropout: float = 0.0
    l2: float = 0.0
    scale: float = 0.05

    @property
    def limits(self) -> tuple[int, int | None]:
        return self.min_count, None

    def check(self) -> None:
        super().check()
        positive(self, "dim", "min_count")
        share(self, "dropout")
        not_negative(self, "l2", "scale")


class Tags(WithVocabulary, frozen=True, tag="tags"):
    """A column holding several values a row, such as genres; their vectors are averaged."""

    dim: int = 16
    min_count: int = 1
    dropout: float = 0.0
    l2: float = 0.0
    scale: float = 0.05

    @property
    def limits(self) -> tuple[int, int | None]:
        return self.min_count, None

    def check(self) -> None:
        super().check()
        positive(self, "dim", "min_count")
        share(self, "dropout")
        not_negative(self, "l2", "scale")


class Text(WithVocabulary, frozen=True, tag="text"):
    """Words of a text, averaged: lower-cased, then every match of `[a-z0-9]+`.

    `vocabulary` keeps the most frequent words; the first `length` words of a text count. Of MovieLens 100K's
    titles 114 of the 1,664 are cut otherwise than by Keras' TextVectorization, which deletes punctuation and
    splits at white space: "L.A." is two words here and "la" there, "Amélie" is "am", "lie".
    """

    vocabulary: int = 10_000
    dim: int = 32
    length: int = 16
    dropout: float = 0.0
    l2: float = 0.0
    scale: float = 0.05

    @property
    def limits(self) -> tuple[int, int | None]:
        return 1, self.vocabulary

    def check(self) -> None:
        super().check()
        positive(self, "vocabulary", "dim", "length")
        share(self, "dropout")
        not_negative(self, "l2", "scale")


class Bucket(Feature, frozen=True, tag="bucket"):
    """A number cut at `num_buckets` boundaries, one vector a bin.

    `uniform` boundaries are evenly spaced from the smallest to the largest training value (as
    `numpy.linspace`); `quantile` boundaries hold equally many training rows each.
    """

    num_buckets: int = 1000
    dim: int = 32
    method: Literal["uniform", "quantile"] = "uniform"
    dropout: float = 0.0
    l2: float = 0.0
    scale: float = 0.05

    def check(self) -> None:
        super().check()
        positive(self, "num_buckets", "dim")
        share(self, "dropout")
        not_negative(self, "l2", "scale")


class Normalize(Feature, frozen=True, tag="normalize"):
    """A number less its training mean, divided by its training standard deviation; missing is 0.

    Values beyond the training rows' range count as its end: a straight line drawn years past the last
    training row would drown everything else.
    """


class Cyclic(Feature, frozen=True, tag="cyclic"):
    """Where a timestamp (seconds) stands in a recurring period: sines and cosines of its first `harmonics`.

    `period` is one of hour, hour_of_day, day_of_week, day_of_year. Missing is (0, 0).
    """

    period: Literal["hour", "hour_of_day", "day_of_week", "day_of_year"] = "day_of_week"
    harmonics: int = 1

    @property
    def usual_key(self) -> str:
        return f"{self.column}.{self.period}"

    def check(self) -> None:
        super().check()
        positive(self, "harmonics")


class OfPast(WithVocabulary, frozen=True, kw_only=True):
    """A feature that reads the user's other events. It needs no user id: it works for users training never
    saw, from a history in the request."""

    as_of: AsOf = "row"

    def check(self) -> None:
        super().check()
        if self.column not in self.readable:
            raise SpecError(
                f"{type(self).__name__} reads past events, by {' or '.join(self.readable)},"
                f" got the column {self.column!r}",
                hint='leave column at "item_id"',
            )

    @property
    def readable(self) -> tuple[str, ...]:
        """What it can be made of."""
        return ("item_id",)


class History(OfPast, frozen=True, tag="history", kw_only=True):
    """The user's `length` events nearest in time, each item one vector, put together by an `encoder`.

    as_of: "row" takes events of an earlier second, the most recent first; "leave-one-out" the nearest on
    either side. encoder: "weighted" (a sum, weights learned by rank and by the gap in time), "mean", "gru" or
    "attention" (causal self-attention, Kang and McAuley, ICDM 2018); `options` are handed to it.
    event_dropout: the share of events left out while training.
    """

    column: str = "item_id"
    length: int = 50
    dim: int = 32
    encoder: Literal["weighted", "mean", "gru", "attention"] = "weighted"
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    event_dropout: float = 0.0
    dropout: float = 0.0
    l2: float = 0.0
    scale: float = 0.05

    def check(self) -> None:
        super().check()
        positive(self, "length", "dim")
        share(self, "dropout", "event_dropout")
        not_negative(self, "l2", "scale")


class Bag(OfPast, frozen=True, tag="bag", kw_only=True):
    """All of the user's distinct items, each one vector: their sum over sqrt(1 + how many).

    as_of: "row" takes items of an earlier second, "leave-one-out" all but the row's own. rated: vectors are
    multiplied by how far the user's rating lay above the item's mean (Koren, KDD 2008). length: the most
    items that count, the most recent ones. event_dropout: the share of items left out while training.

    Among a head's candidate features, Bag(column="user_id") is the mirror image: all users who had the item,
    other than the row's own.
    """

    column: str = "item_id"
    dim: int = 32
    rated: bool = False
    length: int = 1000
    event_dropout: float = 0.0
    dropout: float = 0.0
    l2: float = 0.0
    scale: float = 0.05

    @property
    def usual_key(self) -> str:
        return f"{self.column}.{'rated-bag' if self.rated else 'bag'}"

    @property
    def readable(self) -> tuple[str, ...]:
        return "item_id", "user_id"

    def check(self) -> None:
        super().check()
        if self.column == "user_id" and self.event_dropout:
            raise SpecError('Bag(column="user_id") has no event_dropout', hint="leave it at 0")
        positive(self, "length", "dim")
        share(self, "dropout", "event_dropout")
        not_negative(self, "l2", "scale")


class Vector(Feature, frozen=True, tag="vector"):
    """A precomputed embedding of fixed size (of an image, a text), projected to `dim`.

    What stands in for a missing one is learned.
    """

    dim: int = 32

    def check(self) -> None:
        super().check()
        positive(self, "dim")


FeatureSpec = Id | Category | Tags | Text | Bucket | Normalize | Cyclic | History | Bag | Vector
TableSpec = Id | Category | Tags | Text | Bucket | History | Bag
"""The features that look vectors up in a table."""
HasBiases = Id | Category | Bucket | Tags
"""Where a head has biases, each adds its row's, from beside its table (Tags the mean of its rows')."""
