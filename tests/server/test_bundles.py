"""Bundles are exchanged while requests run; a bad one is refused; a user's side stays."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import shortlist as sl
from shortlist.bundle import folder_of, inspect, verify
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import BundleError, ShortlistError
from shortlist.server import bundles
from shortlist.server.agreeing import Agreement
from shortlist.server.bundles import Variants, share_of
from shortlist.server.exchanging import Exchanger
from shortlist.server.routes.operating import without_places
from shortlist.server.settings import Settings, Side


def variants(*paths: Path, salt: str = "") -> Variants:
    sides = tuple(Side(name="ab"[n], path=path, share=(1.0, 3.0)[n]) for n, path in enumerate(paths))
    return Variants(Settings(sides=sides, salt=salt))


def exchange(path: Path, name: str) -> None:
    """The bundle anew, with an item less."""
    smaller = sl.load(path).remove_items([name])
    smaller.save(path)


def test_users_are_split_by_share_and_stay(bundle: Path) -> None:
    both = variants(bundle, bundle)
    sides = [both.of(str(n)).side for n in range(4000)]
    assert sides == [both.of(str(n)).side for n in range(4000)]
    assert 0.22 < sides.count("a") / 4000 < 0.28
    salted = variants(bundle, bundle, salt="x")
    assert [salted.of(str(n)).side for n in range(99)] != sides[:99]
    assert both.of(None).side == "a"
    assert share_of("42") == 0.08361694058360883, "another value would move users between sides"


def test_a_new_bundle_is_taken_and_can_be_taken_back(own_bundle: Path) -> None:
    some = variants(own_bundle)
    [variant] = some.all
    before = variant.now
    assert not asyncio.run(some.reload(variant, force=False)), "nothing changed"
    exchange(own_bundle, "50")
    assert asyncio.run(some.reload(variant, force=False))
    assert variant.now.version != before.version
    assert "50" not in variant.now.recommender.recommend(["1"], 200, filter_seen=False)["item_id"]
    some.roll_back(variant)
    assert variant.now is before
    assert not asyncio.run(some.reload(variant, force=False)), "what was left stays left until it changes"
    assert "50" in before.recommender.recommend(["1"], 200, filter_seen=False)["item_id"]


def test_a_bad_bundle_is_refused(own_bundle: Path) -> None:
    some = variants(own_bundle)
    [variant] = some.all
    before = variant.now
    vectors = next(own_bundle.rglob("item_vectors.npy"))
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(ShortlistError):
        asyncio.run(some.reload(variant))
    shutil.rmtree(own_bundle)
    with pytest.raises(ShortlistError):
        asyncio.run(some.reload(variant))
    assert variant.now is before and variant.before is None
    assert len(before.recommender.recommend(["1"], 5)["item_id"]) == 5
    with pytest.raises(BundleError, match="no other bundle"):
        some.roll_back(variant)
    with pytest.raises(BundleError, match="no side 'z'"):
        some.named("z")


def replaced_after(monkeypatch: pytest.MonkeyPatch, name: str, replace: Callable[[], object]) -> None:
    """Something else takes a bundle's place in the midst of a reload: behind the first call of a function."""
    given, times = getattr(bundles, name), iter([True])

    def called(*args: Any, **options: Any) -> Any:
        done = given(*args, **options)
        if next(times, False):
            replace()
        return done

    monkeypatch.setattr(bundles, name, called)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Kept", "open_live"])
