"""Tables of a made-up shop in files, a recipe that trains on them in a moment, and one run of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.recipes.run import RunResult, run
from shortlist.specs.recipe import Recipe

NUM_USERS, NUM_ITEMS, ROWS_EACH = 30, 40, 12

Make = Callable[..., Recipe]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with events.csv, items.csv and users.csv: two camps of users, each with its own items."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    rows = []
    for user in range(NUM_USERS):
        likes = np.where(np.arange(NUM_ITEMS) % 2 == user % 2, 8.0, 1.0)
        for item in rng.choice(NUM_ITEMS, ROWS_EACH, replace=False, p=likes / likes.sum()):
            rating = int(np.clip(3 + (item % 2 == user % 2) + rng.integers(-1, 2), 1, 5))
            rows.append((f"u{user}", f"i{item}", rating, int(rng.integers(0, 10**7))))
    names = ["user_id", "item_id", "rating", "timestamp"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(folder / "events.csv")
    numbers = range(NUM_ITEMS)
    items = {"item_id": [f"i{i}" for i in numbers], "title": [f"The Item {i}" for i in numbers]}
    pl.DataFrame(items).write_csv(folder / "items.csv")
    people = range(NUM_USERS)
    users = {"user_id": [f"u{u}" for u in people], "age": [20 + u % 7 for u in people]}
    pl.DataFrame(users).write_csv(folder / "users.csv")
    return folder


@pytest.fixture(scope="session")
def make(shop: Path) -> Make:
    """A recipe with sections and their keys replaced: make(training={"epochs": 2})."""

    def made(**changes: Any) -> Recipe:
        plain: dict[str, Any] = {
            "name": "shop",
            "data": {
                "interactions": str(shop / "events.csv"),
                "items": str(shop / "items.csv"),
                "users": str(shop / "users.csv"),
            },
            "model": {
                "kind": "multi-task",
                "query": {"features": [{"kind": "id", "column": "user_id", "dim": 4}]},
                "candidate": {"features": [{"kind": "id", "column": "item_id", "dim": 4}]},
                "tasks": [{"kind": "retrieval"}, {"kind": "rating", "hidden": [4]}],
            },
            "training": {"epochs": 2, "batch_size": 64},
            "evaluation": {"k": [5], "baselines": False, "resamples": 20},
            "serving": {"retrieve": 10},
        }
        for section, keys in changes.items():
            whole = section == "model" and "kind" in keys
            plain[section] = keys if whole else {**plain.get(section, {}), **keys}
        return Recipe.from_dict(plain)

    return made


@pytest.fixture(scope="session")
def first(make: Make, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run of the recipe as it is, baselines beside it."""
    return run(make(evaluation={"baselines": True}), tmp_path_factory.mktemp("runs") / "first")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def listed() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder with its bytes."""
    return contents
