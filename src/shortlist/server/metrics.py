"""What a server counts: plain cells in memory that its processes share, rendered for Prometheus when asked.

Every process writes a row of its own, so nothing is locked; whoever is asked adds the rows up.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from shortlist.server.agreeing import Agreement

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the times of answers, in seconds."""
_CLASSES = ("2xx", "3xx", "4xx", "5xx")
COUNTS = {
    "batches": "Calls of the recommender",
    "queries": "Queries those calls answered",
    "events_accepted": "Events that are new",
    "events_repeated": "Events that were known",
    "events_rejected": "Events that were refused",
    "reloads": "Bundles taken into use after the first",
    "reloads_refused": "Bundles refused, the one before staying in use",
    "rollbacks": "Returns to the bundle before",
}
OF_VARIANT = {
    "variant_queries": "Shortlists by side of an experiment",
    "variant_items": "Items in them",
    "variant_popular": "Shortlists of popular items, where the model was not asked",
}


class Board:
    """The cells. routes: names of what is counted apart; variants: sides. Made before processes part.
    connections: how many each process has; -1: it lets nobody in."""

    def __init__(self, routes: Sequence[str], variants: Sequence[str], workers: int = 1) -> None:
        self.routes, self.variants = tuple(routes), tuple(variants)
        width = len(BOUNDS) + 1 + 1 + len(_CLASSES)  # buckets, sum of seconds, answers by class
        self._route = {name: n * width for n, name in enumerate(self.routes)}
        start = len(self.routes) * width
        names = [*COUNTS, *(f"{n}:{v}" for v in self.variants for n in OF_VARIANT)]
        self._cell = {name: start + n for n, name in enumerate(names)}
        size = start + len(names)
        self._memory = mmap.mmap(-1, max(1, workers * size * 8))
        self.cells = np.frombuffer(self._memory, np.float64)[: workers * size].reshape(workers, size)
        self.agreement = Agreement(self.variants, workers)
        num_connections = np.frombuffer(mmap.mmap(-1, workers * 8), np.int64)[:workers]
        num_connections.fill(-1)
        self.connections = num_connections.data
        self.use(0)

    def use(self, worker: int) -> None:
        """Write the row of this process from now on."""
        self.worker = self.agreement.worker = worker
        self._own = memoryview(self.cells[worker]).cast("B").cast("d")

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        own, at = self._own, self._route[route]
        own[at + bisect_left(BOUNDS, seconds)] += 1
        own[at + len(BOUNDS) + 1] += seconds
        own[at + len(BOUNDS) + status // 100] += 1

    def add(self, name: str, much: float = 1) -> None:
        """Count something of `COUNTS`, or `NAME:VARIANT` of `OF_VARIANT`."""
        self._own[self._cell[name]] += much

    def total(self, name: str) -> float:
        """Of all processes."""
        return float(self.cells[:, self._cell[name]].sum())

    def render(self, gauges: Mapping[str, tuple[str, float]], info: Mapping[str, Mapping[str, str]]) -> bytes:
        """The text Prometheus reads. gauges: name -> (help, value) of this process; info: name -> labels."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Of(self, gauges, info))
        if len(self.cells) == 1:
            ProcessCollector(registry=registry)
        return generate_latest(registry)


class _Of:
    def __init__(
        self, board: Board, gauges: Mapping[str, Any], info: Mapping[str, Mapping[str, str]]
    ) -> None:
        self.board, self.gauges, self.info = board, gauges, info

    def collect(self) -> Iterator[Metric]:
        board = self.board
        cells = board.cells.sum(axis=0)
        times = HistogramMetricFamily(
            "shortlist_request_seconds", "From a request's head to its answer", labels=["route"]
        )
        answers = CounterMetricFamily("shortlist_requests", "Answers", labels=["route", "status"])
        for name, at in board._route.items():
            buckets = np.cumsum(cells[at : at + len(BOUNDS) + 1]).tolist()
            texts = [*map(str, BOUNDS), "+Inf"]
            seconds = float(cells[at + len(BOUNDS) + 1])
            times.add_metric([name], list(zip(texts, buckets, strict=True)), seconds)
            for n, status in enumerate(_CLASSES):
                answers.add_metric([name, status], float(cells[at + len(BOUNDS) + 2 + n]))
        yield times
        yield answers
        for name, said in COUNTS.items():
            yield CounterMetricFamily(f"shortlist_{name}", said, value=board.total(name))
        for name, said in OF_VARIANT.items():
            family = CounterMetricFamily(f"shortlist_{name}", said, labels=["variant"])
            for variant in board.variants:
                family.add_metric([variant], board.total(f"{name}:{variant}"))
            yield family
        for name, (said, value) in self.gauges.items():
            yield GaugeMetricFamily(f"shortlist_{name}", said, value=value)
        for name, labels in self.info.items():
            one = GaugeMetricFamily(f"shortlist_{name}_info", "What is in use", labels=list(labels))
            one.add_metric(list(labels.values()), 1)
            yield one
