"""Shortlists by several processes: the same bytes as by threads, and what becomes of those killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shortlist import bundle
from shortlist.bundle.live import open_live
from shortlist.errors import BundleError, RequestError, ShortlistError
from shortlist.pipeline import processes
from shortlist.pipeline.bulk import recommend_all

from .conftest import NUM_USERS

Cli = Callable[..., Any]
COMMAND = [sys.executable, "-c", "from shortlist.cli import main; main()"]
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")


@pytest.fixture
def answered_there(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each block had that another process answered."""
    found: list[int] = []
    submit = processes._Other.submit

    def counted(other: Any, task: Any) -> Any:
        future = submit(other, task)
        future.add_done_callback(lambda done: None if done.exception() else found.append(done.result().rows))
        return future

    monkeypatch.setattr(processes._Other, "submit", counted)
    return found


def test_two_processes_change_no_byte(run: Path, tmp_path: Path, answered_there: list[int]) -> None:
    recommender = bundle.load(run)
    asked: dict[str, Any] = {"block": 2, "exclude": ["1", "nowhere"], "filter_seen": False}
    users = [str(n % (NUM_USERS + 2)) for n in range(40)]
    for count in (1, 2):
        path = tmp_path / f"{count}.csv"
        recommend_all(recommender, path, 4, users=users, processes=count, **asked)
    assert answered_there and set(answered_there) == {8}
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_recommender_that_was_changed_is_not_the_folders(run: Path, tmp_path: Path) -> None:
    changed = replace(bundle.load(run), num_retrieved=3)
    with pytest.raises(RequestError, match="does not hold this recommender") as caught:
        recommend_all(changed, tmp_path / "x.csv", 4, processes=2, block=3)
    assert "--processes 1" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_a_run_goes_on_with_another_number_of_processes(run: Path, tmp_path: Path, ending: str) -> None:
    recommender = bundle.load(run)
    recommend_all(recommender, tmp_path / f"whole{ending}", 4, block=2)

    def stop(at: int, done: int, _: int) -> None:
        if done >= at:
            raise KeyboardInterrupt

    path = tmp_path / f"out{ending}"
    for at, count in ((6, 2), (14, 1), (20, 3)):
        with pytest.raises(KeyboardInterrupt):
            recommend_all(recommender, path, 4, block=2, processes=count, tell=partial(stop, at))
        assert not path.exists()
    assert recommend_all(recommender, path, 4, block=2, processes=2).resumed == 20
    assert path.read_bytes() == (tmp_path / f"whole{ending}").read_bytes()


@pytest.mark.slow
def test_items_that_came_and_went_are_there(run: Path, tmp_path: Path, answered_there: list[int]) -> None:
    shutil.copytree(run / "bundle", tmp_path / "bundle")
    with open_live(tmp_path / "bundle") as live:
        live.remove_items(["1", "2"])
        live.add_items({"item_id": "new", "title": "The New Item"})
    recommender = open_live(tmp_path / "bundle", write=False).recommender
    for count in (1, 2):
        recommend_all(recommender, tmp_path / f"{count}.csv", 30, block=2, processes=count)
    assert answered_there
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    older = bundle.load(tmp_path / "bundle")  # without them
    recommend_all(older, tmp_path / "older.csv", 30, block=2, processes=2)
    assert (tmp_path / "older.csv").read_bytes() != (tmp_path / "1.csv").read_bytes()


