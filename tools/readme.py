"""Writes what documents take from files: sizes and figures into README.md, keys into docs/recipes.md.

A generated part stands between `<!-- NAME: written by `make readme` -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "README.zh-CN.md",
    "docs/recipes.md",
    "docs/performance.md",
    "docs/accuracy.md",
    "docs/guides/cold-start.md",
    "docs/guides/large-catalogues.md",
    "docs/guides/serving.md",
)
PART = re.compile(
    r"(<!-- (?P<name>[\w-]+): written by `make readme` -->\n)(?P<old>.*?)(<!-- end of (?P=name) -->)",
    re.DOTALL,
)
FOR = {
    "base": "`recommend`, `score`, `similar`, `index` (`add`: of CSV, TSV, JSON lines), `inspect`, `verify`,"
    " `export` (whole or `--serving`), `doctor` from a bundle",
    "tables": "reading tables, splitting, evaluating a bundle",
    "baselines": "item-kNN, EASE, iALS beside the model",
    "train": "fitting and exporting; `export --weights` and `--without-users`",
    "serve": "answering over HTTP: `serve`, `events`, and the explorer",
    "postgres": "a server's events in PostgreSQL",
    "tune": "searching a recipe's settings: `shortlist tune`",
    "ann": "an approximate index, for catalogues of a hundred thousand items and more",
    "tensorflow": "`export --format savedmodel`",
    "gpu": "fitting on an NVIDIA GPU under Linux",
    "all": "everything the commands below need but `tune` and `index build --kind ann`, and no uvloop",
}
NAMES = {
    "top100_raw": "top-100",
    "top100_raw_train": "on train",
    "top100_filtered": "filtered",
    "ndcg10_filtered": "NDCG@10",
    "rmse": "RMSE",
}


def read(name: str) -> Any:
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


def table(header: list[str], rows: list[list[str]], *, right: int = 99) -> str:
    """A table; columns from number `right` on stand to the right."""
    rule = ["---:" if at >= right else "---" for at in range(len(header))]
    return "".join(f"| {' | '.join(row)} |\n" for row in [header, rule, *rows])


def sizes(_: str) -> str:
    """The extras, and the measured sizes of those that `make test-dist` installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {"base": project["dependencies"], **project["optional-dependencies"]}
    measured = read("docs/sizes.json")
    rows = []
    for name, needs in extras.items():
        size = measured["installed"].get(name, {})
        cells = [str(size.get(key, "")) for key in ("packages", "megabytes", "megabytes_of_bytecode")]
        install = "`pip install .`" if name == "base" else f"`pip install '.[{name}]'`"
        rows.append([install, ", ".join(_package(need) for need in needs), FOR[name], *cells])
    where = f"Python {measured['python']}, {measured['platform']} {measured['machine']}"
    note = f"\nMeasured with {where}; MB are 10^6 bytes. Bytecode is what Python caches beside the files.\n"
    return table(["", "brings", "for", "packages", "MB of files", "MB of bytecode"], rows, right=3) + note


def _package(need: str) -> str:
    """A requirement without its version; an extra of our own as +extra."""
    own = re.match(r"shortlist\[(.+)\]", need)
    if own:
        return ", ".join(f"+{extra}" for extra in own[1].split(","))
    match = re.match(r"[\w.-]+(\[[\w,]+\])?", need)
    assert match, need
    return match[0]


def tutorials(_: str) -> str:
    """One row an experiment."""
    header = ["experiment", "the tutorial prints", "its recipe here", "Shortlist here", "seconds"]
    rows = [
        [
            f"`{row['experiment']}`",
            *(_figures(row[part]) for part in ("printed", "tutorial_recipe", "shortlist_recipe")),
            f"{row['seconds']:.1f}",
        ]
        for row in read("docs/results/tutorials.json")
    ]
    return table(header, rows, right=4)


def _figures(found: Mapping[str, float]) -> str:
    return "<br>".join(f"{text} {found[name]:.3f}" for name, text in NAMES.items() if name in found)


def predictions(_: str) -> str:
    """What the tutorials show of their models' predictions."""
    rows = []
    names = {"tutorial_recipe": "its recipe here", "shortlist_recipe": "Shortlist here"}
    for row in read("docs/results/tutorials.json"):
        for part, found in row.get("predictions", {}).items():
            films = {film.replace("*", r"\*"): value for film, value in found["ratings"].items()}
            ratings = ", ".join(f"{film} {value:.2f}" for film, value in films.items())
            rows.append(
                [f"`{row['experiment']}`", names[part], ratings, f"{found['largest_difference']:.0e}"]
            )
    return table(["experiment", "", "predicted ratings of user 42", "moved by save and load"], rows)


