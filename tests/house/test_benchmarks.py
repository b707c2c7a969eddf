"""Results of the benchmarks: their form, their arithmetic, and the table made from them."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RESULTS = BENCHMARKS / "results"
ENTRIES: list[dict[str, Any]] = json.loads((RESULTS / "latest.json").read_text(encoding="utf-8"))


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the benchmarks by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def test_entries_have_exactly_the_fields_and_one_stands_for_each_id() -> None:
    for one in ENTRIES:
        assert list(one) == ["bench", "ours", "peer", "ratio", "unit", "detail"]
        assert one["ours"] > 0 and one["peer"] > 0
    names = [one["bench"] for one in ENTRIES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("one", ENTRIES, ids=[one["bench"] for one in ENTRIES])
def test_a_ratio_follows_from_its_values(one: dict[str, Any]) -> None:
    rate = one["unit"].endswith("/s")
    expected = one["ours"] / one["peer"] if rate else one["peer"] / one["ours"]
    assert one["ratio"] == pytest.approx(expected, rel=1e-4)
    rounds = one["detail"]["rounds"]["ratio"]
    assert rounds["smallest"] <= one["ratio"] <= rounds["largest"]
    assert min(rounds["values"]) == rounds["smallest"] and max(rounds["values"]) == rounds["largest"]


def test_every_id_is_documented_and_every_documented_id_is_measured(module: Any) -> None:
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)
    assert documented == module("run").ORDER
    assert {one["bench"] for one in ENTRIES} <= set(documented)


def test_the_table_is_that_of_the_entries(module: Any) -> None:
    described = json.loads((RESULTS / "machine.json").read_text(encoding="utf-8"))
    written = (RESULTS / "latest.md").read_text(encoding="utf-8")
    assert module("results").markdown(ENTRIES, described) == written


def test_results_name_no_place_of_one_machine() -> None:
    for path in RESULTS.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.~}])/(root|home|work|opt|tmp|Users|usr|var)\b", text), path.name


def test_the_entry_is_the_round_with_the_median_ratio(module: Any) -> None:
    made = module("results").entry("x", [2.0, 1.0, 4.0], [8.0, 8.0, 8.0], "ms", {})
    assert (made["ours"], made["peer"], made["ratio"]) == (2.0, 8.0, 4.0)
    made = module("results").entry("x", [10.0, 30.0, 20.0], [10.0], "examples/s", {})
    assert (made["ours"], made["peer"], made["ratio"]) == (20.0, 10.0, 2.0)
    assert made["detail"]["rounds"]["ours"]["values"] == [10.0, 30.0, 20.0]


def test_of_several_runs_the_middle_one_is_kept(module: Any) -> None:
    results = module("results")
    runs = [[results.entry("x", [ours], [12.0], "s", {})] for ours in (1.0, 4.0, 2.0)]
    (kept,) = results.over_runs(runs)
    assert kept["ratio"] == 6.0
    assert [run["ratio"] for run in kept["detail"]["runs"]] == [12.0, 3.0, 6.0]


def test_new_entries_replace_their_own_only(module: Any) -> None:
    old = [{"bench": "a", "ratio": 1}, {"bench": "b", "ratio": 1}]
    new = [{"bench": "c", "ratio": 2}, {"bench": "a", "ratio": 2}]
    merged = module("results").merged(old, new, ["c", "b", "a"])
    assert [(one["bench"], one["ratio"]) for one in merged] == [("c", 2), ("b", 1), ("a", 2)]


def test_rows_are_written_where_no_folder_is_yet(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a fresh clone: each writer makes the folders above its files, and nothing else stays there."""
    stream = module("stream_data")
    for name, small in (("ROWS", 40), ("BLOCK", 16), ("WIDTH", 2)):
        monkeypatch.setattr(stream, name, small)
    monkeypatch.setattr(module("encode_data"), "USERS", 100)
    written = {
        "growth": lambda folder: module("growth").write_log(1000, folder),
        "encode": lambda folder: module("encode_data").write_rows(folder / "rows", 40),
        "stream": lambda folder: stream.write_store(folder / "rows"),
    }
    for name, write in written.items():
        folder = tmp_path / name / "bench" / "data"
        write(folder)
        assert [path.suffix for path in folder.iterdir()] == [".parquet" if name == "growth" else ""]


def test_a_fingerprint_follows_what_is_described(module: Any) -> None:
    machine = module("machine")
    assert machine.fingerprint({"cores": 2, "os": "x"}) == machine.fingerprint({"os": "x", "cores": 2})
    assert machine.fingerprint({"cores": 2}) != machine.fingerprint({"cores": 4})


def test_the_reference_softmax_is_a_plain_one(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients against finite differences on a batch with repeated items and known positives."""
    import numpy as np

    case_module = module("softmax_case")
    rng = np.random.default_rng(0)
    users, rows = np.array([0, 1, 1, 2]), np.array([0, 1, 0, 3])
    known_users, known_items = np.array([0, 1, 1, 2, 2]), np.array([0, 1, 0, 3, 1])
    queries, table = rng.standard_normal((4, 3)), rng.standard_normal((5, 3))
    log_q = np.log(rng.dirichlet(np.ones(5)))

    def case(q: Any, t: Any) -> Any:
        return case_module.Case(users, rows, known_users, known_items, log_q, q, t, 3)

    loss, d_queries, d_table = case_module.reference(case(queries, table))
    knows, total = set(zip(known_users, known_items, strict=True)), 0.0
    for b in range(4):
        score = [queries[b] @ table[i] - log_q[i] for i in rows]
        kept = [score[j] for j in range(4) if j == b or (users[b], rows[j]) not in knows]
        total += np.log(np.exp(kept).sum()) - score[b]
    assert loss == pytest.approx(total, rel=1e-12)
    step = 1e-6
    for array, gradient in ((queries, d_queries), (table, d_table)):
        for place in np.ndindex(*array.shape):
            moved = array.copy()
            moved[place] += step
            given = (moved, table) if array is queries else (queries, moved)
            difference = (case_module.reference(case(*given))[0] - loss) / step
            assert difference == pytest.approx(gradient[place], abs=1e-4)


def test_servers_under_load_have_their_figures(module: Any) -> None:
    found = module("serve").read()
    assert [one["bench"] for one in found] == [bench.id for bench in module("serve").BENCHES]
    for one in found:
        assert list(one) == ["bench", *module("serve").FIGURES, "detail"]
        assert 0 < one["p50_ms"] <= one["p99_ms"] and one["requests_per_s"] > 0
        cores = one["detail"].get("workers", 1)
        assert one["requests_per_s"] * one["cpu_us_per_request"] < 1.1e6 * cores
        rounds = [turn["requests_per_s"] for turn in one["detail"]["rounds"]]
        assert min(rounds) <= one["requests_per_s"] <= max(rounds)
