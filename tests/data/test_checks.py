from __future__ import annotations

import datetime as dt
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import shortlist as sl
from shortlist.data.checks.crowds import gini, top_share
from shortlist.data.checks.finding import Limits
from shortlist.data.checks.leakage import explained, rank_correlation
from shortlist.data.checks.result import Validation, percent
from shortlist.data.checks.validate import CHECKS, validate
from shortlist.errors import DataError

NOW = 1_700_000_000
Table = dict[str, list[Any]]


def good(num_users: int = 30, each: int = 12) -> dict[str, Any]:
    """Arguments of a validation that finds nothing: rows in order of time, every user with new items."""
    draw = random.Random(0)
    rows: Table = {name: [] for name in ("user_id", "item_id", "rating", "timestamp", "device")}
    for turn in range(each):
        for user in range(num_users):
            rows["user_id"].append(f"u{user}")
            rows["item_id"].append(f"i{(user + 3 * turn) % 40}")
            rows["rating"].append(draw.randint(1, 5))
            rows["timestamp"].append(1_600_000_000 + 3600 * len(rows["user_id"]))
            rows["device"].append(draw.choice(["tv", "phone"]))
    items: Table = {
        "item_id": [f"i{n}" for n in range(40)],
        "title": [f"The item {n}" for n in range(40)],
        "price": [draw.randint(1, 30) / 2 for _ in range(40)],
    }
    users: Table = {
        "user_id": [f"u{n}" for n in range(num_users)],
        "age": [20 + n % 7 for n in range(num_users)],
    }
    return {"interactions": rows, "users": users, "items": items}


def checked(tables: dict[str, Any], **options: Any) -> Validation:
    return validate(
        **{"now": NOW, "guess": False, **tables, **options}
    )  # guessing takes longer than checking


def names(found: Validation) -> set[str]:
    return {finding.name for finding in found.findings}


def changed(table: str, column: str, change: Callable[[list[Any]], list[Any]]) -> dict[str, Any]:
    tables = good()
    tables[table][column] = change(list(tables[table].get(column) or tables[table]["user_id"]))
    return tables


def with_first(column: str, *values: Any, table: str = "interactions") -> dict[str, Any]:
    return changed(table, column, lambda old: [*values, *old[len(values) :]])


def column(name: str, *values: Any) -> dict[str, Any]:
    return changed("interactions", name, lambda old: list(values))


def rows_added(*rows: tuple[Any, ...]) -> dict[str, Any]:
    tables = good()
    for row in rows:
        for column, value in zip(tables["interactions"].values(), row, strict=True):
            column.append(value)
    return tables


def first_row() -> tuple[Any, ...]:
    return tuple(column[0] for column in good()["interactions"].values())


def times(change: Callable[[int], Any]) -> dict[str, Any]:
    return changed("interactions", "timestamp", lambda old: [change(time) for time in old])


def busy(rows: int) -> dict[str, Any]:
    return rows_added(*[("bot", f"i{n % 40}", 3, 1_690_000_000 + n, "tv") for n in range(rows)])


def crowded() -> dict[str, Any]:
    """200 items, of which two have nearly all rows."""
    pairs = [(f"u{n}", f"i{n % 2}") for n in range(2000)] + [(f"v{n}", f"i{n}") for n in range(2, 200)]
    return {"interactions": {"user_id": [u for u, _ in pairs], "item_id": [i for _, i in pairs]}}


def counted_items() -> list[int]:
    ids = good()["interactions"]["item_id"] + [f"i{n}" for n in range(40) for _ in range(n)]
    return [2 * ids.count(f"i{n}") for n in range(40)]


def after_the_event() -> dict[str, Any]:
    tables = rows_added(
        *[(f"w{n}-{m}", f"i{n}", 3, 1_690_000_000, "tv") for n in range(40) for m in range(n)]
    )
    tables["items"]["num_events"] = counted_items()
    return {**tables, "users": None}


FIVE = [0, 1, 2, 3, 4]


def at(*rows: int) -> list[int]:
    return list(rows)


