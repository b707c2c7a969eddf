"""The ranker's training steps through `shortlist.fit`: whole epochs, order, gathering and checks included."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise

from clock import emit

from shortlist.api.fitting import Progress, fit
from shortlist.data.dataset import deduplicate_titles
from shortlist.data.movielens import movielens
from shortlist.data.splits import random
from shortlist.specs.features import Id
from shortlist.specs.models import Ranker, Tower
from shortlist.specs.tasks import Rating
from shortlist.specs.training import Adagrad

EPOCHS, BATCH, WARM = 24, 8192, 4
MODEL = Ranker(
    Tower((Id("user_id", 32),)), Tower((Id("item_id", 32),)), (Rating(hidden=(256, 64), biases=False),)
)


def ranker() -> None:
    """Real examples a second, from the end of one epoch to the end of a later one.

    80,000 rows make 10 batches of 8,192; the last is filled up, which is computed but not counted.
    """
    split = random(deduplicate_titles(movielens("100k")), seed=42)
    ends: list[tuple[float, float]] = []

    def listen(progress: Progress) -> None:
        ends.append((time.perf_counter(), progress.examples_per_second))

    fitted = fit(MODEL, split, epochs=EPOCHS, batch_size=BATCH, optimizer=Adagrad(0.1), listen=listen)
    times = [at for at, _ in ends[WARM:]]
    seconds = [later - earlier for earlier, later in pairwise(times)]
    rows = split.train.height
    emit(
        "ranker",
        rows / statistics.median(seconds),
        epochs_counted=len(seconds),
        sustained=rows * len(seconds) / (times[-1] - times[0]),
        inside_the_program=statistics.median(rate for _, rate in ends[WARM + 1 :]),
        last_loss=fitted.history["loss of rating"][-1],
    )
