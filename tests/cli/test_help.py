from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

VERBS = [
    ["train"], ["evaluate"], ["recommend"], ["score"], ["similar"], ["export"], ["inspect"], ["verify"],
    ["reproduce"],
    ["data", "fetch"], ["data", "describe"], ["data", "split"], ["data", "validate"],
    ["runs", "list"], ["runs", "compare"],
    ["tune"], ["doctor"], ["init"], ["serve"], ["key"], ["ab", "report"],
]  # fmt: skip
HEAVY = {"jax", "polars", "numpy", "onnxruntime", "onnx", "scipy", "implicit", "pandas"}

ASK = """
import contextlib, io, json, sys
from shortlist.cli import app
said = {}
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        try:
            app([*words, "--help"], prog_name="shortlist")
        except SystemExit as stop:
            assert not stop.code, words
    said[" ".join(words)] = text.getvalue()
print(json.dumps({"said": said, "loaded": sorted(name.split(".")[0] for name in sys.modules)}))
"""


@pytest.fixture(scope="module")
def asked() -> dict[str, object]:
    """Every --help, asked of one fresh process, and what that process had loaded in the end."""
    words = json.dumps([[], *VERBS, ["data"], ["runs"]])
    done = subprocess.run([sys.executable, "-c", ASK, words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_no_help_loads_anything_heavy(asked: dict[str, list[str]]) -> None:
    assert not HEAVY & set(asked["loaded"])


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_help_shows_examples_of_its_verb(asked: dict[str, dict[str, str]], words: list[str]) -> None:
    text = asked["said"][" ".join(words)]
    shown = text.split("Examples:\n", 1)[1].splitlines()
    assert shown and all(line.strip().startswith(" ".join(["shortlist", *words])) for line in shown)


def test_the_first_help_names_verbs_and_exit_codes(asked: dict[str, dict[str, str]]) -> None:
    text = asked["said"][""]
    for word in [*(words[0] for words in VERBS), "Exit codes:", "130"]:
        assert word in text
    assert "..." not in text.split("Commands:")[1].split("Start here:")[0], "a one-line help is cut"


def test_help_takes_less_than_half_a_second_of_cpu() -> None:
    seconds = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", "from shortlist.cli import main; main()", "--help"],
            capture_output=True,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5
