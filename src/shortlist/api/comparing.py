"""`compare`: two recommenders side by side on the same test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl

from shortlist import bundle
from shortlist._typing import Bools
from shortlist.api.cases import Case, ratings_of, require_read
from shortlist.api.entrants import entrant, numpy_counter, two_stage_entrant
from shortlist.api.merging import require_same_clock
from shortlist.api.sources import read_data, split_data
from shortlist.data import tables
from shortlist.data.dataset import Dataset
from shortlist.data.splits import Split
from shortlist.errors import DataError
from shortlist.evaluation.rows import Predictions, TestRows
from shortlist.evaluation.sides import SideBySide, side_by_side
from shortlist.index.ranks import Ranks
from shortlist.pipeline.recommender import Recommender
from shortlist.specs.recipe import Recipe

if TYPE_CHECKING:
    from shortlist.api.fitting import Fitted

    Contender: TypeAlias = Fitted | Recommender | str | Path

NAMES = ("A", "B")
COVERED = 0.5
"""Share of the test rows whose item a side must know; with less, it is another catalogue."""
SEED = 42
NOT_GIVEN = "not given"


def compare(
    a: Contender,
    b: Contender,
    test: Split | Dataset | pl.DataFrame | None = None,
    *,
    names: tuple[str, str] = NAMES,
    k: Sequence[int] = (10, 100),
    resamples: int = 1000,
) -> SideBySide:
    """Judge two recommenders on the same rows, with paired differences b - a.

    Args:
        a, b: fitted models, recommenders, or paths of bundles or runs.
        test: a Split, whose test rows these are, or test rows (a table, or those of a Dataset); left out,
            the test rows of the recipe inside a's bundle (else inside b's).
        names: what they are called in the result.
        k: cut-offs. resamples: of the bootstrap over users.

    Each ranks its own catalogue and leaves out what its own state says a user has seen; an item that one of
    them does not know is a miss of its. Rating errors count rows whose item both know. A verdict is given
    only where the interval of the difference excludes zero. Warnings say where test rows were trained on.

    Raises DataError where they cannot be compared: nothing that both answer, test rows mostly of items that
    one does not know, rows without a column one reads, times in another unit, one name for both.
    """
    if names[0] == names[1]:
        raise DataError(f"both are called {names[0]!r}", hint='tell them apart: names=("before", "after")')
    sides = [_side(contender, name) for contender, name in zip((a, b), names, strict=True)]
    split, source = _rows(test, sides)
    rows = split.test
    if not rows.height:
        raise DataError("there are no test rows to compare on", hint="give a split, or a table of events")
    judged = [_judged(side, split) for side in sides]
    known = judged[0].known & judged[1].known
    shared = _test_rows(rows, known)
    first, second = sides
    staged = any(len(found.entrants) > 1 for found in judged)
    return side_by_side(
        (judged[0].listed(staged), judged[1].listed(staged)),
        shared,
        names,
        ks=tuple(k),
        resamples=resamples,
        seed=SEED,
        warnings=[w for side, found in zip(sides, judged, strict=True) for w in _warnings(side, found, rows)]
        + _apart(first, second),
        protocol=_protocol(source, split, shared, sides, resamples),
    )


@dataclass(frozen=True)
class _Side:
    """name, recommender, and the training rows where they are known."""

    name: str
    recommender: Recommender
    rows: pl.DataFrame | None

    @property
    def recipe(self) -> Recipe | None:
        plain = self.recommender.provenance.get("recipe")
        return None if plain is None else Recipe.from_dict(plain)


def _side(contender: Contender, name: str) -> _Side:
    if isinstance(contender, Recommender):
        return _Side(name, contender, None)
    if isinstance(contender, str | Path):
        kept = bundle.folder_of(contender) / "train" / "rows.parquet"
        recommender = bundle.load(contender)
        return _Side(name, recommender, pl.read_parquet(kept) if kept.is_file() else None)
    return _Side(name, contender.recommender(), contender.split.train)


def _rows(test: Split | Dataset | pl.DataFrame | None, sides: Sequence[_Side]) -> tuple[Split, str]:
    """The split whose test rows are judged, and where it comes from."""
    if isinstance(test, Split):
        return test, test.rule
    if test is not None:
        place = test.place if isinstance(test, Dataset) else ""
        given = test.interactions if isinstance(test, Dataset) else tables.interactions(test, unrated=True)
        for side in sides:
            require_read(side.recommender, given.columns, place)
        for side in sides:
            if (known := _learned(side)) is not None:
                require_same_clock(given, known, "the test rows")
        people = tables.users(given.select(pl.col("user_id").unique(maintain_order=True)))
        nothing = given.clear()
        return Split(nothing, nothing, given, people, nothing, NOT_GIVEN), "events given"
    for side in sides:
        if side.recipe is not None:
            split = split_data(side.recipe, read_data(side.recipe))
            return split, f"{split.rule} of the recipe of {side.name}"
    raise DataError(
        "neither holds a recipe to find test rows by", hint="give a Split, or a table of test rows"
    )


@dataclass(frozen=True)
class _Judged:
    """known: bool [n], rows whose item the side knows. entrants: retrieval and ratings, then lists of two
    stages. trained: test rows it was trained on; pairs: those whose user and item it has seen."""

    known: Bools
    entrants: tuple[Predictions, ...]
    pairs: int

    def listed(self, staged: bool) -> tuple[Predictions, ...]:
        """With lists of its own where either side has two stages: those of one stage are retrieval's."""
        alone = staged and len(self.entrants) == 1
        return (*self.entrants, self.entrants[0]) if alone else self.entrants


