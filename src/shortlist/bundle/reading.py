"""From a folder to a recommender, and to another folder."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Any

import msgspec

from shortlist.bundle.contents import misfits
from shortlist.bundle.files import content_of, copy_listed, require_files, require_same, require_whole
from shortlist.bundle.graphs import RECOMMEND, require_graphs
from shortlist.bundle.manifest import AGAIN, MANIFEST, File, Manifest, PartFacts, read
from shortlist.bundle.moments import of_one_moment
from shortlist.bundle.parts import PARTS, Part, Whole, Writer
from shortlist.bundle.writing import put
from shortlist.errors import BundleCorrupted, BundleVersion, DataError, SpecError
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
    RecursionError,  # of JSON that is too deep
)
"""What reading files of the right checksums and the wrong content may raise."""


def load(path: str | Path) -> Recommender:
    """The recommender of a bundle (or of a run folder), every file checked against the manifest.

    What is large is mapped, not read: tables and vectors are shared by all processes that load the bundle. A
    bundle that takes its place on disk later changes nothing of the loaded one.

    Raises BundleError where there is no bundle, BundleCorrupted naming a missing, truncated or altered file,
    BundleVersion for one of a newer format.
    """
    folder = folder_of(path)
    return of_one_moment(folder, partial(_loaded, folder))[1]


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
    plain: dict[str, Any] = msgspec.to_builtins(
        of_one_moment(folder, partial(checked, folder, content=False))
    )
    return plain


def copy(source: str | Path, path: str | Path, *, serving: bool = False) -> None:
    """Write a verified copy of a bundle (or of a run's); serving: without train/. What live/ holds is not
    copied. Raises as `load` and `save` do."""
    folder = folder_of(source)

    def copied() -> None:
        save_again(folder, *_loaded(folder), Path(path), serving=serving)

    of_one_moment(folder, copied, after=False)  # all that is read has the checksums of one manifest


@dataclass(frozen=True, eq=False)
class Taken:
    """What a bundle holds, all of it of one moment: its recommender, the parts to `save` another one with,
    and what copies its train/, where it has one."""

    recommender: Recommender
    parts: dict[str, Part]
    train: Writer | None


def take(path: str | Path) -> Taken:
    """All of a bundle. `train` raises BundleCorrupted where the bundle was replaced since; else as `load`."""
    folder = folder_of(path)

    def taken() -> Taken:
        manifest, recommender = _loaded(folder)
        return Taken(recommender, _parts(folder, manifest), _train(folder, manifest))

    return of_one_moment(folder, taken)


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


def _loaded(folder: Path) -> tuple[Manifest, Recommender]:
    with readable(folder):
        manifest = checked(folder)
        return manifest, _recommender(folder, manifest)


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """BundleCorrupted for whatever is raised by content that is not what it should be."""
    try:
        yield
    except UNREADABLE as error:
        place = "" if str(folder) in str(error) else f"{folder}: "
        raise BundleCorrupted(f"{place}{error}", hint=AGAIN) from error


def _recommender(folder: Path, manifest: Manifest) -> Recommender:
    scorers = {
        name: OnnxScorer(Graphs.of(folder / name, list(part.graphs)), part.encoder)
        for name, part in manifest.parts.items()
    }
    arrays: dict[str, Any] = {
        name: load_array(folder / "items" / f"{name}.npy") if f"items/{name}.npy" in manifest.files else None
        for name in ("item_vectors", "item_representations")
    }
    items, users = Items.load(folder / "items"), Users.load(folder / "users")
    schema = _schema(folder, manifest)
    for problem in misfits(folder, manifest, items, users, schema, arrays):
        raise BundleCorrupted(problem, hint=AGAIN)
    if "index/index.json" in manifest.files:
        from shortlist import index

        if arrays["item_vectors"] is None:
            raise BundleCorrupted(
                f"{folder / 'items/item_vectors.npy'} is missing, of which index/ is", hint=AGAIN
            )

        arrays["index"] = index.load(folder / "index", arrays["item_vectors"])
    if users.as_of is not None and not (type(users.as_of) is int and abs(users.as_of) < 1 << 63):
        raise ValueError(f"{folder / 'users/as_of.json'} holds {users.as_of!r}, expected whole seconds")
    joint = scorers.get("model")
    order = manifest.pipeline.utility
    return Recommender(
        items,
        users,
        schema,
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


def _schema(folder: Path, manifest: Manifest) -> Schema:
    """What requests may name, which is at least what the graphs read."""
    try:
        schema = msgspec.convert(manifest.schema, Schema)
    except msgspec.ValidationError as error:
        raise BundleCorrupted(f"{folder / MANIFEST} holds no schema: {error}", hint=AGAIN) from error
    for part in manifest.parts.values():
        for side in ("query", "candidate"):
            if lacking := {i.name for i in part.graphs[side].inputs} - set(getattr(schema, side)):
                said = f"its schema lacks {sorted(lacking)}, which {side}.onnx reads"
                raise BundleCorrupted(f"{folder / MANIFEST}: {said}", hint=AGAIN)
    return schema


def _aggregates(folder: Path) -> dict[str, Any]:
    path = folder / "users" / "aggregates.json"
    if not path.is_file():
        return {}
    from shortlist.features.aggregates import Aggregates

    return dict(load_json(path, dict[str, Aggregates]))


def encoder_of(content: bytes) -> Encoder:
    """The encoder of a part, from its encoder.json."""
    return Encoder.from_dict(msgspec.json.decode(content))


def save_again(
    folder: Path, manifest: Manifest, recommender: Recommender, path: Path, *, serving: bool = False
) -> None:
    """Write a loaded recommender whose graphs lie in `folder`; BundleCorrupted where they no longer do."""
    for name, expected in manifest.files.items():  # what was loaded may since have been replaced
        if name.startswith(("items/", "users/", "index/")):
            require_whole(folder / name, expected)
    recommend = manifest.recommend
    graph = None
    if recommend.graph is not None:
        graph = content_of(folder / RECOMMEND, manifest.files[RECOMMEND])
    train = None if serving else _train(folder, manifest)
    whole = Whole(graph, recommend.left_out, recommend.made_of)
    put(recommender, _parts(folder, manifest), path, train, whole)


def _train(folder: Path, manifest: Manifest) -> Writer | None:
    if not any(name.startswith("train/") for name in manifest.files):
        return None
    return partial(copy_listed, folder, manifest.files, "train")


def parts_of(path: str | Path) -> dict[str, Part]:
    """What a bundle was written from: the parts to `save` another recommender with. Raises as `load` does."""
    folder = folder_of(path)
    return of_one_moment(folder, lambda: _parts(folder, checked(folder)))


def _parts(folder: Path, manifest: Manifest) -> dict[str, Part]:
    with readable(folder):
        return {name: _part(folder, name, about, manifest.files) for name, about in manifest.parts.items()}


def _part(folder: Path, part: str, about: PartFacts, files: Mapping[str, File]) -> Part:
    def content(name: str) -> bytes:
        return content_of(folder / part / name, files[f"{part}/{name}"])

    graphs = {graph: content(f"{graph}.onnx") for graph in about.graphs}
    weights: bytes | mmap.mmap = b""
    if (listed := files.get(f"{part}/{WEIGHTS}")) is not None:
        path = folder / part / WEIGHTS
        weights = Snapshot.of(path).content  # mapped: tables may be large
        require_same(path, weights, listed)
    return Part(graphs, encoder_of(content("encoder.json")), weights)
