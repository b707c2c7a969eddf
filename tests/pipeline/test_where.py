"""Predicates against an interpreter that looks at one item after the other, and what is refused."""

from __future__ import annotations

import operator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist._typing import MISSING_INT
from shortlist.errors import FilterError, RequestError
from shortlist.pipeline.where.grammar import DEEPEST, parse
from shortlist.pipeline.where.masks import mask
from shortlist.pipeline.where.tokens import LONGEST
from shortlist.state.catalogue import Items

BIG = 2**53
TEXTS = ["War", "war", "it's", 'a "b"', "\\", "é\n", "10", "Zoo"]
WHOLE = [0, 1, -5, 1990, BIG, BIG + 1, 2**62 + 1, 2**63 - 1, -(2**63) + 1]
FLOATS = [0.0, 0.5, -1.5, 1990.0, float(BIG), 1e300, 0.1]


def catalogue(rows: list[dict[str, Any]]) -> Items:
    """Items whose values may be None."""
    width = max([1, *(len(row["tags"]) for row in rows)])
    tags = np.full((len(rows), width), "", object)
    for at, row in enumerate(rows):
        tags[at, : len(row["tags"])] = row["tags"]
    columns = {
        "genre": np.array([*(row["genre"] or "" for row in rows), None], object)[:-1],
        "my col": np.array(
            [MISSING_INT if row["my col"] is None else row["my col"] for row in rows], np.int64
        ),
        "price": np.array([np.nan if row["price"] is None else row["price"] for row in rows], np.float64),
        "tags": tags,
    }
    return Items.of([f"i{at}" for at in range(len(rows))], columns, np.ones(len(rows)))


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "genre": st.none() | st.sampled_from(TEXTS),
            "my col": st.none() | st.sampled_from(WHOLE),
            "price": st.none() | st.sampled_from(FLOATS),
            "tags": st.lists(st.sampled_from(TEXTS), max_size=3),
        }
    ),
    min_size=1,
    max_size=8,
)
NAMES = {"genre": "genre", "my col": "`my col`", "price": "price", "tags": "`tags`"}
OPERATORS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
NUMBERS = st.sampled_from(WHOLE + FLOATS) | st.integers(-(2**65), 2**65) | st.floats(-1e4, 1e4)


def written(value: Any) -> str:
    if not isinstance(value, str):
        return repr(value)
    if "'" in value:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    return "'" + value.replace("\\", "\\\\").replace("\n", "\\n") + "'"


@st.composite
def leaves(draw: st.DrawFn) -> tuple[str, Any]:
    """A comparison as text, and what it says of a row: True, False, or None where a value is missing."""
    column = draw(st.sampled_from(list(NAMES)))
    name = NAMES[column]
    kind = draw(st.sampled_from(["compare", "among", "missing"]))
    if kind == "missing":
        turned = draw(st.booleans())
        text = f"{name} is {'not ' if turned else ''}missing"
        return text, lambda row: (row[column] not in (None, [])) == turned
    values = st.sampled_from(TEXTS) if column in ("genre", "tags") else NUMBERS
    turned = draw(st.booleans())
    if column == "tags":
        value = draw(values)
        text = f"{written(value)} {'not ' if turned else ''}in {name}"
        return text, lambda row: None if not row["tags"] else (value in row["tags"]) != turned
    if kind == "among":
        several = draw(st.lists(values, max_size=12))
        opening, closing = draw(st.sampled_from(["()", "[]"]))
        inside = ", ".join(map(written, several))
        text = f"{name} {'not ' if turned else ''}in {opening}{inside}{closing}"
        return text, lambda row: None if row[column] is None else (row[column] in several) != turned
    first, second = draw(values), draw(values)
    sign, other = draw(st.sampled_from(list(OPERATORS))), draw(st.sampled_from(list(OPERATORS)))
    if turned:  # a chain
        text = f"{written(first)} {sign} {name} {other} {written(second)}"
        return text, lambda row: None if row[column] is None else (
            OPERATORS[sign](first, row[column]) and OPERATORS[other](row[column], second)
        )  # fmt: skip
    return (
        f"{name}{sign}{written(first)}",
        lambda row: None if row[column] is None else OPERATORS[sign](row[column], first),
    )


def negated(inner: tuple[str, Any]) -> tuple[str, Any]:
    text, said = inner
    return f"not ({text})", lambda row: None if said(row) is None else not said(row)


def joined(parts: list[tuple[str, Any]], word: str) -> tuple[str, Any]:
    decides = word == "or"  # the value that settles it, whatever else is missing

    def said(row: dict[str, Any]) -> bool | None:
        values = [one(row) for _, one in parts]
        if decides in values:
            return decides
        return None if None in values else not decides

    return f" {word} ".join(f"({text})" for text, _ in parts), said


