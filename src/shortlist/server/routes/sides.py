"""Which side a request is about, where it is about one and not about a user."""

from __future__ import annotations

from shortlist.errors import BundleError
from shortlist.server.bundles import Variant
from shortlist.server.endpoint import Call
from shortlist.server.parameters import Given, Text
from shortlist.server.wire import LONGEST_ID

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
