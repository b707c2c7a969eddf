from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.data import display, splits
from shortlist.data.dataset import Dataset

EVIL = "<script>alert('x')</script>\"&"
VOID = {"br", "meta", "link", "img"}


class Reader(HTMLParser):
    """Tags and text of a piece of HTML; every tag that opens must close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def assert_at_home(html: str) -> Reader:
    """Whole, without scripts or requests, in nobody's colours, and styling nothing but itself."""
    read = Reader(html)
    assert {tag for tag, _ in read.tags} <= {
        "div", "style", "table", "thead", "tbody", "tr", "th", "td", "p", "b", "details", "summary"
    }  # fmt: skip
    assert not {name for _, attributes in read.tags for name in attributes} & {"src", "href", "onclick"}
    style = html.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"(?<![-\w])(color|background)\s*:|black|white|#(fff|000)", style)
    for rule in style.strip().splitlines():
        assert all(part.strip().startswith(".shortlist-view") for part in rule.split("{")[0].split(","))
    return read


@pytest.fixture
def data() -> Dataset:
    rows = pl.DataFrame(
        {
            "user_id": ["a", "a", EVIL],
            "item_id": ["1", "2", "1"],
            "rating": [1.0, 5.0, 3.0],
            "timestamp": [0, 86_400, 172_800],
        }
    )
    items = pl.DataFrame({"item_id": ["1", "2"], "tags": [["x", EVIL], []], "year": [1994, None]})
    return Dataset(rows, pl.DataFrame({"user_id": ["a", EVIL]}), items, f"shop {EVIL}", notes=(EVIL,))


def test_a_data_set_shows_its_counts_and_first_rows(data: Dataset) -> None:
    html = data._repr_html_()
    cells = assert_at_home(html).cells
    for words in (
        "3 (1.5 a user)",
        "1970-01-01 to 1970-01-03",
        "1 to 5, mean 3.000",
        "1994",
        EVIL,
        f"x, {EVIL}",
    ):
        assert words in cells
    assert html.count("<details>") == 3 and EVIL not in html


def test_wide_and_long_tables_are_cut(data: Dataset) -> None:
    wide = pl.DataFrame({f"c{n}": list(range(20)) for n in range(30)})
    html = display.view(display.preview("wide", wide))
    cells = assert_at_home(html).cells
    assert len(cells) == display.COLUMNS * (1 + display.ROWS)
    assert "20 rows, 20 more columns" in html


def test_a_split_shows_its_parts_and_what_leaks(data: Dataset) -> None:
    found = splits.random(data, test=0.34, seed=1)
    html = found._repr_html_()
    cells = assert_at_home(html).cells
    assert cells[6:9] == ["train", "2", "66.7%"]
    assert "seed 1" in html and "sees" not in html.split("What leaks")[0] and "the future" in html


def test_tables_without_rows_or_columns_are_shown() -> None:
    empty = pl.DataFrame({"user_id": [], "item_id": [], "rating": [], "timestamp": []})
    nothing = Dataset(empty, pl.DataFrame({"user_id": []}), pl.DataFrame({"item_id": []}))
    assert "unnamed" in nothing._repr_html_()
    assert_at_home(nothing._repr_html_())


def test_times_no_calendar_has_are_shown_as_they_are(data: Dataset) -> None:
    late = data.interactions.with_columns(timestamp=pl.Series([0, 1, 10**17]))
    html = Dataset(late, data.users, data.items)._repr_html_()
    assert "0 to 100000000000000000" in html


@settings(max_examples=25)
@given(st.text(max_size=200))
def test_any_text_comes_out_as_it_went_in_or_cut(text: str) -> None:
    html = display.view(display.table([("name", [text], False)]))
    (_, cell) = Reader(html).cells
    cleaned = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(text) <= display.LONGEST:
        assert cell in (text, cleaned)
    else:
        assert (
            cell in (text[: display.LONGEST - 1] + "…", cleaned[: display.LONGEST - 1] + "…") or "\r" in text
        )


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "true"), (12345, "12,345"), (0.123456, "0.1235"), (["a", "b"], "a, b"), ("x", "x")],
)
def test_what_is_said_of_a_value(value: Any, text: str) -> None:
    assert display.said(value) == text
