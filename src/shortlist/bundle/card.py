"""MODEL_CARD.md: what a bundle is, for people, written from its manifest alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from shortlist.bundle.manifest import Graph, Manifest

_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|~&$])")
_USUAL = ("filtered ndcg@10 (user)", "filtered recall@10 (user)", "filtered hit_rate@100 (row)", "rmse")
_TRAINED = {
    frozenset({"model"}): "one trained model",
    frozenset({"retrieval"}): "a model that was trained to retrieve",
    frozenset({"ranking"}): "a model that was trained to rank",
    frozenset({"retrieval", "ranking"}): "a model that was trained to retrieve, and one to rank",
}


def card(manifest: Manifest) -> str:
    """The card as Markdown. Texts that came with data or recipe are only ever shown."""
    made = manifest.provenance
    name = _known(made, "recipe", "name") or _known(made, "data", "name")
    sections: list[tuple[str, Iterable[str]]] = [
        (f"# Model card{': ' if name else ''}{shown(name)}", _summary(manifest)),
        ("## Intended use", _use(made)),
        ("## Data and licence", _data(manifest)),
        ("## Figures", chain(_figures(made), _lost(made))),
        ("## Limits", _limits(manifest)),
        ("## How to ask", _asking(manifest)),
        ("## Sizes and versions", _sizes(manifest)),
        ("## Privacy", _privacy(manifest)),
    ]
    return "\n\n".join(f"{title}\n\n" + "\n".join(lines) for title, lines in sections) + "\n"


def shown(value: Any) -> str:
    """A text on one line, with the signs that Markdown or HTML would read escaped."""
    text = "".join(c if c.isprintable() else " " for c in str("" if value is None else value))
    return _SIGNS.sub(r"\\\1", " ".join(text.split()))


def _known(plain: Mapping[str, Any], *keys: str) -> Any:
    found: Any = plain
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _summary(manifest: Manifest) -> Iterator[str]:
    order, head = manifest.pipeline, manifest.pipeline.utility
    trained = _TRAINED.get(frozenset(manifest.parts), shown(" and ".join(manifest.parts)))
    offered = manifest.sizes.get("items", 0) - manifest.sizes.get("retired", 0)
    yield f"A recommender of {offered:,} items: {trained}."
    if manifest.index is not None:
        yield f"It retrieves candidates by the product of two vectors ({_index(manifest.index)})"
        weighed = (
            f"{order.num_retrieved} of them, ordered by log p + {head.rating_weight:g} * {shown(head.head)}"
        )
        yield f"and answers with the best of {weighed if head.rating_weight else 'these'}."
    else:
        yield f"It orders the {order.num_retrieved} most popular items by the predicted {shown(head.head)}."
    yield f"Written by Shortlist {shown(manifest.shortlist)}; `manifest.json` says when its model first was."


def _index(index: Mapping[str, Any]) -> str:
    recall = index.get("recall")
    at = f"@{shown(index['recall_k'])}" if "recall_k" in index else ""
    measured = f", measured recall{at} {_number(recall)}" if isinstance(recall, float) else ""
    return f"{shown(index.get('kind', 'exact'))} search{measured}"


def _use(made: Mapping[str, Any]) -> Iterator[str]:
    if made.get("intended_use"):
        yield shown(made["intended_use"])
        return
    yield "Ordering the items of its own catalogue for people like those of its data. The figures are of that"
    yield "data and of nothing else; for other items, people or times, measure it again. It is not made for"
    yield "decisions about people."


def _data(manifest: Manifest) -> Iterator[str]:
    made, licence = manifest.provenance, manifest.licence
    facts = {
        "Data": _known(made, "data", "name"),
        "Rows": _known(made, "data", "described", "interactions"),
        "From": _known(made, "data", "described", "time", "first"),
        "To": _known(made, "data", "described", "time", "last"),
        "Fingerprint (sha256 of the rows)": _known(made, "data", "fingerprint"),
        "Licence of the data": licence.get("data") or "not stated",
        "Licence of this bundle": licence.get("bundle") or "not stated; mind that of the data",
        "Split": _known(made, "split", "rule"),
        "Seeds": ", ".join(
            f"{name} {value}"
            for name, value in (("training", made.get("seed")), ("split", _known(made, "split", "seed")))
            if value is not None
        ),
        "Trained on": made.get("trained_on"),
        "Went on with later events": _times(made.get("warm_starts")),
    }
    for name, value in facts.items():
        if value not in (None, ""):
            yield f"- {name}: {_counted(value)}"


def _times(steps: Any) -> str:
    return f"{len(steps)} times" if isinstance(steps, list) else ""


def _figures(made: Mapping[str, Any]) -> Iterator[str]:
    entries = made.get("metrics")
    rows = [e for e in entries if isinstance(e, Mapping)] if isinstance(entries, list) else []
    names = _headline(made, rows)
    if not names:
        yield "None were measured when it was written."
        return
    yield "On the test rows of its split, with 95 % intervals where users were resampled."
    yield ""
    yield from _table(
        ["", *map(shown, names)],
        [[shown(row.get("name")), *(_estimate(_known(row, "figures", n)) for n in names)] for row in rows],
    )
    yield ""
    for sentence in _texts(_known(made, "evaluation", "verdicts")):
        yield f"- {shown(sentence)}"


def _lost(made: Mapping[str, Any]) -> Iterator[str]:
    """What smaller numbers in the tables cost."""
    weights = made.get("weights")
    if not isinstance(weights, Mapping):
        return
    size, of = (_counted(weights.get(name)) for name in ("bytes", "float32_bytes"))
    yield f"\nTables in {shown(weights.get('type'))}: {size} bytes of {of}."
    metrics = weights.get("metrics")
    if isinstance(metrics, Mapping):
        on = weights.get("measured_on")
        yield f"What that costs{f', on {shown(on)}' if on else ''}:\n"
        rows = [
            [shown(name), *(_number(_known(found, key)) for key in ("before", "after")), _between(found)]
            for name, found in metrics.items()
        ]
        yield from _table(("", "before", "after", "difference, 95 % interval"), rows)
    elif weights.get("not_measured"):
        yield f"What that costs was not measured: {shown(weights['not_measured'])}."
    for warning in _texts(weights.get("warnings")):
        yield f"\n{shown(warning)}"


def _counted(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else shown(value)


def _between(found: Any) -> str:
    low, high = _known(found, "low"), _known(found, "high")
    return "-" if low is None or high is None else f"{_number(low)} to {_number(high)}"


def _headline(made: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    known = {name for row in rows for name in (_known(row, "figures") or {})}
    asked = _texts(_known(made, "evaluation", "headline")) or list(_USUAL)
    return [n for n in asked if n in known] or sorted(known)[:3]


def _estimate(found: Any) -> str:
    value, between = _known(found, "value"), _between(found)
    if value is None:
        return "-"
    return _number(value) + ("" if between == "-" else f" ({between})")


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else shown(value)


def _limits(manifest: Manifest) -> Iterator[str]:
    made, query = manifest.provenance, manifest.schema.get("query", {})
    if "user_id" in query:
        yield "- Users training did not know get the most popular items, marked `popular`, unless a request"
        yield "  tells their history and the model reads histories."
    else:
        yield "- It reads no user ids: users training did not know are answered as all others are."
    yield "- Items outside of the catalogue are never returned; those with few training rows are known mostly"
    yield "  by their features, and popular items are favoured as far as the data favours them."
    if leaks := _known(made, "split", "leaks"):
        yield f"- What training could know of the test rows of the figures: {shown(leaks).rstrip('.')}."
    unseen = _known(made, "split", "test_rows_of_unseen_users")
    if unseen is not None:
        yield f"- Test rows of users that training never showed: {shown(unseen)}."
    for part in _slices(made):
        yield f"- {part}"
    for warning in _texts(_known(made, "evaluation", "warnings")):
        yield f"- {shown(warning)}"


def _slices(made: Mapping[str, Any]) -> Iterator[str]:
    found = _known(made, "evaluation", "slices")
    for part in found if isinstance(found, list) else []:
        figures = _known(part, "figures") or {}
        told = ", ".join(f"{shown(n)} {_estimate(e)}" for n, e in figures.items())
        yield f"{shown(_known(part, 'name'))} ({shown(_known(part, 'rows'))} test rows): {told}"


def _asking(manifest: Manifest) -> Iterator[str]:
    yield "```sh\nshortlist recommend BUNDLE --user ID\nshortlist verify BUNDLE\n```\n"
    yield '```python\nimport shortlist as sl\n\nsl.load("BUNDLE").recommend({"user_id": "ID"}, k=10)\n```\n'
    yield "A request may hold these columns; what is left out takes the default, else counts as missing.\n"
    names = ("name", "side", "type", "required", "default", "longest")
    yield from _table(names, [[shown(column.get(n, "")) for n in names] for column in manifest.request])
    yield "\nGraphs, which any ONNX Runtime opens:\n"
    rows = [
        [shown(f"{part}/{name}.onnx"), *_asked(graph)]
        for part, about in manifest.parts.items()
        for name, graph in about.graphs.items()
    ]
    whole = manifest.recommend.graph
    if whole is not None:
        rows.append(["recommend.onnx", *_asked(whole)])
    yield from _table(("graph", "inputs", "outputs", "operators beside ONNX's own"), rows)
    if whole is None:
        yield f"\nThere is no recommend.onnx: {shown(manifest.recommend.left_out)}."


def _asked(graph: Graph) -> list[str]:
    """Inputs, outputs and operators of a graph."""
    names = [", ".join(shown(v.name) for v in values) for values in (graph.inputs, graph.outputs)]
    needs = [f"{shown(domain)}: {', '.join(map(shown, ops))}" for domain, ops in graph.operators.items()]
    return [*names, "; ".join(needs)]


def _sizes(manifest: Manifest) -> Iterator[str]:
    counts = ", ".join(f"{count:,} {shown(name)}" for name, count in manifest.sizes.items())
    yield f"- {len(manifest.files)} files of {manifest.size / 1e6:.1f} MB beside this one and the manifest"
    yield f"- {counts} (pairs of a user and an item)" if "seen" in manifest.sizes else f"- {counts}"
    yield f"- format {manifest.format}.{manifest.minor}; written with " + ", ".join(
        f"{shown(name)} {shown(version)}" for name, version in manifest.versions.items()
    )


def _privacy(manifest: Manifest) -> Iterator[str]:
    count = manifest.sizes.get("users", 0)
    if manifest.provenance.get("users") == "left out":
        yield "What is known of users was left out. Where the model reads their ids, graphs and encoder.json"
        yield "hold these."
    else:
        yield f"`users/` holds the ids of {count:,} users, what is stored of them and what each has seen;"
        yield "where the model reads the ids, graphs and encoder.json hold these too."
    if any(name.startswith("train/") for name in manifest.files):
        yield "`train/` holds every training row (`shortlist export --serving` leaves it out)."
    yield "Treat the folder as the personal data it is."


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cells)} |"
