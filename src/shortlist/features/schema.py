"""What a model's two sides read: the columns a request may name, their types and sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shortlist.errors import SpecError
from shortlist.features.encoder import Encoder
from shortlist.features.fitted import ColumnType, Given


@dataclass(frozen=True)
class Schema:
    """Raw columns by name. sizes: the numbers in each "vector" column."""

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
        sizes = {}
        for encoder in encoders:
            for known, side in ((query, encoder.query), (candidate, encoder.candidate)):
                for feature in side.features:
                    name = feature.spec.column
                    if known.setdefault(name, feature.type) != feature.type:
                        raise SpecError(
                            f"column {name!r} is {known[name]} to one model and {feature.type} to another"
                        )
                    if isinstance(feature, Given):
                        sizes[name] = feature.size
        return cls(query, candidate, sizes)

    def to_dict(self) -> dict[str, Any]:
        return {"query": self.query, "candidate": self.candidate, "sizes": self.sizes}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Schema:
        return cls(plain["query"], plain["candidate"], plain["sizes"])
