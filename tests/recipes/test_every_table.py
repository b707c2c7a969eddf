"""Tables of every kind, from files to recommendations by the generic recipes, with what is found in them.

People are of two kinds, each of which takes things of its own half: whoever learns that is right about twice
as often as popularity.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import shortlist as sl
from shortlist.recipes.run import find_recipe, run
from shortlist.recipes.starting import Given, start
from shortlist.recipes.variants import training
from shortlist.recipes.written import written

pytestmark = pytest.mark.slow
USERS, ITEMS, EACH = 80, 60, 15
RNG = np.random.default_rng(5)


def shop(num_users: int = USERS, each: int = EACH) -> pl.DataFrame:
    """Who took what and when: mostly things of the user's own half."""
    users = np.repeat(np.arange(num_users), each)
    own = RNG.random(len(users)) < 0.85
    items = RNG.integers(0, ITEMS // 2, len(users)) * 2 + np.where(own, users % 2, 1 - users % 2)
    start = RNG.integers(1_600_000_000, 1_610_000_000, num_users)
    when = start[users] + np.tile(np.arange(each) * 3600, num_users)
    return pl.DataFrame({"user": users, "item": items, "when": when}).with_columns(
        customer=pl.format("c{}", "user"), sku=pl.format("s{}", "item")
    )


ALL = shop()
LIKED = (ALL["user"] % 2 == ALL["item"] % 2).to_numpy()
STARS = np.clip(np.where(LIKED, 5, 1) + RNG.integers(-1, 2, len(ALL)), 1, 5)
PAIR = ALL.select("customer", "sku")
TIMED = ALL.select("customer", "sku", "when")
THINGS = pl.DataFrame(
    {
        "sku": [f"s{i}" for i in range(ITEMS)],
        "text": [" ".join(["red", "blue"][i % 2 : i % 2 + 1] * 3000 + [f"word{i}"]) for i in range(ITEMS)],
    }
)
LAST = ALL.with_columns(place=pl.col("when").rank("ordinal").over("user"))
UNSEEN = LAST.with_columns(
    sku=pl.when((pl.col("place") == EACH) & (pl.col("user") < 10))
    .then(pl.format("new{}", "user"))
    .otherwise("sku")
).select("customer", "sku", "when")
KINDS: dict[str, tuple[pl.DataFrame, pl.DataFrame | None, dict[str, Any]]] = {
    "implicit only": (TIMED, None, {}),
    "ratings only": (PAIR.with_columns(stars=STARS), None, {}),
    "ratings and times": (TIMED.with_columns(stars=STARS), None, {}),
    "many event types": (
        TIMED.with_columns(action=pl.Series(RNG.choice(["view", "cart", "purchase"], len(ALL)))),
        None,
        {},
    ),
    "no timestamps, no features": (PAIR, None, {}),
    "huge item texts": (TIMED, THINGS, {}),
    "unseen test items": (UNSEEN, None, {"rule": "hold_last=1"}),
    "goal rating": (TIMED.with_columns(stars=STARS), THINGS, {"goal": "rating"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_from_files_to_recommendations(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, items, wanted = KINDS[kind]
    monkeypatch.chdir(tmp_path)
    events.write_csv("events.csv")
    if items is not None:
        items.write_csv("items.csv")
    things = None if items is None else Path("items.csv")
    found = start(Path("events.csv"), None, things, Given(**({"named": {}} | wanted)))
    Path("recipe.toml").write_text(written(found, Path()))
    recipe = training(members=1)(find_recipe("recipe.toml"))
    result = run(recipe, Path("run"))
    figures = {entry.name: entry.figures for entry in result.report.entries}
    (model,) = [entry.name for entry in result.report.entries if entry.role == "model"][:1]
    if wanted.get("goal") != "rating":
        name = "filtered hit_rate@10 (row)"
        assert figures[model][name].value > 1.25 * figures["popular"][name].value
    if "rmse" in figures[model]:
        assert figures[model]["rmse"].value < float(np.std(STARS))
    recommender = sl.load("run/bundle")
    slate = recommender.recommend("c1", k=5)
    assert len(set(slate["item_id"].tolist())) == 5
