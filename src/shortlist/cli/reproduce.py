"""`shortlist reproduce`: the tutorials' experiments, the shipped recipes' accuracy, cold and warm starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shortlist.cli.console import Quiet, examples, json_text, out, out_json, progress, table
from shortlist.cli.folders import require_file, write_file

EXAMPLES = examples(
    "shortlist reproduce tutorials",
    "shortlist reproduce tutorials --seeds 3 --json tutorials.json",
    "shortlist reproduce accuracy --json accuracy.json",
    "shortlist reproduce accuracy --seeds 1 --rows rating-one --rows joint",
    "shortlist reproduce arrivals --json arrivals.json",
    "shortlist reproduce warm-start --json warm-start.json",
)

FIGURES = {
    "top100_raw": "raw",
    "top100_raw_train": "train",
    "top100_filtered": "filtered",
    "ndcg10_filtered": "ndcg@10",
    "rmse": "rmse",
}
GROUPS = {
    "tutorial": ("printed", ("top100_raw", "top100_raw_train", "rmse")),
    "its recipe here": ("tutorial_recipe", ("top100_raw", "top100_raw_train", "rmse")),
    "Shortlist here": ("shortlist_recipe", tuple(FIGURES)),
}
LEGEND = (
    "raw, train: top-100 accuracy on test and on train rows, seen items left in; filtered: on test rows, seen"
    "\nitems removed; ndcg@10: filtered, averaged over users; rmse: of ratings on test rows"
)


class What(StrEnum):
    """What can be reproduced."""

    tutorials = "tutorials"
    accuracy = "accuracy"
    arrivals = "arrivals"
    warm_start = "warm-start"


USUAL_SEEDS = {What.tutorials: 1, What.accuracy: 3, What.arrivals: 3, What.warm_start: 3}


def reproduce(
    what: Annotated[
        What,
        typer.Argument(
            help="The six experiments of the two tutorials, the accuracy of shipped recipes, how users and"
            " items are served that training never saw, or a model that goes on with new events."
        ),
    ],
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the rows to a file too.")] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Runs a row; figures are their means. 1 for tutorials, else 3."),
    ] = None,
    rows: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Only this row of the accuracy; may be repeated.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run experiments on MovieLens 100K and print their figures.

    tutorials: one row an experiment, each run twice: what the tutorial prints, its recipe run here,
    Shortlist's recipe, seconds. accuracy: the shipped recipes on several splits, beside baselines on the same
    rows and the best figures known of others. arrivals: held-out users and items. warm-start: going on
    from an earlier model beside training from scratch. `--json -` prints the rows as JSON instead.
    """
    if rows and what is not What.accuracy:
        raise typer.BadParameter("only `reproduce accuracy` has rows to choose from", param_hint="--rows")
    require_file(json)
    runs = seeds or USUAL_SEEDS[what]
    with progress(quiet=quiet) as tell:
        if what is What.accuracy:
            from shortlist.recipes.accuracy import ROWS, reproduce_rows

            found = reproduce_rows(ROWS, names=rows or (), seeds=runs, tell=tell)
        elif what is What.arrivals:
            from shortlist.recipes.arrivals import reproduce_arrivals

            found = reproduce_arrivals(seeds=runs, tell=tell)
        elif what is What.warm_start:
            from shortlist.recipes.warm_start import reproduce_warm_start

            found = reproduce_warm_start(seeds=runs, tell=tell)
        else:
            from shortlist.recipes.tutorials import reproduce

            found = reproduce(seeds=runs, tell=tell)
    if json is not None and str(json) == "-":
        out_json(found)
        return
    out(TEXTS[what](found))
    if json is not None:
        write_file(json, json_text(found) + "\n", quiet=quiet)


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The experiments as a table, what its columns mean, then the predictions where there are any."""
    above, below = [""], ["experiment"]
    for group, (part, figures) in GROUPS.items():
        used = [name for name in figures if any(name in row.get(part, {}) for row in rows)]
        above += [group, *("" for _ in used[1:])]
        below += [FIGURES[name] for name in used]
    body = [[row["experiment"], *_cells(row, rows), _seconds(row)] for row in rows]
    parts = [table([*above, ""], [[*below, "seconds"], *body]), LEGEND]
    parts += ["\n".join(_predictions(row)) for row in rows if row.get("predictions")]
    return "\n\n".join(parts)


def accuracy_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of accuracy: mean and deviation, the best baseline, others' best, seconds; and its notes."""
    body = [["row", "metric", "Shortlist", "best baseline here", "best known", "fit CPU s"]]
    for row in rows:
        for name, metric in row["metrics"].items():
            baseline, peer = row["baselines"].get(name), row["peers"].get(name)
            body.append(
                [
                    row["row"],
                    name,
                    f"{metric['mean']:.4f} +- {metric['std']:.4f}",
                    "-" if baseline is None else f"{baseline['value']:.4f} {baseline['name']}",
                    peer or "-",
                    f"{row['fit_seconds']:.1f}",
                ]
            )
    notes = [f"{row['row']}: {row['said']}" for row in rows if row["said"]]
    return "\n\n".join([table([""] * 6, body), ACCURACY_LEGEND, "\n".join(notes)])


