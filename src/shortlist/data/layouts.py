"""How a delimited text is written: its delimiter, whether it has a header, what that says. Polars not needed.

Besides ordinary CSV these families are known by name or header: MovieLens (u.data, ratings.dat and their
kin, which have no header) and RecBole's atomic files (`user_id:token`, `genres:token_seq`, ...).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shortlist.errors import DataError

DELIMITED = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", ".base", ".test", ".inter", ".user", ".item")
"""File name endings of delimited text; those from .dat on are MovieLens' and RecBole's."""

_INTERACTIONS = ("user_id", "item_id", "rating", "timestamp")
_HEADERLESS = {
    r"u\.data|u[1-5ab]\.(base|test)|ratings\.dat": _INTERACTIONS,
    r"u\.user": ("user_id", "age", "sex", "occupation", "zip"),
    r"users\.dat": ("user_id", "sex", "age", "occupation", "zip"),
    r"movies\.dat": ("item_id", "title", "genres"),
    r"u\.item": ("item_id", "title", "release_date", "video_release_date", "url"),  # then a flag a genre
}
_ATOMIC = re.compile(r"([^:]+):(token|token_seq|float|float_seq)")
_QUOTED = re.compile(r'(?:(?<=\W)|^)"(?:[^"]|"")*"(?=\W|$)', re.MULTILINE)
_LINES = 200
_USUAL = ("\t", ",", ";", "|", "\x01", "\x1f", "::", "||", ", ", "; ")
_NEVER = set(".-+/\\'_()[]{}<>@%\"")
"""Single characters that stand inside dates, numbers, names and addresses."""
NO_NUMBER = r"^[+-]?(0\d|\d{19,}$)"
"""Texts whose digits would not come back: those with a leading zero, and whole numbers beyond 64 bits."""


@dataclass(frozen=True)
class Layout:
    """How a text is written. names: of the columns, where the text has no header; atomic: their kinds, where
    it is one of RecBole's. quoted: whether quotes may stand around fields."""

    delimiter: str
    names: tuple[str, ...] = ()
    atomic: tuple[str, ...] = ()
    quoted: bool = True


def layout_of(text: str, name: str = "", delimiter: str = "") -> Layout:
    """How a text is written, from its first lines. A delimiter is what divides every line into as many
    fields, usual ones before others; DataError where the text holds no line."""
    lines = [line for line in _QUOTED.sub("q", text).split("\n") if line.strip()][:_LINES]
    lines = lines[:-1] if len(lines) > 2 else lines  # the last may be cut off
    if not lines:
        raise DataError(
            f"{name or 'the text'} is empty", hint="the table needs a header and at least one row"
        )
    found = delimiter or ("\t" if name.lower().endswith(".tsv") else _delimiter(lines))
    raw = next(line for line in text.split("\n") if line.strip())
    fields = [field.strip().strip('"') for field in raw.split(found)]
    atomic = [_ATOMIC.fullmatch(field) for field in fields]
    if all(atomic):
        kinds = [match for match in atomic if match]
        return Layout(found, tuple(m[1] for m in kinds), tuple(m[2] for m in kinds))
    if (len(fields) > 1 and all(map(_is_number, fields))) or _is_known(name, fields):
        return Layout(found, _names(name, len(fields)), quoted=family(name) is None)
    return Layout(found)


def _delimiter(lines: list[str]) -> str:
    """Of what divides all lines alike, runs of signs that stand nowhere else go before usual delimiters,
    those before single signs and these before white space; among equals the one that makes most fields, and
    the longer. Where nothing does, the usual one that divides the most lines as it does the first."""
    runs = dict.fromkeys(run for line in lines[:2] for run in re.findall(r"[^\w\s\"'.]+", line))
    signs = dict.fromkeys(sign for run in runs for sign in run if sign not in _NEVER)
    several = [run for run in runs if len(run) > 1 and not set(run) & _NEVER]
    several = [run for run in several if all(_is_whole(line, run) for line in lines)]
    for group in (several, _USUAL, signs, (" ",)):
        fits = [(_fields(lines, one), len(one), one) for one in group if _is_even(lines, one)]
        if fits:
            return max(fits, key=lambda fit: fit[:2])[2]
    return max(_USUAL, key=lambda one: _alike(lines, one))


def _fields(lines: list[str], delimiter: str) -> int:
    return lines[0].count(delimiter) + 1


def _is_even(lines: list[str], delimiter: str) -> bool:
    times = lines[0].count(delimiter)
    return times > 0 and all(line.count(delimiter) == times for line in lines)


def _is_whole(line: str, run: str) -> bool:
    """Whether the signs of a run stand nowhere in a line but in it."""
    rest = line.replace(run, "")
    return not any(sign in rest for sign in run)


def _alike(lines: list[str], delimiter: str) -> int:
    times = lines[0].count(delimiter)
    return sum(line.count(delimiter) == times for line in lines) if times else 0


def family(name: str) -> tuple[str, ...] | None:
    """The columns of a file of MovieLens that has no header, by the file's name."""
    return next((names for form, names in _HEADERLESS.items() if re.fullmatch(form, name)), None)


def _is_known(name: str, fields: list[str]) -> bool:
    """Whether a file is named like one of MovieLens' without header, and its first line begins like one."""
    known = family(name)
    return known is not None and len(fields) >= len(known) and _is_number(fields[0])


def _names(name: str, count: int) -> tuple[str, ...]:
    known = family(name) or ()
    rest = tuple(f"column_{at}" for at in range(len(known) + 1, count + 1))
    return (*known, *rest) if len(known) <= count else tuple(f"column_{at + 1}" for at in range(count))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
