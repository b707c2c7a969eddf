"""The data sets by name: `movielens` (real) and `synthetic` (with a known answer)."""

from __future__ import annotations

from shortlist.data.dataset import Dataset

__all__ = ["Dataset"]
