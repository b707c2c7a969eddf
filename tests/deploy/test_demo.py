"""`make demo` ends by saying how to look at what it made."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import typer

from shortlist.cli import app

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_ends_by_saying_how_to_look_at_it() -> None:
    """On stderr, as a note; the command it names exists, serves what the demo wrote, and listens there."""
    dry = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True)
    last = dry.stdout.strip().splitlines()[-1]
    said = subprocess.run(["sh", "-c", last], capture_output=True, text=True, check=True)
    assert said.stdout == ""
    found = re.fullmatch(r"look at it: (.*/shortlist .*), then open (http\S+)", said.stderr.strip())
    assert found
    words = shlex.split(found[1])
    assert f"--output {words[-1]} " in dry.stdout
    command: Any = typer.main.get_command(app)
    context = command.commands[words[1]].make_context(words[1], words[2:])
    assert found[2] == f"http://{context.params['host']}:{context.params['port']}/"
    assert context.params["explorer"]