def test_what_is_kept_and_answers_is_of_one_bundle(
    own_bundle: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [variant] = (some := Variants(Settings(sides=(Side(name="a", path=own_bundle),), workers=2))).all
    replaced_after(monkeypatch, name, lambda: exchange(own_bundle, "50"))
    asyncio.run(some.reload(variant))
    now = variant.now
    assert now.version == str(inspect(own_bundle)["digest"])[:12]
    assert "50" not in now.recommender.recommend(["1"], 200, filter_seen=False)["item_id"]
    assert now.files is not None
    copy = now.files.copied()
    assert str(verify(copy)["digest"])[:12] == now.version
    shutil.rmtree(copy)


@pytest.mark.parametrize("place", ["runs/old/bundle", "runs/old", "bundle", "link"])
def test_no_client_is_told_where_a_bundle_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ("real/x y" if place == "link" else place)
    (folder / "bundle" if place == "runs/old" else folder).mkdir(parents=True)
    if place == "link":
        (tmp_path / place).symlink_to(folder)
    else:
        (folder / "bundle" / "manifest.json" if place == "runs/old" else folder / "manifest.json").touch()
    sides = [Side(name="a", path=Path(place))]
    for said, expected in (
        (f"{folder_of(place)}/items/item_vectors.npy was altered", "items/item_vectors.npy was altered"),
        (
            f"[Errno 2] No such file: '{folder_of(place)}/manifest.json'",
            "[Errno 2] No such file: 'manifest.json'",
        ),
        (f"{folder_of(place)} is no bundle", "the bundle of side 'a' is no bundle"),
        (f"{tmp_path}/other/x.npy, or /etc/passwd: no bundle, 1/2", "x.npy, or passwd: no bundle, 1/2"),
    ):
        assert without_places(said, sides) == expected


def test_what_a_reload_refuses_has_its_name_inside_the_bundle(
    serve: Any, own_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(own_bundle.parent)
    client = serve(path=Path(own_bundle.name))
    vectors = next(own_bundle.rglob("item_vectors.npy"))
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"\x7f")
    refused = client.post("/v1/admin/reload", json={})
    name = vectors.relative_to(own_bundle)
    assert refused.status_code == 409 and refused.json()["detail"].startswith(f"{name} was altered")
    assert f"{vectors} was altered" in caplog.text


def test_reload_over_http(serve: Any, own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(path=own_bundle)

    def since() -> int:
        [row], [side] = client.get("/v1/bundles").json()["bundles"], client.get("/v1/about").json()["sides"]
        assert row["since"] == side["since"]
        return int(row["since"])

    first = client.get("/health/ready").json()["bundles"]["a"]
    exchange(own_bundle, "50")
    monkeypatch.setattr(bundles, "time", lambda: 1e9)
    answer = client.post("/v1/admin/reload", json={})
    assert answer.status_code == 200 and answer.json()["bundles"]["a"] != first and since() == 10**9
    monkeypatch.setattr(bundles, "time", lambda: 2e9)
    assert client.post("/v1/admin/rollback", json={}).json()["bundles"]["a"] == first
    assert since() == 2 * 10**9, "it came into use again"
    (own_bundle / "manifest.json").write_text("{}")
    refused = client.post("/v1/admin/reload", json={"side": "a"})
    assert refused.status_code == 409 and str(own_bundle) not in refused.text
    assert "manifest.json" in refused.json()["detail"]
    assert client.get("/health/ready").json()["bundles"]["a"] == first
    assert client.get("/v1/bundles").json()["bundles"][0]["version"] == first
    counts = client.get("/metrics").text
    assert "shortlist_reloads_total 1.0" in counts and "shortlist_reloads_refused_total 1.0" in counts


def test_a_reload_of_what_is_in_use_keeps_what_was_before(
    serve: Any, own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(path=own_bundle)
    monkeypatch.setattr(bundles, "time", lambda: 1e9)
    [first] = client.get("/v1/bundles").json()["bundles"]
    refused = client.post("/v1/admin/rollback", json={})
    assert refused.status_code == 409 and "no other bundle to return to" in refused.json()["detail"]
    assert client.post("/v1/admin/reload", json={}).status_code == 200
    assert client.get("/v1/bundles").json()["bundles"][0]["before"] is None
    assert client.post("/v1/admin/rollback", json={}).status_code == 409, "it would change nothing"
    exchange(own_bundle, "50")
    for _ in range(2):
        assert client.post("/v1/admin/reload", json={}).status_code == 200
        [row] = client.get("/v1/bundles").json()["bundles"]
        assert row["before"] == first["version"] != row["version"] and row["since"] == 1_000_000_000
        monkeypatch.setattr(bundles, "time", lambda: 2e9)
    assert client.post("/v1/admin/rollback", json={}).json()["bundles"] == {"a": first["version"]}


def test_reloads_that_wait_are_done_at_one_time(
    serve: Any, own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(path=own_bundle)
    verified: list[Path] = []
    plain = bundles.verify
    monkeypatch.setattr(bundles, "verify", lambda path: verified.append(path) or plain(path))

    async def ask() -> set[int]:
        asked = [client.client.post("/v1/admin/reload", json={}) for _ in range(8)]
        return {answer.status_code for answer in await asyncio.gather(*asked)}

    assert client.loop.run_until_complete(ask()) == {200}
    assert 1 <= len(verified) <= 2
    (own_bundle / "manifest.json").write_text("{}")
    verified.clear()
    assert client.loop.run_until_complete(ask()) == {409}
    assert 1 <= len(verified) <= 2


@pytest.mark.slow
def test_items_that_go_on_coming_are_no_loss(own_bundle: Path) -> None:
    """The next operation is there before a process has followed another one to the last."""
    both, said = Agreement(["a"], 2), list[str]()
    settings = Settings(sides=(Side(name="a", path=own_bundle),), workers=2)
    exchangers = []
    for worker in range(2):
        mine = copy(both)
        mine.worker = worker
        some = Variants(settings, None, lambda what, side, why: said.append(what))
        exchangers.append(Exchanger(some, mine, lambda what, side, why: said.append(what)))
    one, two = exchangers
    first = one.variants.all[0].now.version
    exchange(own_bundle, "50")
    asyncio.run(one.reload())
    asyncio.run(two.follow())
    with sl.open_live(own_bundle) as live:
        live.remove_items(["100"])
        asyncio.run(one.look())
        live.remove_items(["181"])
        asyncio.run(two.follow())
    asyncio.run(one.follow())
    assert "lost" not in said
    for exchanger in exchangers:
        [variant] = exchanger.variants.all
        assert variant.now.version.endswith("+2")
        assert variant.before is not None and variant.before.version == first
    asyncio.run(two.roll_back())
    asyncio.run(one.follow())
    assert {exchanger.variants.all[0].now.version for exchanger in exchangers} == {first}
    both.forget()


def test_items_that_come_and_go_are_read_alone(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = variants(own_bundle)
    [variant] = some.all
    first = variant.now
    loads: list[Path] = []
    plain = bundles.verify
    monkeypatch.setattr(bundles, "verify", lambda path: loads.append(path) or plain(path))
    with sl.open_live(own_bundle) as live:
        live.remove_items(["50"])
        assert asyncio.run(some.reload(variant, force=False))
        second = variant.now
        live.remove_items(["100"])
        assert asyncio.run(some.reload(variant, force=False))
    assert not loads, "nothing was loaded anew"
    assert [one.version.partition("+")[2] for one in (first, second, variant.now)] == ["", "1", "2"]
    assert variant.now.users is first.users and variant.now.items is not first.items
    left = variant.now.recommender.recommend(["1"], 200, filter_seen=False)["item_id"]
    assert not {"50", "100"} & set(left) and "100" in second.recommender.items.ids
    assert variant.before is None, "it is the same bundle still"
    first.recommender.remove_items(["181"]).save(own_bundle.parent / "other")
    shutil.rmtree(own_bundle)
    shutil.move(own_bundle.parent / "other", own_bundle)
    assert asyncio.run(some.reload(variant, force=False))
    assert loads == [own_bundle] and variant.before is not None
    assert "+" not in variant.now.version
    some.roll_back(variant)
    with sl.open_live(own_bundle) as live:  # what is added to what was left is taken, the other way round
        live.remove_items(["258"])
    assert asyncio.run(some.reload(variant, force=False)) and len(loads) == 1
    assert variant.now.version.endswith("+1") and variant.before.version.endswith("+2")


def test_sides_of_other_catalogues_are_told(
    serve: Any, bundle: Path, recommender: sl.Recommender, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = recommender.items
    other = replace(items, vocabulary=Vocabulary.of([f"other {n}" for n in range(len(items))]))
    replace(recommender, items=other).save(tmp_path / "other")
    caplog.set_level("INFO", "shortlist.server")
    serve(against=bundle)
    assert "few_items_shared" not in caplog.text
    serve(against=tmp_path / "other")
    [told] = [one for one in caplog.records if "few_items_shared" in one.getMessage()]
    assert told.levelname == "WARNING" and '"detail": "0 items in common with side a' in told.getMessage()
