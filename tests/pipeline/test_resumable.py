"""Files that a killed run goes on with: killed anywhere, refused where something else was asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.data.blocks import ENDINGS, Texts
from shortlist.errors import DataError
from shortlist.pipeline import resumable
from shortlist.pipeline.resumable import Target, Written, write

TOTAL, EACH = 23, 4
READ: dict[str, Any] = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}


class Killed(BaseException):
    """Stands for a kill: nothing that runs may catch it."""


def block(start: int) -> tuple[int, dict[str, Any]]:
    """Answers start.. of EACH: answer n has n % 3 rows."""
    numbers = np.arange(start, min(start + EACH, TOTAL))
    rows = np.repeat(np.arange(len(numbers)), numbers % 3)
    score = (numbers[rows] * 0.1).astype(np.float32)
    return len(numbers), {"user_id": Texts(rows, [f'u"{n},' for n in numbers]), "score": score}


def blocks(done: int) -> Iterator[tuple[int, dict[str, Any]]]:
    return map(block, range(done, TOTAL, EACH))


def target(folder: Path, ending: str = ".parquet", **question: Any) -> Target:
    return Target(folder / f"out{ending}", {"k": 10, "users": "all", **question}, TOTAL)


@pytest.fixture(scope="module", params=ENDINGS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """An ending, and the bytes of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    done = write(target(folder, request.param), blocks)
    data = (folder / f"out{request.param}").read_bytes()
    assert done == Written(TOTAL, sum(n % 3 for n in range(TOTAL)), len(data), 0)
    assert [path.name for path in folder.iterdir()] == [f"out{request.param}"]
    return request.param, data


