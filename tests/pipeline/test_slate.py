"""Slates in every form people take them in."""

from __future__ import annotations

import json

import pandas as pd
import polars as pl
import pytest

from shortlist.errors import RequestError
from shortlist.pipeline.recommender import Recommender


def test_rows_in_every_form_agree(joint: Recommender) -> None:
    slate = joint.recommend(["u0", "u1"], k=3)
    dicts = slate.to_dicts()
    assert len(dicts) == len(slate) == 6
    assert list(slate) == dicts
    assert [row["rank"] for row in dicts] == [1, 2, 3, 1, 2, 3]
    assert json.loads(json.dumps(dicts)) == dicts
    assert isinstance(slate.to_polars(), pl.DataFrame) and slate.to_polars().to_dicts() == dicts
    assert isinstance(slate.to_pandas(), pd.DataFrame) and slate.to_pandas().to_dict("records") == dicts


def test_items_columns_are_joined(joint: Recommender) -> None:
    slate = joint.recommend(["u0", "nobody"], k=3).with_items(["title", "genres"])
    assert list(slate.columns)[:5] == ["user_id", "item_id", "title", "genres", "score"]
    for row in slate:
        assert row["title"] == f"Film {row['item_id']}"
        assert row["genres"] in (["War", "Drama"], [], ["Drama"])
    with pytest.raises(RequestError, match="items have no column 'titel'") as caught:
        slate.with_items(["titel"])
    assert "'title'" in caught.value.hint


def test_text_and_html(joint: Recommender) -> None:
    slate = joint.recommend("u0", k=2).with_items(["title"])
    lines = str(slate).splitlines()
    assert lines[0].split() == list(slate.columns)
    assert len(lines) == 3 and slate["item_id"][0] in lines[1]
    slate.columns["title"][0] = "<b>Film</b>"
    html = slate._repr_html_()
    assert html.count("<tr>") == 3 and "&lt;b&gt;Film" in html and "<b>" not in html


def test_a_slate_in_a_notebook_shows_its_items(joint: Recommender) -> None:
    slate = joint.recommend("u0", k=2)
    html = slate._repr_html_()
    for row in slate:
        assert f"<td>Film {row['item_id']}</td>" in html
    assert html.index(">title<") < html.index(">score<")
    assert html.count(">title<") == slate.with_items(["title"])._repr_html_().count(">title<") == 1
    assert "title" not in slate.columns, "showing it changes nothing"


def test_long_results_say_how_long(joint: Recommender) -> None:
    slate = joint.recommend([f"u{i}" for i in range(12)], k=10)
    assert str(slate).splitlines()[-1] == f"... {len(slate) - 40} more rows"
    assert f"{len(slate) - 40} more rows" in slate._repr_html_()


def test_empty_slates_print(joint: Recommender) -> None:
    slate = joint.recommend("u5")
    assert len(str(slate).splitlines()) == 1
    assert slate.to_polars().height == 0


def test_a_misspelt_column_gets_the_nearest(joint: Recommender) -> None:
    with pytest.raises(RequestError, match="no column 'scores'") as caught:
        joint.recommend("u0")["scores"]
    assert "'score'" in caught.value.hint
