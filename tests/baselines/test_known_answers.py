"""What the baselines reach on MovieLens 100K, seed-42 random split, tuned on validation."""

from __future__ import annotations

import pytest

from shortlist.evaluation.report import Report

pytestmark = pytest.mark.slow  # every baseline tuned on all of MovieLens 100K

TOP100 = "filtered hit_rate@100 (row)"


@pytest.mark.parametrize(
    ("name", "figure", "least"),
    [
        ("item-kNN", TOP100, 0.58),
        ("EASE", TOP100, 0.62),
        ("iALS", TOP100, 0.63),
        ("recent popular", TOP100, 0.39),
        ("item-kNN", "filtered ndcg@10 (user)", 0.377),
        ("EASE", "filtered ndcg@10 (user)", 0.43),
        ("iALS", "filtered ndcg@10 (user)", 0.42),
        ("EASE", "filtered recall@10 (user)", 0.23),
        ("iALS", "filtered recall@10 (user)", 0.23),
    ],
)
def test_retrieval(movielens_report: Report, name: str, figure: str, least: float) -> None:
    assert movielens_report.figure(name, figure).value >= least


def test_most_popular(movielens_report: Report) -> None:
    assert movielens_report.figure("popular", "raw hit_rate@100 (row)").value == pytest.approx(
        0.297, abs=0.003
    )
    assert movielens_report.figure("popular", TOP100).value == pytest.approx(0.412, abs=0.003)


@pytest.mark.parametrize(("name", "most"), [("rating biases", 0.951), ("matrix factorisation", 0.93)])
def test_ratings(movielens_report: Report, name: str, most: float) -> None:
    assert 0.85 < movielens_report.figure(name, "rmse").value <= most


def test_nothing_is_left_out_and_it_is_quick(movielens_report: Report) -> None:
    assert movielens_report.skipped == () and len(movielens_report.entries) == 7
    assert sum(entry.seconds or 0.0 for entry in movielens_report.entries) < 30  # 7 on a quiet machine
