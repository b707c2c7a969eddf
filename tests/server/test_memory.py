"""What the allocator keeps is given back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shortlist.server.memory import give_back


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other allocators do as they like")
def test_what_lies_between_pieces_in_use_is_returned() -> None:
    """64 MiB in pieces too small for mappings of their own, of which the last stays."""
    give_back()
    pieces = [bytearray(64 << 10) for _ in range(1024)]
    held, last = _resident(), pieces[-1]
    del pieces
    give_back()
    assert held - _resident() > 32 << 20
    assert len(last) == 64 << 10


def test_nothing_happens_where_there_is_no_such_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "other")
    give_back()


def _resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
