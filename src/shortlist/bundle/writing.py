"""From a recommender and its parts to a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from shortlist.bundle.card import card
from shortlist.bundle.describing import manifest_of, pipeline_of
from shortlist.bundle.files import described, digest_of, walk
from shortlist.bundle.graphs import RECOMMEND, facts, require_inside
from shortlist.bundle.journals import require_no_operations
from shortlist.bundle.manifest import CARD, MANIFEST, File, PartFacts, Recommend, encode, looks_like_one
from shortlist.bundle.parts import PARTS, Part, Whole, Writer
from shortlist.bundle.placing import written
from shortlist.errors import BundleError
from shortlist.pipeline.onnx_graphs import WEIGHTS
from shortlist.pipeline.recommender import Recommender
from shortlist.state.storage import save_array, save_json

OTHER = "the bundle was written again with other items or another order"


def save(
    recommender: Recommender,
    parts: Mapping[str, Part],
    path: str | Path,
    *,
    train: Writer | None = None,
    recommend: bytes | None = None,
    recommend_left_out: str = "",
) -> None:
    """Write a bundle.

    Args:
        parts: {"model": ...} for a jointly trained model, else {"retrieval": ...}, {"ranking": ...} or both.
        train: writes what a warm start needs.
        recommend: the graph recommend.onnx, which reads tensors of the parts' weights.bin and of items/*.npy;
            recommend_left_out: where it is None, why.

    It is written beside `path` and put there in one step, so that no half bundle is ever seen; a bundle
    already there is replaced. Raises BundleError where `path` is something else, or a bundle whose journal
    holds operations (see `open_live`), or the parts have other names, and BundleCorrupted for graphs that
    do not open.
    """
    put(recommender, parts, path, train, Whole(recommend, recommend_left_out))


def put(
    recommender: Recommender, parts: Mapping[str, Part], path: str | Path, train: Writer | None, whole: Whole
) -> None:
    """As `save`, of a recommend.onnx that may have been made of other items."""
    path = Path(path).absolute()
    if set(parts) not in PARTS:
        raise BundleError(f"a bundle has the part 'model', or 'retrieval' and 'ranking', not {sorted(parts)}")
    _require_replaceable(path)
    require_no_operations(path)

    def write(folder: Path) -> None:
        _write(recommender, parts, train, whole, folder)
        require_no_operations(path)  # also none of those that came meanwhile

    written(path, write)


def _write(
    recommender: Recommender,
    parts: Mapping[str, Part],
    train: Writer | None,
    whole: Whole,
    folder: Path,
) -> None:
    for name, part in parts.items():
        _write_part(part, folder / name)
    _write_state(recommender, folder)
    if train is not None:
        train(folder / "train")
    files = {name: described(folder / name) for name in walk(folder)}
    about = {
        name: PartFacts(
            part.encoder.content_hash,
            {graph: facts(folder / name / f"{graph}.onnx") for graph in sorted(part.graphs)},
        )
        for name, part in sorted(parts.items())
    }
    recommend = _write_recommend(whole, recommender, folder, files)
    for name in (*(f"{p}/{g}.onnx" for p in about for g in about[p].graphs), RECOMMEND):
        if name in files:
            require_inside(folder, name, files)
    manifest = manifest_of(recommender, about, recommend, files)
    (folder / CARD).write_text(card(manifest), encoding="utf-8")
    files[CARD] = described(folder / CARD)
    size = sum(file.bytes for file in files.values())
    (folder / MANIFEST).write_bytes(encode(msgspec.structs.replace(manifest, files=files, size=size)))


def _write_part(part: Part, folder: Path) -> None:
    folder.mkdir()
    save_json(folder / "encoder.json", part.encoder.to_dict())
    for graph, model in part.graphs.items():
        (folder / f"{graph}.onnx").write_bytes(model)
    if part.weights:
        (folder / WEIGHTS).write_bytes(part.weights)


def _write_state(recommender: Recommender, folder: Path) -> None:
    recommender.items.save(folder / "items")
    recommender.users.save(folder / "users")
    if recommender.aggregates:
        plain = {name: aggregates.to_dict() for name, aggregates in recommender.aggregates.items()}
        save_json(folder / "users" / "aggregates.json", plain)
    index = recommender.index
    vectors = recommender.item_vectors
    if index is not None:
        index.save(folder / "index")
        vectors = index.vectors(np.arange(len(index)))
    for name, array in (
        ("item_vectors", vectors),
        ("item_representations", recommender.item_representations),
    ):
        if array is not None:
            save_array(folder / "items" / f"{name}.npy", np.asarray(array, np.float32))


def _write_recommend(
    whole: Whole, recommender: Recommender, folder: Path, files: dict[str, File]
) -> Recommend:
    """Write recommend.onnx and list it, if there is one and it is made of what was written."""
    if whole.graph is None:
        return Recommend(left_out=whole.left_out or "it was not asked for")
    made_of = digest_of_what_answers(recommender, files)
    if whole.made_of not in ("", made_of):
        return Recommend(left_out=OTHER)
    (folder / RECOMMEND).write_bytes(whole.graph)
    files[RECOMMEND] = described(folder / RECOMMEND)
    return Recommend(facts(folder / RECOMMEND), made_of)


def digest_of_what_answers(recommender: Recommender, files: Mapping[str, File]) -> str:
    """Of all that recommend.onnx is made of: graphs, items, and how they are put together."""
    names = [n for n in files if n.startswith("items/") and "columns" not in n]
    names += [
        n
        for n in files
        if n.endswith((".onnx", f"/{WEIGHTS}")) and n != RECOMMEND and not n.startswith("train/")
    ]
    return digest_of(files, names, msgspec.json.encode(pipeline_of(recommender), order="sorted"))


def _require_replaceable(path: Path) -> None:
    require_outside(path)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise BundleError(f"{path} is there already and is no folder", hint="choose another path")
    if path.is_dir() and any(path.iterdir()) and not looks_like_one(path / MANIFEST):
        raise BundleError(
            f"{path} is there already and is no bundle, so it is not replaced",
            hint="choose another path, or remove it",
        )


def require_outside(path: Path) -> None:
    """BundleError where a path lies inside of a bundle, whose files are its own."""
    for parent in path.resolve().parents:
        if looks_like_one(parent / MANIFEST):
            raise BundleError(f"{path} lies inside of the bundle {parent}", hint="choose another path")
