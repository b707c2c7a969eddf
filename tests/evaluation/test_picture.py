from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from shortlist.data.dataset import Dataset, describe, from_tables
from shortlist.data.picture import picture
from shortlist.evaluation.picture import picture_page, picture_section
from shortlist.evaluation.sketch import day, sketch, spark

EVIL = "<script>alert('1')</script>\"&\x1b[31m"


class Strict(HTMLParser):
    """Refuses tags that are closed in another order than opened."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag


@pytest.fixture(scope="module")
def data() -> Dataset:
    rows = {
        "user_id": [EVIL, "b", "b"],
        "item_id": [EVIL, "y", EVIL],
        "rating": [1, 2, 3],
        "timestamp": [0, 90_000, 180_000],
        EVIL: [EVIL, "v", "w"],
    }
    items = {"item_id": [EVIL, "y"], "title": [EVIL, "Why"]}
    return from_tables(rows, items=items, name=EVIL, licence=EVIL, guess=False)


@pytest.fixture(scope="module")
def page(data: Dataset) -> str:
    return picture_page(describe(data), picture(data), f"Data: {data.name}")


def test_the_page_is_well_formed_and_asks_for_nothing(page: str) -> None:
    parser = Strict()
    parser.feed(page)
    parser.close()
    assert parser.opened == []
    assert {"html", "head", "body", "svg", "table"} <= {tag for tag, _ in parser.seen}
    for tag, attributes in parser.seen:
        assert tag not in ("script", "link", "img", "iframe", "object", "use")
        assert not {"src", "href", "xlink:href", "style"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:", page)
    assert "prefers-color-scheme" in page and "color-scheme:light dark" in page


def test_values_of_the_data_are_escaped(page: str) -> None:
    assert "<script" not in page and page.count("&lt;script&gt;") >= 5


def test_every_plot_is_xml_with_a_title_and_a_description(page: str, data: Dataset) -> None:
    plots = [ElementTree.fromstring(plot) for plot in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    assert len(plots) == 7  # users, items, ratings, time, hours, weekdays, sessions
    ids = [child.get("id") for plot in plots for child in plot if child.tag in ("title", "desc")]
    assert len(ids) == len(set(ids)) == 14
    for plot in plots:
        named = (plot.get("aria-labelledby") or "").split()
        assert plot.get("role") == "img" and [child.get("id") for child in plot][:2] == named
    tips = [tip.text for tip in plots[2].iter("title")][1:]
    assert tips == ["1: 1 rows", "2: 1 rows", "3: 1 rows"]
    assert max(float(bar.get("height") or 0) for bar in plots[0].iter("rect")) == 156


def test_parts_without_their_column_are_no_plots() -> None:
    data = from_tables({"user_id": ["a"], "item_id": ["b"]})
    section = picture_section(describe(data), picture(data), "small")
    assert section.count("<svg") == 2 and "Columns" not in section


def test_the_sketch_is_plain_text(data: Dataset) -> None:
    text = sketch(picture(data))
    assert "\x1b" not in text and "rows a user (users)" in text
    lines = text.splitlines()
    assert lines[1:3] == [
        "       1 ######################################## 1",
        "  2 to 3 " + "#" * 40 + " 1",
    ]
    ours = [line for line in lines if "script" not in line]
    assert all(line.isascii() for line in ours)


def test_signs_grow_with_counts() -> None:
    assert spark([0, 1, 4, 8]) == " .=@"
    assert spark([0, 0]) == "  " and spark([]) == ""
    assert (day(0), day(1e18)) == ("1970-01-01", "1e+18 s")
