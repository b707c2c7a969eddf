"""Training on rows larger than the memory it may take, and the same training with the rows in memory.

The cap is RLIMIT_DATA: all that no file backs, reserved or used, of Python, JAX and its threads included.
Mapped files are not under it; the kernel keeps as much of them as there is room for.
"""

from __future__ import annotations

import resource
from typing import Any

import numpy as np
from clock import emit, folder, most_memory
from stream_data import ITEMS, USERS, WIDTH, catalogue

CAP = 896 * 2**20
BATCH, EPOCHS = 8192, 2


def out_of_core() -> None:
    """Rows streamed from mapped files, under the cap."""
    resource.setrlimit(resource.RLIMIT_DATA, (CAP, CAP))
    _measure("out-of-core", "always", cap_mib=CAP / 2**20)


def in_core() -> None:
    """The same rows read into memory first, without a cap."""
    _measure("in-core", "never")


def _measure(name: str, stream: Any, **detail: Any) -> None:
    import jax

    from shortlist.features.batches import Examples
    from shortlist.features.store import open_store
    from shortlist.models.build import build
    from shortlist.specs.features import Id, Vector
    from shortlist.specs.models import Ranker, Tower
    from shortlist.specs.tasks import Rating
    from shortlist.specs.training import Adagrad, Training
    from shortlist.training.loop import EpochEnd, train

    model = Ranker(
        Tower((Id("user_id", 32), Vector("page"))),
        Tower((Id("item_id", 32),)),
        (Rating(hidden=(256, 64), biases=False),),
    )
    sizes = {"query/user_id.id": USERS + 1, "query/page.vector": WIDTH, "candidate/item_id.id": ITEMS + 1}
    examples = open_store(folder() / "stored").examples
    if stream == "never":
        examples = Examples(**jax.tree.map(np.array, vars(examples)))
    training = Training(epochs=EPOCHS, batch_size=BATCH, optimizer=Adagrad(0.1), stream=stream)
    net, tables = build(model, sizes, means={"rating": 3.0}, seed=1)
    with most_memory() as most:
        events = list(train(net, tables, examples, catalogue(), training, task_weights={"rating": 1.0}))
    ends = [event for event in events if isinstance(event, EpochEnd)]
    emit(
        name,
        ends[-1].examples_per_second,
        columns_mib=examples.nbytes / 2**20,
        rows=len(examples),
        peak_anonymous_mib=most["RssAnon"],
        peak_reserved_mib=most["VmData"],
        seconds=[end.seconds for end in ends],
        cpu_seconds=[end.cpu_seconds for end in ends],
        loss=ends[-1].losses["rating"],
        **detail,
    )
