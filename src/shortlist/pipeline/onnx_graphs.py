"""The ONNX graphs of one folder and the weights they share, as they were when the folder was read."""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnxruntime

from shortlist.errors import BundleCorrupted

WEIGHTS = "weights.bin"
"""The file beside its graphs that these read their tables from."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A file as it was when it was opened: mapped, so that it stays whatever is put in its place."""

    path: Path
    content: mmap.mmap | bytes = field(repr=False)
    identity: tuple[int, ...]

    @classmethod
    def of(cls, path: Path) -> Snapshot:
        """OSError where there is no such file."""
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            empty = not found.st_size  # which cannot be mapped
            content = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return cls(path, content, _identity(found))


def _unchanged(*snapshots: Snapshot) -> bool:
    """Whether the files still lie at their paths."""
    try:
        return all(_identity(os.stat(s.path)) == s.identity for s in snapshots)
    except OSError:
        return False


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True, eq=False)
class Graphs:
    """Graphs by name, and the weights they share (None: each holds its own).

    ONNX Runtime maps weights that it opens by path: all sessions of all processes share their pages, which a
    session made of bytes would copy. A folder that was replaced since is written anew for the moment of
    opening, so that sessions opened late answer as those opened early.
    """

    folder: Path
    files: dict[str, Snapshot] = field(repr=False)
    weights: Snapshot | None = field(default=None, repr=False)

    @classmethod
    def of(cls, folder: Path, names: list[str]) -> Graphs:
        """The named graphs of a folder. OSError where one is missing."""
        weights = Snapshot.of(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else None
        return cls(folder, {name: Snapshot.of(folder / f"{name}.onnx") for name in names}, weights)

    def session(self, name: str) -> Any:
        """A new ONNX Runtime session of a graph. BundleCorrupted where it does not open."""
        graph, weights = self.files[name], self.weights
        called = f"{self.folder.name}/{name}.onnx"
        if weights is None:
            return open_session(bytes(graph.content), called)
        if _unchanged(graph, weights):
            try:
                session = open_session(graph.path, called)
            except BundleCorrupted:
                if _unchanged(graph, weights):
                    raise
            else:
                if _unchanged(graph, weights):
                    return session
        with tempfile.TemporaryDirectory(prefix="shortlist-", ignore_cleanup_errors=True) as place:
            beside = Path(place).resolve()
            for snapshot in (graph, weights):
                (beside / snapshot.path.name).write_bytes(snapshot.content)
            return open_session(beside / graph.path.name, called)


def open_session(model: bytes | Path, name: str) -> Any:
    """An ONNX Runtime session on one thread. BundleCorrupted, naming it `name`, where it does not open."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        path_or_bytes = str(model) if isinstance(model, Path) else model
        # without a fallback, of which it would print
        return onnxruntime.InferenceSession(
            path_or_bytes, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's own errors share no public base
        raise BundleCorrupted(
            f"{name}: ONNX Runtime cannot open this graph: {error}", hint="save or copy the bundle again"
        ) from error
