"""What requests name of a bundle: the side it answers for, columns of its items, heads of its ranker."""

from __future__ import annotations

from collections.abc import Sequence

from shortlist.errors import BundleError
from shortlist.server.bundles import Loaded, Variant
from shortlist.server.endpoint import Call
from shortlist.server.parameters import Given, Text
from shortlist.server.problems import Trouble
from shortlist.server.service import Service
from shortlist.server.wire import LONGEST_ID, Query, Weights

SIDE = Text("side", LONGEST_ID)


def side_of(call: Call, given: Given) -> Variant:
    """The side an address names, else the first. Trouble for one that is not there."""
    variants = call.service.variants
    if SIDE.name not in given:
        return variants.all[0]
    try:
        return variants.named(SIDE.of(given))
    except BundleError as error:
        raise SIDE.wrong(str(error)) from None


def loaded_for(service: Service, query: Query, inside: str = "") -> Loaded:
    """The bundle that answers a query. Trouble for a side that is not there."""
    try:
        return service.of(query.user_id, query.side)
    except BundleError as error:
        raise Trouble(422, str(error), pointer=f"{inside}/side") from None


def require_columns(loaded: Loaded, names: Sequence[str], inside: str = "") -> None:
    """Trouble where items have no column of one of these names."""
    columns = loaded.recommender.items.columns
    for n, name in enumerate(names):
        if name not in columns:
            raise Trouble(
                422,
                f"items have no column {name!r}",
                pointer=f"{inside}/item_columns/{n}",
                hint=f"known: {', '.join(columns)}",
            )


def require_order(loaded: Loaded, weights: Weights | None, inside: str = "") -> None:
    """Trouble where shortlists cannot be put in such an order."""
    if weights is None:
        return
    heads = loaded.heads
    if not heads:
        raise Trouble(
            422, "this recommender has no ranker, so there is nothing to weigh", pointer=f"{inside}/utility"
        )
    if weights.head is not None and weights.head not in heads:
        raise Trouble(
            422,
            f"the ranker has no head {weights.head!r}",
            pointer=f"{inside}/utility/head",
            hint=f"known: {', '.join(heads)}",
        )
    if weights.rating_weight is not None and loaded.recommender.retriever is None:
        raise Trouble(
            422,
            "without retrieval the order is what one head predicts, and weighs nothing",
            pointer=f"{inside}/utility/rating_weight",
        )