def test_the_file_holds_the_answers(whole: tuple[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / f"x{whole[0]}"
    path.write_bytes(whole[1])
    found = READ[whole[0]](path)
    assert found["user_id"].to_list() == [f'u"{n},' for n in range(TOTAL) for _ in range(n % 3)]
    assert found["score"].to_list() == pytest.approx([0.1 * n for n in range(TOTAL) for _ in range(n % 3)])


def test_killed_at_every_block(whole: tuple[str, bytes], tmp_path: Path) -> None:
    ending, data = whole
    asked = target(tmp_path, ending)
    for number in range(TOTAL // EACH + 1):

        def until(done: int, number: int = number) -> Iterator[tuple[int, dict[str, Any]]]:
            assert done == min(number - 1, TOTAL // EACH) * EACH if number else done == 0
            yield from [next(blocks(done))] if number else []
            raise Killed

        with pytest.raises(Killed):
            write(asked, until)
        assert not asked.path.exists()
    told: list[tuple[int, int]] = []
    done = write(asked, blocks, tell=lambda *count: told.append(count))
    assert asked.path.read_bytes() == data
    assert (done.resumed, told[0], told[-1]) == (
        EACH * (TOTAL // EACH),
        (done.resumed, TOTAL),
        (TOTAL, TOTAL),
    )
    assert [path.name for path in tmp_path.iterdir()] == [asked.path.name]


def calls(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], last: int, half: bool) -> None:
    """Die at the `last`-th call of what changes the disk: before it, or after half of a write."""
    count = 0

    def counted(name: str, real: Any) -> Any:
        def instead(*given: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count > last:
                if half and name == "_append":
                    given[0].write(given[1][: len(given[1]) // 2])
                    given[0].flush()
                if half and name == "write_parquet":
                    given[2].write_bytes(b"PAR1 half")
                raise Killed
            return real(*given, **more)

        return instead

    for name in names:
        place: Any = {"replace": os, "unlink": Path}.get(name, resumable)
        monkeypatch.setattr(place, name, counted(name, getattr(place, name)))


@pytest.mark.parametrize("half", [False, True])
def test_killed_at_every_change_of_the_disk(
    whole: tuple[str, bytes], tmp_path: Path, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending, data = whole
    steps = 0
    while True:
        folder = tmp_path / str(steps)
        folder.mkdir()
        asked = target(folder, ending)
        with monkeypatch.context() as patched:
            calls(patched, ("_append", "write_parquet", "replace", "unlink"), steps, half)
            try:
                write(asked, blocks)
                break
            except Killed:
                steps += 1
        assert not asked.path.exists() or asked.path.read_bytes() == data
        write(asked, blocks)
        assert asked.path.read_bytes() == data
        assert [path.name for path in folder.iterdir()] == [asked.path.name]
    assert steps > 2 * TOTAL // EACH


def interrupted(asked: Target, number: int = 2) -> None:
    def until(done: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for at, found in enumerate(blocks(done)):
            if at == number:
                raise Killed
            yield found

    with pytest.raises(Killed):
        write(asked, until)


@pytest.mark.parametrize(
    "damage",
    [
        lambda asked: asked.partial.write_bytes(asked.partial.read_bytes()[:-1]),
        lambda asked: asked.partial.write_bytes(b"x" + asked.partial.read_bytes()[1:]),
        lambda asked: asked.partial.write_bytes(asked.partial.read_bytes() + b"torn"),
        lambda asked: asked.partial.unlink(),
        lambda asked: asked.journal.write_bytes(asked.journal.read_bytes()[:-3]),
        lambda asked: asked.journal.write_bytes(asked.journal.read_bytes() + b'{"answers": 12'),
    ],
)
def test_what_is_damaged_is_made_again(whole: tuple[str, bytes], tmp_path: Path, damage: Any) -> None:
    asked = target(tmp_path, whole[0])
    interrupted(asked)
    damage(asked)
    write(asked, blocks)
    assert asked.path.read_bytes() == whole[1]


def lines_of(asked: Target) -> list[dict[str, Any]]:
    return [json.loads(line) for line in asked.journal.read_bytes().splitlines()]


@pytest.mark.parametrize("field", ["answers", "rows", "end", "crc"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("value", [-1, 0, 1, 2, 5, 12, 23, 24, 10**6, 2**63, 10**30, None, "4", 4.5])
def test_a_line_that_was_altered_is_done_again(tmp_path: Path, field: str, number: int, value: Any) -> None:
    asked = target(tmp_path, ".csv")
    interrupted(asked)
    lines = lines_of(asked)
    if lines[number][field] == value:
        return
    lines[number][field] = value
    asked.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = write(asked, blocks)
    found = pl.read_csv(asked.path)["score"].to_list()
    assert found == pytest.approx([0.1 * n for n in range(TOTAL) for _ in range(n % 3)], abs=1e-6)
    assert done == Written(TOTAL, len(found), asked.path.stat().st_size, EACH * (number - 1))


def test_lines_of_another_order_or_run_are_done_again(tmp_path: Path) -> None:
    asked, other = target(tmp_path, ".jsonl"), target(tmp_path, ".jsonl", where="x")
    for change in (
        lambda ls: [ls[0], ls[2], ls[1]],
        lambda ls: [ls[0], ls[2]],
        lambda ls: [ls[0], ls[1], ls[1]],
    ):
        interrupted(asked)
        lines = asked.journal.read_bytes().splitlines()
        asked.journal.write_bytes(b"\n".join(change(lines)) + b"\n")
        assert write(asked, blocks).resumed in (0, EACH)
        asked.path.unlink()
    interrupted(other)
    head = json.dumps({"question": dict(asked.question)}).encode()
    other.journal.write_bytes(b"\n".join([head, *other.journal.read_bytes().splitlines()[1:]]) + b"\n")
    assert write(asked, blocks).resumed == 0


@pytest.mark.parametrize("said", [b"[22,", b"[23,1,", b'{"answers":23}', b"[null,"])
def test_an_end_that_was_altered_is_not_believed(tmp_path: Path, said: bytes) -> None:
    asked = target(tmp_path, ".csv")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(resumable, "_clear", dies)
        with pytest.raises(Killed):
            write(asked, blocks)
    kept = asked.journal.read_bytes()
    asked.journal.write_bytes(kept.replace(b'"whole":[23,', b'"whole":' + said))
    assert asked.journal.read_bytes() != kept
    with pytest.raises(DataError, match="exists already"):
        write(asked, blocks)
    asked.journal.write_bytes(kept)
    assert write(asked, blocks).resumed == TOTAL


def test_a_run_that_is_stopped_at_its_first_journal_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "_append", lambda *_: dies(0))
    with pytest.raises(Killed):
        write(target(tmp_path), blocks)
    assert list(tmp_path.iterdir()) == []


def test_a_question_with_no_number_is_the_same_again(tmp_path: Path) -> None:
    asked = target(tmp_path, ".csv", context={"age": float("nan")})
    interrupted(asked)
    assert write(asked, blocks).resumed > 0


def test_what_was_asked_otherwise_is_refused(whole: tuple[str, bytes], tmp_path: Path) -> None:
    interrupted(target(tmp_path, whole[0]))
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(DataError, match="k was 10 and is 20 now, only was None and is '1 ids' now") as said:
        write(target(tmp_path, whole[0], k=20, only="1 ids"), blocks)
    assert "--force" in said.value.hint
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept
    assert write(target(tmp_path, whole[0], k=20), blocks, force=True).resumed == 0
    assert (tmp_path / f"out{whole[0]}").read_bytes() == whole[1]


def test_what_is_there_is_kept_unless_forced(whole: tuple[str, bytes], tmp_path: Path) -> None:
    asked = target(tmp_path, whole[0])
    asked.path.write_text("somebody's")
    with pytest.raises(DataError, match="exists already"):
        write(asked, blocks)
    assert asked.path.read_text() == "somebody's"
    assert [path.name for path in tmp_path.iterdir()] == [asked.path.name]
    with pytest.raises(Killed):
        write(asked, dies, force=True)
    assert asked.path.read_text() == "somebody's"
    assert write(asked, blocks, force=True).resumed == 0
    assert asked.path.read_bytes() == whole[1]


def dies(_: object) -> Iterator[tuple[int, dict[str, Any]]]:
    raise Killed


def test_a_run_that_wrote_nothing_leaves_nothing(whole: tuple[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(Killed):
        write(target(tmp_path, whole[0], where="wrong"), dies)
    assert list(tmp_path.iterdir()) == []
    asked = target(tmp_path, whole[0])
    asked.journal.write_text('{"question": {"k": 11}}\n')  # killed for good before its first block
    write(asked, blocks)
    assert asked.path.read_bytes() == whole[1]


def test_a_partial_file_of_nobody_knows_whom_is_kept(tmp_path: Path) -> None:
    asked = target(tmp_path)
    asked.partial.write_text("somebody's")
    with pytest.raises(DataError, match="not the journal"):
        write(asked, blocks)
    assert asked.partial.read_text() == "somebody's"


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    asked = target(tmp_path)

    def twice(done: int) -> Iterator[tuple[int, dict[str, Any]]]:
        with pytest.raises(DataError, match="another run is writing"):
            write(asked, blocks)
        return blocks(done)

    assert write(asked, twice).answers == TOTAL


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.*No such file"):
        write(target(tmp_path / "nowhere"), blocks)
    (tmp_path / "out.parquet").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        write(target(tmp_path), blocks)
    with pytest.raises(DataError, match=r"the ending '\.xls'"):
        write(target(tmp_path, ".xls"), blocks)


def test_a_full_disk_leaves_nothing_under_the_name(whole: tuple[str, bytes], tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the system refuses the write all the same."""
    resource = pytest.importorskip("resource")
    asked = target(tmp_path, whole[0])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = len(whole[1]) // 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with pytest.raises(DataError, match=r"cannot write .*File too large"):
            write(asked, blocks)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not asked.path.exists()
    assert write(asked, blocks).resumed > 0
    assert asked.path.read_bytes() == whole[1]


RUN = """
import sys, time
sys.path[:0] = [{tests!r}, {source!r}]
from pathlib import Path
from test_resumable import EACH, block, Target, write

def slowly(done):
    for start in range(done, {total}, EACH):
        time.sleep(0.002)
        yield EACH, block(start % 20)[1]

write(Target(Path(sys.argv[1]), {{}}, {total}), slowly)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
def test_killed_for_good_at_many_moments(ending: str, tmp_path: Path) -> None:
    code = RUN.format(
        tests=str(Path(__file__).parent), source=str(Path(resumable.__file__).parents[2]), total=800
    )
    command = [sys.executable, "-c", code]
    subprocess.run([*command, str(tmp_path / f"whole{ending}")], check=True, timeout=60)
    path, draw, kills = tmp_path / f"out{ending}", np.random.default_rng(5), 0
    for _ in range(200):
        process = subprocess.Popen([*command, str(path)])
        partial = path.with_name(f".{path.name}.partial")
        size = partial.stat().st_size if partial.exists() else 0
        while process.poll() is None and not (partial.exists() and partial.stat().st_size > size):
            time.sleep(0.001)
        try:
            process.wait(draw.uniform(0, 0.06))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0
        if path.exists() and not path.with_name(f".{path.name}.journal").exists():
            break
    assert kills > 10
    assert path.read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
