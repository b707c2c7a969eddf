"""Which measurements make which entry. A new bench is a line here, a function a side, a line in README.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from measure import PROGRAMS, Ran, in_turn, run
from results import Entry, entry


@dataclass(frozen=True)
class Bench:
    """One entry: a measurement of ours against one of a peer.

    ours, peer: (program, measurement), see `measure.PROGRAMS` and the programs' own tables. more:
    measurements that explain, run once and kept in the detail; slow: the same, in full runs only.
    scale: from the measurement's seconds to the unit. rounds: at most so many.
    """

    name: str
    unit: str
    ours: tuple[str, str]
    peer: tuple[str, str]
    ours_is: str
    peer_is: str
    more: tuple[tuple[str, str], ...] = ()
    slow: tuple[tuple[str, str], ...] = ()
    scale: float = 1.0
    rounds: int = 99


BENCHES = (
    Bench(
        "ranker-torch",
        "examples/s",
        ("ours", "ranker"),
        ("torch", "ranker"),
        "shortlist.fit, from epoch to epoch, real examples only",
        "PyTorch eager, tensors in memory, dense tables, torch.optim.Adagrad(fused=True)",
        slow=(("torch", "ranker-compiled"),),
    ),
    Bench(
        "ranker-tfrs",
        "examples/s",
        ("ours", "ranker"),
        ("tfrs", "ranker"),
        "shortlist.fit, from epoch to epoch, real examples only",
        "tfrs.models.Model.fit, cached pipeline, integer ids, no metric in training, the faster of two ways",
    ),
    Bench(
        "softmax-catalogue-torch",
        "ms",
        ("ours", "softmax-catalogue"),
        ("torch", "softmax-catalogue"),
        "retrieval_loss and its gradients, compiled, the form chosen by itself",
        "PyTorch eager, B x B matrix, offsets and masks in place, an allocator that keeps memory",
        (
            ("ours", "softmax-sizes"),
            ("torch", "softmax-2048"),
            ("torch as it comes", "softmax-catalogue"),
        ),
        (("torch", "softmax-compiled"),),
        1e3,
    ),
    Bench(
        "softmax-catalogue-tfrs",
        "ms",
        ("ours", "softmax-catalogue"),
        ("tfrs", "softmax-catalogue"),
        "retrieval_loss and its gradients, compiled, the form chosen by itself",
        "tfrs.tasks.Retrieval in a tf.function, XLA: logQ, accidental hits; it knows no known positives",
        (("tfrs", "softmax-without-xla"),),
        scale=1e3,
    ),
    Bench(
        "softmax-distinct-torch",
        "ms",
        ("ours", "softmax-distinct"),
        ("torch", "softmax-distinct"),
        "retrieval_loss and its gradients, compiled, the form chosen by itself",
        "PyTorch eager, B x B matrix, offsets and masks in place, an allocator that keeps memory",
        scale=1e3,
    ),
    Bench(
        "tables-growth",
        "times, 1e5 to 1e7 rows",
        ("our tables", "tables-growth"),
        ("torch", "tables-growth"),
        "update of 8,192 distinct rows of 64 numbers by row-sparse Adagrad, distinct rows found in it",
        "torch.optim.Adagrad on a sparse gradient, which it coalesces",
    ),
    Bench(
        "tables-torch",
        "ms",
        ("our tables", "tables"),
        ("torch", "tables"),
        "the same update at 1e7 rows",
        "torch.optim.Adagrad on a sparse gradient of an nn.Embedding of 1e7 rows, its step alone",
        scale=1e3,
    ),
    Bench(
        "tables-choice",
        "ms",
        ("our choices", "tables-choice"),
        ("our choices", "tables-better"),
        "the automatic choice of dense or sparse, where it is worst over sizes and rules",
        "the better of our own two forms there",
        scale=1e3,
        rounds=3,
    ),
    Bench(
        "evaluate-tfrs",
        "ms",
        ("ours", "evaluate"),
        ("tfrs evaluation", "evaluate"),
        "compiled counter, raw and filtered ranks, hit rate, NDCG, MRR, user recall at 5 cut-offs",
        "tfrs.metrics.FactorizedTopK, streamed corpus, in a tf.function: raw hit rates at 5 cut-offs",
        (("ours", "evaluate-bundle"),),
        scale=1e3,
    ),
    Bench(
        "evaluate-million",
        "scores/s",
        ("ours", "evaluate-million"),
        ("numpy", "evaluate-million"),
        "compiled counter in blocks",
        "NumPy in its fastest of several blockings, reused buffers",
    ),
    Bench(
        "encode",
        "rows/s",
        ("our encoding", "encode"),
        ("polars", "encode"),
        "20 million rows of text ids from Parquet: vocabulary fitted, every row encoded into a file",
        "polars' group_by and len by its streaming engine: distinct ids and counts, no row is encoded",
        (("polars", "encode-in-memory"),),
        (("our encoding", "encode-whole"),),
    ),
    Bench(
        "out-of-core",
        "examples/s",
        ("our streaming", "out-of-core"),
        ("our training in memory", "in-core"),
        "rows streamed from mapped files larger than the cap on memory (RLIMIT_DATA)",
        "Shortlist itself: the same training of the same rows, all in memory, without a cap",
    ),
    Bench(
        "bulk",
        "users/s",
        ("our bulk", "bulk"),
        ("our loop", "bulk-loop"),
        "recommend_all: the ten best of 499,790 users by the recipe ml100k-ids into Parquet, both stages",
        "Shortlist itself: a call of Recommender.recommend a user, the slates written to the same table",
        rounds=3,
    ),
    Bench(
        "ann-million",
        "ms",
        ("our index", "ann-million"),
        ("scann", "ann-million"),
        "the best 100 of a million for one query, p50: faiss lists tuned to a recall of 0.95, exact scores",
        "ScaNN tuned to the same recall on the same vectors, its best scored again in float32",
        (("usearch", "usearch"), ("usearch", "usearch-lengths")),
        scale=1e3,
        rounds=3,
    ),
    Bench(
        "start",
        "s of CPU",
        ("our start", "start"),
        ("savedmodel start", "start"),
        "a new process: Python, the bundle loaded and verified, ten items for one user with their ratings",
        "a new process: TensorFlow, the same model's SavedModel loaded, one rating",
    ),
    Bench(
        "score-savedmodel",
        "us",
        ("our scores", "score-savedmodel"),
        ("savedmodel", "score-savedmodel"),
        "raw strings to one rating by the bundle's graph `rank` in ONNX Runtime, one thread, batch 1",
        "the same model's SavedModel on the same strings, one thread, the fastest of three ways to call it",
        scale=1e6,
    ),
)


def small_entries(wanted: list[str], rounds: int, *, full: bool) -> list[Entry]:
    """The entries of the ids wanted: every program runs once a round with all its measurements."""
    chosen = [bench for bench in BENCHES if bench.name in wanted]
    ran: dict[str, list[Ran]] = {}
    for most in dict.fromkeys(bench.rounds for bench in chosen):
        ran |= in_turn(_jobs([bench for bench in chosen if bench.rounds == most]), min(rounds, most))
    explained = {
        (program, measurement): _once(program, measurement)
        for program, measurement in dict.fromkeys(
            pair for bench in chosen for pair in _explaining(bench, full)
        )
    }
    return [_entry(bench, ran, explained) for bench in chosen]


def _jobs(chosen: list[Bench]) -> dict[str, list[str]]:
    """The measurements of each program. Programs are not shared between benches of other rounds."""
    jobs: dict[str, list[str]] = {}
    for bench in chosen:
        for program, measurement in (bench.ours, bench.peer):
            names = jobs.setdefault(program, [])
            if measurement not in names:
                names.append(measurement)
    return jobs


def _explaining(bench: Bench, full: bool) -> tuple[tuple[str, str], ...]:
    return bench.more + (bench.slow if full else ())


def _once(program: str, measurement: str) -> dict[str, Any]:
    ran = run(program, [measurement])
    return {name: {"value": value, **ran.details[name]} for name, value in ran.values.items()}


def _entry(
    bench: Bench,
    ran: dict[str, list[Ran]],
    explained: dict[tuple[str, str], dict[str, Any]],
) -> Entry:
    sides = {"ours": bench.ours, "peer": bench.peer}
    values = {
        side: [one.values[name] * bench.scale for one in ran[program]]
        for side, (program, name) in sides.items()
    }
    detail: dict[str, Any] = {
        "ours_is": bench.ours_is,
        "peer_is": bench.peer_is,
        **{side: ran[program][-1].details[name] for side, (program, name) in sides.items()},
        "commands": {side: PROGRAMS[program].describe([name]) for side, (program, name) in sides.items()},
    }
    wanted = [pair for pair in _explaining(bench, full=True) if pair in explained]
    if wanted:
        detail["once"] = {" ".join(pair): explained[pair] for pair in wanted}
    return entry(bench.name, values["ours"], values["peer"], bench.unit, detail)
