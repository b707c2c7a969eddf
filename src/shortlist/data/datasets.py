"""The data sets by name: `movielens`, `synthetic` (a known answer), `from_tables` (yours); and `validate`."""

from __future__ import annotations

from shortlist.data.checks.finding import Limits
from shortlist.data.checks.result import Validation
from shortlist.data.checks.validate import validate
from shortlist.data.dataset import Dataset, deduplicate_titles, describe, from_tables
from shortlist.data.movielens import movielens
from shortlist.data.synthetic import Truth, synthetic, synthetic_chunks

__all__ = [
    "Dataset",
    "Limits",
    "Truth",
    "Validation",
    "deduplicate_titles",
    "describe",
    "from_tables",
    "movielens",
    "synthetic",
    "synthetic_chunks",
    "validate",
]
