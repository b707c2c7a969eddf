"""The artefact on disk: one folder that recommends and scores through ONNX Runtime alone.

    manifest.json               what this is, how to ask it, and size and sha256 of every other file
    model/                      a jointly trained model: query, candidate, pairs and rank.onnx, encoder.json
    retrieval/, ranking/        instead of model/, where the two were trained apart (or only one was)
    items/, users/              ids, raw columns, vectors, seen sets
    train/                      optional: what a warm start needs; whoever trained it knows what that is

Nothing in it is executed or unpickled, and no path in it may lead out of it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from shortlist import __version__
from shortlist._typing import Scorer
from shortlist.errors import BundleCorrupted, BundleError, BundleVersion
from shortlist.features.encoder import Encoder
from shortlist.features.schema import Schema
from shortlist.pipeline.onnx_scorer import OnnxScorer, open_session
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility
from shortlist.state.catalogue import Items
from shortlist.state.storage import load_array, load_json, save_array, save_json
from shortlist.state.users import Users

FORMAT = 1
_MANIFEST = "manifest.json"
GRAPHS = ("query", "candidate", "pairs", "rank")
_PARTS = ({"model"}, {"retrieval"}, {"ranking"}, {"retrieval", "ranking"})


class File(msgspec.Struct, frozen=True):
    """Size and sha256 (hex) of a file."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What manifest.json holds. digest: sha256 over all the rest."""

    format: int
    created: str
    shortlist: str
    request: list[dict[str, Any]]
    schema: dict[str, Any]
    parts: dict[str, dict[str, Any]]
    pipeline: dict[str, Any]
    sizes: dict[str, int]
    provenance: dict[str, Any]
    files: dict[str, File]
    digest: str = ""


@dataclass(frozen=True, eq=False)
class Part:
    """One trained model on its way to disk: graphs by name (query, candidate, pairs, rank) and encoder."""

    graphs: Mapping[str, bytes]
    encoder: Encoder


# Writing


Writer = Callable[[Path], None]
"""Writes a folder that is not there yet."""


def save(
    recommender: Recommender, parts: Mapping[str, Part], path: str | Path, *, train: Writer | None = None
) -> None:
    """Write a bundle.

    `parts` is {"model": ...} for a jointly trained model, else {"retrieval": ...}, {"ranking": ...} or both.
    `train` writes what a warm start needs. It is written beside `path` and renamed, so that no half
    bundle is ever seen; a bundle already there is replaced. Raises BundleError where `path` is something
    else, or the parts have other names.
    """
    path = Path(path).absolute()
    if set(parts) not in _PARTS:
        raise BundleError(f"a bundle has the part 'model', or 'retrieval' and 'ranking', not {sorted(parts)}")
    _require_replaceable(path)
    _written(path, partial(_write, recommender, parts, train))


def copy(source: str | Path, path: str | Path, *, serving: bool = False) -> None:
    """Write a verified copy of a bundle (or of a run's); serving: without train/. Raises as `load` and `save`
    do."""
    folder = folder_of(source)
    _save_again(folder, _checked(folder), load(folder), Path(path), serving=serving)


def _write(recommender: Recommender, parts: Mapping[str, Part], train: Writer | None, folder: Path) -> None:
    for name, part in parts.items():
        (folder / name).mkdir()
        save_json(folder / name / "encoder.json", part.encoder.to_dict())
        for graph, model in part.graphs.items():
            (folder / name / f"{graph}.onnx").write_bytes(model)
    recommender.items.save(folder / "items")
    recommender.users.save(folder / "users")
    if recommender.aggregates:
        plain = {name: aggregates.to_dict() for name, aggregates in recommender.aggregates.items()}
        save_json(folder / "users" / "aggregates.json", plain)
    for name in ("item_vectors", "item_representations"):
        array = getattr(recommender, name)
        if array is not None:
            save_array(folder / "items" / f"{name}.npy", array)
    if train is not None:
        train(folder / "train")
    manifest = _manifest(recommender, parts, {name: _file(folder / name) for name in _walk(folder)})
    plain = msgspec.to_builtins(manifest)
    text = msgspec.json.encode({**plain, "digest": _digest(plain)}, order="sorted")
    (folder / _MANIFEST).write_bytes(msgspec.json.format(text, indent=2))


def _manifest(recommender: Recommender, parts: Mapping[str, Part], files: dict[str, File]) -> Manifest:
    provenance = dict(recommender.provenance)
    utility = recommender.utility
    return Manifest(
        format=FORMAT,
        created=provenance.pop("created", None) or datetime.now(UTC).isoformat(timespec="seconds"),
        shortlist=__version__,
        request=_request(recommender),
        schema=recommender.schema.to_dict(),
        parts={
            name: {
                "encoder": part.encoder.content_hash,
                "graphs": {
                    g: _signature(open_session(m, f"{name}/{g}.onnx")) for g, m in part.graphs.items()
                },
            }
            for name, part in parts.items()
        },
        pipeline={
            "num_retrieved": recommender.num_retrieved,
            "utility": {"rating_weight": utility.rating_weight, "head": utility.head},
            "seen_bonus": recommender.seen_bonus,
            "seen_as_of": recommender.seen_as_of,
        },
        sizes={
            "items": len(recommender.items),
            "users": len(recommender.users),
            "seen": len(recommender.users.seen),
        },
        provenance=provenance,
        files=files,
    )