@pytest.mark.slow
def test_a_bundle_that_is_gone_is_said_to_be(
    run: Path, tmp_path: Path, answered_there: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run / "bundle", tmp_path / "bundle")
    recommender = bundle.load(tmp_path / "bundle")
    recommender.recommend(["1"], 2)  # its graphs are open
    monkeypatch.setattr("shortlist.pipeline.bulk._MANY", 1)
    damaged = next((tmp_path / "bundle").glob("items/*.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(BundleError, match=damaged.name):
        recommend_all(recommender, tmp_path / "x.csv", 4, processes=2, block=2)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    changed = replace(bundle.load(run), num_retrieved=3)  # what is decided is not insisted on
    for count in (0, 1):
        recommend_all(changed, tmp_path / f"{count}.csv", 4, processes=count, block=2)
    assert not answered_there or set(answered_there) == {8}
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes()


@pytest.mark.slow
def test_what_a_process_says_as_it_ends(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = bundle.load(run)
    for child in ("raise MemoryError('no room')", "print('x' * 99)", "import os; os.kill(os.getpid(), 9)"):
        monkeypatch.setattr(processes, "_CHILD", child)
        with pytest.raises(ShortlistError, match="a process that answered blocks") as caught:
            recommend_all(recommender, tmp_path / "x.csv", 4, processes=2, block=2)
        assert "run the same again" in caught.value.hint
    assert "MemoryError: no room" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def children(pid: int) -> list[int]:
    try:
        return [
            int(n) for t in Path(f"/proc/{pid}/task").iterdir() for n in (t / "children").read_text().split()
        ]
    except OSError:
        return []


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := what()):
        assert time.monotonic() < end, "waited for a minute"
        time.sleep(0.005)
    return found


@pytest.fixture
def started(run: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[str], Path]]:
    """A long run of two processes in the midst of its blocks; its command and its file."""
    listed, path = tmp_path / "users.txt", tmp_path / "out.csv"
    listed.write_text("\n".join(str(n % (2 * NUM_USERS)) for n in range(30_000)))
    words = ["recommend", str(run), "--users", str(listed), "-k", "30", "-o", str(path)]
    command = [*COMMAND, *words, "--processes", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0)  # as a shell does
    journal = path.with_name(f".{path.name}.journal")
    try:
        until(
            lambda: process.poll() is not None or (journal.exists() and journal.read_bytes().count(b"\n") > 1)
        )
        yield process, words, path
    finally:
        process.kill()
        process.communicate()


def goes_on(cli: Cli, words: list[str], path: Path) -> None:
    """The run is taken up by threads, to the bytes of one that nothing interrupted."""
    assert not path.exists()
    said = cli(*words, "--processes", 1)
    assert said.code == 0 and "by an earlier run" in said.err
    whole = path.with_name("whole.csv")
    assert cli(*words[:-1], whole, "--threads", 1).code == 0
    assert path.read_bytes() == whole.read_bytes()


@needs_proc
@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run(cli: Cli, started: Any) -> None:
    process, words, path = started
    (other,) = until(lambda: children(process.pid))
    os.kill(other, signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert (
        "error: a process that answered blocks was killed (SIGKILL)" in said and "hint: run the same" in said
    )
    assert "Traceback" not in said
    goes_on(cli, words, path)


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nobody_outlives_the_one_who_asked(cli: Cli, started: Any, kill: signal.Signals) -> None:
    process, words, path = started
    (other,) = until(lambda: children(process.pid))
    os.kill(process.pid, kill)
    said = process.communicate(timeout=60)[1]  # which ends when nobody holds the pipe any more
    assert process.returncode == (130 if kill == signal.SIGINT else -kill)
    until(lambda: not lives(other))
    assert ("interrupted" in said) == (kill == signal.SIGINT) and "Traceback" not in said
    goes_on(cli, words, path)


IDLE = """
import sys, time
from shortlist import bundle
from shortlist.pipeline.everybody import Question
from shortlist.pipeline.identity import fingerprint
from shortlist.pipeline.processes import Team

recommender = bundle.load(sys.argv[1])
question = Question.of(3, None, {"filter_seen": True, "exclude": None, "only": None, "where": None})
team = Team.start(2, recommender, fingerprint(recommender), question, ".csv", "1")
[other] = team.others
assert other.ready.result(60)
print(other.process.pid, flush=True)
time.sleep(600)
"""


@needs_proc
@pytest.mark.slow
def test_who_waits_for_blocks_ends_with_the_one_who_asked(run: Path) -> None:
    """There is no answer that could not be sent: the end of what it listens to is all it is told."""
    words = [sys.executable, "-c", IDLE, str(run / "bundle")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as asks:
        assert asks.stdout is not None
        other = int(asks.stdout.readline())
        try:
            assert lives(other)
            asks.kill()
            asks.wait()
            until(lambda: not lives(other))
        finally:
            asks.kill()
            with suppress(ProcessLookupError):
                os.kill(other, signal.SIGKILL)


@needs_proc
@pytest.mark.slow
def test_a_terminals_interrupt_is_for_the_one_who_asked(cli: Cli, started: Any) -> None:
    """Ctrl-C goes to all processes of a group: one message, nobody left, and the run can be taken up."""
    process, words, path = started
    (other,) = until(lambda: children(process.pid))
    assert os.getpgid(process.pid) == process.pid != os.getpgid(other)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and said.count("interrupted") == 1
    assert "Traceback" not in said and "KeyboardInterrupt" not in said
    until(lambda: not lives(other))
    goes_on(cli, words, path)