TREES = st.recursive(
    leaves(),
    lambda inner: (
        inner.map(negated)
        | st.tuples(st.lists(inner, min_size=2, max_size=3), st.sampled_from(["and", "or"])).map(
            lambda drawn: joined(*drawn)
        )
    ),
    max_leaves=6,
)


@settings(max_examples=250)
@given(ROWS, TREES)
def test_a_mask_is_what_is_said_of_every_row(rows: list[dict[str, Any]], tree: tuple[str, Any]) -> None:
    text, said = tree
    assert mask(text, catalogue(rows)).tolist() == [said(row) is True for row in rows]


@pytest.fixture(scope="module")
def films() -> Items:
    columns = {
        "title": np.array(["Heat", "Alien", "", "Big"], object),
        "year": np.array([1995, 1979, MISSING_INT, 1988]),
        "released": np.array([818899200, 296438400, MISSING_INT, 581126400]),
        "genres": np.array([["Crime", "Drama"], ["Horror", ""], ["", ""], ["Comedy", ""]], object),
        "vector": np.zeros((4, 2), np.float32),
    }
    return Items.of(["a", "b", "c", "d"], columns, np.ones(4))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("year >= 1990 and 'Crime' in genres", "a"),
        ("year < 1990 or 'Crime' in genres and year > 2000", "bd"),  # and binds closer
        ("(year < 1990 or 'Crime' in genres) and year > 1980", "ad"),
        ("NOT year < 1990", "a"),
        ("not not year < 1990", "bd"),
        ("1979 < year <= 1995", "ad"),
        ("title == 'Heat' OR title IN (\"Big\",)", "ad"),
        ("title > 'B'", "ad"),
        ("released >= '1979-05-24' and released < '1990-01-01T00:00:00+02:00'", "bd"),
        ("title is missing", "c"),
        ("vector is not missing", "abcd"),
        ("item_id in ('a', 'zz') or item_id > 'c'", "ad"),
        ("item_id != 'a' and item_id is not missing", "bcd"),
        ("'Noir' in genres or title in []", ""),
        ("year == true or year != false", "abd"),
        (r"title == '\x48\u0065at'", "a"),
        ("year == 1.995e3", "a"),
    ],
)
def test_known_answers(films: Items, text: str, found: str) -> None:
    assert "".join(films.ids[mask(text, films)]) == found


def test_a_character_may_be_written_as_two_halves() -> None:
    items = Items.of(["\U0001f600", "b"], {}, np.ones(2))
    assert mask(r"item_id == '\ud83d\uDE00'", items).tolist() == [True, False]


def test_a_time_between_two_seconds_is_no_whole_number() -> None:
    items = Items.of(list("abc"), {"at": np.array([4, 5, 6])}, np.ones(3))
    half = "'1970-01-01T00:00:05.500000'"
    for sign, found in {"<": "ab", "<=": "ab", ">": "c", ">=": "c", "==": "", "!=": "abc"}.items():
        assert "".join(items.ids[mask(f"at {sign} {half}", items)]) == found, sign
    assert mask(f"at in ({half}, '1970-01-01T00:00:06.000000')", items).tolist() == [False, False, True]
    late = Items.of(["a", "b"], {"at": np.array([253402300799, 253402300800])}, np.ones(2))
    assert mask("at > '9999-12-31T23:59:59.999999'", late).tolist() == [False, True]
    assert mask("at < '1969-12-31T23:59:59.25'", Items.of("ab", {"at": np.array([-1, 0])}, [1, 1])).all() == 0


