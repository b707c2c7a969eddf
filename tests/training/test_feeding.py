"""Rows streamed from disk: each once an epoch, in a seeded order, to the same steps as without streaming."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.features.batches import Catalogue, Examples, log_sampling_probability
from shortlist.features.store import open_store, writing
from shortlist.models.build import build
from shortlist.specs.features import Id, Vector
from shortlist.specs.models import Ranker, Tower
from shortlist.specs.tasks import Rating
from shortlist.specs.training import Adam, Training
from shortlist.training import feeding, loop, steps
from shortlist.training.feeding import Chunk, Feed

USERS, ITEMS, BLOCK, CHUNK = 7, 11, 8, 40
COUNTS, SIZES = st.integers(1, 200), st.integers(1, 60)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "BLOCK_ROWS", BLOCK)
    monkeypatch.setattr(feeding, "CHUNK_ROWS", CHUNK)


def rows(count: int) -> Examples:
    """Row r has r in every column, which is how it is known again."""
    numbers = np.arange(count)
    return Examples(
        {
            "user_id.id": numbers.astype(np.int32),
            "page.vector": np.stack([numbers, -numbers], 1).astype(np.float32),
        },
        numbers.astype(np.int32),
        {"rating": numbers.astype(np.float32)},
        numbers.astype(np.float32),
        numbers.astype(np.int32),
    )


def feed(examples: Examples, batch_size: int, seed: int = 0, queries: bool = True) -> Feed:
    training = Training(batch_size=batch_size, seed=seed, stream="always")
    return Feed.of(examples, training, queries=queries)


def order(chunks: list[Chunk], check: bool = True) -> np.ndarray:
    """The rows of the file, batch by batch, by what stands in their candidates; -1: padding. With `check`,
    all other columns say the same."""
    found = []
    for chunk in chunks:
        columns = [np.asarray(x) for x in jax.tree.leaves(chunk.data)]
        names = np.asarray(chunk.data.candidates)
        for column in [*columns, *jax.tree.leaves(vars(chunk.examples))] if check else []:
            plain = column if column.ndim == 1 else np.where(column[:, 0] == -column[:, 1], column[:, 0], -9)
            np.testing.assert_array_equal(plain, names)
        found.append(np.where(chunk.rows >= 0, names[chunk.rows], -1))
    return np.concatenate(found)


@given(count=COUNTS, batch_size=SIZES, epoch=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_row_once_an_epoch_and_padding_in_the_last_batch_only(
    count: int, batch_size: int, epoch: int
) -> None:
    found = order(list(feed(rows(count), batch_size).epoch(epoch)))
    width = min(batch_size, count)
    assert found.shape == (math.ceil(count / width), width)
    flat = found.ravel()
    assert sorted(flat[:count]) == list(range(count))
    assert (flat[count:] == -1).all()


@given(count=COUNTS, batch_size=SIZES, queries=st.booleans())
@settings(max_examples=40, deadline=None)
def test_forms_are_those_of_the_chunks(count: int, batch_size: int, queries: bool) -> None:
    """Of all of them, so that nothing is compiled in the middle of a run."""
    made = feed(rows(count), batch_size, queries=queries)

    def shapes(parts: Any) -> Any:
        return jax.tree.map(lambda x: (x.shape, np.dtype(x.dtype)), tuple(parts))

    forms = [shapes((form.data, form.rows)) for form in made.forms]
    chunks = [shapes((chunk.data, chunk.rows)) for chunk in made.epoch(0)]
    assert forms == list({str(c): c for c in chunks}.values())
    assert made.num_steps == sum(len(chunk.rows) for chunk in made.epoch(1))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first = order(list(feed(rows(150), 16).epoch(0)))
    assert np.array_equal(first, order(list(feed(rows(150), 16).epoch(0))))
    assert not np.array_equal(first, order(list(feed(rows(150), 16).epoch(1))))
    assert not np.array_equal(first, order(list(feed(rows(150), 16, seed=1).epoch(0))))


def test_neighbours_of_a_block_share_a_chunk_unless_its_end_cuts_the_block() -> None:
    count, met = 200, set()
    made = feed(rows(count), 15)
    for epoch in range(150):
        chunk_of = np.zeros(count, int)
        chunks = list(made._streamed(epoch))
        for number, chunk in enumerate(chunks):
            chunk_of[np.asarray(chunk.data.candidates)] = number
        cut = 0
        for block in np.split(chunk_of, count // BLOCK):
            cut += len(set(block)) > 1
        assert cut <= len(chunks) - 1
        met |= {
            (a, b) for a in range(0, 200, BLOCK) for b in range(0, a, BLOCK) if chunk_of[a] == chunk_of[b]
        }
    assert len(met) == 25 * 24 / 2  # any two blocks meet


def test_rows_of_a_chunk_are_shuffled_uniformly() -> None:
    """Each of 24 orders of 4 rows about equally often: chi-square with 23 degrees stays below 60."""
    made = feed(rows(4), 4)
    seen: dict[tuple[int, ...], int] = {}
    for epoch in range(600):
        found = tuple(order(list(made._streamed(epoch))).ravel().tolist())
        seen[found] = seen.get(found, 0) + 1
    assert len(seen) == 24
    assert sum((n - 25) ** 2 / 25 for n in seen.values()) < 60


def test_wide_rows_make_smaller_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "CHUNK_BYTES", 700)  # 28 bytes a row
    sizes = [len(chunk.examples) for chunk in feed(rows(100), 10).epoch(0)]
    assert sizes == [20] * 5
    assert [len(c.examples) for c in feed(rows(100), 30).epoch(0)] == [30, 30, 30, 10]  # a batch at least


def test_the_device_shares_the_rows_it_is_handed() -> None:
    for chunk in feed(rows(100), 10).epoch(0):
        for there, here in (
            (chunk.data.candidates, chunk.examples.candidates),
            (chunk.data.query["page.vector"], chunk.examples.query["page.vector"]),
        ):
            assert there.unsafe_buffer_pointer() == here.ctypes.data


class Broken(np.ndarray):
    """Rows that cannot be read, as on a disk that was taken away."""

    def __getitem__(self, key: Any) -> Any:
        raise OSError("the disk is gone")


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "shortlist-feed"]


def test_an_error_of_the_thread_reaches_the_caller() -> None:
    examples = rows(100)
    examples.labels["rating"] = examples.labels["rating"].view(Broken)
    with pytest.raises(OSError, match="the disk is gone"):
        list(feed(examples, 10).epoch(0))
    assert not threads()


@pytest.mark.parametrize("taken", [1, 2])
def test_whoever_leaves_early_leaves_no_thread(taken: int) -> None:
    chunks: Any = feed(rows(200), 10).epoch(0)
    for _ in range(taken):
        next(chunks)
    assert threads()
    chunks.close()
    assert not threads()


def test_no_more_chunks_are_made_than_are_wanted_ahead() -> None:
    made = 0

    def endless() -> Iterator[Any]:
        nonlocal made
        while True:
            made += 1
            yield made

    chunks: Any = feeding._ahead(endless())
    for taken in range(1, 6):
        assert next(chunks) == taken
        threading.Event().wait(0.02)
        assert made <= taken + feeding.AHEAD
    chunks.close()


# Training

ROWS = 100
TABLES = {"query/user_id.id": USERS + 1, "query/page.vector": 2, "candidate/item_id.id": ITEMS + 1}
QUERY, CANDIDATE = Tower([Id("user_id", 4), Vector("page")]), Tower([Id("item_id", 4)])
MODEL = Ranker(QUERY, CANDIDATE, [Rating(hidden=[])])


def log() -> tuple[Examples, Catalogue]:
    rng = np.random.default_rng(0)
    users = rng.integers(0, USERS, ROWS).astype(np.int32)
    items = rng.integers(0, ITEMS, ROWS).astype(np.int32)
    query = {"user_id.id": users + 1, "page.vector": rng.normal(size=(ROWS, 2)).astype(np.float32)}
    weights = rng.uniform(0.5, 2, ROWS).astype(np.float32)
    examples = Examples(query, items, {"rating": rng.normal(size=ROWS).astype(np.float32)}, weights, users)
    known = [np.unique(items[users == u]) for u in range(USERS)]
    indptr = np.cumsum([0, *map(len, known)]).astype(np.int32)
    catalogue = Catalogue(
        {"item_id.id": np.arange(1, ITEMS + 1, dtype=np.int32)},
        log_sampling_probability(items, ITEMS),
        indptr,
        np.concatenate(known).astype(np.int32),
    )
    return examples, catalogue


@pytest.fixture
def mapped(tmp_path: Path) -> Examples:
    examples, _ = log()
    with writing(tmp_path / "rows") as writer:
        for key, array in examples.query.items():
            writer.append(f"query/{key}", array)
        writer.append("labels/rating", examples.labels["rating"])
        for name in ("candidates", "weights", "users"):
            writer.append(name, getattr(examples, name))
        writer.finish("none")
    return open_store(tmp_path / "rows").examples


def run(examples: Examples, stream: Any) -> tuple[list[np.ndarray], list[dict[str, float]]]:
    training = Training(epochs=2, batch_size=16, optimizer=Adam(0.01), stream=stream)
    net, made = build(MODEL, TABLES, means={"rating": 0.0}, seed=1)
    weights = {"rating": 1.0}
    events = loop.train(net, made, examples, log()[1], training, task_weights=weights)
    ends = [(event.params, event.losses) for event in events if isinstance(event, loop.EpochEnd)]
    leaves = jax.tree.leaves(eqx.filter(ends[-1][0], eqx.is_array))
    return [np.asarray(x) for x in leaves], [losses for _, losses in ends]


def same(one: Any, other: Any) -> bool:
    return one[1] == other[1] and all(np.array_equal(a, b) for a, b in zip(one[0], other[0], strict=True))


def test_mapped_rows_give_the_bits_of_rows_in_memory(mapped: Examples) -> None:
    assert isinstance(mapped.candidates, np.memmap)
    streamed = run(mapped, "always")
    assert same(streamed, run(mapped, "always"))
    assert same(streamed, run(log()[0], "always"))
    resident = run(mapped, "never")
    assert same(resident, run(log()[0], "never"))
    assert not same(resident, streamed)


def test_streamed_training_is_that_of_its_batches_one_by_one(mapped: Examples) -> None:
    """The reference steps one batch a call, over rows it takes from the whole table itself."""
    params, losses = run(mapped, "always")
    examples, catalogue = log()
    training = Training(epochs=2, batch_size=16, optimizer=Adam(0.01), stream="always")
    named = Examples(
        examples.query, np.arange(ROWS, dtype=np.int32), examples.labels, examples.weights, examples.users
    )
    data = Feed(examples, 16, 0, False, True)._resident
    start = build(MODEL, TABLES, means={"rating": 0.0}, seed=1)
    corpus = loop._corpus(start[0], examples, catalogue, 16)._replace(audience=None)
    plan = steps.plan_of(start, data, corpus, training, 16)
    carry = steps.first_carry(start, plan)
    rates = loop.schedule(training.optimizer, 2 * 7).reshape(2, 7)
    weights = jax.device_put({name: np.float32(1) for name in losses[0]})
    for epoch, expected in enumerate(losses):
        sums = dict.fromkeys(expected, 0.0)
        for done, batch in enumerate(
            order(list(feed(named, 16, seed=training.seed).epoch(epoch)), check=False)
        ):
            one = loop._steps(
                batch[None].astype(np.int32), training.seeds, (epoch, done), rates[epoch, done:]
            )
            work = steps.Work(data, corpus, one, weights)
            carry, found = steps.program(carry, work, plan)(carry, work)
            share = float(examples.weights[batch[batch >= 0]].sum())
            sums = {name: sums[name] + float(found[name][0]) * share for name in sums}
        for name, total in sums.items():
            assert expected[name] == pytest.approx(total / examples.weights.sum(), rel=1e-5)
    for a, b in zip(jax.tree.leaves(eqx.filter(carry.params, eqx.is_array)), params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