TRIGGERS: list[tuple[str, str, int, Callable[[], dict[str, Any]], list[int]]] = [
    ("duplicate-rows", "warning", 1, lambda: rows_added(first_row()), at(360)),
    ("repeated-pairs", "warning", 1, lambda: rows_added(("u0", "i0", 1, 1_690_000_000, "tv")), at(360)),
    ("missing-ids", "error", 3, lambda: with_first("user_id", None, "", "  "), at(0, 1, 2)),
    ("missing-ids", "error", 1, lambda: with_first("item_id", ""), at(0)),
    ("placeholder-ids", "warning", 2, lambda: with_first("user_id", "NaN", "null"), at(0, 1)),
    ("entity-ids", "error", 1, lambda: with_first("item_id", "i0", "i0", table="items"), at(1)),
    ("unreadable-times", "error", 2, lambda: with_first("timestamp", "yesterday", None), at(0, 1)),
    ("fractional-times", "note", 1, lambda: with_first("timestamp", 1_600_000_000.5), at(0)),
    ("time-unit", "note", 360, lambda: times(lambda t: t * 1000), FIVE),
    ("time-unit", "error", 1, lambda: with_first("timestamp", 1_600_000_000_000), at(0)),
    ("time-unit", "note", 360, lambda: times(lambda t: 20_240_101 + t % 28) | {"guess": True}, FIVE),
    ("time-unit", "error", 360, lambda: times(lambda t: dt.datetime(1970, 1, 1, 0, 0, t % 60)), FIVE),
    ("ancient-times", "warning", 1, lambda: with_first("timestamp", 0), at(0)),
    ("future-times", "warning", 1, lambda: with_first("timestamp", NOW + 2 * 86_400), at(0)),
    ("unreadable-ratings", "error", 2, lambda: with_first("rating", None, "five"), at(0, 1)),
    ("ratings-outside-scale", "warning", 2, lambda: with_first("rating", 99, -1), at(0, 1)),
    ("constant-ratings", "warning", 360, lambda: column("rating", *[4] * 360), at(0)),
    ("unreadable-weights", "error", 1, lambda: column("weight", "x", *[1] * 359), at(0)),
    ("negative-weights", "error", 1, lambda: column("weight", -1, *[1] * 359), at(0)),
    ("missing-values", "note", 2, lambda: with_first("device", None, " "), at(0, 1)),
    ("missing-values", "warning", 355, lambda: with_first("device", *[None] * 355), FIVE),
    ("mixed-types", "warning", 1, lambda: changed("items", "price", lambda old: ["free", *old[1:]]), at(0)),
]  # fmt: skip
WHOLE: list[tuple[str, str, int, Callable[[], dict[str, Any]]]] = [
    ("similar-ids", "warning", 1, lambda: with_first("user_id", " U0")),
    ("similar-ids", "warning", 1, lambda: with_first("user_id", "caf\u00e9", "cafe\u0301")),
    ("similar-ids", "warning", 2, lambda: with_first("item_id", "7", "007", "7.0")),
    ("absent-ids", "warning", 1, lambda: with_first("user_id", "stranger")),
    ("absent-ids", "error", 40, lambda: changed("items", "item_id", lambda old: [f"x{i}" for i in old])),
    ("idle-entities", "note", 1, lambda: changed("items", "item_id", lambda old: ["new", *old[1:]])),
    ("float-ids", "error", 360, lambda: column("user_id", *map(float, range(360)))),
    ("constant-columns", "note", 360, lambda: column("device", *["tv"] * 360)),
    ("unique-columns", "note", 360, lambda: column("order", *range(360))),
    ("few-rows-per-user", "note", 1, lambda: rows_added(("rare", "i0", 3, 1_690_000_000, "tv"))),
    ("few-rows-per-item", "note", 1, lambda: rows_added(("u0", "rare", 3, 1_690_000_000, "tv"))),
    ("popularity-concentration", "warning", 2000, crowded),
    ("dominant-user", "warning", 300, lambda: busy(300)),
    ("feature-after-event", "warning", 40, after_the_event),
]  # fmt: skip


def test_a_good_table_is_clean_under_every_check() -> None:
    tables = good()
    tables["interactions"]["weight"] = [1.0, 2.0] * 180
    found = checked(tables, rule="time=80%")
    assert found.findings == () and found.ok and not found.skipped
    assert found.clean == tuple(check.name for check in CHECKS)


