"""Our side of `encode`: from Parquet to a fitted vocabulary and one id column as int32 on disk.

`encode` is one id column, in the parts `shortlist.encode` is made of; `encode-whole` is `shortlist.encode`
itself, with two id columns, times, seen sets and item counts.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from clock import emit, folder, most_memory

from shortlist.data.coded import Coded, blocks
from shortlist.data.coding import Coder
from shortlist.data.vocabulary import Vocabulary
from shortlist.features.store import GrowingArray

CHUNK = 1 << 19


def encode() -> None:
    """Rows a second of the user ids."""
    _measure("encode", lambda files, made: len(np.load(encode_column(files, "user_id", made), mmap_mode="r")))


def encode_whole() -> None:
    """Rows a second of all that a two-tower model of ids is trained on."""
    _measure("encode-whole", _whole)


def encode_column(files: list[Path], column: str, made: Path) -> Path:
    """Fit the vocabulary of a column; a file with the slot of every row: int32 [n]."""
    coder, raw, out = Coder(), GrowingArray(made / "codes.npy"), GrowingArray(made / "slots.npy")
    waiting: deque[Future[Any]] = deque()
    rows = pl.scan_parquet(files).select(column)
    with ThreadPoolExecutor(pl.thread_pool_size()) as threads:
        for batch in rows.collect_batches(chunk_size=CHUNK, maintain_order=True):
            waiting.append(threads.submit(coder.codes, batch[column]))
            if len(waiting) > pl.thread_pool_size():
                raw.append(waiting.popleft().result())
        for rest in waiting:
            raw.append(rest.result())
    raw.close()
    codes = np.load(raw.path, mmap_mode="r+")
    ranks, values = coder.ranks()
    for block in blocks(len(codes)):
        codes[block] = ranks[codes[block]]
    coded = Coded(codes, values)
    vocabulary = Vocabulary.fit(coded)
    for block in blocks(len(codes)):
        out.append(vocabulary.lookup(coded[block]))
    out.close()
    return out.path


def _whole(files: list[Path], made: Path) -> int:
    import shortlist as sl

    model = sl.TwoTower(sl.Tower([sl.Id("user_id", 32)]), sl.Tower([sl.Id("item_id", 32)]))
    return len(sl.encode(model, files[0].parent, made / "rows"))


def _measure(name: str, work: Callable[[list[Path], Path], int]) -> None:
    files = sorted((folder() / "encode").glob("*.parquet"))
    made = Path(tempfile.mkdtemp(prefix="encoded.", dir=folder()))
    try:
        with most_memory() as most:
            start = time.perf_counter()
            rows = work(files, made)
            seconds = time.perf_counter() - start
    finally:
        shutil.rmtree(made)
    emit(name, rows / seconds, rows=rows, seconds=seconds, peak_anonymous_mib=most["RssAnon"])
