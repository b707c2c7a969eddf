"""What is kept stays within its bound, the least recently asked for goes first, and threads share it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from shortlist.features.kept import Kept


def test_what_was_asked_for_least_recently_goes() -> None:
    kept: Kept[str] = Kept(10)
    for name in "abc":
        assert kept.put(name, name.upper(), 3) == name.upper()
    assert kept.get("a") == "A"
    kept.put("d", "D", 4)
    assert [kept.get(name) for name in "abcd"] == ["A", None, "C", "D"] and kept.held == 10


def test_what_is_too_large_alone_is_not_kept_and_what_is_replaced_counts_once() -> None:
    kept: Kept[str] = Kept(10)
    kept.put("a", "A", 6)
    assert kept.put("b", "B", 11) == "B" and kept.get("b") is None and kept.get("a") == "A"
    kept.put("a", "new", 9)
    assert kept.get("a") == "new" and kept.held == 9 and len(kept) == 1


def test_threads_share_it() -> None:
    kept: Kept[int] = Kept(50)

    def work(seed: int) -> bool:
        for n in range(400):
            key = (seed * n) % 37
            if kept.get(key) not in (None, key * key):
                return False
            kept.put(key, key * key, 1 + key % 5)
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(1, 9)))
    assert kept.held <= 50
