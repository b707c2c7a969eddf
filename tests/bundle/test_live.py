"""A bundle whose items come and go: versions, readers, threads, and processes that are killed."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist import bundle
from shortlist.bundle import live as live_module
from shortlist.bundle import placing, writing
from shortlist.bundle.journals import JOURNAL
from shortlist.bundle.live import open_live, operations
from shortlist.cli.folders import require_free
from shortlist.errors import BundleCorrupted, BundleError, RequestError
from shortlist.pipeline.live import Live
from shortlist.pipeline.recommender import Recommender
from shortlist.recipes.run import find_recipe, run

WAR = {"title": "A war film", "genres": ["War"]}


def offered(recommender: Recommender, user: str = "3") -> list[str]:
    slate = recommender.recommend(user, k=len(recommender.items), filter_seen=False)
    ids: list[str] = slate["item_id"].tolist()
    return ids


def answers(recommender: Recommender) -> Any:
    """All that two users are told, and their pairs' scores."""
    slate = recommender.recommend(["3", "nobody"], k=len(recommender.items), filter_seen=False)
    pairs = recommender.score([{"user_id": "3", "item_id": i} for i in ("m1", "n1", "n2")])
    return [slate[n].tolist() for n in ("item_id", "score", "rating")], pairs["log_p"].tolist()


@pytest.fixture
def live(copy: Path) -> Iterator[Live]:
    with open_live(copy) as live:
        yield live


def test_items_come_go_and_come_back(live: Live, copy: Path) -> None:
    before = live.recommender
    assert live.version == 0
    assert live.add_items([{"item_id": "n1", **WAR}, {"item_id": "n2", "title": None, "genres": []}]) == 1
    assert live.remove_items(["n1", "m7"]) == 2
    assert {"n1", "m7"} & set(offered(live.recommender)) == set() and "n2" in offered(live.recommender)
    assert "n1" not in offered(before) and "m7" in offered(before), "who holds a version keeps it"
    with pytest.raises(RequestError, match="item 'n2' is in the catalogue already"):
        live.add_items({"item_id": "n2", **WAR})
    assert live.add_items({"item_id": "m7", **WAR}) == 3
    assert "m7" in offered(live.recommender)
    assert live.recommender.items.columns["title"][7] == "A war film"
    assert live.add_items({"item_id": "m8", "title": "Peace"}, replace=True) == 4
    expected = answers(live.recommender)
    live.close()
    with open_live(copy) as again:
        assert again.version == 4 and answers(again.recommender) == expected
    assert operations(copy) == 4
    assert "n2" not in offered(bundle.load(copy)), "a bundle alone is as it was written"


def test_what_is_refused_leaves_all_as_it_was(live: Live, copy: Path) -> None:
    size = (copy / JOURNAL).stat().st_size
    for wrong in ({"item_id": "n"}, {"item_id": "n", **WAR, "colour": 3}, {"title": "no id"}):
        with pytest.raises(RequestError):
            live.add_items(wrong)
    with pytest.raises(RequestError, match="item 'x9' is not in the catalogue"):
        live.remove_items(["m1", "x9"])
    assert live.version == 0 and (copy / JOURNAL).stat().st_size == size
    assert "m1" in offered(live.recommender)


def test_another_process_reads_along(live: Live, copy: Path) -> None:
    reader = open_live(copy, write=False)
    assert reader.refresh() == 0
    live.add_items({"item_id": "n1", **WAR})
    assert reader.version == 0 and reader.refresh() == 1
    live.remove_items("m2")
    with (copy / JOURNAL).open("ab") as file:
        file.write(b"\xffSL\xfe half of an operation")
    assert reader.refresh() == 2 and answers(reader.recommender) == answers(live.recommender)
    with pytest.raises(BundleError, match="was opened to read"):
        reader.remove_items("m3")
    with pytest.raises(BundleError, match="is being changed by another"):
        open_live(copy)


def test_a_reader_sees_a_journal_that_was_begun_later(copy: Path) -> None:
    reader = open_live(copy, write=False)
    with open_live(copy) as live:
        live.add_items({"item_id": "n1", **WAR})
    assert reader.refresh() == 1 and "n1" in offered(reader.recommender)


