"""Our side of `encode`: from Parquet to a fitted vocabulary and one id column as int32 on disk.

`encode.py FOLDER [column | whole]`: FOLDER holds the rows `encode_data.py` wrote. `column` is one id column,
in the parts `shortlist.encode` is made of; `whole` is `shortlist.encode` itself, with two id columns, times,
seen sets and item counts. One JSON line.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shortlist.data.coded import Coded, blocks
from shortlist.data.coding import Coder
from shortlist.data.vocabulary import Vocabulary
from shortlist.features.store import GrowingArray

CHUNK = 1 << 19


def encode_column(files: list[Path], column: str, folder: Path) -> tuple[Vocabulary, Path]:
    """The fitted vocabulary, and a file with the slot of every row: int32 [n]."""
    coder, raw, out = Coder(), GrowingArray(folder / "codes.npy"), GrowingArray(folder / "slots.npy")
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
    return vocabulary, out.path


def whole(files: list[Path], folder: Path) -> int:
    """`shortlist.encode` of a two-tower model's ids."""
    import shortlist as sl

    model = sl.TwoTower(sl.Tower([sl.Id("user_id", 32)]), sl.Tower([sl.Id("item_id", 32)]))
    return len(sl.encode(model, files[0].parent, folder / "rows"))


def anonymous_mib() -> float:
    """Memory of this process that no file backs."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


def measured(work: Callable[[], int]) -> dict[str, float]:
    """Rows a second of `work`, which returns its rows, and the most memory it held."""
    most, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], anonymous_mib())

    before = anonymous_mib()
    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        rows = work()
        seconds = time.perf_counter() - start
    finally:
        done.set()
        watcher.join()
    return {
        "rows_per_s": rows / seconds,
        "seconds": seconds,
        "rows": rows,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_anonymous_mib": most[0],
        "anonymous_mib_before": before,
    }


def main() -> None:
    """Encode once and print what it took."""
    source, what = Path(sys.argv[1]), (sys.argv[2:] or ["column"])[0]
    files = sorted(source.glob("*.parquet"))
    folder = Path(tempfile.mkdtemp(prefix="encode.", dir=source.parent))
    try:
        if what == "whole":
            figures = measured(lambda: whole(files, folder))
        else:
            figures = measured(
                lambda: len(np.load(encode_column(files, "user_id", folder)[1], mmap_mode="r"))
            )
        print(json.dumps({"measurement": f"encode-{what}", **figures}))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
