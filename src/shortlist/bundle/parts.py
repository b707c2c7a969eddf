"""What a bundle is written from, besides a recommender."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shortlist.features.encoder import Encoder

GRAPHS = ("query", "candidate", "pairs", "rank", "lists")
PARTS = ({"model"}, {"retrieval"}, {"ranking"}, {"retrieval", "ranking"})

Writer = Callable[[Path], None]
"""Writes a folder that is not there yet."""


@dataclass(frozen=True, eq=False)
class Part:
    """One trained model on its way to disk: graphs by name (`GRAPHS`), its encoder, and the content of the
    weights.bin that the graphs read, where they do not hold their weights themselves."""

    graphs: Mapping[str, bytes]
    encoder: Encoder
    weights: bytes | mmap.mmap = b""


@dataclass(frozen=True, eq=False)
class Whole:
    """The graph recommend.onnx, which spans the parts, or why there is none.

    made_of: what it was made of, by digest (`files.digest_of`), where it was made earlier: it is left out of
    a bundle that is of anything else.
    """

    graph: bytes | None = field(default=None, repr=False)
    left_out: str = ""
    made_of: str = ""