def test_compacted_it_is_a_bundle_of_its_own(live: Live, copy: Path) -> None:
    reader = open_live(copy, write=False)
    live.add_items({"item_id": "n1", **WAR})
    live.remove_items("m4")
    expected = answers(live.recommender)
    assert live.compact() == 2 and operations(copy) == 0
    assert answers(live.recommender) == expected
    assert "n1" in offered(bundle.load(copy)) and "m4" not in offered(bundle.load(copy))
    bundle.verify(copy)
    assert live.remove_items("n1") == 3
    assert reader.refresh() == 3 and answers(reader.recommender) == answers(live.recommender)
    live.close()
    with open_live(copy) as again:
        assert again.version == 3


def test_a_journal_of_another_bundle_is_refused(live: Live, copy: Path, tmp_path: Path) -> None:
    live.remove_items("m1")
    live.close()
    other = tmp_path / "other"
    bundle.load(copy).remove_items("m2").save(other)
    shutil.copytree(copy / "live", other / "live")
    with pytest.raises(BundleError, match="belongs to another bundle") as caught:
        open_live(other)
    assert "begin anew: move" in caught.value.hint
    shutil.move(other / "live", tmp_path / "aside")
    with open_live(other) as begun:
        assert begun.version == 0


def test_nothing_is_written_to_a_bundle_that_was_replaced(live: Live, copy: Path) -> None:
    bundle.load(copy).remove_items("m2").save(copy)
    with pytest.raises(BundleError, match="was replaced or closed since it was opened"):
        live.remove_items("m1")
    assert "m1" in offered(live.recommender)


@pytest.mark.parametrize("kept", [0, 1, 10, 21, 30])
def test_an_operation_cut_off_is_left_out(live: Live, copy: Path, kept: int) -> None:
    live.remove_items("m1")
    size = (copy / JOURNAL).stat().st_size
    live.remove_items("m2")
    live.close()
    whole = (copy / JOURNAL).read_bytes()
    (copy / JOURNAL).write_bytes(whole[: size + kept])
    with open_live(copy) as again:
        assert (again.version, again.dropped) == (1, kept)
        assert "m2" in offered(again.recommender) and again.remove_items("m3") == 2


def test_a_damaged_operation_is_named(live: Live, copy: Path) -> None:
    live.remove_items("m1")
    at = (copy / JOURNAL).stat().st_size
    live.remove_items("m2")
    live.remove_items("m3")
    live.close()
    damaged = bytearray((copy / JOURNAL).read_bytes())
    damaged[at + 25] ^= 1
    (copy / JOURNAL).write_bytes(damaged)
    for write in (True, False):
        with pytest.raises(BundleCorrupted, match=f"damaged at byte {at}"):
            open_live(copy, write=write)


class Stopped(Exception):
    """A process that ends here."""


