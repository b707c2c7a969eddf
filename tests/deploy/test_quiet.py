"""Nothing that serves a bundle tells others of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASK = """
import {first}
import onnxruntime
from shortlist.api.probes import _ONNX
onnxruntime.InferenceSession(bytes.fromhex(_ONNX), providers=["CPUExecutionProvider"])
"""


@pytest.mark.parametrize("first", ["shortlist", pytest.param("onnxruntime", marks=pytest.mark.slow)])
def test_onnx_runtime_keeps_no_identity_of_this_machine(first: str, tmp_path: Path) -> None:
    """What it would send is first written below the home folder; whoever imports it before Shortlist decides
    alone."""
    left_out = {"ORT_DISABLE_TELEMETRY", "CI", "XDG_CACHE_HOME"}
    told = {name: value for name, value in os.environ.items() if name not in left_out}
    subprocess.run(
        [sys.executable, "-c", ASK.format(first=first)], env={**told, "HOME": str(tmp_path)}, check=True
    )
    written = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert written == [] if first == "shortlist" else "deviceid" in written
