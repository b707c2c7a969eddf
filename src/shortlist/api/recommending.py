"""From fitted models to the one object that recommends."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

from shortlist.api.exporting import save_whole
from shortlist.api.fitting import Fitted
from shortlist.api.keeping import write, writes
from shortlist.bundle import Part
from shortlist.data.columns import column_types, to_columns
from shortlist.errors import SpecError
from shortlist.export.graphs import export_graphs
from shortlist.export.packing import pack
from shortlist.features.schema import Schema
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility
from shortlist.specs.aggregates import columns_read
from shortlist.state.catalogue import Items
from shortlist.state.past import Past
from shortlist.state.users import Users


def combine(
    retrieval: Fitted | None = None,
    ranking: Fitted | None = None,
    *,
    rating_weight: float = 0.0,
    head: str = "",
    num_retrieved: int = 100,
    provenance: dict[str, Any] | None = None,
) -> Recommender:
    """Two stages as one recommender: `retrieval` picks `num_retrieved` candidates, `ranking` orders them by
    log p(item) + rating_weight * prediction. Either may be left out; both may be one jointly trained model.

    head: the ranking model's head that counts (its first by default). provenance: plain values that travel in
    the bundle. Raises SpecError for models that lack the task their stage needs, or that were fitted on
    different catalogues.
    """
    if not (math.isfinite(rating_weight) and rating_weight >= 0 and num_retrieved >= 1):
        raise SpecError(
            f"rating_weight must be finite and not negative, num_retrieved at least 1; got {rating_weight}"
            f" and {num_retrieved}"
        )
    first = retrieval or ranking
    if first is None:
        raise SpecError("a recommender needs a fitted model")
    if retrieval is not None and retrieval.model.retrieval is None:
        raise SpecError(f"{type(retrieval.model).__name__} has no Retrieval task to retrieve with")
    if ranking is not None and not ranking.model.heads:
        raise SpecError(f"{type(ranking.model).__name__} has no head to rank with")
    if retrieval is not None and ranking is not None:
        _check_same_items(retrieval, ranking)
    models = {id(f): f for f in (retrieval, ranking) if f is not None}
    chosen = head or (ranking.model.heads[0].name if ranking is not None else "rating")
    return Recommender.of(
        _items(first),
        _users(_knowing(retrieval, ranking), Schema.of(*(f.prepared.encoder for f in models.values()))),
        Schema.of(*(f.prepared.encoder for f in models.values())),
        retriever=None if retrieval is None else retrieval.scorer,
        ranker=None if ranking is None else ranking.scorer,
        seen_bonus=0.0 if retrieval is None else _seen_bonus(retrieval),
        seen_as_of=(retrieval.model.retrieval.seen or "row")
        if retrieval and retrieval.model.retrieval
        else "row",
        aggregates={} if ranking is None else ranking.prepared.aggregates,
        utility=Utility(rating_weight, chosen),
        num_retrieved=num_retrieved,
        provenance={**_provenance(first), **(provenance or {})},
        writer=lambda recommender, path: _write(recommender, path, retrieval, ranking),
    )


def _seen_bonus(fitted: Fitted) -> float:
    learned = fitted.scorer.net.seen
    return 0.0 if learned is None else float(learned)


def _items(fitted: Fitted) -> Items:
    table = fitted.split.items
    kept = [name for name in table.columns if name != "item_id"]
    return Items.of(table["item_id"].to_list(), to_columns(table, kept), fitted.prepared.counts)


def _users(fitted: Fitted, schema: Schema) -> Users:
    """The training users in the order of the seen sets, with the columns a model may read of them."""
    import polars as pl

    known = pl.DataFrame({"user_id": list(fitted.prepared.users.values)}, schema={"user_id": pl.String})
    table = known.join(fitted.split.users, on="user_id", how="left", maintain_order="left")
    read = set(schema.query) | {n for a in fitted.prepared.aggregates.values() for n in columns_read(a.specs)}
    kept = [name for name in column_types(table) if name in read and name != "user_id"]
    times, events = fitted.prepared.times, fitted.prepared.events
    if times is not None and events is not None:
        times = times + 1  # a request that names no time comes after all the user did
    columns = to_columns(table, kept)
    if times is not None and "timestamp" in schema.query:
        columns["timestamp"] = times
    as_of = None if times is None else int(times.max())
    past = None if events is None else Past(events.log, events.mean, events.timed, events.unrated)
    return Users.of(table["user_id"].to_list(), columns, fitted.prepared.seen, as_of, past)


def _provenance(fitted: Fitted) -> dict[str, Any]:
    return {
        "split": fitted.split.describe(),
        "models": fitted.model.to_dict(),
        "training": fitted.training.to_dict(),
        "seconds": fitted.seconds,
    }


def _write(recommender: Recommender, path: Path, retrieval: Fitted | None, ranking: Fitted | None) -> None:
    """Export every model once and write the bundle."""
    stages = {"retrieval": retrieval, "ranking": ranking}
    models = {"model": retrieval} if retrieval is ranking else stages
    trained = {name: fitted for name, fitted in models.items() if fitted is not None}
    parts = {}
    for name, fitted in trained.items():
        graphs, weights = pack(_graphs(fitted))
        parts[name] = Part(graphs, fitted.prepared.encoder, weights)
    save_whole(recommender, parts, path, train=partial(write, trained) if writes(trained) else None)


def _graphs(fitted: Fitted) -> dict[str, bytes]:
    scorer = fitted.scorer
    return export_graphs(
        scorer.net,
        scorer.tables,
        scorer.encoder,
        queries=fitted.prepared.queries,
        candidates=fitted.prepared.items,
    )


def _knowing(retrieval: Fitted | None, ranking: Fitted | None) -> Fitted:
    """The model that knows what users did, if one does."""
    models = [f for f in (retrieval, ranking) if f is not None]
    return next((f for f in models if f.prepared.events is not None), models[0])


def _check_same_items(retrieval: Fitted, ranking: Fitted) -> None:
    if retrieval.split.items["item_id"].to_list() != ranking.split.items["item_id"].to_list():
        raise SpecError(
            "the two models were fitted on different catalogues", hint="fit both on the same split"
        )
    if retrieval.prepared.users.values != ranking.prepared.users.values:
        raise SpecError("the two models were fitted on different users", hint="fit both on the same split")
