"""`make demo` ends by saying how to look at what it made."""

from __future__ import annotations

import os
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
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "-n", "demo"]  # a make inside of a make would end by saying which folder it leaves
    dry = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    last = dry.stdout.strip().splitlines()[-1]
    said = subprocess.run(["sh", "-c", last], capture_output=True, text=True, check=True)
    assert said.stdout == ""
    found = re.fullmatch(r"look at it: (.*/shortlist .*), then open (http\S+)", said.stderr.strip())
    assert found
    words = shlex.split(found[1])
    assert f"--output {words[-1]} " in dry.stdout
    verbs: Any = typer.main.get_command(app)
    context = verbs.commands[words[1]].make_context(words[1], words[2:])
    assert found[2] == f"http://{context.params['host']}:{context.params['port']}/"
    assert context.params["explorer"]
