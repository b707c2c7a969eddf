"""What a model's two sides read: the columns a request may name, their types and sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shortlist.errors import SpecError
from shortlist.features.columns import ColumnType
from shortlist.features.encoder import Encoder
from shortlist.features.fitted import Given, columns_of
from shortlist.features.history import DERIVED


@dataclass(frozen=True)
class Schema:
    """Raw columns by name. sizes: the numbers in each "vector" column, the greatest length of each list of
    past events."""

    query: dict[str, ColumnType]
    candidate: dict[str, ColumnType]
    sizes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, *encoders: Encoder) -> Schema:
        """The columns that one or more encoders (of a retriever and a ranker, say) read together.

        Raises SpecError when they disagree about a column's type.
        """
        query: dict[str, ColumnType] = {}
        candidate: dict[str, ColumnType] = {}
        sizes: dict[str, int] = {}
        for encoder in encoders:
            for known, side in ((query, encoder.query), (candidate, encoder.candidate)):
                for feature in side.features:
                    for name, kind in columns_of(feature).items():
                        if known.setdefault(name, kind) != kind:
                            raise SpecError(
                                f"column {name!r} is {known[name]} to one model and {kind} to another"
                            )
                    if isinstance(feature, Given):
                        sizes[feature.spec.column] = feature.size
                for name, length in side.lengths.items():
                    sizes[name] = max(sizes.get(name, 0), length)
        if any(name in DERIVED for name in query):
            query.setdefault("timestamp", "int")  # past events are those before a request's time
        return cls(query, candidate, sizes)

    def to_dict(self) -> dict[str, Any]:
        return {"query": self.query, "candidate": self.candidate, "sizes": self.sizes}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Schema:
        return cls(plain["query"], plain["candidate"], plain["sizes"])
