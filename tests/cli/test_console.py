from __future__ import annotations

import io
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from shortlist.cli import app, console, data
from shortlist.cli.console import fail, harmless, json_text, note, out, out_json, progress, table
from shortlist.errors import DataError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException, *flags: str) -> Any:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(data, "load", broken)
    return CliRunner().invoke(app, [*flags, "data", "describe", "x"])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("a row is wrong", hint="repair it"), 1, ["error: a row is wrong", "hint: repair it"]),
        (PermissionError(13, "Permission denied", "there"), 1, ["error: there: Permission denied"]),
        (
            OSError(27, "File too large", "there"),
            1,
            ["error: there: File too large", "hint: the system allows"],
        ),
        (MemoryError(), 1, ["out of memory"]),
        (ModuleNotFoundError("no jax", name="jax.numpy"), 1, ["'jax'", "pip install '.[train]'"]),
        (ModuleNotFoundError("no implicit", name="implicit"), 1, ["'.[baselines]'"]),
        (ModuleNotFoundError("no polars", name="polars"), 1, ["'.[tables]'"]),
        (ValueError("oh"), 70, ["fault inside Shortlist: ValueError: oh", "--debug"]),
        (KeyboardInterrupt(), 130, ["interrupted"]),
    ],
)
def test_an_error_ends_in_its_code_and_one_message(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: list[str]
) -> None:
    result = ended(monkeypatch, error)
    assert result.exit_code == code
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def test_debug_lets_the_error_through(monkeypatch: pytest.MonkeyPatch) -> None:
    error = DataError("a row is wrong")
    assert ended(monkeypatch, error, "--debug").exception is error
    monkeypatch.setenv("SHORTLIST_DEBUG", "1")
    assert ended(monkeypatch, error).exception is error


@pytest.mark.parametrize(
    "words", [["trane"], ["recommend", "x"], ["data", "describe"], ["train", "x", "--sed", "1"]]
)
def test_a_command_line_that_makes_no_sense_ends_in_2(cli: Callable[..., Any], words: list[str]) -> None:
    said = cli(*words)
    assert (said.code, said.out) == (2, "")
    assert re.match("(Usage: .*\n)?.*(E|e)rror", said.err, re.DOTALL)


def test_the_version_is_said(cli: Callable[..., Any]) -> None:
    import shortlist

    assert cli("--version").out == f"shortlist {shortlist.__version__}\n"


def test_tables_align_numbers_right_and_words_left() -> None:
    rows = [["a", 1, 0.5], ["long name", 100, None], ["two\nlines", 20, float("nan")]]
    assert table(["name", "count", "share"], rows).splitlines() == [
        "name       count   share",
        "a              1  0.5000",
        "long name    100       -",
        "two lines     20       -",
    ]


EVIL = "a\x1b[31mb\x07\x9bc\u202ed\r"
SHOWN = "a\\x1b[31mb\\x07\\u009bc\\u202ed\\x0d"


def test_values_out_of_data_do_not_command_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert harmless(EVIL) == SHOWN
    assert harmless("été\n\tзима 東京 👩\u200d🚀") == "été\n\tзима 東京 👩\u200d🚀"
    out(f"{EVIL}\nnext")
    note(EVIL)
    fail(f"no {EVIL.strip()}", f"known: {EVIL.strip()}")
    said = capsys.readouterr()
    assert said.out == f"{SHOWN}\nnext\n"
    assert said.err.splitlines()[0] == SHOWN
    assert "\x1b" not in said.err and "\\x1b[31m" in said.err.splitlines()[2]


def test_tables_are_aligned_as_they_are_shown() -> None:
    lines = table([EVIL.strip(), "n"], [[EVIL.strip(), 1], ["plain", 2]]).splitlines()
    assert "\x1b" not in "".join(lines) and len({len(line) for line in lines}) == 1


def test_json_of_any_text_is_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    out_json({"text": EVIL})
    said = capsys.readouterr().out
    assert said.isascii() and "\x1b" not in said
    assert json.loads(said) == {"text": EVIL}


def test_json_is_strict() -> None:
    value = {
        "a": np.float32(0.5),
        "b": [np.nan, np.inf, 1],
        "c": np.arange(2),
        4: Path("x"),
        "d": None,
        "e": "é",
    }
    expected = {"a": 0.5, "b": [None, None, 1], "c": [0, 1], "4": "x", "d": None, "e": "é"}
    assert json.loads(json_text(value)) == expected
    assert "é" in json_text(value)


def test_a_terminal_sees_progress_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def followed(stream: io.StringIO, quiet: bool) -> str:
        monkeypatch.setattr(sys, "stderr", stream)
        with progress(quiet=quiet) as tell:
            tell("training", 0, 1)
            tell("training", 2, 8)
        return stream.getvalue()

    assert "training" in followed(Terminal(), False)
    assert "2/8" in followed(Terminal(), False)
    assert followed(Terminal(), True) == ""
    assert followed(io.StringIO(), False) == ""


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what takes long only; plain lines, the latest each, and the same one seldom."""
    monkeypatch.setattr(console, "EVERY", 0.01)
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)

    def told(*state: Any, quiet: bool = False, lines: int = 1) -> list[str]:
        log.truncate(log.seek(0))
        with progress(quiet=quiet) as tell:
            tell("never seen", 0, 1)
            tell(*state)
            for _ in range(500):
                if log.getvalue().count("\n") >= lines or quiet:
                    break
                time.sleep(0.005)
        assert "\r" not in log.getvalue() and "\x1b" not in log.getvalue()
        return log.getvalue().splitlines()

    assert told("training: loss 0.5", 2, 8000) == ["training: loss 0.5 (2/8,000), after 0.0 s"]
    assert told("reading data", 0, 1) == ["reading data, after 0.0 s"]
    assert told("training", 2, 8, quiet=True) == []
    monkeypatch.setattr(console, "STILL", 0.02)
    assert len(told("training", 2, 8, lines=3)) >= 3


def test_a_choice_that_is_none_is_told_plainly() -> None:
    said = CliRunner().invoke(app, ["index", "build", "x", "--kind", "foo"])
    assert said.exit_code == 2 and "'--kind': 'foo' is not one of 'auto', 'exact', 'ann'" in said.stderr