def test_times_are_seconds_in_utc(films: Items) -> None:
    when = datetime(1979, 5, 25, tzinfo=UTC)
    assert films.columns["released"][1] == when.timestamp()
    assert films.ids[mask("released == '1979-05-25'", films)].tolist() == ["b"]


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("", 1, "expected a column or a value, got the end", ""),
        ("year", 5, "expected a comparison after the column 'year'", ""),
        ("genre LIKE '%War%'", 7, "expected a comparison after the column 'genre'", "compared as a whole"),
        ("year >=", 8, "expected a column or a value, got the end", ""),
        ("year = 3", 6, "'=' is not understood", "=="),
        ("year <> 3", 6, "'<>' is not understood", "!="),
        ("year > 3 & year < 5", 10, "'&' is not understood", "`and`"),
        ("title == 'Heat", 10, "is not understood", "closing quote"),
        (r"title == 'a\q'", 12, "unknown escape", "known"),
        (r"title == '\ud83d'", 10, "holds half a character", "both halves"),
        (r"title in ('x', '\ude00\ud83d')", 16, "holds half a character", "both halves"),
        ("year > 19x", 8, "'19x' is no number", ""),
        ("year > 1e999", 8, "too large", ""),
        ("(year > 3", 10, "expected `)`, `and` or `or`, got the end", ""),
        ("year > 3)", 9, "expected `and`, `or` or the end, got ')'", ""),
        ("year > 3 year < 5", 10, "expected `and`, `or` or the end, got 'year'", ""),
        ("yeer > 3", 1, "items have no column 'yeer'", "did you mean 'year'?"),
        ("title > 3", 9, "the column 'title' holds texts, which a number is never", "'3'"),
        ("1 < title", 1, "which a number is never", "quotes"),
        ("year == '1990'", 9, "holds whole numbers, which the text '1990' is never", "quotes away"),
        ("year in (1990, 'x')", 16, "which the text 'x' is never", ""),
        ("genres == 'War'", 1, "holds lists of texts, which == cannot compare", "in genres"),
        ("genres in ('War', 'Crime')", 1, "not one value", "in genres"),
        ("3 in genres", 1, "which a number is never", "quotes"),
        ("'Heat' in title", 11, "holds texts, not lists", "compare with =="),
        ("vector == 3", 1, "holds vectors", "is missing"),
        ("year == title", 9, "got two columns", "quotes"),
        ("3 == 3", 6, "got two values", "without quotes"),
        ("'a' is missing", 1, "expected a column before `is missing`", ""),
        ("year is None", 9, "expected `missing` or `not missing`", "is missing"),
        ("year == None", 9, "expected a column or a value, got 'None'", "is missing"),
        ("title in 'Heat'", 10, "expected a list of values after `title in`", "('A', 'B')"),
        ("title in (year)", 11, "expected a value, got 'year'", "quotes"),
        ("title in ('a' 'b')", 15, "expected `,` or `)`", ""),
        ("year not 3", 10, "expected `in`", ""),
        ("__import__('os')", 11, "expected a comparison after the column '__import__'", ""),
        ("year.__class__ == 3", 5, "'.' is not understood", ""),
        ("€ Preis < 20", 1, "'€' is not understood", "backticks"),
        ("`year == 3", 1, "'`' is not understood", "backtick"),
    ],
)
def test_what_is_refused_is_said_with_its_place(
    films: Items, text: str, place: int, message: str, hint: str
) -> None:
    with pytest.raises(FilterError) as caught:
        mask(text, films)
    assert str(caught.value).startswith(f"where, character {place}: ")
    assert message in str(caught.value) and hint in caught.value.hint
    assert caught.value.position == place - 1 and caught.value.text == text
    assert isinstance(caught.value, RequestError)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "year > 3" + ")" * 10_000,
        "not " * 10_000 + "year > 3",
        "year > 3 or " * 10_000 + "year > 3",
        "year > " + "9" * 5_000,
        "year in (" + "1," * 40_000 + "1)",
    ],
)
def test_what_is_too_deep_or_long_is_refused_at_once(text: str) -> None:
    with pytest.raises(FilterError, match=r"inside each other|characters|number"):
        parse(text)


def test_what_is_just_within_limits_is_read(films: Items) -> None:
    deep = "(" * DEEPEST + "year > 1990" + ")" * DEEPEST
    assert mask(deep, films).tolist() == [True, False, False, False]
    wide = " or ".join(["year > 1990"] * (LONGEST // 16))
    assert mask(wide, films).tolist() == [True, False, False, False]


@given(st.text(alphabet="year<>=!()[]'\"\\`, 0159.e+-andorintmsg\n", max_size=40))
def test_no_text_ends_in_another_error(text: str) -> None:
    try:
        parse(text)
    except FilterError as error:
        assert 0 <= error.position <= len(text)


@pytest.mark.parametrize("column", ["my col", "price", "genre"])
def test_every_comparison_of_every_value_is_python_s(column: str) -> None:
    """Whole numbers with floats and the other way round, near 2**53 and at the ends of 64 bits too."""
    held = {"my col": WHOLE, "price": FLOATS, "genre": TEXTS}[column]
    blank: dict[str, Any] = {"genre": None, "my col": None, "price": None, "tags": []}
    rows = [{**blank, column: value} for value in (*held, None)]
    items = catalogue(rows)
    near = [value + step for value in WHOLE for step in (-1, 1)] + [-(2**63), 2**63, 2**70, -1e300, BIG + 3]
    for value in TEXTS if column == "genre" else WHOLE + FLOATS + near:
        for sign, says in OPERATORS.items():
            right = [row[column] is not None and says(row[column], value) for row in rows]
            turned = [row[column] is not None and not says(row[column], value) for row in rows]
            text = f"{NAMES[column]} {sign} {written(value)}"
            assert mask(text, items).tolist() == right, text
            assert mask(f"not {text}", items).tolist() == turned, text
            mirror = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(sign, sign)
            assert mask(f"{written(value)} {mirror} {NAMES[column]}", items).tolist() == right, text
