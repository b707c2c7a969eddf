"""Warm starts: what was learned stays, what is new gets a place, a bundle is as good a start as a model."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from shortlist import bundle
from shortlist.api import warming
from shortlist.api.cases import Case
from shortlist.api.comparing import compare
from shortlist.api.fitting import Fitted, fit
from shortlist.api.keeping import Start
from shortlist.api.news import News, _unknown, rated_as_needed
from shortlist.api.pasts import events_of
from shortlist.api.preparing import prepare
from shortlist.api.warming import FADE, SMALLEST, chosen, rows_learned, warm_start
from shortlist.data.dataset import from_tables
from shortlist.data.splits import Split
from shortlist.errors import BundleCorrupted, BundleError, DataError, SpecError, TrainingError
from shortlist.evaluation.compare import evaluate
from shortlist.evaluation.rows import Predictions
from shortlist.features.batches import KNOWN
from shortlist.specs.features import Bag, Category, Id
from shortlist.specs.models import MultiTask, Ranker, Tower, TwoTower
from shortlist.specs.recipe import DataSource
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.specs.training import Training
from shortlist.state.past import Past

MODEL = MultiTask(
    Tower((Id("user_id", 4), Bag(dim=4)), out=4),
    Tower((Id("item_id", 4), Category("kind", 4)), out=4),
    tasks=(Retrieval(item_bias=True), Rating(hidden=(3,))),
)
TRAINING = Training(epochs=1, batch_size=64)
NUM_USERS, NUM_ITEMS, EACH = 20, 15, 6


def rows(users: list[str], items: list[str], start: int, each: int, seed: int) -> pl.DataFrame:
    draw, out, clock = random.Random(seed), [], start
    for user in users:
        for item in draw.sample(items, each):
            clock += 60
            out.append((user, item, float(draw.randint(1, 5)), clock))
    return pl.DataFrame(out, schema=["user_id", "item_id", "rating", "timestamp"], orient="row")


USERS, ITEMS = [f"u{k}" for k in range(NUM_USERS)], [f"i{k}" for k in range(NUM_ITEMS)]
OLD = rows(USERS, ITEMS, 0, EACH, 1)
NEWS = rows(["u3", "newcomer", "u1"], [*ITEMS[:5], "fresh"], 100_000, 6, 2)
CATALOGUE = pl.DataFrame({"item_id": ITEMS, "kind": [f"k{k % 3}" for k in range(NUM_ITEMS)]})
FRESH = pl.DataFrame({"item_id": ["fresh"], "kind": ["k1"]})


@pytest.fixture(scope="module")
def first() -> Fitted:
    data = from_tables(OLD, items=CATALOGUE)
    nothing = data.interactions.clear()
    split = Split(data.interactions, nothing, nothing, data.users, data.items, "all")
    return fit(MODEL, split, training=TRAINING)


@pytest.fixture(scope="module")
def grown(first: Fitted) -> Fitted:
    """With the news, before the first step."""
    return warm_start(first, NEWS, items=FRESH, epochs=0)


@pytest.fixture(scope="module")
def warmed(first: Fitted) -> Fitted:
    return warm_start(first, NEWS, items=FRESH, epochs=2)


@pytest.fixture(scope="module")
def saved(first: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "first"
    first.recommender().save(path)
    return path


def tables(fitted: Fitted) -> dict[str, Any]:
    return {name: np.asarray(table) for name, table in fitted.scorer.tables.items()}


def equal(one: Fitted, other: Fitted) -> bool:
    mine, theirs = tables(one), tables(other)
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_known_rows_are_bit_equal_before_the_first_step(first: Fitted, grown: Fitted) -> None:
    before, after = tables(first), tables(grown)
    for name, table in before.items():
        if name != "candidate/item_id.id#retrieval":  # moves with popularity
            assert np.array_equal(after[name][: len(table)], table), name
            assert (after[name][len(table) :] == table[0]).all()
    assert len(after["query/user_id.id"]) == len(before["query/user_id.id"]) + 1
    assert len(after["candidate/item_id.id"]) == len(before["candidate/item_id.id"]) + 1
    assert grown.state is not None and first.state is not None
    assert int(grown.state.step) == int(first.state.step) > 0


def test_item_biases_move_with_popularity(first: Fitted, grown: Fitted) -> None:
    name = "candidate/item_id.id#retrieval"
    moved = tables(grown)[name][: NUM_ITEMS + 1, 0] - tables(first)[name][:, 0]
    slots = grown.prepared.catalogue.items["item_id.id"]
    logs = [np.log((c + 1) / (c + 1).sum()) for c in (first.prepared.counts, grown.prepared.counts)]
    now, was = logs[1] - logs[1].mean(), logs[0] - logs[0].mean()
    assert moved[slots[:NUM_ITEMS]] == pytest.approx(now[:NUM_ITEMS] - was, abs=1e-5)
    assert tables(grown)[name][slots[NUM_ITEMS], 0] == pytest.approx(now[NUM_ITEMS], abs=1e-5)


def test_nothing_new_and_no_epochs_give_the_same_recommender(first: Fitted) -> None:
    again = warm_start(first, OLD, epochs=0)
    assert equal(first, again)
    assert again.prepared.encoder.content_hash == first.prepared.encoder.content_hash
    one, other = first.recommender(), again.recommender()
    for name in ("item_vectors", "item_representations"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert one.users.vocabulary == other.users.vocabulary
    assert np.array_equal(one.users.seen.indices, other.users.seen.indices)
    asked = [one.recommend(["u1", "u2", "nobody"], k=4), other.recommend(["u1", "u2", "nobody"], k=4)]
    assert all(np.array_equal(asked[0][name], asked[1][name]) for name in ("item_id", "score", "source"))


def test_the_known_is_told_from_the_new(first: Fitted) -> None:
    both = pl.concat([OLD[:7], NEWS])
    notes = warm_start(first, both, items=FRESH, epochs=0).notes
    assert notes[0] == f"{NEWS.height} new events after {OLD.height} known ones"
    assert "7 events were known already and left out" in notes
    assert {"1 new user", "1 new item"} <= set(notes)
    assert not any("the id alone" in note for note in notes)
    bare = warm_start(first, NEWS[:1], epochs=0).notes
    assert bare[0] == f"1 new event after {OLD.height} known ones"
    bare = warm_start(first, NEWS, epochs=0).notes
    assert "of 1 new item the id alone is known: no table gives kind" in bare
    late = NEWS.with_columns(timestamp=pl.col("timestamp") - 99_999)
    assert any("earlier than the last known one" in note for note in warm_start(first, late, epochs=0).notes)


def test_newcomers_are_answered(first: Fitted, warmed: Fitted) -> None:
    before, after = first.recommender(), warmed.recommender()
    assert set(before.recommend("newcomer", k=3)["source"]) == {"popular"}
    assert set(after.recommend("newcomer", k=3)["source"]) == {"retrieval"}
    seen = set(NEWS.filter(pl.col("user_id") == "newcomer")["item_id"])
    assert not seen & set(after.recommend("newcomer", k=NUM_ITEMS)["item_id"])
    assert "fresh" in after.recommend("u7", k=NUM_ITEMS)["item_id"]
    assert len(after.users.past.log) == OLD.height + NEWS.height  # type: ignore[union-attr]


def test_training_moves_what_was_there(first: Fitted, warmed: Fitted) -> None:
    name = "query/user_id.id"
    assert not np.array_equal(tables(warmed)[name][: NUM_USERS + 1], tables(first)[name])
    assert int(warmed.state.step) > int(first.state.step)  # type: ignore[union-attr]


def test_a_bundle_is_as_good_a_start_and_bits_are_the_same(saved: Path, warmed: Fitted) -> None:
    again = warm_start(saved, NEWS, items=FRESH, epochs=2)
    assert equal(warmed, again)
    assert again.notes == warmed.notes
    assert again.prepared.encoder.content_hash == warmed.prepared.encoder.content_hash


def test_the_declared_training_is_handed_on(warmed: Fitted) -> None:
    assert warmed.training.optimizer.learning_rate < TRAINING.optimizer.learning_rate
    assert warmed.base == TRAINING
    assert warm_start(warmed, NEWS, epochs=0).base == TRAINING


def test_a_bundle_without_its_training_is_refused(saved: Path, tmp_path: Path) -> None:
    bundle.copy(saved, tmp_path / "whole")
    assert (tmp_path / "whole" / "train" / "rows.parquet").is_file()
    bundle.copy(saved, tmp_path / "serving", serving=True)
    assert not (tmp_path / "serving" / "train").exists()
    one, other = bundle.load(saved), bundle.load(tmp_path / "serving")
    assert np.array_equal(one.recommend("u1", k=5)["item_id"], other.recommend("u1", k=5)["item_id"])
    with pytest.raises(BundleError, match="keeps nothing of its training") as caught:
        warm_start(tmp_path / "serving", NEWS)
    assert "--serving" in caught.value.hint
    rows = tmp_path / "whole" / "train" / "rows.parquet"
    rows.write_bytes(rows.read_bytes()[:-9])
    with pytest.raises(BundleCorrupted, match="expected"):
        warm_start(tmp_path / "whole", NEWS)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (NEWS.drop("rating"), "the new events have no column 'rating'"),
        (NEWS.rename({"timestamp": "at"}), "the new events have no column 'timestamp'"),
    ],
)
def test_events_that_do_not_fit_are_refused(first: Fitted, events: pl.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        warm_start(first, events)


def test_what_cannot_be_gone_on_from_is_refused(first: Fitted) -> None:
    with pytest.raises(TrainingError, match="nothing to start from"):
        warm_start(replace(first, state=None), NEWS)
    with pytest.raises(TrainingError, match="no new events") as caught:
        warm_start(first, OLD, replay=0)
    assert "--epochs 0" in caught.value.hint
    with pytest.raises(TrainingError, match="replay >= 0"):
        warm_start(first, NEWS, replay=-1)


def test_another_model_is_refused_by_its_key(first: Fitted) -> None:
    wider = msgspec.structs.replace(MODEL, query=Tower((Id("user_id", 4), Bag(dim=4)), out=4, hidden=(8,)))
    with pytest.raises(SpecError, match=r"model.query.hidden is \[8\], it was \[\]"):
        warm_start(first, NEWS, model=wider)
    tasks = (Retrieval(item_bias=True), Rating(hidden=(3,), weight=0.5, dropout=0.1))
    assert warm_start(first, NEWS, model=msgspec.structs.replace(MODEL, tasks=tasks), epochs=0).notes


def test_changed_columns_of_known_items_count(first: Fitted) -> None:
    changed = pl.DataFrame({"item_id": ["i0", "fresh"], "kind": ["k2", "k9"]})
    larger = warm_start(first, NEWS, items=changed, epochs=0)
    kinds = larger.split.items["kind"].to_list()
    assert kinds[0] == "k2" and kinds[1:NUM_ITEMS] == CATALOGUE["kind"].to_list()[1:] and kinds[-1] == "k9"
    assert larger.split.items["item_id"].to_list() == [*ITEMS, "fresh"]


def test_columns_that_are_not_given_again_are_kept(first: Fitted) -> None:
    bare = pl.DataFrame({"item_id": ["i0", "fresh"], "year": [1, 2]})
    assert warm_start(first, NEWS, items=bare, epochs=0).split.items["kind"][0] == "k0"
    changed = pl.DataFrame({"item_id": ["i0", "i1"], "kind": ["k2", "k1"]})
    assert "1 known item changed in kind" in warm_start(first, NEWS, items=changed, epochs=0).notes


def test_validation_rows_that_were_learned_from_are_told(first: Fitted) -> None:
    nothing, both = NEWS.clear(), pl.concat([OLD[:3], NEWS[:2]])
    people, things = NEWS.select(pl.col("user_id").unique()), NEWS.select(pl.col("item_id").unique())
    split = Split(NEWS[2:], both, nothing, people, things, "by hand")
    told = "3 of 5 validation rows were learned from before"
    assert any(told in note for note in warm_start(first, split, epochs=0).notes)
    split = replace(split, validation=NEWS[:2])
    assert not any("validation" in note for note in warm_start(first, split, epochs=0).notes)


def test_rows_of_no_weight_teach_nothing(first: Fitted) -> None:
    nothing = replace(first.prepared.examples, weights=np.zeros(OLD.height, np.float32))
    with pytest.raises(DataError, match="all 3 rows to learn from have weight 0"):
        chosen(replace(first.prepared, examples=nothing), np.arange(3))


def test_replayed_rows_are_drawn_from_all_old_ones() -> None:
    split = Split(pl.concat([OLD, NEWS]), OLD.clear(), OLD.clear(), OLD, OLD, "by hand")
    rows = rows_learned(News(split, OLD.height), 0.5, 7)
    replayed = rows[: -NEWS.height]
    assert len(set(replayed)) == NEWS.height // 2 and list(replayed) == sorted(replayed)
    assert max(replayed) > OLD.height // 2
    assert list(rows[-NEWS.height :]) == list(range(OLD.height, OLD.height + NEWS.height))
    assert not np.array_equal(rows, rows_learned(News(split, OLD.height), 0.5, 8))


def test_vectors_are_made_smaller_by_how_much_is_learned(
    first: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def seen(carried: Any, share: float) -> Any:
        raise Stop(share)

    def share(epochs: int) -> float:
        with pytest.raises(Stop) as caught:
            warm_start(first, NEWS, items=FRESH, epochs=epochs, replay=0.5)
        return float(caught.value.args[0])

    monkeypatch.setattr(warming, "smaller", seen)
    rows = NEWS.height * 1.5
    assert share(1) == pytest.approx(1 - FADE * rows / OLD.height)
    assert share(40) == SMALLEST


def test_training_begins_with_the_smaller_vectors(first: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Exception):
        pass

    def begun(net: Any, tables: Any, *_: Any, **__: Any) -> Any:
        raise Stop(tables)

    monkeypatch.setattr(warming, "train", begun)
    with pytest.raises(Stop) as caught:
        warm_start(first, NEWS, items=FRESH, epochs=40)
    name = "query/user_id.id"
    given = np.asarray(caught.value.args[0][name])[: NUM_USERS + 1]
    assert given == pytest.approx(SMALLEST * tables(first)[name])


def test_rows_with_nothing_in_a_column_are_known_again() -> None:
    """A missing value equals a missing value."""
    old = pl.DataFrame({"user_id": ["a"], "device": [None]}, schema_overrides={"device": pl.String})
    assert _unknown(old, old).height == 0


def test_the_mean_of_the_log_is_that_of_the_bundle(saved: Path, first: Fitted) -> None:
    mean = first.prepared.events.mean  # type: ignore[union-attr]
    assert mean > 1 and Start.of(saved).kept.mean == pytest.approx(mean)


def test_events_without_a_rating(tmp_path: Path) -> None:
    """Where nothing but ratings is learned they are left out, and a note says so; else they are learned
    from."""
    path = tmp_path / "events.parquet"
    mixed = NEWS.with_columns(rating=pl.when(pl.col("item_id") == "fresh").then(None).otherwise("rating"))
    mixed.write_parquet(path)
    ranker = Ranker(MODEL.query, MODEL.candidate, tasks=(Rating(hidden=(3,)),))
    data, (note,) = rated_as_needed(ranker, None, path, None, None)
    count = mixed["rating"].null_count()
    assert data.interactions.height == mixed.height - count and note.startswith(f"{count} events without")
    alone = TwoTower(MODEL.query, MODEL.candidate)
    for model in (MODEL, alone):
        data, notes = rated_as_needed(model, None, path, None, None)
        assert data.interactions["rating"].to_list() == mixed["rating"].to_list() and not notes
    views = NEWS.drop("rating").with_columns(event_id=pl.col("timestamp").cast(pl.String))
    views.write_parquet(path)  # what a server exports where no event has a rating
    assert rated_as_needed(MODEL, None, path, None, None)[0].interactions["rating"].null_count() == len(views)
    mixed.with_columns(kind=pl.when(pl.col("user_id") != "u3").then(pl.lit("play"))).write_parquet(path)
    source = DataSource(interactions="x", event="kind", event_weights={"play": 2.0})
    kinds, notes = rated_as_needed(MODEL, source, path, None, None)
    untyped = (mixed["user_id"] == "u3").sum()
    assert notes == (f"{untyped} events without a type were counted 1",)
    assert (kinds.interactions["weight"] == 1).sum() == untyped
    known = from_tables(OLD, items=CATALOGUE)
    nothing = known.interactions.clear()
    split = Split(known.interactions, nothing, nothing, known.users, known.items, "all")
    start = fit(alone, split, training=TRAINING)
    found = warm_start(start, data, epochs=0)
    assert found.split.train["rating"].null_count() == count
    bare = from_tables(NEWS.drop("rating"), items=CATALOGUE)
    assert warm_start(start, bare, epochs=0).split.train["rating"].null_count() == NEWS.height
    rows = found.split.train
    none = np.zeros(rows.height, np.int32)
    events = events_of(alone, found.split, none, none, rows["timestamp"].to_numpy(), 1)[0]
    assert events.log.ratings is not None and np.isfinite(events.log.ratings).all()
    Past(events.log, events.mean, True, events.unrated).save(tmp_path / "past")
    past = Past.load(tmp_path / "past")  # in which they are told apart
    assert past.log.ratings is not None
    given = [past.given(rating) for rating in past.log.ratings.tolist()]
    assert sorted(given, key=str) == sorted(rows["rating"].to_list(), key=str)


@pytest.mark.slow
def test_views_teach_retrieval_and_no_ratings(saved: Path, tmp_path: Path) -> None:
    """A joint model goes on with rows of which some have no rating: they are in what it retrieves from and
    in the next start, its ratings are learned from and judged on the others."""
    mixed = NEWS.with_columns(rating=pl.when(pl.col("user_id") == "u3").then(None).otherwise("rating"))
    count, data = mixed["rating"].null_count(), from_tables(NEWS, items=pl.concat([CATALOGUE, FRESH]))
    split = Split(mixed, mixed, mixed.clear(), data.users, data.items, "all")
    found = warm_start(saved, split, epochs=1)
    assert f"{count} of them have no rating: retrieval learns from them, ratings do not" in found.notes
    examples = found.prepared.examples
    known = examples.labels[f"rating{KNOWN}"]
    assert known.sum() == len(known) - count and np.isfinite(examples.labels["rating"]).all()
    assert found.prepared.counts.sum() == OLD.height + NEWS.height
    made = found.recommender()
    scored = made.score(mixed.drop("rating").to_dicts())["rating"]
    rated = mixed["rating"].is_not_null().to_numpy()
    rmse = float(((scored[rated] - mixed["rating"].to_numpy()[rated]) ** 2).mean() ** 0.5)
    assert found.history["validation rmse of rating"] == pytest.approx([rmse], rel=1e-4)
    case = Case.of(made, split, mixed)
    assert not case.liked[~rated].any() and case.liked[rated].any()
    judged = evaluate([Predictions("ours", "model", ratings=scored)], case.rows, resamples=2)
    assert judged.figure("ours", "rmse").value == pytest.approx(rmse)
    assert np.isfinite(found.history["loss of rating"]).all()
    table = warm_start(saved, mixed, items=FRESH, epochs=0)  # as a table goes, so do its rows to a comparison
    assert table.split.train["rating"].null_count() == count
    assert np.isfinite(compare(saved, made, mixed, resamples=2).figure("rmse").gap.value)
    made.save(tmp_path / "bundle")
    assert Start.of(tmp_path / "bundle").rows["rating"].null_count() == count
    nobody = replace(split, train=NEWS.with_columns(rating=pl.lit(None, pl.Float64)))
    with pytest.raises(DataError, match="no row has the label 'rating'"):
        prepare(MODEL, nobody)
    for refused in (mixed.with_columns(rating=pl.col("rating").fill_null(float("nan"))), mixed):
        model = MODEL if refused is not mixed else Ranker(MODEL.query, MODEL.candidate, tasks=MODEL.tasks[1:])
        with pytest.raises(DataError, match="the label 'rating' of row 0 is nan"):
            prepare(model, replace(split, train=refused))
