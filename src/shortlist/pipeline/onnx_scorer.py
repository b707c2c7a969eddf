"""A Scorer over ONNX graphs: what a loaded bundle answers with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shortlist._typing import Columns, Floats, Longs
from shortlist.data.coded import Table, expanded
from shortlist.errors import BundleCorrupted
from shortlist.pipeline.onnx_graphs import Graphs

_ROWS = 8192  # rows encoded at once, at most
_VALUES = 1 << 18  # values of a list column at once, at most


@dataclass(frozen=True, eq=False)
class OnnxScorer:
    """A Scorer over the graphs of one folder of a bundle; a session is opened when first needed.

    A bundle that takes its place on disk later is another recommender's.
    """

    stored: Graphs
    encoder_hash: str
    _sessions: dict[str, Any] = field(default_factory=dict, repr=False)
    _names: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict, repr=False)

    @property
    def graphs(self) -> frozenset[str]:
        return frozenset(self.stored.files)

    def encode_query(self, columns: Table) -> tuple[Floats, Floats | None]:
        return self._encode("query", columns)

    def encode_candidate(self, columns: Table) -> tuple[Floats, Floats | None]:
        return self._encode("candidate", columns)

    def predict(
        self,
        query: Floats,
        candidate: Floats,
        aggregates: dict[str, Floats] | None = None,
        rows: Longs | None = None,
    ) -> dict[str, Floats]:
        if "pairs" not in self.graphs:
            return {}
        given: Columns = {f"{head}_aggregates": numbers for head, numbers in (aggregates or {}).items()}
        given |= {"query_representation": query, "candidate_representation": candidate}
        return self._run("pairs", given) if rows is None else self._run("lists", given | {"candidate": rows})

    def session(self, graph: str) -> Any:
        """The ONNX Runtime session of a graph. BundleCorrupted where it does not load or fit the encoder."""
        if graph not in self._sessions:
            session = self.stored.session(graph)
            if session.get_modelmeta().custom_metadata_map.get("shortlist.encoder") != self.encoder_hash:
                path = self.stored.files[graph].path
                raise BundleCorrupted(f"{path}: this graph was made for another encoder")
            self._sessions[graph] = session
        return self._sessions[graph]

    def _encode(self, side: str, columns: Table) -> tuple[Floats, Floats | None]:
        num_rows = len(next(iter(columns.values())))
        widest = max(column.shape[1] if column.ndim == 2 else 1 for column in columns.values())
        size = max(1, min(_ROWS, _VALUES // widest))
        blocks = [
            self._run(side, {name: expanded(c[start : start + size]) for name, c in columns.items()})
            for start in range(0, num_rows, size)
        ]
        joined = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        return joined["representation"], joined.get("vector")

    def _run(self, graph: str, values: Columns) -> dict[str, Floats]:
        session, known = self.session(graph), self._names.get(graph)
        if known is None:  # asking a session costs as much as a small graph
            known = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
            self._names[graph] = known
        read, made = known
        return dict(zip(made, session.run(made, {name: values[name] for name in read}), strict=True))