def _judged(side: _Side, split: Split) -> _Judged:
    recommender, test = side.recommender, split.test
    ids = recommender.items.ids.tolist()
    known = test["item_id"].is_in(pl.Series(ids, dtype=pl.String)).to_numpy()
    if known.mean() < COVERED:
        row = int(np.argmin(known))
        raise DataError(
            f"{side.name} knows the items of {known.sum():,} of {len(known):,} test rows only, not"
            f" {test['item_id'][row]!r} of row {row}: its catalogue is another",
            hint="compare recommenders of one catalogue",
        )
    # a row of a strange item asks as any other; where its item ranks is said afterwards
    asked = test.with_columns(
        pl.when(pl.Series(known)).then(pl.col("item_id")).otherwise(pl.lit(ids[0])).alias("item_id")
    )
    own = Split(asked, asked.clear(), asked, split.users, pl.DataFrame({"item_id": ids}), split.rule)
    case = Case.of(recommender, own, asked)
    first = entrant(recommender, case, numpy_counter, side.name)
    staged = two_stage_entrant(recommender, case, first)
    entrants = tuple(_missed(e, known) for e in (first, staged) if e is not None)
    return _Judged(known, entrants, int((case.repeated & known).sum()))


def _missed(entry: Predictions, known: Bools) -> Predictions:
    """The same with strange items behind all others."""

    def behind(ranks: Ranks | None) -> Ranks | None:
        return (
            None
            if ranks is None
            else Ranks(*(np.where(known, r, np.inf) for r in (ranks.raw, ranks.filtered)))
        )

    return replace(entry, ranks=behind(entry.ranks), user_ranks=behind(entry.user_ranks))


def _test_rows(test: pl.DataFrame, known: Bools) -> TestRows:
    ids = test["item_id"].unique(maintain_order=True)
    targets = test["item_id"].cast(pl.Enum(ids)).to_physical().to_numpy().astype(np.int64)
    ratings = ratings_of(test)
    if ratings is not None:
        ratings = np.where(known, ratings, np.nan)
    nobody = np.full(test.height, -1)
    keys = test["user_id"].to_numpy().astype(str)
    return TestRows.of([], [], nobody, targets, len(ids), user_keys=keys, ratings=ratings)


def _warnings(side: _Side, found: _Judged, test: pl.DataFrame) -> list[str]:
    said = []
    trained = _trained_on(side, test)
    if trained:
        said.append(
            f"{side.name} was trained on {trained:,} of {test.height:,} test rows: its figures say how well"
            " it remembers, not how well it foresees"
        )
    elif found.pairs and trained is None:
        said.append(
            f"{found.pairs:,} of {test.height:,} test rows name a user and an item that {side.name} has seen"
            " together: repeats, or rows it was trained on"
        )
    strange = int((~found.known).sum())
    if strange:
        said.append(f"{side.name} does not know the items of {strange:,} test rows: they count as missed")
    return said


def _trained_on(side: _Side, test: pl.DataFrame) -> int | None:
    """How many test rows are among the training rows; None where nobody can tell."""
    keys = ["user_id", "item_id", "timestamp"]
    rows = _learned(side)
    if rows is None or any(key not in rows.columns or key not in test.columns for key in keys):
        return None
    return test.join(rows.select(keys).unique(), on=keys, how="semi").height


def _learned(side: _Side) -> pl.DataFrame | None:
    return side.rows if side.rows is not None else _past(side.recommender)


def _past(recommender: Recommender) -> pl.DataFrame | None:
    past = recommender.users.past
    if past is None or not past.timed:
        return None
    users = np.array([*recommender.users.vocabulary.values, None], object)[:-1]
    return pl.DataFrame(
        {
            "user_id": pl.Series(users[past.log.users].tolist(), dtype=pl.String),
            "item_id": pl.Series(recommender.items.ids[past.log.items].tolist(), dtype=pl.String),
            "timestamp": np.array(past.log.times),
        }
    )


def _apart(a: _Side, b: _Side) -> list[str]:
    """Where what they were trained on differs."""
    said = []
    facts = [side.recommender.provenance for side in (a, b)]
    described = [plain.get("data", {}).get("described") for plain in facts]
    if None not in described and described[0] != described[1]:
        counts = [f"{d.get('name')}, {d.get('interactions'):,} rows" for d in described]
        said.append(f"{a.name} and {b.name} were made from different data: {counts[0]}; {counts[1]}")
    rules = [{k: plain.get("split", {}).get(k) for k in ("rule", "seed")} for plain in facts]
    if all(any(rule.values()) for rule in rules) and rules[0] != rules[1]:
        told = [
            f"{rule['rule']}" + ("" if rule["seed"] is None else f" (seed {rule['seed']})") for rule in rules
        ]
        said.append(f"{a.name} and {b.name} were trained on different parts: {told[0]}; {told[1]}")
    return said


def _protocol(
    source: str, split: Split, rows: TestRows, sides: Sequence[_Side], resamples: int
) -> dict[str, Any]:
    return {
        "test rows": f"{len(rows):,} of {rows.num_users:,} users ({source})",
        **({"leaks": split.leaks} if split.leaks else {}),
        **{
            side.name: f"{len(side.recommender.items):,} items, {len(side.recommender.users):,} users,"
            f" {len(side.recommender.users.seen):,} pairs seen"
            for side in sides
        },
        "seen items": "filtered: what each side has seen of the user is removed; raw: it stays in",
        "intervals": f"95 %, users resampled {resamples:,} times (seed {SEED}); differences paired",
    }
