"""What a bundle in use is, in plain values: what it reads and predicts, its columns, how it was judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist._typing import Array
from shortlist.features.history import DERIVED
from shortlist.features.requests import is_missing
from shortlist.pipeline.explaining import LATEST
from shortlist.pipeline.explaining import MOST as MOST_EXPLAINED
from shortlist.pipeline.recommender import Recommender
from shortlist.server import wire

if TYPE_CHECKING:
    from shortlist.server.browsing import Browser
    from shortlist.server.bundles import Loaded

MOST_POINTS, MOST_ROWS = 5_000, 200
_SAMPLE = 50_000  # rows that tell what a column holds
_VALUES, _COUNTED = 100, 1_000  # values that are listed, and counted


def about(loaded: Loaded) -> dict[str, Any]:
    """All that a bundle says of itself; the server adds what it knows of the side."""
    recommender, manifest = loaded.recommender, loaded.manifest
    provenance = manifest.get("provenance", {})
    return plain(loaded) | {
        "recipe": str(provenance.get("recipe", {}).get("name") or ""),
        "created": manifest.get("created"),
        "seen": len(recommender.users.seen),
        "columns": {"items": _columns(loaded.items), "users": _columns(loaded.users)},
        "request": manifest.get("request", []),
        "context": _context(recommender),
        "reads": _reads(recommender),
        "tasks": _tasks(provenance),
        "heads": _heads(loaded, provenance),
        "stages": {
            "retrieval": recommender.retriever is not None,
            "ranking": recommender.ranker is not None,
            "candidates": recommender.num_retrieved,
            "index": manifest.get("index"),
            "seen_bonus": recommender.seen_bonus,
        },
        "utility": _utility(loaded),
        "limits": _limits(),
        "licence": manifest.get("licence", {}),
    }


def plain(loaded: Loaded) -> dict[str, Any]:
    """What is known of every bundle, and shown in lists of them."""
    recommender = loaded.recommender
    past = recommender.users.past
    return {
        "version": loaded.version,
        "items": recommender.items.num_present,
        "users": len(recommender.users),
        "item_columns": [n for n in recommender.items.columns if n in loaded.items.shown],
        "user_columns": [n for n in recommender.users.columns if n in loaded.users.shown],
        "name_column": loaded.items.name,
        "reads_history": past is not None,
        "rating_scale": rating_scale(recommender),
        "utility": {
            "rating_weight": recommender.utility.rating_weight,
            "head": recommender.utility.head,
        }
        if loaded.heads
        else None,
    }


def rating_scale(recommender: Recommender) -> tuple[float, float] | None:
    """The least and the greatest rating of training: of the past, else as the bundle describes its data."""
    past = recommender.users.past
    if past is not None and past.scale is not None:
        return past.scale
    return _described_scale(recommender.provenance, "rating")


def has(loaded: Loaded) -> dict[str, bool]:
    """Which pages there is something to see on."""
    recommender = loaded.recommender
    vectors = recommender.item_vectors is not None or recommender.item_representations is not None
    there = vectors or recommender.index is not None
    return {
        "evaluation": bool(loaded.manifest.get("provenance", {}).get("metrics")),
        "map": there,
        "similar": there,
    }


# What it reads and says


def _context(recommender: Recommender) -> list[dict[str, Any]]:
    """Columns of the question that the model reads, but for the user's id and past."""
    stored, out = recommender.users.columns, []
    for name, kind in recommender.schema.query.items():
        if name in DERIVED or name == "user_id":
            continue
        one: dict[str, Any] = {"name": name, "type": kind, "kind": _kind_of_type(name, kind)}
        column = stored.get(name)
        if one["kind"] == "category" and column is not None and column.dtype.kind == "O":
            one["values"] = [value for value, _ in _counted(_sampled(column)).most_common(_VALUES)]
        out.append(one)
    return out


def _kind_of_type(name: str, kind: str) -> str:
    if name == "timestamp":
        return "time"
    kinds = {"string": "category", "strings": "tags", "vector": "vector"}
    return kinds.get(kind, "number")


def _reads(recommender: Recommender) -> dict[str, Any]:
    query, candidate = recommender.schema.query, recommender.schema.candidate
    return {
        "user_id": "user_id" in query,
        "timestamp": "timestamp" in query
        or (recommender.users.past is not None and recommender.users.past.timed),
        "history": recommender.users.past is not None,
        "item": [name for name in candidate if name not in DERIVED],
    }


