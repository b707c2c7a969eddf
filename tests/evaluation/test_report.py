from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from shortlist.errors import DataError
from shortlist.evaluation.compare import evaluate
from shortlist.evaluation.report import Report
from shortlist.evaluation.rows import Predictions, Skipped, TestRows
from shortlist.index.ranks import Ranks

USERS, N = 60, 200


@pytest.fixture(scope="module")
def rows() -> TestRows:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(USERS), 10)
    train_users = rng.integers(0, USERS - 10, 3000)
    return TestRows.of(
        train_users,
        (N * rng.random(3000) ** 2).astype(int),
        np.where(users < USERS - 10, users, -1),
        rng.integers(0, N, USERS * 10),
        N,
        user_keys=users,
        ratings=rng.integers(1, 6, USERS * 10),
    )


def ranks(low: int, high: int, seed: int, num: int = USERS * 10) -> Ranks:
    found = np.random.default_rng(seed).integers(low, high, num).astype(float)
    return Ranks(found + 5, found)


@pytest.fixture(scope="module")
def report(rows: TestRows) -> Report:
    same = np.tile(np.arange(10), (USERS, 1)).astype(np.int32)
    good = np.random.default_rng(3).integers(0, N, (USERS, 10)).astype(np.int32)
    assert rows.ratings is not None
    return evaluate(
        [
            Predictions("popular", ranks=ranks(20, 200, 1), top=same, seconds=0.1),
            Predictions("mean", ratings=np.full(len(rows), 3.0)),
            Predictions("ours <b>", "model", ranks=ranks(1, 30, 2), ratings=rows.ratings + 0.1, top=good),
            Predictions("stuck", "model", ranks=ranks(40, 200, 3), ratings=np.full(len(rows), 9.0), top=same),
            Skipped("EASE", "too many items"),
        ],
        rows,
        protocol={"split": "random 80/20", "leaks": "time"},
        stages={"retrieval only": {"ndcg": 0.2}, "two stages": {"ndcg": 0.3}, "recall ceiling@100": 0.9},
        history={"loss": [3.0, 2.0, 1.0]},
    )


def test_verdicts_follow_from_how_the_entrants_were_made(report: Report) -> None:
    found = {(v.model, v.metric): (v.verdict, v.baseline) for v in report.verdicts}
    assert found["ours <b>", "filtered ndcg@10 (user)"] == ("wins", "popular")
    assert found["ours <b>", "rmse"] == ("wins", "mean")
    assert found["stuck", "rmse"] == ("loses", "mean")
    assert len(found) == 6


def test_a_copy_of_the_best_baseline_shows_no_difference(rows: TestRows) -> None:
    base = Predictions("base", ranks=ranks(1, 200, 1))
    copy = Predictions("copy", "model", ranks=ranks(1, 200, 1))
    assert {v.verdict for v in evaluate([base, copy], rows).verdicts} == {"no difference shown"}


def test_figures_are_plain_means(report: Report, rows: TestRows) -> None:
    figure = report.figure("ours <b>", "raw hit_rate@10 (row)")
    assert figure.value == pytest.approx((ranks(1, 30, 2).raw <= 10).mean())
    assert figure.low < figure.value < figure.high
    assert report.figure("ours <b>", "rmse").value == pytest.approx(0.1)
    with pytest.raises(KeyError, match="raw hit_rate@10"):
        report.figure("popular", "raw hit_rate@11 (row)")


def test_slices_average_over_their_own_rows(report: Report, rows: TestRows) -> None:
    parts = {part.name: part for part in report.slices}
    cold = parts["cold users (new)"]
    assert (cold.num_rows, cold.num_users) == (100, 10)
    mask = rows.users < 0
    assert cold.figures["popular"]["filtered hit_rate@100 (row)"].value == pytest.approx(
        (ranks(20, 200, 1).filtered[mask] <= 100).mean()
    )
    assert sum(part.num_rows for name, part in parts.items() if "items" in name) == len(rows)


