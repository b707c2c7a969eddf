"""PyTorch's side of the small benchmarks: `torch_main.py MEASUREMENT ...`, a JSON line each.

Eager throughout, but where a name says compiled.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import softmax_case
import torch
from clock import emit, emit_seconds, folder, run_named
from torch import nn
from torch.nn import functional

BATCH, EPOCHS, WARM = 8192, 8, 2
FAR = -1e9
DENSE_ENTRIES = 2**24


class Ranker(nn.Module):
    """Two tables of 32 numbers an id, then 256, 64 and 1."""

    def __init__(self, num_users: int, num_items: int) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(num_users, 32), nn.Embedding(num_items, 32)
        self.rating = nn.Sequential(
            nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def forward(self, users: Any, items: Any) -> Any:
        return self.rating(torch.cat([self.users(users), self.items(items)], dim=1)).squeeze(1)


def ranker(name: str = "ranker", compiled: bool = False) -> None:
    """Examples a second over epochs of the 80,000 rows, held in memory and gathered by a permutation (a
    DataLoader is slower). The last batch is as short as it comes."""
    data = np.load(folder() / "steps.npz")
    users, items = (torch.from_numpy(data[f"train_{part}"].astype(np.int64)) for part in ("users", "titles"))
    ratings = torch.from_numpy(data["train_ratings"])
    torch.manual_seed(42)
    model = Ranker(943, 1664)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1, initial_accumulator_value=0.1, fused=True)
    forward = torch.compile(model) if compiled else model
    seconds, losses = [], []
    for _ in range(WARM + EPOCHS):
        start = time.perf_counter()
        for rows in torch.randperm(len(users)).split(BATCH):
            optimizer.zero_grad()
            loss = functional.mse_loss(forward(users[rows], items[rows]), ratings[rows])
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    emit(
        name,
        len(users) / statistics.median(seconds[WARM:]),
        epochs_counted=EPOCHS,
        sustained=len(users) * EPOCHS / sum(seconds[WARM:]),
        first_epoch_seconds=seconds[0],
        last_loss=losses[-1],
    )


def in_batch_softmax(
    case: softmax_case.Case, dtype: torch.dtype = torch.float32
) -> Callable[[], tuple[Any, ...]]:
    """Loss and gradients of a batch by the B x B matrix, the fastest eager form found (see the README).

    What is subtracted and masked is put into one matrix without gradient, to which the product is added in
    place. Each row's own item is among what its user knows, so that the mask of known positives covers
    accidental hits as well; the diagonal is put back.
    """
    queries = torch.from_numpy(case.queries).to(dtype).requires_grad_()
    table = torch.from_numpy(case.table).to(dtype).requires_grad_()
    users, rows = (torch.from_numpy(part.astype(np.int64)) for part in (case.users, case.rows))
    log_q = torch.from_numpy(case.log_q).to(dtype)
    small = case.num_users * len(case.table) <= DENSE_ENTRIES
    offsets = (_by_matrix if small else _by_lists)(case, dtype)
    labels = torch.arange(len(rows))

    def step() -> tuple[Any, ...]:
        queries.grad = table.grad = None
        candidates = functional.embedding(rows, table)
        scores = offsets(users, rows, log_q[rows])
        scores.diagonal().copy_(-log_q[rows])
        scores.addmm_(queries, candidates.T)
        loss = functional.cross_entropy(scores, labels, reduction="sum")
        loss.backward()
        return loss, queries.grad, table.grad

    return step


def _by_matrix(case: softmax_case.Case, dtype: torch.dtype) -> Callable[..., Any]:
    """Who knows what as a matrix of offsets: for catalogues that allow it."""
    known = torch.zeros(case.num_users, len(case.table), dtype=dtype)
    known[torch.from_numpy(case.known_users).long(), torch.from_numpy(case.known_items).long()] = FAR
    return lambda users, rows, log_q: (known.index_select(1, rows) - log_q).index_select(0, users)


def _by_lists(case: softmax_case.Case, dtype: torch.dtype) -> Callable[..., Any]:
    """Who knows what as padded lists, looked up among the batch's items. Right only where no item stands
    in the batch twice, which spares PyTorch a case that ours has to be ready for."""
    owners, items = (torch.from_numpy(part).long() for part in (case.known_users, case.known_items))
    counts, nowhere = torch.bincount(owners, minlength=case.num_users), len(case.table)
    lists = torch.full((case.num_users, int(counts.max())), nowhere)
    lists[owners, torch.arange(len(owners)) - (torch.cumsum(counts, 0) - counts)[owners]] = items

    def offsets(users: Any, rows: Any, log_q: Any) -> Any:
        column = torch.full((nowhere + 1,), -1)
        column[rows] = torch.arange(len(rows))
        known = column[lists[users]]
        places = torch.nonzero(known >= 0, as_tuple=True)
        scores = (-log_q).repeat(len(rows), 1)
        scores[places[0], known[places]] = FAR
        return scores

    return offsets


def _softmax(name: str, make: Callable[..., softmax_case.Case], repeats: int = 5) -> None:
    small = make(softmax_case.SMALL)
    found = [part.detach().numpy() for part in in_batch_softmax(small)()]
    step = in_batch_softmax(make())
    emit_seconds(
        name,
        step,
        repeats=repeats,
        warm=1,
        matrix_mib=BATCH * BATCH * 4 / 2**20,
        relative_errors=softmax_case.errors(small, *found),
        loss=step()[0].item(),
    )


def softmax_2048() -> None:
    """The catalogue at B = 2,048."""
    emit_seconds("softmax-2048", in_batch_softmax(softmax_case.catalogue(2048)), repeats=9)


def softmax_compiled() -> None:
    """The catalogue through torch.compile."""
    compiled = torch.compile(in_batch_softmax(softmax_case.catalogue()))
    start = time.perf_counter()
    compiled()
    first = time.perf_counter() - start
    emit_seconds("softmax-compiled", compiled, repeats=3, first_call_seconds=first)


TABLES = (100_000, 10_000_000)


@cache
def _tables() -> dict[int, float]:
    """Seconds of sparse Adagrad's step alone, 8,192 distinct rows of 64 numbers: the gradient is given, as
    backward leaves it, and not coalesced."""
    found = {}
    for rows in TABLES:
        generator = np.random.default_rng(0)
        table = nn.Embedding(rows, 64, sparse=True)
        optimizer = torch.optim.Adagrad(table.parameters(), lr=0.1, initial_accumulator_value=0.1)
        given = [
            torch.sparse_coo_tensor(
                torch.from_numpy(generator.choice(rows, BATCH, replace=False))[None],
                torch.from_numpy(generator.standard_normal((BATCH, 64), np.float32)),
                (rows, 64),
                check_invariants=False,
            )
            for _ in range(10)
        ]
        seconds = []
        for _ in range(6):
            start = time.perf_counter()
            for gradient in given:
                table.weight.grad = gradient
                optimizer.step()
            seconds.append((time.perf_counter() - start) / len(given))
        found[rows] = statistics.median(seconds[1:])
    return found


def tables() -> None:
    """The largest size."""
    emit("tables", _tables()[TABLES[-1]])


def tables_growth() -> None:
    """How much longer the largest size takes than the smallest."""
    ms = {f"{rows:,} rows": round(one * 1e3, 3) for rows, one in _tables().items()}
    emit("tables-growth", _tables()[TABLES[-1]] / _tables()[TABLES[0]], ms=ms)


MEASUREMENTS: dict[str, Callable[[], None]] = {
    "ranker": ranker,
    "ranker-compiled": lambda: ranker("ranker-compiled", compiled=True),
    "softmax-catalogue": lambda: _softmax("softmax-catalogue", softmax_case.catalogue),
    "softmax-distinct": lambda: _softmax("softmax-distinct", softmax_case.distinct),
    "softmax-2048": softmax_2048,
    "softmax-compiled": softmax_compiled,
    "tables": tables,
    "tables-growth": tables_growth,
}

if __name__ == "__main__":
    run_named(MEASUREMENTS, sys.argv[1:])
