from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from shortlist.data.dataset import Dataset
from shortlist.data.synthetic import DAY, DAYS, GROUPS, START, Truth, synthetic, synthetic_chunks, weekday
from shortlist.errors import DataError


@pytest.fixture(scope="module")
def made() -> tuple[Dataset, Truth]:
    return synthetic(num_users=400, num_items=300, num_interactions=20_000, seed=3)


def number(ids: pl.Series) -> np.ndarray:
    return ids.str.slice(1).cast(pl.Int64).to_numpy()


def test_weekday_agrees_with_the_calendar() -> None:
    times = np.random.default_rng(0).integers(-(10**9), 2 * 10**9, 200)
    dates = pl.from_epoch(pl.Series(times), time_unit="s")
    assert (weekday(times) == dates.dt.weekday().to_numpy() - 1).all()
    assert weekday(START) == 0


def test_tables_fit_together(made: tuple[Dataset, Truth]) -> None:
    data, truth = made
    rows = data.interactions
    assert rows.height == 20_000
    assert rows["timestamp"].is_sorted()
    assert START <= rows["timestamp"][0] <= rows["timestamp"][-1] < START + DAYS * DAY
    assert set(rows["user_id"]) <= set(data.users["user_id"])
    assert data.items["release"].to_list() == truth.release.tolist()
    assert data.items["genres"].list.first().to_list() == [GROUPS[g] for g in truth.group]
    assert (rows["timestamp"].to_numpy() >= truth.release[number(rows["item_id"])]).all()


@pytest.mark.parametrize("chunk_size", [1, 4_095, 4_096, 5_000, 10**6])
def test_rows_do_not_depend_on_the_chunk_size(chunk_size: int) -> None:
    num_rows = 40 if chunk_size == 1 else 9_000
    sizes = {"num_users": 50, "num_items": 30, "num_interactions": num_rows, "seed": 1}
    whole = synthetic(**sizes)[0].interactions
    chunks = list(synthetic_chunks(**sizes, chunk_size=chunk_size))
    assert all(c.height == chunk_size for c in chunks[:-1])
    assert pl.concat(chunks).equals(whole)


def test_seeds_tell_apart() -> None:
    tables = [synthetic(num_interactions=100, seed=s)[0].interactions for s in (1, 1, 2)]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])


def test_the_day_of_the_week_moves_choices(made: tuple[Dataset, Truth]) -> None:
    from scipy import stats  # a second to import

    data, truth = made
    group = truth.group[number(data.interactions["item_id"])]
    day = weekday(data.interactions["timestamp"].to_numpy())

    def p_value(days: np.ndarray) -> float:
        table = np.zeros((len(GROUPS), 7))
        np.add.at(table, (group, days), 1)
        return float(stats.chi2_contingency(table).pvalue)

    assert p_value(day) < 1e-100
    assert p_value(np.random.default_rng(0).permutation(day)) > 1e-3
    chosen = np.zeros((len(GROUPS), 7))
    np.add.at(chosen, (group, day), 1)
    lift = np.log(chosen / chosen.sum(axis=0)) - np.log(chosen.sum(axis=1) / chosen.sum())[:, None]
    assert np.corrcoef(lift.ravel(), truth.day_effect.ravel())[0, 1] > 0.9


def test_popularity_decays_after_release(made: tuple[Dataset, Truth]) -> None:
    from scipy import stats

    data, truth = made
    release = truth.release
    age = (data.interactions["timestamp"].to_numpy() - release[number(data.interactions["item_id"])]) / DAY
    edges = np.arange(0, 70, 7)
    # Rows per item-week that items of that age were on offer: the exposure, not the mere count.
    end = START + DAYS * DAY
    available = np.arange(START, end, DAY)[:, None]
    offered = np.histogram(((available - release)[available >= release]) / DAY, edges)[0]
    rate = np.histogram(age, edges)[0] / offered
    assert stats.spearmanr(edges[:-1], rate).statistic < -0.8
    assert rate[0] > 2 * rate[-1]


def test_truth_predicts_ratings_down_to_the_noise(made: tuple[Dataset, Truth]) -> None:
    data, truth = made
    rows = data.interactions
    error = rows["rating"].to_numpy() - truth.expected_rating(rows["user_id"], rows["item_id"])
    assert np.sqrt(np.mean(error**2)) == pytest.approx(truth.noise_sd, rel=0.03)
    assert abs(error.mean()) < 0.02
    assert rows["rating"].std() > 1.5 * truth.noise_sd  # type: ignore[operator]


def test_truth_predicts_choices_and_needs_the_time(made: tuple[Dataset, Truth]) -> None:
    data, truth = made
    train, test = data.interactions[:-3_000], data.interactions[-3_000:]
    chosen = number(test["item_id"])

    def hit_rate(scores: np.ndarray) -> float:
        ranks = (scores > scores[np.arange(chosen.size), chosen][:, None]).sum(axis=1)
        return float((ranks < 10).mean())

    times = test["timestamp"].to_numpy()
    oracle = hit_rate(truth.score(test["user_id"], times))
    popular = np.bincount(number(train["item_id"]), minlength=300)
    assert oracle > 2 * hit_rate(np.broadcast_to(popular, (chosen.size, 300)))
    assert oracle > 1.3 * hit_rate(truth.score(test["user_id"], times - 3 * DAY))


def test_sizes_are_checked() -> None:
    with pytest.raises(DataError, match="num_items >= 2"):
        synthetic(num_items=1)
    with pytest.raises(DataError, match="num_interactions=0"):
        synthetic(num_interactions=0)