def test_collapse_is_said_of_models_in_a_sentence(report: Report) -> None:
    assert len(report.warnings) == 1 and report.warnings[0].startswith(
        "stuck shows 100% of the users the same list"
    )
    by_name = {check.name: check for check in report.collapse}
    assert by_name["popular"].distinct_items == 10 and by_name["ours <b>"].identical_share == 1 / USERS


def test_constant_scores_are_noticed(rows: TestRows) -> None:
    middle = np.full(len(rows), (N + 1) / 2)
    found = evaluate([Predictions("flat", "model", ranks=Ranks(middle, middle - 1))], rows)
    assert "same score" in found.warnings[0]


def test_text_states_the_rules_and_every_part(report: Report) -> None:
    text = str(report)
    for part in (
        "random 80/20",
        "seed 42",
        "training items removed",
        "(user)",
        "mean rank",
        "leaks",
        "too many items",
    ):
        assert part in text
    for title in ("Headline", "Verdict", "Warnings", "Slices", "Stages", "Not run"):
        assert f"== {title}" in text
    assert "recall ceiling@100: 0.9000" in text and "* ours <b>" in text


def test_json_is_plain_and_complete(report: Report) -> None:
    found = json.loads(report.to_json())
    names = [entry["name"] for entry in found["entries"]]
    assert names == ["popular", "mean", "ours <b>", "stuck"]
    assert found["entries"][1]["figures"]["rmse"]["value"] == report.figure("mean", "rmse").value
    assert found["verdicts"][0]["sentence"] == report.verdicts[0].sentence
    assert found["skipped"] == [{"name": "EASE", "reason": "too many items"}]


class Balanced(HTMLParser):
    """Fails on a tag closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.urls += [value or "" for name, value in attrs if name in ("src", "href")]
        assert tag not in ("script", "link", "img", "b")
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_stands_alone_and_is_well_formed(report: Report) -> None:
    page = report.to_html("A < B")
    parser = Balanced()
    parser.feed(page)
    assert parser.open == [] and parser.urls == []
    assert "url(" not in page and "@import" not in page and "A &lt; B" in page and "ours &lt;b&gt;" in page
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(drawings) == 5  # three headline figures, the hit curve, one learning curve
    for drawing in drawings:
        ET.fromstring(drawing)
    assert report._repr_html_().startswith("<section") and "<html" not in report._repr_html_()


@pytest.mark.filterwarnings("error")
def test_one_user_one_row_has_figures_without_verdicts_of_difference() -> None:
    rows = TestRows.of([0], [0], [0], [1], 3)
    one = Ranks(np.array([1.0]), np.array([1.0]))
    two = Ranks(np.array([3.0]), np.array([3.0]))
    found = evaluate(
        [Predictions("base", ranks=two), Predictions("ours", "model", ranks=one)], rows, ks=(1, 2)
    )
    assert found.verdicts[0].verdict == "no difference shown"
    assert found.figure("ours", "filtered ndcg@1 (user)").value == 1.0
    assert json.loads(found.to_json())["entries"][0]["figures"]["raw mrr@1 (row)"]["low"] is None
    assert "<svg" in found.to_html() and "ours" in str(found)


def test_what_does_not_fit_is_refused(rows: TestRows) -> None:
    with pytest.raises(DataError, match="m: ranks has 3 rows, the test set 600"):
        evaluate([Predictions("m", ranks=ranks(1, 9, 0, num=3))], rows)
    with pytest.raises(DataError, match="m: rating prediction nan at test row 0"):
        evaluate([Predictions("m", ratings=np.full(len(rows), np.nan))], rows)
    with pytest.raises(DataError, match="cut-offs"):
        evaluate([], rows, ks=(0,))
    with pytest.raises(DataError, match="names of their own"):
        evaluate([Predictions("m"), Predictions("m")], rows)
    with pytest.raises(DataError, match="no test rows"):
        evaluate([], TestRows.of([0], [0], [], [], 3))
    with pytest.raises(DataError, match="test row 1: target 7"):
        TestRows.of([0], [0], [0, 0], [1, 7], 3)