@pytest.mark.parametrize("moment", ["before", "put", "after"])
def test_compaction_that_is_interrupted_loses_nothing(
    live: Live, copy: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.add_items({"item_id": "n1", **WAR})
    expected, real = answers(live.recommender), placing._put

    def stop(fresh: Path, path: Path) -> None:
        if path == copy and moment == "before":
            raise Stopped
        real(fresh, path)
        if path == copy and moment == "put":
            raise Stopped

    def stop_after(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(placing, "_put", stop)
        if moment == "after":
            patch.setattr("shortlist.bundle.live.sync_folder", stop_after)
            patch.setattr("shortlist.bundle.live._sync", lambda _: None)
        with pytest.raises(Stopped):
            live.compact()
    assert answers(live.recommender) == expected
    live.close()
    with open_live(copy) as again:
        assert (again.version, operations(copy)) == (1, 1 if moment == "before" else 0)
        assert answers(again.recommender) == expected
        assert again.remove_items("n1") == 2


def test_readers_see_one_version_whole_while_a_writer_writes(copy: Path) -> None:
    """Answers of every version are worked out beforehand, one operation after the other."""
    steps: list[tuple[str, Any]] = []
    for n in range(8):
        steps += [
            ("add", {"item_id": f"n{n}", "title": f"Film {n}", "genres": ["War"]}),
            ("replace", {"item_id": "m5", "title": f"Other {n}", "genres": ["Drama"] * (n % 3)}),
            ("remove", [f"m{n + 10}", f"n{n - 1}" if n else "m9"]),
        ]

    def done(target: Any, kind: str, given: Any) -> Any:
        if kind == "remove":
            return target.remove_items(given)
        return target.add_items(given, replace=kind == "replace")

    made = [bundle.load(copy)]
    for step in steps:
        made.append(done(made[-1], *step))
    expected = [told(recommender) for recommender in made]
    wrong: list[Any] = []
    seen: set[int] = set()
    finished = threading.Event()

    def read(live: Live) -> None:
        while not finished.is_set():
            number, recommender = live.now
            seen.add(number)
            if told(recommender) != expected[number]:
                wrong.append(number)

    with open_live(copy) as live:
        threads = [threading.Thread(target=read, args=(live,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for step in steps:
            done(live, *step)
        finished.set()
        for thread in threads:
            thread.join()
        assert live.version == len(steps) and told(live.recommender) == expected[-1]
    assert not wrong and len(seen) > 3


def told(recommender: Recommender) -> Any:
    where = "'War' in genres or title == 'Other 3'"
    parts = [
        recommender.recommend("3", k=70, filter_seen=False),
        recommender.recommend(["4", "nobody"], k=70, where=where),
    ]
    return [(part["item_id"].tolist(), part["score"].tolist()) for part in parts]


WRITER = """
import sys
import numpy, onnxruntime
from shortlist.bundle.live import open_live
path, name, compact = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open_live(path) as live:
    for n in range(10_000):
        live.add_items({"item_id": f"{name}-{n}", "title": "x" * (n % 300), "genres": ["War"]})
        if n % 3 == 2:
            live.remove_items(f"{name}-{n - 1}")
        print(n, flush=True)
        if compact and n % compact == compact - 1:
            live.compact()
"""


def killed(path: Path, name: str, after: int, compact: int = 0) -> int:
    """Let a process write until it has told of some operations, and kill it; the last one it told of."""
    command = [sys.executable, "-c", WRITER, str(path), name, str(compact)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = -1
        for line in process.stdout:
            last = int(line)
            if last >= after:
                break
        process.kill()
        rest = process.stdout.read().splitlines(keepends=True)
    return max([last, *(int(line) for line in rest if line.endswith("\n"))])


def assert_all_there(path: Path, name: str, last: int) -> None:
    with open_live(path) as live:
        items = live.recommender.items
        retired = np.zeros(len(items), bool) if items.retired is None else items.retired
        positions = items.positions([f"{name}-{n}" for n in range(last + 1)])
        assert (positions >= 0).all()
        gone = {f"{name}-{n - 1}" for n in range(last + 1) if n % 3 == 2}
        assert {f"{name}-{n}" for n in range(last) if retired[positions[n]]} == gone
        assert not gone & set(offered(live.recommender))


def test_what_a_killed_process_told_of_is_there(copy: Path) -> None:
    last = killed(copy, "a", 20)
    assert last >= 20
    assert_all_there(copy, "a", last)


@pytest.mark.slow
def test_what_killed_processes_told_of_is_there_however_often(copy: Path) -> None:
    draw = random.Random(7)
    for number in range(25):
        name = f"p{number}"
        last = killed(copy, name, draw.randrange(60), compact=draw.choice([0, 2, 5, 11]))
        assert_all_there(copy, name, last)


def test_a_reader_begins_anew_where_a_journal_got_shorter(live: Live, copy: Path) -> None:
    """What a failing disk does: a record was there, could not be flushed, and was taken back."""
    live.remove_items("m1")
    size = (copy / JOURNAL).stat().st_size
    live.remove_items("m2")
    reader = open_live(copy, write=False)
    assert reader.version == 2
    live.close()
    with (copy / JOURNAL).open("r+b") as file:
        file.truncate(size)
    assert reader.refresh() == 1 and "m2" in offered(reader.recommender)


def test_what_cannot_be_opened_takes_no_bundle_s_place(live: Live, copy: Path) -> None:
    live.add_items({"item_id": "n1", **WAR})
    expected = answers(live.recommender)

    def broken(recommender: Recommender, path: Path) -> None:
        assert whole.writer is not None
        whole.writer(recommender, path)
        with (path / "items" / "ids.json").open("ab") as file:
            file.write(b" ")

    whole = live.recommender
    with pytest.raises(BundleError, match=r"cannot be opened, and .* stays as it was: .*ids\.json"):
        live.compact(lambda recommender: replace(recommender, writer=broken))
    assert live.remove_items("n1") == 2 and live.add_items({"item_id": "n1", **WAR}) == 3
    assert answers(live.recommender) == expected
    live.close()
    with open_live(copy) as again:
        assert again.version == operations(copy) == 3 and answers(again.recommender) == expected


def test_a_full_disk_leaves_all_as_it_was(live: Live, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live.remove_items("m1")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(placing, "_flush", full)
        with pytest.raises(BundleError, match=r"cannot be written anew: .*No space left"):
            live.compact()
    assert live.remove_items("m2") == 2 and operations(copy) == 2
    assert live.compact() == 2 and operations(copy) == 0


@pytest.mark.parametrize(
    ("asked", "stumbles"),
    [
        ("to read", "read_manifest"),
        ("to read", "load"),
        ("to read", "journal_of"),
        ("to refresh", "read_manifest"),
        ("to refresh", "load"),
        ("to refresh", "journal_of"),
        ("to write", "inspect"),
        ("how many", "inspect"),
        ("how many", "journal_of"),
    ],
)
def test_a_bundle_that_is_replaced_meanwhile_is_read_again(
    copy: Path, tmp_path: Path, asked: str, stumbles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are another's, or gone, in the middle of what reads them."""
    other = tmp_path / "other"
    bundle.load(copy).remove_items("m2").save(other)
    reader = open_live(copy, write=False)
    if asked == "to refresh":  # there is something new, before it is replaced once more
        bundle.load(copy).remove_items("m3").save(copy)
    real, replaced = getattr(live_module, stumbles), []

    def stumble(*given: Any) -> Any:
        if not replaced:
            replaced.append(stumbles)
            placing._put(other, copy)
            raise BundleCorrupted("a file is missing")
        return real(*given)

    monkeypatch.setattr(live_module, stumbles, stumble)
    if asked == "how many":
        assert operations(copy) == 0 and replaced
        return
    if asked == "to refresh":
        assert reader.refresh() == 0
        found = reader.recommender
    else:
        with open_live(copy, write=asked == "to write") as opened:
            found = opened.recommender
    assert replaced and "m2" not in offered(found) and "m3" in offered(found)


def test_an_operation_that_comes_while_another_bundle_is_written_is_not_lost(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, real = bundle.load(copy).remove_items("m2"), writing._write_state

    def meanwhile(recommender: Recommender, folder: Path) -> None:
        real(recommender, folder)
        with open_live(copy) as live:
            live.remove_items("m3")

    monkeypatch.setattr(writing, "_write_state", meanwhile)
    with pytest.raises(BundleError, match="operation"):
        other.save(copy)
    assert operations(copy) == 1
    assert [file.name for file in copy.parent.iterdir()] == [copy.name]


def test_a_bundle_that_is_damaged_and_stays_is_refused(copy: Path) -> None:
    (copy / "items" / "ids.json").unlink()
    for act in (open_live, operations):
        with pytest.raises(BundleCorrupted, match=r"ids\.json"):
            act(copy)


@pytest.mark.parametrize("name", ["live/journal", "live/lock", "live"])
def test_what_lies_where_the_journal_belongs_is_named(copy: Path, name: str) -> None:
    if name == "live":
        (copy / name).write_text("")
    else:
        (copy / name).mkdir(parents=True)
    with pytest.raises(BundleCorrupted, match=f"{name} is a f.*, which is not what belongs there"):
        open_live(copy)


def test_operations_are_not_lost_by_writing_over_them(live: Live, copy: Path, tmp_path: Path) -> None:
    run_folder = tmp_path / "run"
    live.remove_items("m1")
    live.close()
    said = r"live/journal holds 1 operation that replacing .* would lose"
    for act in (
        lambda: bundle.load(copy).save(copy),
        lambda: bundle.copy(copy, copy),
        lambda: require_free(copy, force=True, sign="manifest.json"),
    ):
        with pytest.raises(BundleError, match=said) as caught:
            act()
        assert f"shortlist index build {copy}" in caught.value.hint
    run_folder.mkdir()
    (run_folder / "recipe.toml").write_text("")
    shutil.copytree(copy, run_folder / "bundle")
    with pytest.raises(BundleError, match=said):
        run(find_recipe("ml100k-ids"), run_folder, force=True)
    with pytest.raises(BundleError, match=said):
        require_free(run_folder, force=True, sign="recipe.toml")
    assert operations(copy) == operations(run_folder / "bundle") == 1
    with open_live(copy) as again:
        again.compact()
    bundle.load(copy).save(copy)
    shutil.rmtree(run_folder / "bundle" / "live")
    require_free(run_folder, force=True, sign="recipe.toml")
