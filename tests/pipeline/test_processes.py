"""What processes that share a run tell each other, and what is refused before any is started."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shortlist.errors import BundleCorrupted, DownloadError, FilterError, MissingExtra, RequestError
from shortlist.pipeline import processes
from shortlist.pipeline.bulk import recommend_all
from shortlist.pipeline.everybody import Question
from shortlist.pipeline.frames import ANSWERED, ASKED, Done, Failed, Hello, Task, framed, read
from shortlist.pipeline.recommender import Recommender

from .conftest import ITEM_IDS, USER_IDS


def asked(context: dict[str, Any] | None = None, **filters: Any) -> Question:
    every = {"exclude": None, "only": None, "where": None, "filter_seen": True}
    return Question.of(3, context, {**every, **filters})


@pytest.mark.parametrize(
    "context",
    [
        {"timestamp": 77},
        {"timestamp": datetime(1998, 4, 1, 20, tzinfo=UTC), "age": 3},
        {"timestamp": date(1998, 4, 1), "age": None},
        {"timestamp": "1998-04-01T20:00", "age": float("nan")},
        {"timestamp": np.datetime64("1998-04-01"), "age": np.float32(1.1)},
        {"timestamp": None},
    ],
)
def test_another_process_is_asked_the_same(joint: Recommender, context: dict[str, Any]) -> None:
    question = asked(context, exclude=ITEM_IDS[:3], where="year > 99", filter_seen=np.bool_(False))
    hello = Hello("folder", "fingerprint", question.plain(joint, "u7"), ".csv")
    told = read(io.BytesIO(framed(hello)), ASKED)
    assert isinstance(told, Hello)
    for first in (True, False):
        here = question.block(joint, USER_IDS, ".csv", first=first)
        assert here.rows > 0
        assert told.question.block(joint, USER_IDS, ".csv", first=first) == here


def test_what_is_wrong_is_said_before_others_are_asked(joint: Recommender) -> None:
    for question, said in (
        (asked({"timestamp": "soon"}), "expected a whole number .* got 'soon'"),
        (asked({"agee": 3}), "unknown column 'agee'"),
        (asked(only=["none"]), "none"),
        (asked(where="yeer > 3"), "yeer"),
    ):
        with pytest.raises(RequestError, match=said):
            question.plain(joint, "u7")


def test_errors_arrive_as_what_they_are() -> None:
    def sent(error: Any) -> Any:
        told = read(io.BytesIO(framed(Failed.of(error))), ANSWERED)
        assert isinstance(told, Failed)
        assert (str(told.error()), told.error().hint) == (str(error), error.hint)
        return type(told.error()).__name__

    assert sent(BundleCorrupted("x is missing", hint="again")) == "BundleCorrupted"
    assert sent(DownloadError("none")) == "DownloadError"
    assert sent(RequestError("wrong", column="age")) == "RequestError"
    assert sent(processes.Changed("other")) == "RequestError"
    assert sent(FilterError("no such column", text="yeer > 3", position=0)) == "RequestError"
    assert sent(MissingExtra("faiss", "ann", "an index")) == "ShortlistError"


def test_a_pipe_that_ends_is_no_answer() -> None:
    whole = framed(Done(2, 7, b"rows"))
    assert read(io.BytesIO(whole), ANSWERED) == Done(2, 7, b"rows")
    for end in range(len(whole)):
        with pytest.raises(EOFError):
            read(io.BytesIO(whole[:end]), ANSWERED)
    with pytest.raises(msgspec.MsgspecError):
        read(io.BytesIO(framed(Task(["u7"], False))), ANSWERED)


def test_processes_that_cannot_be(joint: Recommender, tmp_path: Path) -> None:
    for options, said in (
        ({"processes": -1}, "processes must be a whole number, 0 or more, got -1"),
        ({"processes": 2, "threads": 2}, "2 threads do not go with 2 processes"),
        ({"processes": 2}, "was not loaded from a folder"),
    ):
        with pytest.raises(RequestError, match=said):
            recommend_all(joint, tmp_path / "x.csv", 3, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_how_many_are_decided(joint: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the recommender has no folder, or threads are given, none is started."""
    monkeypatch.setattr("shortlist.pipeline.bulk._MANY", 1)
    monkeypatch.setattr(processes, "_CHILD", "raise SystemExit(3)")
    for threads in (0, 1, 2):
        recommend_all(joint, tmp_path / f"{threads}.csv", 3, processes=0, threads=threads)
    monkeypatch.setattr("shortlist.pipeline.bulk.folder_of", lambda _: tmp_path)
    recommend_all(joint, tmp_path / "x.csv", 3, processes=0, threads=1)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, ("was killed (SIGKILL)", "--processes")),
        (-250, ("was killed (signal 250)", "--processes")),
        (1, ("exit code 1", "processes=1")),
    ],
)
def test_what_is_said_of_a_process_that_ended(code: int, words: tuple[str, str]) -> None:
    error = processes._ended(code)
    assert words[0] in str(error) and words[1] in error.hint and "run the same again" in error.hint
