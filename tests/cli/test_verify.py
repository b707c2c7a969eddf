from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Cli = Callable[..., Any]


def test_a_whole_bundle_is_told(cli: Cli, run: Path) -> None:
    said = cli("verify", run)
    assert said.code == 0 and "is whole: " in said.out and "graphs" in said.out
    plain = cli("verify", run / "bundle", "--json").json
    assert plain["whole"] is True and plain["checked"]["graphs"] >= 4


def test_damage_is_named_and_the_code_says_so(
    cli: Cli, refused: Callable[..., None], run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run / "bundle", tmp_path / "b")
    weights = tmp_path / "b" / "model" / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    refused(cli("verify", tmp_path / "b"), "weights.bin was altered")
    said = cli("verify", tmp_path / "b", "--json")
    assert said.code == 1 and said.json["whole"] is False and "weights.bin" in said.json["problem"]
    assert cli("inspect", tmp_path / "b").code == 0, "it looks at sizes only"
