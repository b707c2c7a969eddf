"""How the run that made a bundle judged it, as far as the bundle holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from shortlist.server.about import recipe_of
from shortlist.server.answers.judging import Evaluation

if TYPE_CHECKING:
    from shortlist.server.bundles import Loaded

_UNSAID: dict[str, Any] = {"settings": "", "seconds": None, "curve": {}}
"""Of an entrant, in a bundle that was made before reports were kept whole."""


def evaluation(loaded: Loaded) -> Evaluation | None:
    """The report of the run that made the bundle; None where it holds none. Raises msgspec.ValidationError
    where what it holds is no such report: anybody may write into a provenance."""
    provenance = loaded.manifest.get("provenance", {})
    metrics, judged = provenance.get("metrics"), provenance.get("evaluation") or {}
    if not metrics:
        return None
    report = judged.get("report") or {}
    more = {one["name"]: one for one in report.get("entries", [])}
    found = {
        "side": loaded.side,
        "version": loaded.version,
        "recipe": recipe_of(loaded),
        "protocol": judged.get("protocol", {}),
        "headline": judged.get("headline", []),
        "entries": [_UNSAID | more.get(one["name"], {}) | one for one in metrics],
        "verdicts": report.get("verdicts") or [{"sentence": said} for said in judged.get("verdicts", [])],
        "slices": report.get("slices") or _own_slices(judged, metrics),
        "stages": report.get("stages", {}),
        "collapse": report.get("collapse", []),
        "history": report.get("history", {}),
        "warnings": judged.get("warnings", []),
    }
    return msgspec.convert(found, Evaluation)


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
