"""The types of raw columns."""

from __future__ import annotations

from typing import Literal

ColumnType = Literal["string", "int", "float", "strings", "vector", "ints", "floats"]
"""One value a row, or a list of them; a vector has the same size in every row."""