@pytest.mark.parametrize(
    ("name", "severity", "count", "make", "rows"), TRIGGERS, ids=[t[0] for t in TRIGGERS]
)
def test_a_check_finds_its_rows(
    name: str, severity: str, count: int, make: Callable[[], dict[str, Any]], rows: list[int]
) -> None:
    (found,) = (finding for finding in checked(make()).findings if finding.name == name)
    assert (found.severity, found.count) == (severity, count)
    assert [example.row for example in found.examples] == rows
    assert 0 < found.share <= 1 and found.hint and found.where and found.message


@pytest.mark.parametrize(("name", "severity", "count", "make"), WHOLE, ids=[t[0] for t in WHOLE])
def test_a_check_finds_its_ids_and_columns(
    name: str, severity: str, count: int, make: Callable[[], dict[str, Any]]
) -> None:
    (found,) = (finding for finding in checked(make()).findings if finding.name == name)
    assert (found.severity, found.count) == (severity, count)
    assert 0 < found.share <= 1 and found.hint and found.where


def test_every_check_is_triggered_somewhere_here() -> None:
    elsewhere = {"torn-lines", "label-leakage", "not-loadable"} | {
        c.name for c in CHECKS if "split" in c.name
    }
    assert {t[0] for t in TRIGGERS} | {t[0] for t in WHOLE} | elsewhere == {c.name for c in CHECKS}


def test_names_are_unique_and_all_say_what_to_do() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.hint for check in CHECKS)


@pytest.mark.parametrize(
    ("column", "leaks"),
    [
        (lambda r: r, True),
        (lambda r: "liked" if r > 2 else "disliked", False),  # one bit of five ratings
        (lambda r: f"stars: {r}", True),
        (lambda r: r * 100 + random.random(), True),
        (lambda r: random.random(), False),
    ],
)
def test_a_column_that_determines_the_label_leaks(column: Callable[[int], Any], leaks: bool) -> None:
    random.seed(0)
    tables = good()
    tables["interactions"]["extra"] = [column(rating) for rating in tables["interactions"]["rating"]]
    assert ("label-leakage" in names(checked(tables))) == leaks


@pytest.mark.parametrize("table", ["items", "users", "interactions"])
def test_a_mean_rating_counted_from_the_table_itself_is_found_wherever_it_stands(table: str) -> None:
    tables = good()
    rows = tables["interactions"]
    key = "user_id" if table == "users" else "item_id"
    given: dict[str, list[int]] = {}
    for entity, rating in zip(rows[key], rows["rating"], strict=True):
        given.setdefault(entity, []).append(rating)
    ids = tables[table][key]
    tables[table]["average"] = [round(sum(given[i]) / len(given[i]), 2) for i in ids]
    (found,) = (f for f in checked(tables).findings if f.name == "feature-after-event")
    assert found.where == f"{table}.average" and "mean rating" in found.message


def test_a_column_of_different_values_does_not_fake_knowledge() -> None:
    label = pl.Series([float(n % 2) for n in range(1000)])
    half = pl.Series([n % 4 < 2 for n in range(1000)])
    assert explained(pl.Series([f"order {n}" for n in range(1000)]), label, half) == 0
    filled_for_one = pl.Series([f"order {n}" if n % 2 else None for n in range(1000)])
    assert explained(filled_for_one, label, half) == 1


