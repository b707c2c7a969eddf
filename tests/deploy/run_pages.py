"""What docs/guides/serving.md shows: the demo is trained, served, and asked with curl; what it answers is
what the page shows (`make test-deploy`; with REWRITE=1 the page takes the answers over)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-c", "from shortlist.cli import main; main()"]


def test_the_demo_answers_as_the_page_shows(
    tmp_path: Path, running: Callable[..., AbstractContextManager[Any]]
) -> None:
    spec = importlib.util.spec_from_file_location("asked", ROOT / "tools" / "asked.py")
    assert spec is not None and spec.loader is not None
    asked = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(asked)
    demo = ["train", "ml100k-ids", "--output", "runs/demo", "--quiet"]
    subprocess.run([*PROGRAM, *demo], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL, timeout=600)
    words = ["serve", "runs/demo", "--events", "events.db", "--port", "0"]
    page = asked.PAGE.read_text(encoding="utf-8")
    with running([*PROGRAM, *words], env=os.environ, cwd=tmp_path) as server:
        if os.environ.get("REWRITE"):
            asked.PAGE.write_text(
                asked.answered(page, lambda command: asked.curl(command, server.url)), encoding="utf-8"
            )
            return
        for one in asked.exchanges(page):
            found = asked.curl(one.command, server.url)
            assert not list(asked.differences(found, one.answer, values=True)), one.command
