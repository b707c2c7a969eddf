"""`export_bundle`: a verified copy of a bundle, whole or with less in it: smaller tables, no users."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shortlist import bundle
from shortlist._typing import Index, Scorer
from shortlist.bundle import Part, Taken, Writer
from shortlist.bundle.live import open_live, operations
from shortlist.bundle.moments import of_one_moment
from shortlist.bundle.writing import require_outside
from shortlist.errors import BundleError, MissingExtra
from shortlist.pipeline.onnx_graphs import WEIGHTS, Graphs
from shortlist.pipeline.onnx_scorer import OnnxScorer
from shortlist.pipeline.recommender import Recommender
from shortlist.state.seen import Seen
from shortlist.state.users import Users

if TYPE_CHECKING:
    from shortlist.data.splits import Split
    from shortlist.export.lowbits import WeightType
    from shortlist.specs.recipe import Recipe

FLOAT32: WeightType = "float32"


def export_bundle(
    source: str | Path,
    path: str | Path,
    *,
    serving: bool = False,
    weights: WeightType | None = None,
    users: bool = True,
    held_out: Split | Recipe | None = None,
) -> dict[str, Any]:
    """Write a verified copy of a bundle (or of a run's); what became of its weights is returned.

    Args:
        serving: leave out train/, which only a warm start needs.
        weights: "bf16" or "int8" makes the tables of its models smaller; the items' vectors are computed
            anew with them. None: as they are.
        users: False leaves out everything stored of users (and train/): the copy answers those who tell a
            history, where the model reads one, and gives all others the popular items.
        held_out: what the loss of smaller weights is measured on; left out, the test rows of the recipe in
            the bundle, if its data can still be read and is what it was.

    Items that were added or removed since the bundle was written (live/) are so in the copy.

    The result is what the copy's manifest says in provenance["weights"], empty for weights as they are:
    type, bytes and float32_bytes of the tables' files, and either rows and metrics (of each figure before,
    after, difference, and low and high of its 95 % interval) or not_measured, the reason.

    Raises BundleError where there is no bundle, where its weights were made smaller before, and for
    users=False where the ranker needs what users did.
    """
    folder = bundle.folder_of(source)
    require_outside(Path(path).absolute())  # before anything is measured
    asked = _Asked(serving, weights, users, held_out)
    return of_one_moment(folder, partial(_export_bundle, folder, Path(path), asked), after=False)


class _Asked(NamedTuple):
    """What of a bundle is to be in its copy; see `export_bundle`."""

    serving: bool
    weights: WeightType | None
    users: bool
    held_out: Split | Recipe | None


def _export_bundle(folder: Path, path: Path, asked: _Asked) -> dict[str, Any]:
    serving, weights, users, held_out = asked
    changed = bool(operations(folder))
    if weights is None and users and not changed and _complete(bundle.inspect(folder)):
        bundle.copy(folder, path, serving=serving)
        return {}
    taken = of_one_moment(folder, partial(_taken, folder, changed))
    recommender, parts, train = taken.recommender, taken.parts, taken.train
    with tempfile.TemporaryDirectory(prefix="shortlist-", ignore_cleanup_errors=True) as place:
        stated: dict[str, Any] = {}
        if weights is not None and _changes(recommender, weights):
            from shortlist.api.weighing import weighed

            parts, smaller = _packed(parts), _smaller(parts, weights)
            after = _served(recommender, smaller, Path(place))
            stated = {"type": weights, **_bytes(parts, smaller), **weighed(recommender, after, held_out)}
            recommender = replace(after, provenance=recommender.provenance | {"weights": stated})
            parts = smaller
        if not users:
            recommender = _without_users(recommender)
        save_whole(recommender, parts, path, train=train if users and not serving else None)
    return stated


def _taken(folder: Path, changed: bool) -> Taken:
    """A bundle with the items as they are now."""
    taken = bundle.take(folder)
    return replace(taken, recommender=open_live(folder, write=False).recommender) if changed else taken


def save_whole(
    recommender: Recommender, parts: Mapping[str, Part], path: str | Path, *, train: Writer | None = None
) -> None:
    """Write a bundle with the graph that recommends, where there can be one. Raises as `bundle.save` does."""
    recommending = _export("recommending")
    reason: str = recommending.left_out(recommender)
    graph = None
    if not reason:
        graphs = {name: part.graphs for name, part in parts.items()}
        graph = recommending.recommend_graph(recommender, graphs, {n: p.weights for n, p in parts.items()})
    bundle.save(recommender, parts, path, train=train, recommend=graph, recommend_left_out=reason)


def _export(module: str) -> Any:
    """A module of the export; its only need beyond the base install is onnx."""
    from importlib import import_module

    try:
        return import_module(f"shortlist.export.{module}")
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "train", "rewriting the graphs of a bundle") from error


def _complete(manifest: Mapping[str, Any]) -> bool:
    """Whether the graph that recommends is there, or can not be made."""
    recommend = manifest["recommend"]
    return recommend.get("graph") is not None or not _can_write()


def _can_write() -> bool:
    from importlib.util import find_spec

    return find_spec("onnx") is not None


# Smaller weights


def _changes(recommender: Recommender, weights: str) -> bool:
    """Whether the weights are of another type; BundleError where they were made smaller before."""
    stated = recommender.provenance.get("weights")
    now = stated.get("type", FLOAT32) if isinstance(stated, Mapping) else FLOAT32
    if now != FLOAT32 and now != weights:
        raise BundleError(
            f"the weights of this bundle are {now}, from which {weights} cannot be made",
            hint="export the bundle it was made from",
        )
    return bool(now != weights)


def _packed(parts: Mapping[str, Part]) -> dict[str, Part]:
    """The parts, with weights beside their graphs; of an early version the graphs hold them."""
    packing = _export("packing")
    out = dict(parts)
    for name, part in parts.items():
        if not part.weights:
            graphs, content = packing.pack(part.graphs)
            out[name] = Part(graphs, part.encoder, content)
    return out


def _smaller(parts: Mapping[str, Part], weights: WeightType) -> dict[str, Part]:
    lowbits, packing = _export("lowbits"), _export("packing")
    out = {}
    for name, part in parts.items():
        whole = packing.unpack(part.graphs, part.weights)
        packed, content = packing.pack({g: lowbits.lowered(model, weights) for g, model in whole.items()})
        out[name] = Part(packed, part.encoder, content)
    return out


def _bytes(before: Mapping[str, Part], after: Mapping[str, Part]) -> dict[str, int]:
    sizes = {"bytes": after, "float32_bytes": before}
    return {name: sum(len(part.weights) for part in parts.values()) for name, parts in sizes.items()}


def _served(recommender: Recommender, parts: Mapping[str, Part], place: Path) -> Recommender:
    """The recommender over these parts, written to `place`: items encoded by their graphs."""
    scorers: dict[str, Scorer] = {}
    for name, part in parts.items():
        (place / name).mkdir()
        for graph, model in part.graphs.items():
            (place / name / f"{graph}.onnx").write_bytes(model)
        (place / name / WEIGHTS).write_bytes(part.weights)
        graphs = Graphs.of(place / name, list(part.graphs))
        scorers[name] = OnnxScorer(graphs, part.encoder.content_hash)
    joint = scorers.get("model")
    made = Recommender.of(
        recommender.items,
        recommender.users,
        recommender.schema,
        retriever=None if recommender.retriever is None else scorers.get("retrieval", joint),
        ranker=None if recommender.ranker is None else scorers.get("ranking", joint),
    )
    return replace(
        recommender,
        index=_index(recommender, made),
        retriever=made.retriever,
        ranker=made.ranker,
        item_vectors=made.item_vectors,
        item_representations=made.item_representations,
    )


def _index(before: Recommender, after: Recommender) -> Index | None:
    """The index of the vectors as they are now, of the kind and recall it was built for."""
    if before.index is None or after.item_vectors is None:
        return before.index
    from shortlist.index.build import rebuilt

    return rebuilt(before.index, after.item_vectors)


# Without users


def _without_users(recommender: Recommender) -> Recommender:
    if recommender.aggregates or recommender.raters is not None:
        raise BundleError(
            "the ranker of this bundle reads what all users did, so they cannot be left out",
            hint="train one without aggregates and bags of users",
        )
    users, past = recommender.users, recommender.users.past
    columns = {name: column[:0] for name, column in users.columns.items()}
    none = np.empty(0, np.int64)
    if past is not None:
        from shortlist.features.log import Log

        ratings = None if past.log.ratings is None else np.empty(0, np.float32)
        past = replace(past, log=Log.of(none, none, none, ratings, 0)[0])
    nobody = Users.of([], columns, Seen.from_pairs(none, none, 0), users.as_of, past)
    return replace(recommender, users=nobody, provenance=recommender.provenance | {"users": "left out"})
