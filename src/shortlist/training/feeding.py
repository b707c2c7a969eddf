"""Training rows on their way to the device: all of them at once, or chunk by chunk from memory-mapped files.

Rows that stay on the device are shuffled uniformly, every epoch anew. Rows that stream are shuffled in two
steps: blocks of BLOCK_ROWS neighbouring rows are drawn in random order and gathered to chunks of CHUNK_ROWS
rows or CHUNK_BYTES, whichever is less, and the rows of a chunk are shuffled uniformly. So every row may meet
every other in a batch, but neighbours in the file meet more often than chance has it: those of a block are
always in the same chunk, except where the end of a chunk cuts the block in two. Sort by nothing that matters
before writing, or shuffle once. Both orders are functions of seed and epoch.

Memory holds the chunk that is trained on and AHEAD more, and for a moment between two chunks one more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from queue import Queue
from threading import Event, Semaphore, Thread
from typing import Any, NamedTuple

import jax
import numpy as np

from shortlist._typing import Array, Ints
from shortlist.features.batches import Examples, epoch_order
from shortlist.specs.training import Training
from shortlist.tasks.multitask import Batch
from shortlist.training.pages import use_huge_pages

RESIDENT_BYTES = 2**30
"""Examples of more bytes than this are streamed."""
BLOCK_ROWS = 4096
CHUNK_ROWS = 2**19
CHUNK_BYTES = 2**26
AHEAD = 1
"""Chunks made ready while one is trained on."""
ALIGNED = 64
"""Bytes that an array must start at a multiple of for a CPU to take it as it is."""


class Chunk(NamedTuple):
    """Some steps' work. data: on the device; rows int32 [steps, B] into it (-1: padding); examples: the same
    rows on the host, to name what went wrong."""

    data: Batch
    rows: Ints
    examples: Examples


class Form(NamedTuple):
    """The shapes of a chunk: as much as a program needs to know of it."""

    data: Batch
    rows: Ints


@dataclass(frozen=True)
class Feed:
    """Epochs of batches over examples; `streamed` or resident.

    queries: whether the program reads the rows' own query features.
    """

    examples: Examples
    batch_size: int
    seed: int
    streamed: bool
    queries: bool

    @classmethod
    def of(cls, examples: Examples, training: Training, *, queries: bool = True) -> Feed:
        """queries: False where the program does not read them."""
        streamed = training.stream == "always"
        if training.stream == "auto":
            streamed = examples.nbytes > RESIDENT_BYTES
        return cls(examples, min(training.batch_size, len(examples)), training.seed, streamed, queries)

    @property
    def num_steps(self) -> int:
        """Steps an epoch."""
        return -(-len(self.examples) // self.batch_size)

    @property
    def forms(self) -> tuple[Form, ...]:
        """The distinct shapes of an epoch's chunks; the first chunk's first."""
        count = len(self.examples)
        sizes = dict.fromkeys(
            min(self._chunk_rows, count - start) for start in range(0, count, self._chunk_rows)
        )
        return tuple(self._form(size) for size in sizes)

    def _form(self, num_rows: int) -> Form:
        def shape(x: Array) -> Any:
            struct: Any = jax.ShapeDtypeStruct  # has no types
            return struct((num_rows, *x.shape[1:]), x.dtype)

        rows = np.zeros((-(-num_rows // self.batch_size), self.batch_size), np.int32)
        return Form(jax.tree.map(shape, self._batch(self.examples)), rows)

    def _batch(self, examples: Examples) -> Batch:
        given: Any = examples
        query: Any = examples.query if self.queries else {}
        own = (given.candidates, given.labels, given.weights, given.users)
        return Batch(query, *own, given.past, given.raters, given.aggregates)

    @cached_property
    def _resident(self) -> Batch:
        data: Batch = jax.device_put(self._batch(self.examples))
        use_huge_pages(jax.tree.leaves(data))  # rows are gathered from all over it
        return data

    @property
    def _chunk_rows(self) -> int:
        """A whole number of batches, so that only the last batch of an epoch is padded."""
        if not self.streamed:
            return len(self.examples)
        columns: list[Array] = jax.tree.leaves(self._batch(self.examples))
        row_bytes = sum(x.dtype.itemsize * math.prod(x.shape[1:]) for x in columns)
        rows = min(CHUNK_ROWS, CHUNK_BYTES // row_bytes)
        return max(1, rows // self.batch_size) * self.batch_size

    def epoch(self, epoch: int) -> Iterator[Chunk]:
        """The chunks of an epoch."""
        if self.streamed:
            return _ahead(self._streamed(epoch))
        order = epoch_order(len(self.examples), self.batch_size, seed=self.seed, epoch=epoch)
        return iter((Chunk(self._resident, order, self.examples),))

    def _streamed(self, epoch: int) -> Iterator[Chunk]:
        rng = np.random.default_rng([self.seed, epoch, 2])
        blocks = rng.permutation(-(-len(self.examples) // BLOCK_ROWS))
        rows_left: list[tuple[int, int]] = []  # ranges drawn but not used yet
        taken, at, size = 0, 0, self._chunk_rows
        while taken < len(self.examples):
            held = sum(stop - start for start, stop in rows_left)
            while held < size and at < len(blocks):
                start = int(blocks[at]) * BLOCK_ROWS
                rows_left.append((start, min(start + BLOCK_ROWS, len(self.examples))))
                held, at = held + rows_left[-1][1] - rows_left[-1][0], at + 1
            ranges, rows_left = _cut(rows_left, size)
            part = _ranges(self.examples, ranges)
            order = rng.permutation(len(part)).astype(np.int32)
            padded = np.full(-(-len(part) // self.batch_size) * self.batch_size, -1, np.int32)
            padded[: len(part)] = order
            taken += len(part)
            yield Chunk(jax.device_put(self._batch(part)), padded.reshape(-1, self.batch_size), part)
            del part  # not to be held while the next is made


def _cut(ranges: list[tuple[int, int]], size: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The first `size` rows of some ranges, and what is left."""
    first: list[tuple[int, int]] = []
    for i, (start, stop) in enumerate(ranges):
        if stop - start > size:
            return [*first, (start, start + size)], [(start + size, stop), *ranges[i + 1 :]]
        first.append((start, stop))
        size -= stop - start
    return first, []


