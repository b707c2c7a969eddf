"""A journal after every accident: cut off at each byte, damaged at each byte, a disk that is full."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shortlist.errors import BundleCorrupted, BundleError
from shortlist.state.journal import Journal, Record, create, framed, read, read_bytes
from shortlist.state.lock import Lock

PAYLOADS = [b"about", b"first", b"", "zw\u00f6lf \u4e2d".encode(), b"x" * 40]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal that goes on after operation 7, with four operations."""
    path = tmp_path / "journal"
    create(path, 7, PAYLOADS[0])
    journal = Journal.open(path, read(path))
    assert [journal.append(payload) for payload in PAYLOADS[1:]] == [8, 9, 10, 11]
    journal.close()
    return path


def test_what_was_appended_is_read(path: Path) -> None:
    found = read(path)
    assert found.records == [Record(7 + at, payload) for at, payload in enumerate(PAYLOADS)]
    assert (found.end, found.torn) == (path.stat().st_size, 0)
    from_there = len(framed(7, PAYLOADS[0])) + len(framed(8, PAYLOADS[1]))
    assert read(path, from_there, 9).records == found.records[2:]
    with pytest.raises(BundleCorrupted, match=f"byte {from_there}: expected operation 10, found 9"):
        read(path, from_there, 10)


def test_cut_off_at_every_byte_the_last_operation_is_left_out(path: Path) -> None:
    whole = path.read_bytes()
    last = len(whole) - len(framed(11, PAYLOADS[-1]))
    for size in range(last, len(whole)):
        path.write_bytes(whole[:size])
        found = read(path)
        assert [record.number for record in found.records] == [7, 8, 9, 10]
        assert (found.end, found.torn) == (last, size - last)
        journal = Journal.open(path, found)
        assert journal.append(b"again") == 11
        journal.close()
        assert read(path).records[-1] == Record(11, b"again")
        assert path.stat().st_size == last + len(framed(11, b"again"))


def test_damage_before_the_last_operation_is_named_and_not_passed_over(path: Path) -> None:
    whole = path.read_bytes()
    starts, at = [], 0
    for number, payload in enumerate(PAYLOADS, 7):
        starts.append(at)
        at += len(framed(number, payload))
    for place in range(starts[-1]):
        damaged = bytearray(whole)
        damaged[place] ^= 0x41
        start = max(s for s in starts if s <= place)
        with pytest.raises(BundleCorrupted, match=f"damaged at byte {start}, with whole records after it"):
            read_bytes(bytes(damaged), 0, None, "journal")


def test_damage_in_the_last_operation_is_named_too(path: Path) -> None:
    """Whatever byte it is in: somebody was told that this operation is there."""
    whole = path.read_bytes()
    last = len(whole) - len(framed(11, PAYLOADS[-1]))
    for place in range(last, len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            with pytest.raises(BundleCorrupted, match=f"damaged at byte {last}, in its last record"):
                read_bytes(bytes(damaged), 0, None, "journal")
    zeros = read_bytes(whole[:last] + bytes(50), 0, None, "journal")
    assert (len(zeros.records), zeros.torn) == (len(PAYLOADS) - 1, 50)


def test_an_operation_out_of_turn_is_refused() -> None:
    twice = framed(1, b"a") + framed(2, b"b") + framed(2, b"b")
    with pytest.raises(BundleCorrupted, match="expected operation 3, found 2"):
        read_bytes(twice, 0, None, "journal")


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_what_could_not_be_written_is_not_there(
    path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(path, read(path))
    whole, real = path.read_bytes(), getattr(os, call)
    failed = []

    def full(*given: object) -> object:
        if not failed:
            failed.append(call)
            if call == "pwrite":
                real(given[0], bytes(given[1])[:9], given[2])  # type: ignore[call-overload]
            raise OSError(28, "No space left on device")
        return real(*given)

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space") as said:
        journal.append(b"lost")
    assert said.value.filename == str(path)  # which the system does not say
    assert path.read_bytes() == whole
    assert journal.append(b"kept") == 12
    assert [record.payload for record in read(path).records[-2:]] == [PAYLOADS[-1], b"kept"]


def test_a_file_that_cannot_be_put_back_takes_no_more(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(path, read(path))

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output"):
            journal.append(b"lost")
    with pytest.raises(BundleError, match="cannot be written"):
        journal.append(b"more")


def test_one_holds_a_lock_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    first = Lock.take(tmp_path / "live" / "lock")
    with pytest.raises(BundleError, match=f"changed by another \\(process {os.getpid()}\\)"):
        Lock.take(tmp_path / "live" / "lock")
    assert first.holds()
    (tmp_path / "live" / "lock").rename(tmp_path / "elsewhere")
    assert not first.holds()
    first.release()
    assert not first.holds()
    Lock.take(tmp_path / "elsewhere").release()