def _request(recommender: Recommender) -> list[dict[str, Any]]:
    """The columns a request may give: what `recommend` reads, then what `score` reads besides."""
    schema, users = recommender.schema, recommender.users
    sides = {
        "query": {"user_id": "string", **schema.query},
        "candidate": {"item_id": "string", **schema.candidate},
    }
    stored = {"query": users.columns, "candidate": recommender.items.columns}
    return [
        {
            "name": name,
            "side": side,
            "type": columns[name],
            "required": name == "item_id",
            "default": "stored" if name in stored[side] else users.as_of if name == "timestamp" else None,
        }
        for side, columns in sides.items()
        for name in sorted(columns)
    ]


def _signature(session: Any) -> dict[str, Any]:
    return {
        kind: [{"name": v.name, "type": v.type, "shape": v.shape} for v in values]
        for kind, values in (("inputs", session.get_inputs()), ("outputs", session.get_outputs()))
    }


def _written(path: Path, write: Callable[[Path], None]) -> None:
    """Write a folder beside `path`, then put it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        write(fresh)
        fresh.chmod(0o755)  # mkdtemp's is private
        _put(fresh, path)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _put(fresh: Path, path: Path) -> None:
    if not path.exists():
        os.replace(fresh, path)
        return
    old = fresh.with_name(f"{fresh.name}.old")
    os.replace(path, old)
    try:
        os.replace(fresh, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old)


def _require_replaceable(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise BundleError(f"{path} is there already and is no folder", hint="choose another path")
    if path.is_dir() and any(path.iterdir()) and not _looks_like_bundle(path / _MANIFEST):
        raise BundleError(
            f"{path} is there already and is no bundle, so it is not replaced",
            hint="choose another path, or remove it",
        )


def _looks_like_bundle(manifest: Path) -> bool:
    try:
        plain = load_json(manifest)
    except (OSError, msgspec.MsgspecError):
        return False
    return isinstance(plain, dict) and {"format", "shortlist", "digest"} <= set(plain)


# Reading


def load(path: str | Path) -> Recommender:
    """The recommender of a bundle (or of a run folder), every file checked against the manifest.

    Raises BundleError where there is no bundle, BundleCorrupted naming a missing, truncated or altered file,
    BundleVersion for one of a newer format.
    """
    folder = folder_of(path)
    manifest = _checked(folder)
    try:
        return _recommender(folder, manifest)
    except (OSError, ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise BundleCorrupted(f"{folder}: {error}", hint=_AGAIN) from error


def folder_of(path: str | Path) -> Path:
    """The folder of a bundle, or of the bundle inside a run's folder."""
    folder = Path(path)
    if not (folder / _MANIFEST).exists() and (folder / "bundle" / _MANIFEST).exists():
        folder = folder / "bundle"
    return folder.resolve()


def verify(path: str | Path) -> dict[str, Any]:
    """Check a bundle as far as can be: every file, every graph opened, every encoder against its hash.

    Returns the manifest. Raises as `load` does.
    """
    recommender = load(path)
    for scorer in (recommender.retriever, recommender.ranker):
        if isinstance(scorer, OnnxScorer):
            for graph in scorer.graphs:
                scorer.session(graph)
            if _encoder(scorer.folder).content_hash != scorer.encoder_hash:
                raise BundleCorrupted(f"{scorer.folder / 'encoder.json'}: not the encoder the manifest names")
    return inspect(path)


def inspect(path: str | Path) -> dict[str, Any]:
    """The manifest as plain values, without looking at the other files. Raises as `load` does."""
    plain: dict[str, Any] = msgspec.to_builtins(_read_manifest(Path(path)))
    return plain