def _tiny(value: float) -> str:
    return f"{value:.0e}" if value else "0"


def demo(_: str) -> str:
    """The demo's headline, with what it rests on and the verdict."""
    report = read("docs/results/demo-report.json")
    headline = report["headline"]
    rows = []
    for entry in report["entries"]:
        name = f"**{entry['name']}**" if entry["role"] == "model" else entry["name"]
        rows.append([name, *(_spanned(entry["figures"].get(figure)) for figure in headline)])
    protocol = report["protocol"]
    split = f"split {protocol['split']} (seed {protocol['seed']})"
    rests = f"\n{protocol['data']}, {split}; test: {protocol['test rows']}.\n"
    verdicts = "".join(f"- {verdict['sentence']}\n" for verdict in report["verdicts"])
    stages = "".join(f"- {_stage(name, found)}\n" for name, found in report["stages"].items())
    return f"{table(['', *headline], rows, right=1)}{rests}\nVerdict:\n{verdicts}\nStages:\n{stages}"


def _stage(name: str, found: Any) -> str:
    if isinstance(found, Mapping):
        return f"{name}: " + ", ".join(f"{figure} {value:.4f}" for figure, value in found.items())
    return f"{name}: {found:.4f}"


def _spanned(figure: Mapping[str, float] | None) -> str:
    if figure is None:
        return "-"
    span = "" if figure["low"] is None else f" [{figure['low']:.3f}, {figure['high']:.3f}]"
    return f"{figure['value']:.4f}{span}"


def speed(_: str) -> str:
    """One row a benchmark: medians' ratios, and what they were measured on."""
    rows = [
        [f"`{row['bench']}`", f"{row['ours']:.4g}", f"{row['peer']:.4g}", row["unit"], f"{row['ratio']:.3g}"]
        for row in read("benchmarks/results/latest.json")
    ]
    told = read("benchmarks/results/machine.json")
    machine = told["machine"]
    on = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {told['date']}"
    return f"{table(['benchmark', 'ours', 'peer', 'unit', 'ratio'], rows, right=1)}\n{on}.\n"


def serving(old: str) -> str:
    """A bundle at work beside TensorFlow's SavedModel of the same model."""
    found = {row["bench"]: row for row in read("benchmarks/results/latest.json")}
    if not {"start", "score-savedmodel"} <= found.keys():
        return old
    begun, scored = found["start"], found["score-savedmodel"]
    sides = ("ours", "peer")
    times = [scored["detail"][side] for side in sides]
    rows = [
        ["first answer of a new process, s of CPU", *(f"{begun[side]:.2f}" for side in sides)],
        ["memory of that process, MB", *(f"{begun['detail'][side]['rss_mb']:.0f}" for side in sides)],
        ["raw strings to one rating, us", *(f"{scored[side]:.0f}" for side in sides)],
        ["to 100 ratings, us", *(f"{one['batch_100']['p50_us']:.0f}" for one in times)],
    ]
    return table(["", "bundle", "SavedModel"], rows, right=1)


def served(old: str) -> str:
    """Servers under load, ours and peers'; what stands there before it was measured."""
    if not (ROOT / "benchmarks/results/serve.json").exists():
        return old
    rows = []
    for row in read("benchmarks/results/serve.json"):
        cells = [f"{row['requests_per_s']:,.0f}", *(f"{row[name]:.2f}" for name in ("p50_ms", "p99_ms"))]
        serves = row["detail"]["serves"]
        rows.append([f"`{row['bench']}`", serves, *cells, f"{row['cpu_us_per_request']:.0f}"])
    header = ["benchmark", "serves", "requests/s", "p50 ms", "p99 ms", "us of CPU a request"]
    return table(header, rows, right=2)


def smaller(_: str) -> str:
    """What smaller tables save and lose; the share of the tables' bytes and the 95 % intervals."""
    rows = []
    for one in read("benchmarks/results/weights.json"):
        metrics = one.get("metrics", {})
        lost = [metrics.get(name) for name in ("rmse", "filtered ndcg@10 (user)")]
        told = [f"{m['difference']:+.5f} ({m['low']:+.5f} to {m['high']:+.5f})" if m else "" for m in lost]
        sizes_kb = [f"{one[name] / 1000:,.0f}" for name in ("bytes", "bundle_bytes")]
        rows.append([f"`{one['recipe']}`", one["weights"], *sizes_kb, *told])
    header = ["recipe", "tables", "tables, kB", "bundle, kB", "RMSE", "NDCG@10 of retrieval, filtered"]
    return table(header, rows, right=2)