def arrivals_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Figures with their intervals, and what the share of dropped ids was chosen by."""
    parts = []
    for row in rows:
        if "figures" in row:
            rates = [[n, f["value"], f"[{f['low']:.4f}, {f['high']:.4f}]"] for n, f in row["figures"].items()]
            parts.append(table([row["row"], "hit rate@100", "95 %"], rates))
        if "shares" in row:
            parts.append(table(list(row["shares"][0]), [list(share.values()) for share in row["shares"]]))
    return "\n\n".join([*parts, ARRIVALS_LEGEND])


def warm_start_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Figures of the three models, the difference warm - scratch with its interval, and CPU seconds."""
    body = [["recipe", "figure", "scratch", "warm", "state alone", "warm - scratch", "95 %"]]
    for row in rows:
        for found in row["figures"]:
            gap = found["warm - scratch"]
            models = [f"{found[model]:.4f}" for model in ("scratch", "warm", "state alone")]
            span = f"[{gap['low']:+.4f}, {gap['high']:+.4f}]"
            body.append([row["recipe"], found["figure"], *models, f"{gap['value']:+.4f}", span])
        cpu = row["cpu_seconds"]
        told = [f"{cpu[model]:.2f}" for model in ("scratch", "warm", "state alone")]
        body.append([row["recipe"], "CPU seconds", *told, f"{row['cheaper']:.1f} times cheaper", ""])
    return "\n\n".join([table([""] * 7, body), WARM_LEGEND])


WARM_LEGEND = (
    "scratch: trained on all rows before the test; warm: yesterday's model gone on with the new rows; state"
    "\nalone: yesterday's model, whose state knows them. rolling: of test rows, each asked with all its user"
    "\ndid before. Means over seeds; intervals from resampling users. CPU seconds of features and training,"
    "\nwithout compilation and without yesterday's own training."
)
ARRIVALS_LEGEND = (
    "Filtered hit rate@100 over test rows, means over seeds; intervals from resampling users. The last table:"
    "\nid_dropout on validation rows and other held-out items."
)
ACCURACY_LEGEND = (
    "top100: hit rate@100 over test rows, raw with seen items left in, filtered with them removed; hr10,"
    "\nndcg10, recall10: filtered (temporal-static: averaged over users). rmse: predictions held to the"
    "\nscale."
    "\nFit seconds are CPU, features included, compilation not. best known: measured on the same rows before,"
    "\nwith each tool's own best settings."
)


TEXTS = {
    What.tutorials: text,
    What.accuracy: accuracy_text,
    What.arrivals: arrivals_text,
    What.warm_start: warm_start_text,
}


def _cells(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = []
    for part, figures in GROUPS.values():
        for name in figures:
            if any(name in other.get(part, {}) for other in rows):
                value = row.get(part, {}).get(name)
                cells.append("-" if value is None else f"{value:.3f}")
    return cells


def _seconds(row: Mapping[str, Any]) -> str:
    return f"{row['seconds']:.1f}" if "seconds" in row else "-"


def _predictions(row: Mapping[str, Any]) -> list[str]:
    lines = [f"predicted ratings, {row['experiment']}"]
    groups = {part: group for group, (part, _) in GROUPS.items()}
    for part, found in row["predictions"].items():
        ratings = ", ".join(f"{film} {value:.3f}" for film, value in found["ratings"].items())
        same = f"after save and load within {found['largest_difference']:.0e}"
        lines.append(f"  {groups[part]}, user {found['user_id']}: {ratings} ({same})")
    return lines
