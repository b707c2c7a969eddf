"""What a side and its bundle are: what is read and predicted, and how much may be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import convert, structs

from shortlist.features.history import DERIVED
from shortlist.pipeline.explaining import LATEST
from shortlist.pipeline.recommender import Recommender
from shortlist.server import wire
from shortlist.server.answers.bundles import (
    Bounds,
    Bundle,
    ColumnAsked,
    Has,
    Head,
    InUse,
    Reads,
    Side,
    Stages,
    Task,
    Term,
    Utility,
    UtilityInUse,
)

if TYPE_CHECKING:
    from shortlist.server.bundles import Loaded, Variant


def in_full(variant: Variant, *, keeps_events: bool) -> Side:
    """All that is told of a side and its bundle."""
    loaded = variant.now
    recommender, manifest = loaded.recommender, loaded.manifest
    provenance = manifest.get("provenance", {})
    return Side(
        **_in_use(variant),
        utility=_utility(loaded),
        recipe=recipe_of(loaded),
        created=manifest.get("created"),
        seen=len(recommender.users.seen),
        columns=loaded.columns,
        request=convert(manifest.get("request", []), list[ColumnAsked]),
        context=loaded.context,
        reads=_reads(recommender),
        tasks=_tasks(provenance),
        heads=_heads(loaded, provenance),
        stages=Stages(
            retrieval=recommender.retriever is not None,
            ranking=recommender.ranker is not None,
            candidates=recommender.num_retrieved,
            index=manifest.get("index"),
            seen_bonus=recommender.seen_bonus,
        ),
        limits=_LIMITS,
        licence=manifest.get("licence", {}),
        has=Has(
            evaluation=bool(provenance.get("metrics")),
            map=has_vectors(recommender),
            similar=has_vectors(recommender),
            events=keeps_events,
        ),
    )


def in_brief(variant: Variant) -> Bundle:
    """What is told of a side in a list of them."""
    utility = variant.now.recommender.utility
    order = UtilityInUse(rating_weight=utility.rating_weight, head=utility.head)
    return Bundle(**_in_use(variant), utility=order if variant.now.heads else None)


def _in_use(variant: Variant) -> dict[str, Any]:
    """The fields of `InUse`."""
    loaded = variant.now
    recommender = loaded.recommender
    found = InUse(
        side=variant.side.name,
        share=variant.side.share,
        before=None if variant.before is None else variant.before.version,
        since=int(variant.since),
        version=loaded.version,
        items=recommender.items.num_present,
        users=len(recommender.users),
        item_columns=[n for n in recommender.items.columns if n in loaded.items.shown],
        user_columns=[n for n in recommender.users.columns if n in loaded.users.shown],
        name_column=loaded.items.name,
        reads_history=recommender.users.past is not None,
        rating_scale=_listed(rating_scale(recommender)),
    )
    return structs.asdict(found)


def recipe_of(loaded: Loaded) -> str:
    """The name of the recipe it was made by; "" where nobody says."""
    return str(loaded.manifest.get("provenance", {}).get("recipe", {}).get("name") or "")


def has_vectors(recommender: Recommender) -> bool:
    """Whether items can be compared, and put on a map."""
    vectors = recommender.item_vectors is not None or recommender.item_representations is not None
    return vectors or recommender.index is not None


def rating_scale(recommender: Recommender) -> tuple[float, float] | None:
    """The least and the greatest rating of training: of the past, else as the bundle describes its data."""
    past = recommender.users.past
    if past is not None and past.scale is not None:
        return past.scale
    return _described_scale(recommender.provenance, "rating")


def _reads(recommender: Recommender) -> Reads:
    query, past = recommender.schema.query, recommender.users.past
    return Reads(
        user_id="user_id" in query,
        timestamp="timestamp" in query or (past is not None and past.timed),
        history=past is not None,
        item=[name for name in recommender.schema.candidate if name not in DERIVED],
    )


def _tasks(provenance: Mapping[str, Any]) -> list[Task]:
    """The tasks the model was trained on: of a joint model, or of the two it is made of."""
    found = []
    for model in _models(provenance.get("models")):
        tasks = model.get("tasks") or [model.get("task")]
        found += [task for task in tasks if isinstance(task, dict)]
    return [Task(kind=task.get("kind"), weight=task.get("weight"), label=task.get("label")) for task in found]


def _models(models: Any) -> list[dict[str, Any]]:
    if not isinstance(models, dict):
        return []
    inner = [one for one in models.values() if isinstance(one, dict) and ("tasks" in one or "task" in one)]
    return inner or [models]


def _heads(loaded: Loaded, provenance: Mapping[str, Any]) -> list[Head]:
    tasks = {str(task.label): task for task in _tasks(provenance) if task.label}
    of_ratings = rating_scale(loaded.recommender)
    out = []
    for name, column in loaded.heads.items():
        head = Head(name=name, column=column, kind=None, label=None, scale=None)
        if (task := tasks.get(name)) is not None:
            head.kind, head.label = task.kind, task.label
            if task.kind == "rating":
                head.scale = _listed(_described_scale(provenance, name) or of_ratings)
        out.append(head)
    return out


def _described_scale(provenance: Mapping[str, Any], label: str) -> tuple[float, float] | None:
    """The least and the greatest label, where the bundle says what it was trained on."""
    data = provenance.get("data")
    described = data.get("described") if isinstance(data, dict) else None
    found = described.get(label) if isinstance(described, dict) else None
    if not isinstance(found, dict) or not all(isinstance(found.get(n), int | float) for n in ("min", "max")):
        return None
    return float(found["min"]), float(found["max"])


def _listed(scale: tuple[float, float] | None) -> list[float] | None:
    return None if scale is None else list(scale)


def _utility(loaded: Loaded) -> Utility:
    utility, heads = loaded.recommender.utility, list(loaded.heads)
    retrieves = loaded.recommender.retriever is not None
    terms = [Term(name="retrieval_score", weight=1.0)] if retrieves else []
    if heads:
        column = loaded.heads.get(utility.head, utility.head)
        terms.append(Term(name=column, weight=utility.rating_weight if retrieves else 1.0))
    return Utility(
        rating_weight=utility.rating_weight if heads else None,
        head=utility.head if heads else None,
        heads=heads,
        adjustable=retrieves and bool(heads),
        terms=terms,
    )


_LIMITS = Bounds(
    k=wire.MOST_K,
    queries=wire.MOST_QUERIES,
    history=wire.MOST_HISTORY,
    listed=wire.MOST_LISTED,
    page=wire.MOST_PAGE,
    map=wire.MOST_POINTS,
    explain_k=wire.MOST_EXPLAINED,
    explain_history=LATEST,
    user_history=wire.MOST_HISTORY,
)