def _tasks(provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tasks the model was trained on: of a joint model, or of the two it is made of."""
    found = []
    for model in _models(provenance.get("models")):
        tasks = model.get("tasks") or [model.get("task")]
        found += [task for task in tasks if isinstance(task, dict)]
    return [
        {"kind": task.get("kind"), "weight": task.get("weight"), "label": task.get("label")} for task in found
    ]


def _models(models: Any) -> list[dict[str, Any]]:
    if not isinstance(models, dict):
        return []
    inner = [one for one in models.values() if isinstance(one, dict) and ("tasks" in one or "task" in one)]
    return inner or [models]


def _heads(loaded: Loaded, provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    tasks = {str(task["label"]): task for task in _tasks(provenance) if task["label"]}
    scale = rating_scale(loaded.recommender)
    out = []
    for head, column in loaded.heads.items():
        task = tasks.get(head, {})
        rating = task.get("kind") == "rating"
        out.append(
            {
                "name": head,
                "column": column,
                "kind": task.get("kind"),
                "label": task.get("label"),
                "scale": _described_scale(provenance, head) or scale if rating else None,
            }
        )
    return out


def _described_scale(provenance: Mapping[str, Any], label: str) -> tuple[float, float] | None:
    """The least and the greatest label, where the bundle says what it was trained on."""
    data = provenance.get("data")
    described = data.get("described") if isinstance(data, dict) else None
    found = described.get(label) if isinstance(described, dict) else None
    if not isinstance(found, dict) or not all(isinstance(found.get(n), int | float) for n in ("min", "max")):
        return None
    return float(found["min"]), float(found["max"])


def _utility(loaded: Loaded) -> dict[str, Any]:
    recommender = loaded.recommender
    utility, heads = recommender.utility, list(loaded.heads)
    both = recommender.retriever is not None and bool(heads)
    if recommender.retriever is None:
        terms = [{"name": loaded.heads.get(utility.head, utility.head), "weight": 1.0}] if heads else []
    else:
        terms = [{"name": "retrieval_score", "weight": 1.0}]
        if both:
            head = loaded.heads.get(utility.head, utility.head)
            terms.append({"name": head, "weight": utility.rating_weight})
    return {
        "rating_weight": utility.rating_weight if heads else None,
        "head": utility.head if heads else None,
        "heads": heads,
        "adjustable": both,
        "terms": terms,
    }


def _limits() -> dict[str, int]:
    return {
        "k": wire.MOST_K,
        "queries": wire.MOST_QUERIES,
        "history": wire.MOST_HISTORY,
        "listed": wire.MOST_LISTED,
        "page": MOST_ROWS,
        "map": MOST_POINTS,
        "explain_k": MOST_EXPLAINED,
        "explain_history": LATEST,
        "user_history": wire.MOST_HISTORY,
    }


# What its columns hold


def _columns(browser: Browser) -> list[dict[str, Any]]:
    return [column_about(name, column, name == browser.name) for name, column in browser.shown.items()]


def column_about(name: str, column: Array, names_rows: bool = False) -> dict[str, Any]:
    """What a column holds: kind ("text", "category", "number", "tags", "flag" or "time"), how many different
    values (None: more than are counted), bounds of numbers, examples. Of a long one, 50,000 rows tell."""
    some = _sampled(column)
    kept = some[~is_missing(some)] if some.dtype.kind in "Oif" else some
    out: dict[str, Any] = {"name": name, "missing": len(some) - len(kept)}
    if len(some) < len(column):
        out["sampled"] = True
    if column.dtype.kind != "O":
        distinct = np.unique(kept)
        flag = column.dtype.kind == "b" or (0 < len(distinct) <= 2 and set(distinct.tolist()) <= {0, 1})
        out["kind"] = "flag" if flag else "time" if name == "timestamp" else "number"
        out["distinct"] = len(distinct) if len(distinct) <= _COUNTED else None
        if len(kept):
            out |= {"least": distinct[0].item(), "most": distinct[-1].item()}
        out["examples"] = distinct[:3].tolist()
        return out
    counts = _counted(kept)
    text = column.ndim == 1 and (names_rows or 2 * len(counts) > max(len(kept), 100))
    out["kind"] = "tags" if column.ndim == 2 else "text" if text else "category"
    out["distinct"] = len(counts) if len(counts) <= _COUNTED else None
    out["examples"] = [value for value, _ in counts.most_common(3 if text else _VALUES)]
    return out


def _sampled(column: Array) -> Array:
    step = max(1, -(-len(column) // _SAMPLE))
    some: Array = np.asarray(column[::step] if step > 1 else column)
    return some


def _counted(column: Array) -> Counter[str]:
    """Texts and how often there are: of lists, each of them."""
    return Counter(text for text in column.reshape(-1).tolist() if text)


# How it was judged


def evaluation(loaded: Loaded) -> dict[str, Any] | None:
    """The report of the run that made the bundle, as far as the bundle holds it; None where it holds none."""
    provenance = loaded.manifest.get("provenance", {})
    metrics, judged = provenance.get("metrics"), provenance.get("evaluation") or {}
    if not metrics:
        return None
    more = judged.get("report") or {}
    beside = {one["name"]: one for one in more.get("entries", [])}
    entries = [
        {"settings": "", "seconds": None, "curve": {}} | beside.get(one["name"], {}) | one for one in metrics
    ]
    return {
        "side": loaded.side,
        "version": loaded.version,
        "recipe": str(provenance.get("recipe", {}).get("name") or ""),
        "protocol": judged.get("protocol", {}),
        "headline": judged.get("headline", []),
        "entries": entries,
        "verdicts": more.get("verdicts") or [{"sentence": said} for said in judged.get("verdicts", [])],
        "slices": more.get("slices") or _own_slices(judged, metrics),
        "stages": more.get("stages", {}),
        "collapse": more.get("collapse", []),
        "history": more.get("history", {}),
        "warnings": judged.get("warnings", []),
    }


def _own_slices(judged: Mapping[str, Any], metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a bundle that keeps those of the model alone."""
    ours = [one["name"] for one in metrics if one.get("role") == "model"]
    return [
        {
            "name": one["name"],
            "num_rows": one.get("rows"),
            "num_users": None,
            "figures": {ours[0]: one.get("figures", {})},
        }
        for one in judged.get("slices", [])
        if ours
    ]
