"""The manifest of a recommender that was just written."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import onnxruntime

from shortlist import __version__
from shortlist.bundle.manifest import FORMAT, MINOR, File, Manifest, Order, PartFacts, Pipeline, Recommend
from shortlist.errors import BundleError
from shortlist.features.history import DERIVED
from shortlist.pipeline.histories import TOLD
from shortlist.pipeline.recommender import Recommender

_LISTS = ("strings", "ints", "floats")


def manifest_of(
    recommender: Recommender,
    parts: Mapping[str, PartFacts],
    recommend: Recommend,
    files: Mapping[str, File],
) -> Manifest:
    """What a bundle says of itself, without the digest and the model card's own file."""
    provenance = _plain_values(recommender.provenance)
    return Manifest(
        format=FORMAT,
        minor=MINOR,
        created=provenance.pop("created", None) or datetime.now(UTC).isoformat(timespec="seconds"),
        shortlist=__version__,
        versions=_versions(),
        licence=_licence(provenance),
        request=request_of(recommender),
        schema=recommender.schema.to_dict(),
        parts=dict(parts),
        pipeline=pipeline_of(recommender),
        index=index_of(recommender),
        recommend=recommend,
        sizes=sizes_of(recommender),
        size=sum(file.bytes for file in files.values()),
        provenance=provenance,
        files=dict(files),
    )


def _plain_values(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """As it will be read again; BundleError where it holds what JSON cannot."""
    try:
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(provenance, enc_hook=_of_numpy))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise BundleError(
            f"provenance cannot be written: {error}", hint="give texts, numbers, lists and dicts of these"
        ) from error
    return plain


def _of_numpy(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"it holds {value!r:.80} of type {type(value).__name__}")


def pipeline_of(recommender: Recommender) -> Pipeline:
    """How the stages are put together."""
    utility = recommender.utility
    return Pipeline(
        recommender.num_retrieved,
        Order(utility.rating_weight, utility.head),
        recommender.seen_bonus,
        recommender.seen_as_of,
    )


def sizes_of(recommender: Recommender) -> dict[str, int]:
    """How much it holds of what; items: also those that are retired."""
    items, users = recommender.items, recommender.users
    retired = {"retired": len(items) - items.num_present} if items.retired is not None else {}
    return {"items": len(items), **retired, "users": len(users), "seen": len(users.seen)}


def _versions() -> dict[str, str]:
    """What wrote it; a bundle is read by whatever versions are installed there."""
    return {
        "shortlist": __version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def _licence(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Of the bundle itself ("" where nobody said) and of the data it was trained on."""
    data = provenance.get("data")
    of_data = data.get("licence") if isinstance(data, Mapping) else None
    return {"bundle": str(provenance.get("licence") or ""), "data": str(of_data or "")}


def index_of(recommender: Recommender) -> dict[str, Any] | None:
    """The index that retrieval searches; None where there is no retrieval."""
    index = recommender.index
    if index is not None:
        return dict(index.describe())
    if recommender.item_vectors is None:
        return None
    return {"kind": "exact", "items": len(recommender.items), "recall": 1.0}


def request_of(recommender: Recommender) -> list[dict[str, Any]]:
    """The columns a request may give: what `recommend` reads, then what `score` reads besides.

    required: neither the column nor a value may be missing. longest: of a list, how many values are read.
    """
    schema, users = recommender.schema, recommender.users
    told = {} if users.past is None else TOLD
    sides: dict[str, dict[str, str]] = {
        "query": {"user_id": "string", **_plain(schema.query), **told},
        "candidate": {"item_id": "string", **_plain(schema.candidate)},
    }
    stored = {"query": users.columns, "candidate": recommender.items.columns}
    past = max((schema.sizes.get(n, 0) for n in schema.query if n in DERIVED), default=0)
    lengths = {name: schema.sizes.get(name) for name in schema.sizes} | dict.fromkeys(told, past)
    out = []
    for side, columns in sides.items():
        for name in sorted(columns):
            kept = "stored" if name in stored[side] or name in told else None
            default = users.as_of if kept is None and name == "timestamp" else kept
            column = {"name": name, "side": side, "type": columns[name], "required": name == "item_id"}
            column["default"] = default
            if columns[name] in _LISTS and lengths.get(name):
                column["longest"] = lengths[name]
            if columns[name] == "vector":
                column["size"] = schema.sizes[name]
            out.append(column)
    return out


def _plain(columns: Mapping[str, Any]) -> dict[str, str]:
    """Without what is made of past events, which the recommender fills in itself."""
    return {name: kind for name, kind in columns.items() if name not in DERIVED}
