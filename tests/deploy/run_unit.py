"""The unit of deploy/shortlist.service: checked by systemd, and its command started under as much of its
sandbox as a process can put on by itself (`make test-deploy`)."""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from shortlist.server.guards import add_key
from shortlist.server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "shortlist.service"
PROGRAM = "/srv/shortlist/venv/bin/shortlist"
Start = Callable[..., AbstractContextManager[Any]]
MOST_EXPOSED = 2.0
"""Of 10: what `systemd-analyze security` may find."""


def settings() -> dict[str, list[str]]:
    """What the unit says, every line of each name."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )


def test_systemd_understands_it(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text(encoding="utf-8").replace(PROGRAM, sys.executable), encoding="utf-8")
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_would_complain(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8").replace(PROGRAM, sys.executable)
    unit.write_text(text.replace("ProtectSystem=strict", "ProtectSystem=very"), encoding="utf-8")
    assert "protect system" in analyze("verify", "--man=no", unit).stderr


def test_it_is_little_exposed() -> None:
    done = analyze("security", "--offline=yes", "--threshold=100", UNIT)
    found = re.search(r"exposure level for shortlist.service: ([\d.]+)", done.stdout)
    assert found and float(found[1]) <= MOST_EXPOSED, done.stdout[-500:]


def test_stopping_takes_less_than_systemd_waits() -> None:
    [command], [wait] = settings()["ExecStart"], settings()["TimeoutStopSec"]
    words = shlex.split(command)
    drain = float(words[words.index("--drain") + 1])
    assert drain + Settings(sides=()).grace < float(wait)


def hold_back() -> None:
    """NoNewPrivileges and, where the kernel has it, MemoryDenyWriteExecute; UMask."""
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, deny_write_execute = 38, 65
    assert libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    libc.prctl(deny_write_execute, 1, 0, 0, 0)
    os.umask(0o077)


def test_its_command_serves_reloads_and_stops(bundle: Path, tmp_path: Path, running: Start) -> None:
    """As it stands in the unit, but for the port, the folders and a shorter drain."""
    state, credentials = tmp_path / "state", tmp_path / "credentials"
    for folder in (state, credentials):
        folder.mkdir(mode=0o700)
    key = add_key(credentials / "keys.txt", "shop")
    [command] = settings()["ExecStart"]
    places = {"${STATE_DIRECTORY}": state, "${CREDENTIALS_DIRECTORY}": credentials}
    for name, place in {**places, "/srv/shortlist/bundle": bundle}.items():
        assert name in command
        command = command.replace(name, str(place))
    words = shlex.split(command)
    assert words.pop(0) == PROGRAM
    words[words.index("--port") + 1], words[words.index("--drain") + 1] = "0", "1"
    command_line = [sys.executable, "-c", "from shortlist.cli import main; main()", *words]
    assert (settings()["Type"], settings()["NotifyAccess"]) == (["notify"], ["all"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, ExitStack() as stack:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        server = stack.enter_context(running(command_line, env=environment, cwd=tmp_path, sandbox=hold_back))
        assert b"READY=1" in systemd.recv(1024)
        assert httpx.get(f"{server.url}/health/ready").status_code == 200
        headers = {"Authorization": f"Bearer {key}"}
        event = {"event_id": "1", "user_id": "u", "item_id": "50"}
        assert httpx.post(f"{server.url}/v1/events", json=event).status_code == 401
        assert httpx.post(f"{server.url}/v1/events", json=event, headers=headers).json()["accepted"] == 1
        assert (state / "events.db").stat().st_mode & 0o077 == 0
        [reload] = settings()["ExecReload"]
        subprocess.run(
            shlex.split(reload.replace("$MAINPID", str(server.process.pid))), check=True, timeout=60
        )
        for _ in range(600):
            text = httpx.get(f"{server.url}/metrics", headers=headers).text
            if float(re.findall(r"^shortlist_reloads_total (\S+)", text, re.MULTILINE)[0]) >= 1:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the bundle was not loaded anew")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