def test_what_holds_on_the_learned_half_alone_explains_nothing() -> None:
    value = pl.Series([f"v{n // 4}" for n in range(1000)])  # two rows of each in either half
    half = pl.Series([n % 4 < 2 for n in range(1000)])
    first, second = ([float(n // 4 // bit % 2) for n in range(1000)] for bit in (1, 2))
    differs = pl.Series([a if n % 4 < 2 else b for n, (a, b) in enumerate(zip(first, second, strict=True))])
    assert explained(value, differs, half) == 0
    assert explained(value, pl.Series(first), half) == 1


def test_a_number_that_falls_with_what_is_counted_is_found_too() -> None:
    tables = after_the_event()
    tables["items"]["num_events"] = [-count for count in tables["items"]["num_events"]]
    (found,) = (f for f in checked(tables).findings if f.name == "feature-after-event")
    assert "rank correlation of -1.00" in found.message


def test_explained_is_r_squared_of_the_means() -> None:
    value = pl.Series([0, 1] * 200)
    label = pl.Series([float(v) * 3 + (0.5 if n % 4 < 2 else -0.5) for n, v in enumerate(value)])
    half = pl.Series([n < 200 for n in range(400)])
    variance_between = 1.5**2  # of 0 and 3
    assert explained(value, label, half) == pytest.approx(variance_between / (variance_between + 0.25))


def test_rank_correlation_is_that_of_mean_ranks() -> None:
    import numpy as np

    def ranks(values: list[int]) -> list[float]:
        return [sum(v < value for v in values) + (values.count(value) + 1) / 2 for value in values]

    draw = random.Random(1)
    a = [draw.randint(0, 20) for _ in range(60)]
    b = [x + draw.randint(0, 15) for x in a]
    found, count = rank_correlation(pl.Series(a), pl.Series([*b[:50], *[None] * 10]))
    expected = np.corrcoef(ranks(a[:50]), ranks(b[:50]))[0, 1]
    assert (found, count) == (pytest.approx(expected), 50)
    assert rank_correlation(pl.Series(a[:10]), pl.Series(b[:10]))[0] == 0


def test_concentration_has_known_values() -> None:
    import numpy as np

    assert gini(np.array([5, 5, 5])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert gini(np.array([1, 3])) == pytest.approx(0.25)
    assert top_share(np.array([1] * 99 + [101])) == pytest.approx(101 / 200)


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    """A split folder in which everything is on both sides."""
    parts = {
        "train": [("a", "x", 5, 100), ("a", "y", 4, 300), ("b", "x", 3, 200)],
        "test": [("a", "x", 5, 100), ("a", "y", 1, 200), ("c", "z", 3, 900)],
    }
    for part, rows in parts.items():
        schema = ["user_id", "item_id", "rating", "timestamp"]
        pl.DataFrame(rows, schema=schema, orient="row").write_parquet(tmp_path / f"{part}.parquet")
    return tmp_path


def test_a_split_folder_is_checked_for_leaks(divided: Path) -> None:
    found = {f.name: f for f in checked({"interactions": divided}).findings}
    expected = {
        "split-rows-in-both": ("error", 1, [0]),
        "split-pairs-in-both": ("warning", 2, [0, 1]),
        "split-test-before-train": ("warning", 2, [0, 1]),
        "split-train-after-test": ("note", 2, [1, 2]),
        "split-cold-users": ("warning", 1, [None]),
        "split-cold-items": ("note", 1, [None]),
    }
    for name, (severity, count, rows) in expected.items():
        assert (found[name].severity, found[name].count) == (severity, count), name
        assert [example.row for example in found[name].examples] == rows, name
    assert str(found["split-rows-in-both"].examples[0]) == "test row 0: user_id='a', item_id='x'"
    assert found["split-cold-users"].share == 0.5


def test_test_rows_in_validation_are_known_to_the_last_fit(divided: Path) -> None:
    rows = {"user_id": ["d"], "item_id": ["z"], "rating": [3], "timestamp": [400]}
    pl.DataFrame(rows).write_parquet(divided / "validation.parquet")
    test = pl.read_parquet(divided / "test.parquet")
    pl.concat([test, pl.DataFrame(rows)]).write_parquet(divided / "test.parquet")
    found = [f for f in checked({"interactions": divided}).findings if f.name == "split-rows-in-both"]
    assert [(f.where, f.count) for f in found] == [("test", 2)]
    assert "in train or validation too" in found[0].message


def test_a_split_by_time_is_clean_and_a_random_one_is_not() -> None:
    assert checked(good(), rule="time=80%,validation=10%").findings == ()
    data = sl.datasets.from_tables(**good())
    found = validate(sl.splits.random(data, seed=1), now=NOW)
    assert names(found) == {"split-test-before-train", "split-train-after-test"}
    assert found.name == "the split random=80%"


def test_a_rule_that_cannot_divide_is_a_finding_and_an_unreadable_one_an_error() -> None:
    tables = good()
    del tables["interactions"]["timestamp"]
    (found,) = checked(tables, rule="time=80%").findings
    assert (found.name, found.severity) == ("split-rule", "error") and "timestamp" in found.message
    with pytest.raises(DataError, match="cannot read the split rule"):
        checked(good(), rule="sometimes")


def test_torn_lines_of_text_and_json_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id\n" + "a,x\nb,y\n" * 20 + "c,z,1,2\n")
    (tmp_path / "a.jsonl").write_text('{"user_id": 1, "item_id": 2}\n{"user_id": 3,\n[4]\n')
    (tmp_path / "b.csv").write_bytes("user_id,item_id\ncaf\u00e9,1\nb,2\n".encode("latin-1"))
    for file, count, line in (("a.csv", 1, 42), ("a.jsonl", 2, 2), ("b.csv", 1, 2)):
        (found,) = (f for f in checked({"interactions": tmp_path / file}).findings if f.name == "torn-lines")
        assert (found.severity, found.count) == ("error", count)
        assert found.examples[0].text.startswith(f"line {line}: "), file


def test_mixed_types_are_found_in_objects_json_and_text(tmp_path: Path) -> None:
    values = [*range(20), "many"]
    rows = [{"user_id": n, "item_id": n, "age": value} for n, value in enumerate(values)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pl.DataFrame(rows, infer_schema_length=None).write_csv(tmp_path / "a.csv")
    as_columns = {name: [row[name] for row in rows] for name in rows[0]}
    for source in (rows, as_columns, tmp_path / "a.jsonl", tmp_path / "a.csv"):
        (found,) = (f for f in checked({"interactions": source}).findings if f.name == "mixed-types")
        assert (found.where, found.count, found.examples[0].row) == ("interactions.age", 1, 20)


def test_what_only_the_strict_reader_refuses_is_an_error_too() -> None:
    days = [dt.date(2024, 1, 1 + n % 28) for n in range(360)]
    found = checked({**changed("interactions", "user_id", lambda old: days), "users": None})
    (error,) = found.of("error")
    assert error.name == "not-loadable" and "2024" in error.message


def test_utf_16_is_said_to_be_that(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("user_id,item_id\n1,2\n".encode("utf-16"))
    with pytest.raises(DataError, match="is UTF-16"):
        validate(path)


def test_no_error_means_that_the_table_can_be_loaded_and_the_other_way_round() -> None:
    for *_, make, _ in TRIGGERS[::2]:
        tables = make()
        try:
            sl.datasets.from_tables(**{"guess": False, **tables})
        except DataError:
            assert not checked(tables).ok
        else:
            errors = {f.name for f in checked(tables).of("error")}
            assert errors <= {"missing-ids", "time-unit"}, errors  # blank ids, dates read in a wrong unit


def test_a_column_of_times_is_checked_as_such_though_a_few_cannot_be_read() -> None:
    rows = {
        "user_id": ["a", "b"] * 20,
        "item_id": ["x"] * 40,
        "wann genau": ["27.05.2024"] * 39 + ["gestern"],
    }
    found = {finding.name: finding for finding in checked({"interactions": rows}, guess=True).findings}
    assert [str(one) for one in found["unreadable-times"].examples] == ["row 39: wann genau='gestern'"]


def test_a_stated_unit_of_what_are_dates_already_changes_nothing() -> None:
    rows = {"user_id": ["a"], "item_id": ["x"], "timestamp": [dt.datetime(2024, 5, 27)]}
    assert "ancient-times" not in names(checked({"interactions": rows}, time_unit="ms"))
    (note,) = sl.datasets.from_tables(rows, time_unit="ms").notes
    assert "holds dates or times: the stated unit ms is not used" in note


def test_a_table_of_many_defects_is_reported_in_one_go() -> None:
    tables = with_first("user_id", None, " U1", "nan")
    tables["interactions"]["timestamp"][5:7] = ["soon", 0]
    tables["interactions"]["rating"][8] = "good"
    tables["items"]["item_id"][0] = "i1"
    found = checked(tables)
    assert names(found) >= {
        "missing-ids", "placeholder-ids", "similar-ids", "unreadable-times", "ancient-times",
        "unreadable-ratings", "entity-ids", "absent-ids",
    }  # fmt: skip
    severities = [finding.severity for finding in found.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)


def test_limits_scale_and_ignore_change_what_is_found() -> None:
    assert names(checked(good(), limits=Limits(user_rows=13))) == {"few-rows-per-user"}
    assert names(checked(good(), scale=(1, 4))) == {"ratings-outside-scale"}
    two = rows_added(first_row())
    assert names(checked(two, ignore=["duplicate-rows"])) == {"repeated-pairs"}
    skipped = checked(two, ignore=["duplicate-rows"]).skipped
    assert skipped["duplicate-rows"] == "ignored" and "split-rule" in skipped
    many = with_first("user_id", *[None] * 9)
    assert len(checked(many, limits=Limits(examples=7)).findings[0].examples) == 7


def test_wrong_options_are_refused_with_the_nearest_names() -> None:
    with pytest.raises(DataError, match="no check 'duplicate-row'") as refused:
        checked(good(), ignore=["duplicate-row"])
    assert "'duplicate-rows'" in refused.value.hint
    with pytest.raises(DataError, match="no limit 'user_row'"):
        Limits().changed({"user_row": 3})
    assert Limits().changed({"user_rows": 3.0}).user_rows == 3
    with pytest.raises(DataError, match="no column 'who'"):
        checked(good(), user="who")


def test_columns_keep_their_own_names_in_findings() -> None:
    rows = {"who": ["a", None], "what": ["x", "y"], "when": [1, "?"]}
    found = validate(rows, user="who", item="what", timestamp="when")
    assert {f.where for f in found.of("error")} == {"interactions.who", "interactions.when"}
    assert str(found.of("error")[0].examples[0]) == "row 1: who=None"


def test_the_result_is_shown_as_text_json_and_escaped_html() -> None:
    found = checked(with_first("user_id", "<script>alert(1)</script>", "<SCRIPT>alert(1)</script>"))
    told = json.loads(found.to_json())
    assert told == found.to_dict()
    assert told["ok"] and told["counts"]["warning"] == 2 and "similar-ids" not in told["clean"]
    page = found._repr_html_()
    assert "<script" not in page.lower() and "&lt;script&gt;" in page
    text = str(found)
    assert text.startswith("the dict, 360 rows: 0 errors, 2 warnings")
    assert "warning similar-ids" in text and "hint: " in text and "not run: " in text
    assert max(map(len, text.splitlines())) <= 140


def test_shares_that_are_not_all_never_read_as_all() -> None:
    assert [percent(share) for share in (0, 1e-6, 0.25, 0.99999, 1)] == [
        "0 %", "< 0.1 %", "25 %", "> 99.9 %", "100 %"
    ]  # fmt: skip


def test_the_tables_given_stay_as_they_were() -> None:
    frame = pl.DataFrame(good()["interactions"])
    before = frame.clone()
    validate(frame, rule="random=80%")
    assert frame.equals(before) and frame.columns == before.columns


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-5, 5), st.floats(), st.text(max_size=4),
    st.binary(max_size=3), st.dates(), st.datetimes(), st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), max_size=2),
    st.sampled_from(["1", "2.5", "nan", "", " "]), st.decimals(-9, 9, places=2),
    st.integers(10**9, 2 * 10**9), st.integers(10**18, 10**19), st.timedeltas(),
)  # fmt: skip
KINDS = st.sampled_from(
    [st.integers(0, 3), st.floats(), st.text(max_size=3), st.datetimes(), st.none() | st.integers(), JUNK]
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), n=st.integers(1, 6), guess=st.booleans())
def test_junk_is_reported_and_never_raises(data: st.DataObject, n: int, guess: bool) -> None:
    def column() -> list[Any]:
        return data.draw(st.lists(data.draw(KINDS), min_size=n, max_size=n))

    rows = {name: column() for name in ("user_id", "item_id", "rating", "timestamp", "weight", "x", "y")}
    tables = {"interactions": rows, "items": {"item_id": column(), "z": column()}}
    rule = data.draw(st.sampled_from(["", "random=50%", "time=50%", "hold_last=1"]))
    found = checked(tables, rule=rule, guess=guess)
    json.dumps(found.to_dict(), allow_nan=False)
    assert str(found) and found._repr_html_()
    for finding in found.findings:
        assert finding.count > 0 and 0 < finding.share <= 1, finding


GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "check-your-data.md"


def test_the_guide_names_every_check_in_order_with_its_severities() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in rows] == [check.name for check in CHECKS]
    told = dict(rows)
    for name, severity, *_ in [*TRIGGERS, *WHOLE]:
        assert severity in told[name], name


def test_the_guide_names_every_limit() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert not [name for name in vars(Limits()) if name != "examples" and f"`{name}`" not in text]


def test_the_guide_shows_what_its_code_prints(capsys: pytest.CaptureFixture[str]) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    (code,), (shown,) = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "text"))
    exec(compile(code, GUIDE.name, "exec"), {})
    assert capsys.readouterr().out == shown
