"""Graphs on disk: what the manifest says of one, and that it reads no file it should not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from shortlist.bundle.manifest import AGAIN, MANIFEST, File, Graph, Manifest, Tensor
from shortlist.bundle.protobuf import Content, operators, opsets, references
from shortlist.errors import BundleCorrupted
from shortlist.pipeline.onnx_graphs import WEIGHTS, Snapshot, open_session

RECOMMEND = "recommend.onnx"


def facts(path: Path) -> Graph:
    """What the manifest says of a graph that lies in its place. BundleCorrupted where it does not open."""
    session = open_session(path, f"{path.parent.name}/{path.name}")
    return facts_of(session, Snapshot.of(path).content)


def facts_of(session: Any, content: Content) -> Graph:
    """The same of a graph that is open."""
    return Graph(
        _tensors(session.get_inputs()),
        _tensors(session.get_outputs()),
        opsets(content),
        operators(content),
    )


def _tensors(values: Any) -> list[Tensor]:
    return [Tensor(v.name, v.type, list(v.shape)) for v in values]


def require_graphs(folder: Path, manifest: Manifest) -> None:
    """BundleCorrupted where a graph the manifest names is not among its files, or reads another file than it
    may: one of a part its weights.bin, recommend.onnx any that is listed."""
    ranked = "items/item_representations.npy" in manifest.files
    for part, about in manifest.parts.items():
        needed = {"query", "candidate"} | ({"pairs", "lists"} if ranked and part != "retrieval" else set())
        if lacking := needed - set(about.graphs):
            raise BundleCorrupted(
                f"{folder / MANIFEST} names no graph {min(lacking)!r} of {part}", hint=AGAIN
            )
        for graph in about.graphs:
            name = f"{part}/{graph}.onnx"
            if not graph.isidentifier() or name not in manifest.files:
                raise BundleCorrupted(
                    f"{folder / MANIFEST} names the graph {graph!r} of {part}, which it does not hold"
                )
            require_inside(folder, name, manifest.files)
    if manifest.recommend.graph is not None:
        if RECOMMEND not in manifest.files:
            raise BundleCorrupted(f"{folder / MANIFEST} names {RECOMMEND}, which it does not hold")
        require_inside(folder, RECOMMEND, manifest.files)


def require_inside(folder: Path, name: str, files: Mapping[str, File]) -> None:
    """BundleCorrupted where a graph's tensors lie in a file that is not listed, or behind its end.

    ONNX Runtime 1.22, for one, opens whatever file a graph names.
    """
    path = folder / name
    try:
        found = references(Snapshot.of(path).content)
    except (ValueError, RecursionError) as error:
        raise BundleCorrupted(f"{path} is no ONNX graph: {error}", hint=AGAIN) from error
    beside = PurePosixPath(name).parent
    for there in found:
        listed = files.get(str(beside / there.location))
        plain = there.location == WEIGHTS or (name == RECOMMEND and there.location in files)
        if not plain or listed is None:
            raise BundleCorrupted(
                f"{path} reads weights from {there.location!r}, which is no file of it", hint=AGAIN
            )
        if not 0 <= there.offset <= there.offset + (there.length or 0) <= listed.bytes:
            raise BundleCorrupted(
                f"{path} reads weights behind the end of {there.location} ({listed.bytes} bytes)", hint=AGAIN
            )