def _ranges(examples: Examples, ranges: list[tuple[int, int]]) -> Examples:
    """The rows of some ranges, copied into memory in the order of the file."""
    ranges = sorted(r for r in ranges if r[0] < r[1])
    num_rows = sum(stop - start for start, stop in ranges)

    def gathered(x: Array) -> Array:
        out = _empty((num_rows, *x.shape[1:]), x.dtype)
        np.concatenate([x[start:stop] for start, stop in ranges], out=out)
        return out

    return examples.each(gathered)


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """As np.empty, at an address that lets the device share the array instead of copying it."""
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + ALIGNED, np.uint8)
    start = -room.ctypes.data % ALIGNED
    array: Array = room[start : start + size].view(dtype).reshape(shape)
    return array


def _ahead(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same chunks, made by a thread while the last one is in use."""
    ready: Queue[Any] = Queue()
    wanted, over = Semaphore(AHEAD + 1), Event()

    def work() -> None:
        try:
            while wanted.acquire() and not over.is_set() and (chunk := next(chunks, None)) is not None:
                ready.put(chunk)
                del chunk
            ready.put(None)
        except BaseException as error:  # told where the rows are awaited
            ready.put(error)

    thread = Thread(target=work, name="shortlist-feed", daemon=True)
    thread.start()
    try:
        while (chunk := ready.get()) is not None:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk
            wanted.release()  # the next is asked for: this one is done with
    finally:
        over.set()
        wanted.release()
        thread.join()
