"""From a folder to a recommender, and to another folder."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Any

import msgspec

from shortlist.bundle.files import require_files, require_whole
from shortlist.bundle.graphs import RECOMMEND, require_graphs
from shortlist.bundle.manifest import AGAIN, MANIFEST, Manifest, PartFacts, read
from shortlist.bundle.parts import PARTS, Part, Whole
from shortlist.bundle.writing import put
from shortlist.errors import BundleCorrupted, BundleError, BundleVersion, DataError, SpecError
from shortlist.features.encoder import Encoder
from shortlist.features.schema import Schema
from shortlist.pipeline.onnx_graphs import WEIGHTS, Graphs, Snapshot
from shortlist.pipeline.onnx_scorer import OnnxScorer
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility
from shortlist.state.catalogue import Items
from shortlist.state.storage import load_array, load_json
from shortlist.state.users import Users

UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    SyntaxError,
    TokenError,  # of a .npy file's header
    DataError,
    SpecError,
    msgspec.MsgspecError,
)
"""What reading files of the right checksums and the wrong content may raise."""
_TRIES = 5


def load(path: str | Path) -> Recommender:
    """The recommender of a bundle (or of a run folder), every file checked against the manifest.

    What is large is mapped, not read: tables and vectors are shared by all processes that load the bundle. A
    bundle that takes its place on disk later changes nothing of the loaded one.

    Raises BundleError where there is no bundle, BundleCorrupted naming a missing, truncated or altered file,
    BundleVersion for one of a newer format.
    """
    folder = folder_of(path)
    for left in reversed(range(_TRIES)):
        before = _identity(folder)
        try:
            recommender = _loaded(folder)
        except BundleError:
            if not left or _identity(folder) == before:
                raise
        else:
            if _identity(folder) == before:
                return recommender
    raise BundleError(f"{folder} is being replaced all the time", hint="try again later")


def _identity(folder: Path) -> tuple[int, ...] | None:
    """What tells a folder from one that took its place."""
    try:
        found = (folder / MANIFEST).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def folder_of(path: str | Path) -> Path:
    """The folder of a bundle, or of the bundle inside a run's folder."""
    folder = Path(path)
    if not (folder / MANIFEST).exists() and (folder / "bundle" / MANIFEST).exists():
        folder = folder / "bundle"
    return folder.resolve()


def inspect(path: str | Path) -> dict[str, Any]:
    """The manifest as plain values; that every file is there and has its size is checked, not what is in it.

    Raises as `load` does.
    """
    folder = folder_of(path)
    manifest = checked(folder, content=False)
    plain: dict[str, Any] = msgspec.to_builtins(manifest)
    return plain


def copy(source: str | Path, path: str | Path, *, serving: bool = False) -> None:
    """Write a verified copy of a bundle (or of a run's); serving: without train/. What live/ holds is not
    copied. Raises as `load` and `save` do."""
    folder = folder_of(source)
    save_again(folder, checked(folder), load(folder), Path(path), serving=serving)


def checked(folder: Path, *, content: bool = True) -> Manifest:
    """The manifest of a bundle whose files are all as it says. Raises as `load` does."""
    manifest = read(folder)
    if set(manifest.parts) not in PARTS:
        raise BundleCorrupted(f"{folder / MANIFEST} names the parts {sorted(manifest.parts)}")
    for part, about in manifest.parts.items():
        if "pairs" in about.graphs and "lists" not in about.graphs:
            raise BundleVersion(
                f"{folder / part} has no graph 'lists', by which candidates are ranked",
                hint="an early version wrote this bundle: train again",
            )
    require_files(folder, manifest.files, content=content)
    require_graphs(folder, manifest)
    return manifest


def _loaded(folder: Path) -> Recommender:
    try:
        return _recommender(folder, checked(folder))
    except UNREADABLE as error:
        raise BundleCorrupted(f"{folder}: {error}", hint=AGAIN) from error


def _recommender(folder: Path, manifest: Manifest) -> Recommender:
    scorers = {
        name: OnnxScorer(Graphs.of(folder / name, list(part.graphs)), part.encoder)
        for name, part in manifest.parts.items()
    }
    arrays: dict[str, Any] = {
        name: load_array(folder / "items" / f"{name}.npy") if f"items/{name}.npy" in manifest.files else None
        for name in ("item_vectors", "item_representations")
    }
    if "index/index.json" in manifest.files:
        from shortlist import index

        arrays["index"] = index.load(folder / "index", arrays["item_vectors"])
    joint = scorers.get("model")
    order = manifest.pipeline.utility
    return Recommender(
        Items.load(folder / "items"),
        Users.load(folder / "users"),
        Schema.from_dict(manifest.schema),
        retriever=scorers.get("retrieval", joint) if arrays["item_vectors"] is not None else None,
        ranker=scorers.get("ranking", joint) if arrays["item_representations"] is not None else None,
        utility=Utility(order.rating_weight, order.head),
        num_retrieved=manifest.pipeline.num_retrieved,
        seen_bonus=manifest.pipeline.seen_bonus,
        seen_as_of=manifest.pipeline.seen_as_of,
        aggregates=_aggregates(folder),
        provenance={**manifest.provenance, "created": manifest.created},
        writer=partial(save_again, folder, manifest),
        **arrays,
    )


def _aggregates(folder: Path) -> dict[str, Any]:
    path = folder / "users" / "aggregates.json"
    if not path.is_file():
        return {}
    from shortlist.features.aggregates import Aggregates

    return {name: Aggregates.from_dict(plain) for name, plain in load_json(path).items()}


def encoder_of(folder: Path) -> Encoder:
    """The encoder of a part."""
    return Encoder.from_dict(load_json(folder / "encoder.json"))


def save_again(
    folder: Path, manifest: Manifest, recommender: Recommender, path: Path, *, serving: bool = False
) -> None:
    """Write a loaded recommender whose graphs lie in `folder`; BundleCorrupted where they no longer do."""
    for name, expected in manifest.files.items():  # what was loaded may since have been replaced
        require_whole(folder / name, expected)
    parts = _parts(folder, manifest)
    trained = any(name.startswith("train/") for name in manifest.files) and not serving
    train = partial(shutil.copytree, folder / "train") if trained else None
    recommend = manifest.recommend
    graph = (folder / RECOMMEND).read_bytes() if recommend.graph is not None else None
    put(recommender, parts, path, train, Whole(graph, recommend.left_out, recommend.made_of))


def parts_of(path: str | Path) -> dict[str, Part]:
    """What a bundle was written from: the parts to `save` another recommender with. Raises as `load` does."""
    folder = folder_of(path)
    return _parts(folder, checked(folder))


def _parts(folder: Path, manifest: Manifest) -> dict[str, Part]:
    return {name: _part(folder / name, about) for name, about in manifest.parts.items()}


def _part(folder: Path, about: PartFacts) -> Part:
    graphs = {graph: (folder / f"{graph}.onnx").read_bytes() for graph in about.graphs}
    weights = folder / WEIGHTS
    return Part(graphs, encoder_of(folder), Snapshot.of(weights).content if weights.is_file() else b"")
