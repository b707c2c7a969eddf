"""The rows on which a graph is compared with its model: given ones, and what nobody would think of giving."""

from __future__ import annotations

import numpy as np

from shortlist._typing import MISSING_INT, Array, Columns

UNKNOWN = "zz never seen \u00e9"
TIMES = (-2_208_988_800, 4_102_444_800, 2**31, -(2**31) - 1, 2**61, -(2**61))
"""1900, 2100, just outside of int32 and far beyond."""
NUMBERS = (-1e12, 1e12, -1e30, 1e30, 0.0, 1e-30)

_READ = 500  # rows whose lists are looked through for known values
_GIVEN = 56
STRANGE = 8
"""Rows of values that are unknown, missing and extreme, after 56 of those given."""


def probe(columns: Columns, longest: int = 0) -> Columns:
    """64 rows of raw columns: those given (repeated if they are few), then strange ones.

    In the strange rows, values of texts and lists are unknown, missing, or known ones in unlikely forms;
    times lie in 1900, 2100 and beyond int32; lists are empty, and longer than any given and than `longest`.
    Vectors lie just outside of their known range: further out, float32 itself would blur the comparison.
    """
    lists = [column.shape[1] for column in columns.values() if _is_list(column)]
    width = max([longest, len(TIMES), *lists]) + 2
    return {name: _probed(column, width) for name, column in columns.items()}


def _probed(column: Array, width: int) -> Array:
    given = column[np.arange(_GIVEN) % len(column)]
    if not _is_list(column):
        return np.concatenate([given, _strange(column)])
    rows = np.full((_GIVEN + STRANGE, width), _missing(column), column.dtype)
    rows[:_GIVEN, : column.shape[1]] = given
    for row, values in enumerate(_strange_lists(column[:_READ].ravel(), width), _GIVEN):
        rows[row, : len(values)] = values
        if len(values) > 2:
            rows[row, -2:] = values[:2]  # beyond what any feature reads
    return rows


def _strange(column: Array) -> Array:
    """One strange value a row: [8], of vectors [8, size]."""
    rows = np.empty((STRANGE, *column.shape[1:]), column.dtype)
    if column.dtype.kind == "O":
        known = next((text for text in column if text), "known")
        rows[:] = [
            UNKNOWN,
            "",
            "?! \u2026",
            f"{known} " * 40,
            known.upper(),
            f"\u00e9{known}",
            known,
            f" {known}",
        ]
    elif column.ndim == 2:
        rows[::2], rows[1::2] = np.nanmax(column, initial=0) + 1, np.nan
    elif column.dtype.kind == "i":
        known = column[column != MISSING_INT]
        rows[:] = [min(int(known.max(initial=0)), 2**62) + 1, MISSING_INT, *TIMES]
    else:
        rows[:] = [np.nanmax(column, initial=0) + 1, np.nan, *NUMBERS]
    return rows


def _strange_lists(known: Array, width: int) -> list[list[object]]:
    """Lists of strange values, none twice: a sum of one vector a thousand times depends on its order."""
    if known.dtype.kind == "O":
        texts: list[object] = [*dict.fromkeys(text for text in known if text)] or ["known"]
        return [
            [UNKNOWN],
            [],
            texts[:width],
            texts[:1],
            [UNKNOWN, *texts[: width - 1]],
            texts[-2:],
            [],
            texts[:3],
        ]
    if known.dtype.kind == "i":
        times = [*TIMES, *known[known != MISSING_INT]]
        return [[0], [], times[:width], times[:1], times[::-1][:width], times[-2:], [], times[:3]]
    numbers = [1.0, -1.0, *known[~np.isnan(known)]]
    return [[0.0], [], numbers[:width], numbers[:1], numbers[::-1][:width], numbers[-2:], [], numbers[:3]]


def _is_list(column: Array) -> bool:
    return column.ndim == 2 and column.dtype != np.float32


def _missing(column: Array) -> object:
    return {"O": "", "i": MISSING_INT}.get(column.dtype.kind, np.nan)