def nearest(part: str, old: str) -> str:
    """What was measured of a million items' search; what stands there before it was."""
    found = {row["bench"]: row["detail"] for row in read("benchmarks/results/latest.json")}
    if "ann-million" not in found:
        return old
    detail = found["ann-million"]
    ours, once = detail["ours"], detail["once"]
    if part == "peers":
        exact, graph = ours["exact"], once["usearch usearch"]["usearch"]
        codes = ours.get("codes", "`IVF,SQ8`")
        told = {"exact (NumPy)": exact, f"approximate (faiss, {codes})": ours, "ScaNN": detail["peer"]}
        rows = [_searcher(name, one) for name, one in (told | {"usearch HNSW": graph}).items()]
        return table(["index", "recall@100", "p50 ms", "p99 ms", "memory MiB", "build s"], rows, right=1)
    if part == "filters":
        rows = [
            [f"{one['share']:.1%} of {one['drawn']}", f"{one['allowed']:,}", f"{one['recall']:.3f}"]
            + [f"{one[name]:.2f}" for name in ("p50_ms", "p99_ms", "p50_ms_of_new_masks")]
            for one in ours["filters"]
        ]
        return table(
            ["allowed", "items", "recall@100", "p50 ms", "p99 ms", "p50 ms, new mask"], rows, right=1
        )
    lists, graph = ours["lengths"], once["usearch usearch-lengths"]["usearch-lengths"]["recall"]
    rows = [
        [name, f"{lists[key]['recall_at_the_first']:.3f}", str(lists[key]["nprobe"]), f"{graph[key]:.3f}"]
        for name, key in (("one length", "one"), ("many lengths", "many"))
    ]
    header = ["100,000 vectors of", "recall of as many lists", "lists the target takes", "recall of HNSW"]
    return table(header, rows, right=1)


def _searcher(name: str, one: Mapping[str, Any]) -> list[str]:
    times = [f"{one[key]:.2f}" for key in ("p50_ms", "p99_ms")]
    return [name, f"{one['recall']:.3f}", *times, f"{one['memory_mib']:.0f}", f"{one['build_seconds']:.0f}"]


def precision(_: str) -> str:
    """Figures of the experiments in both precisions."""
    rows = [
        [f"`{row['experiment']}`", *(_exactly(row[form]) for form in ("float32", "bfloat16"))]
        for row in read("benchmarks/results/precision.json")
    ]
    return table(["experiment", "float32", "bfloat16"], rows)


def accuracy(_: str) -> str:
    """The table of accuracy, from docs/results/accuracy.json."""
    rows = []
    for row in read("docs/results/accuracy.json"):
        for at, (name, metric) in enumerate(row["metrics"].items()):
            best = row["baselines"].get(name)
            future = "sees the future" in row["said"]
            rows.append(
                [
                    f"{row['row']}{' *' if future else ''}" if at == 0 else "",
                    name,
                    f"{_best(name, metric['mean'], best, row['peers'].get(name))} ± {metric['std']:.4f}",
                    "" if best is None else f"{best['value']:.4f} {best['name']}",
                    row["peers"].get(name, ""),
                    f"{row['fit_seconds']:.1f}" if at == 0 else "",
                ]
            )
    header = ["row", "metric", "Shortlist", "best baseline here", "best known of others", "fit CPU s"]
    note = "\n\\* leave-one-out inputs, which see the future of the training period.\n"
    return table(header, rows, right=99) + note


def arrivals(row: str) -> str:
    """The figures of users or items that training never saw, from docs/results/arrivals.json."""
    found = next(r for r in read("docs/results/arrivals.json") if r["row"] == row)
    if "shares" in found:
        told = [[f"{value:.4f}" for value in list(share.values())[1:]] for share in found["shares"]]
        shares = [
            [f"{share['id_dropout']:g}", *row] for share, row in zip(found["shares"], told, strict=True)
        ]
        return table([str(name).replace("_", " ") for name in found["shares"][0]], shares)
    rows = [[n, _spanned(figure)] for n, figure in found["figures"].items()]
    counted = ", ".join(f"{count:,} {name}" for name, count in found["rows"].items())
    note = f"\n{found['held_out']:,} held out; test rows: {counted}.\n"
    if "sample" in found:
        sample = found["sample"]
        note += (
            f"Of {sample['rows']} test rows of held-out users, asked one by one, {sample['listed as ranked']}"
            " have the item in the list that is returned or not as its rank says, and"
            f" {sample['bundle as Python']} have it in the list of the bundle alone as in that of Python.\n"
        )
    return table(["", "hit rate@100"], rows) + note