def _recommender(folder: Path, manifest: Manifest) -> Recommender:
    scorers: dict[str, Scorer] = {
        name: OnnxScorer(
            folder / name,
            {graph: (folder / name / f"{graph}.onnx").read_bytes() for graph in part["graphs"]},
            part["encoder"],
        )
        for name, part in manifest.parts.items()
    }
    arrays = {
        name: load_array(folder / "items" / f"{name}.npy") if f"items/{name}.npy" in manifest.files else None
        for name in ("item_vectors", "item_representations")
    }
    joint = scorers.get("model")
    return Recommender(
        Items.load(folder / "items"),
        Users.load(folder / "users"),
        Schema.from_dict(manifest.schema),
        retriever=scorers.get("retrieval", joint) if arrays["item_vectors"] is not None else None,
        ranker=scorers.get("ranking", joint) if arrays["item_representations"] is not None else None,
        utility=Utility(**manifest.pipeline["utility"]),
        num_retrieved=manifest.pipeline["num_retrieved"],
        seen_bonus=manifest.pipeline.get("seen_bonus", 0.0),
        seen_as_of=manifest.pipeline.get("seen_as_of", "row"),
        aggregates=_aggregates(folder),
        provenance={**manifest.provenance, "created": manifest.created},
        writer=partial(_save_again, folder, manifest),
        **arrays,
    )


def _aggregates(folder: Path) -> dict[str, Any]:
    path = folder / "users" / "aggregates.json"
    if not path.is_file():
        return {}
    from shortlist.features.aggregates import Aggregates

    return {name: Aggregates.from_dict(plain) for name, plain in load_json(path).items()}


def _save_again(
    folder: Path, manifest: Manifest, recommender: Recommender, path: Path, *, serving: bool = False
) -> None:
    for name, expected in manifest.files.items():  # what was loaded may since have been replaced
        _require_file(folder / name, expected)
    parts = {
        name: Part(
            {graph: (folder / name / f"{graph}.onnx").read_bytes() for graph in part["graphs"]},
            _encoder(folder / name),
        )
        for name, part in manifest.parts.items()
    }
    trained = any(name.startswith("train/") for name in manifest.files) and not serving
    save(recommender, parts, path, train=partial(shutil.copytree, folder / "train") if trained else None)


def _encoder(folder: Path) -> Encoder:
    return Encoder.from_dict(load_json(folder / "encoder.json"))


def _read_manifest(folder: Path) -> Manifest:
    path = folder / _MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{folder} is no bundle: there is no {_MANIFEST} in it", hint="give the folder of a bundle"
        )
    try:
        plain = msgspec.json.decode(path.read_bytes())
        if isinstance(plain, dict) and isinstance(plain.get("format"), int) and plain["format"] > FORMAT:
            raise BundleVersion(
                f"{folder} has the format {plain['format']}, newer than {FORMAT}, the newest known here",
                hint="load it with a newer Shortlist",
            )
        manifest = msgspec.convert(plain, Manifest)
    except msgspec.MsgspecError as error:
        raise BundleCorrupted(f"{path} cannot be read: {error}", hint=_AGAIN) from error
    if manifest.digest != _digest(plain):
        raise BundleCorrupted(f"{path} was altered", hint=_AGAIN)
    return manifest


def _checked(folder: Path) -> Manifest:
    manifest = _read_manifest(folder)
    if set(manifest.parts) not in _PARTS:
        raise BundleCorrupted(f"{folder / _MANIFEST} names the parts {sorted(manifest.parts)}")
    for part, about in manifest.parts.items():
        for graph in about["graphs"]:
            if graph not in GRAPHS or f"{part}/{graph}.onnx" not in manifest.files:
                raise BundleCorrupted(
                    f"{folder / _MANIFEST} names the graph {graph!r} of {part}, which it does not hold"
                )
    inside = folder.resolve()
    for name, expected in manifest.files.items():
        pure = PurePosixPath(name)
        if (
            pure.is_absolute()
            or ".." in pure.parts
            or "\\" in name
            or not (inside / name).resolve().is_relative_to(inside)
        ):
            raise BundleCorrupted(
                f"{folder / _MANIFEST} names the file {name!r}, which lies outside of the bundle"
            )
        _require_file(folder / name, expected)
    for name in _walk(folder):
        if name not in manifest.files and name != _MANIFEST:
            raise BundleCorrupted(
                f"{folder / name} is not in the manifest", hint="remove it, or get a fresh copy"
            )
    return manifest


def _require_file(path: Path, expected: File) -> None:
    if not path.is_file():
        raise BundleCorrupted(f"{path} is missing", hint=_AGAIN)
    size = path.stat().st_size
    if size != expected.bytes:
        raise BundleCorrupted(f"{path} has {size} bytes, expected {expected.bytes}", hint=_AGAIN)
    if _file(path) != expected:
        raise BundleCorrupted(f"{path} was altered: its sha256 is not the manifest's", hint=_AGAIN)


def _walk(folder: Path) -> Iterator[str]:
    """Files below a folder as sorted relative paths with "/", hidden ones left out."""
    names = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    yield from sorted(n.as_posix() for n in names if not any(part.startswith(".") for part in n.parts))


def _file(path: Path) -> File:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return File(path.stat().st_size, digest.hexdigest())


def _digest(manifest: dict[str, Any]) -> str:
    return sha256(msgspec.json.encode({**manifest, "digest": ""}, order="sorted")).hexdigest()


_AGAIN = "save or copy the bundle again"