def _best(name: str, value: float, baseline: Mapping[str, Any] | None, peer: str | None) -> str:
    """The figure, bold where none beside it is better."""
    others = ([] if baseline is None else [baseline["value"]]) + (
        [] if peer is None else [float(peer.split()[0].rstrip(","))]
    )
    sign = -1 if name.startswith("rmse") else 1
    wins = others and all(sign * value > sign * other for other in others)
    return f"**{value:.4f}**" if wins else f"{value:.4f}"


def _exactly(found: Mapping[str, float]) -> str:
    return ", ".join(f"{text} {found[name]:.4f}" for name, text in NAMES.items() if name in found)


def keys(old: str, cls: type) -> str:
    """The keys of a declaration: type and default from the code, meanings as the page has them."""
    import msgspec

    meanings = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*?) \|$", old, re.MULTILINE))
    rows = []
    tag = cls.__struct_config__.tag  # type: ignore[attr-defined]
    if tag is not None:
        rows.append(["`kind`", "", f'`"{tag}"`', "says which declaration this is"])
    for field in msgspec.structs.fields(cls):
        rows.append([f"`{field.name}`", kind(field.type), _default(field), meanings.get(field.name, "?")])
    return table(["key", "type", "default", "meaning"], rows)


def kind(declared: Any) -> str:
    """A type in a reader's words."""
    origin, inside = get_origin(declared), get_args(declared)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in inside)
    if origin is tuple:
        return f"list of {kind(inside[0]).removeprefix('a ')}s"
    if origin is dict:
        return "table"
    if origin in (Union, UnionType):
        # a float stands for whole numbers too
        names = [kind(p) for p in inside if p is not type(None) and not (p is int and float in inside)]
        return "a declaration" if len(names) > 2 else " or ".join(names)
    plain = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    return plain.get(declared, f"`{getattr(declared, '__name__', declared)}`")


def _default(field: Any) -> str:
    import msgspec

    if field.required:
        return "needed"
    made = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if made is None:
        return "unset"
    return f"`{_toml(made)}`" if not isinstance(made, msgspec.Struct) else f"`{_given(made)}`"


def _given(made: Any) -> str:
    """A declaration as an inline table, with only what differs from its own defaults."""
    import msgspec

    tag = made.__struct_config__.tag
    parts = [f'kind = "{tag}"'] if tag else []
    for field in msgspec.structs.fields(made):
        value = getattr(made, field.name)
        if field.required or (field.default is not msgspec.NODEFAULT and value != field.default):
            parts.append(f"{field.name} = {_toml(value)}")
    return "{ " + ", ".join(parts) + " }" if parts else "{}"


def _toml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return "{}" if value == {} else json.dumps(value)


def writers() -> dict[str, Callable[[str], str]]:
    """What writes each part, by name; `keys-NAME` for every declaration."""
    found: dict[str, Callable[[str], str]] = {
        "sizes": sizes,
        "tutorials": tutorials,
        "predictions": predictions,
        "demo": demo,
        "speed": speed,
        "serving": serving,
        "served": served,
        "smaller-weights": smaller,
        "precision": precision,
        "nearest-peers": lambda old: nearest("peers", old),
        "nearest-filters": lambda old: nearest("filters", old),
        "nearest-lengths": lambda old: nearest("lengths", old),
        "accuracy": accuracy,
        "arrivals-users": lambda _: arrivals("new-users"),
        "arrivals-items": lambda _: arrivals("new-items"),
        "arrivals-choice": lambda _: arrivals("choice"),
    }
    for name, cls in declarations().items():
        found[f"keys-{name}"] = lambda old, cls=cls: keys(old, cls)  # type: ignore[misc]
    return found


def declarations() -> dict[str, type]:
    """Every declaration a recipe may hold, by class name."""
    from shortlist.specs import aggregates, features, models, recipe, tasks, training, tuning

    concrete = [
        *(recipe.Recipe, recipe.DataSource, recipe.SplitRule, recipe.Evaluation, recipe.Serving),
        *(recipe.Outline, recipe.Auto),
        *(tuning.Tuning, tuning.Span),
        *(training.Training, *get_args(training.OptimizerSpec)),
        *(models.Tower, *get_args(models.ModelSpec)),
        *get_args(features.FeatureSpec),
        *get_args(tasks.TaskSpec),
        *get_args(aggregates.AggregateSpec),
    ]
    return {cls.__name__: cls for cls in concrete}


def rewritten(page: str) -> str:
    """The page with its generated parts written anew."""
    known = writers()
    return PART.sub(lambda part: part[1] + known[part["name"]](part["old"]) + part[4], page)


def main() -> None:
    for name in PAGES:
        path = ROOT / name
        page = path.read_text(encoding="utf-8")
        fresh = rewritten(page)
        if fresh != page:
            path.write_text(fresh, encoding="utf-8")
            print(f"rewrote {name}", file=sys.stderr)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    main()
