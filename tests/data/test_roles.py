"""Which column is what: headers of well-known tables, in any order of columns; errors where two fit."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.data.datasets import from_tables
from shortlist.data.roles import event_weights, guess_key, guess_roles
from shortlist.errors import DataError

ROWS = 120
Column = Callable[[int], Any]


def ints(many: int, start: int = 1) -> Column:
    return lambda i: start + random.randrange(many)


def texts(start: str, many: int) -> Column:
    return lambda i: f"{start}{random.randrange(many)}"


def one_of(*values: Any) -> Column:
    return lambda i: random.choice(values)


def second(i: int) -> int:
    return 1_500_000_000 + random.randrange(10**7)


def table(columns: dict[str, Column], rows: int = ROWS) -> pl.DataFrame:
    random.seed(0)
    return pl.DataFrame({name: [make(i) for i in range(rows)] for name, make in columns.items()})


USERS, ITEMS = ints(30), ints(40)
STARS = one_of(1, 2, 3, 4, 5)
DAY = one_of("2018-09-20", "2018-09-21")
TABLES: dict[str, tuple[dict[str, Column], dict[str, str]]] = {
    "MovieLens": (
        {"userId": USERS, "movieId": ITEMS, "rating": one_of(0.5, 4.0), "timestamp": second},
        {"user": "userId", "item": "movieId", "rating": "rating", "timestamp": "timestamp"},
    ),
    "Amazon": (
        {
            "reviewerID": texts("A", 30),
            "asin": texts("B", 40),
            "overall": one_of(1.0, 5.0),
            "unixReviewTime": second,
            "reviewTime": one_of("09 13, 2009", "01 2, 2010"),
            "vote": ints(90),
            "reviewText": lambda i: f"the review number {i} of many",
        },
        {"user": "reviewerID", "item": "asin", "rating": "overall", "timestamp": "unixReviewTime"},
    ),
    "clicks": (
        {
            "timestamp": lambda i: second(i) * 1000,
            "visitorid": USERS,
            "event": one_of("view", "addtocart"),
            "itemid": ITEMS,
        },
        {"user": "visitorid", "item": "itemid", "event": "event", "timestamp": "timestamp"},
    ),
    "fashion": (
        {"t_dat": DAY, "customer_id": texts("c", 30), "article_id": ints(40, 10**8), "channel": one_of(1, 2)},
        {"user": "customer_id", "item": "article_id", "timestamp": "t_dat"},
    ),
    "reviews": (
        {"review_id": lambda i: f"r{i}", "user_id": USERS, "business_id": ITEMS, "stars": STARS, "date": DAY},
        {"user": "user_id", "item": "business_id", "rating": "stars", "timestamp": "date"},
    ),
    "shop": (
        {
            "event_time": one_of("2019-11-01 00:00:00 UTC", "2019-11-02 00:00:01 UTC"),
            "event_type": one_of("view", "cart", "purchase", "remove_from_cart"),
            "product_id": ITEMS,
            "category_id": ints(20, 2 * 10**18),
            "brand": texts("b", 30),
            "user_id": ints(30, 5 * 10**8),
            "user_session": texts("s", 90),
        },
        {"user": "user_id", "item": "product_id", "event": "event_type", "timestamp": "event_time"},
    ),
    "sessions": (
        {
            "session_id": USERS,
            "item_id": ITEMS,
            "seen": one_of("2014-04-07T10:51:09.277Z", "2014-04-08T00:00:00Z"),
        },
        {"user": "session_id", "item": "item_id", "timestamp": "seen"},
    ),
    "invoices": (
        {
            "InvoiceNo": ints(60),
            "StockCode": texts("8", 40),
            "Quantity": ints(30, -3),
            "InvoiceDate": one_of("12/1/2010 8:26", "12/31/2010 18:26"),
            "CustomerID": ints(30, 17_000),
        },
        {"user": "CustomerID", "item": "StockCode", "timestamp": "InvoiceDate"},
    ),
    "books": (
        {"User-ID": USERS, "ISBN": texts("03", 40), "Book-Rating": one_of(0, 5, 10)},
        {"user": "User-ID", "item": "ISBN", "rating": "Book-Rating"},
    ),
    "nameless item": (
        {"user_id": USERS, "thing": texts("t", 40), "tv": one_of("a", "b")},
        {"user": "user_id", "item": "thing"},
    ),
    "nameless event": (
        {"user": USERS, "item": ITEMS, "what": one_of("click", "like", "buy"), "when": DAY},
        {"user": "user", "item": "item", "event": "what", "timestamp": "when"},
    ),
}
FRAMES = {name: table(columns) for name, (columns, _) in TABLES.items()}


@pytest.mark.parametrize("name", TABLES)
def test_roles_of_well_known_tables(name: str) -> None:
    found = guess_roles(FRAMES[name])
    assert {guess.role: guess.column for guess in found.guesses if guess.role != "context"} == TABLES[name][1]
    assert all(guess.reason for guess in found.guesses)


@settings(max_examples=12)
@given(name=st.sampled_from(sorted(TABLES)), order=st.randoms(use_true_random=False))
def test_the_order_of_columns_and_rows_changes_nothing(name: str, order: random.Random) -> None:
    frame = FRAMES[name]
    shuffled = frame.select(order.sample(frame.columns, frame.width)).sample(fraction=1, shuffle=True, seed=1)
    known, found = guess_roles(frame), guess_roles(shuffled)
    assert sorted(known.guesses, key=lambda g: g.column) == sorted(found.guesses, key=lambda g: g.column)
    assert known.time_unit == found.time_unit


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("MovieLens", "s"),
        ("clicks", "ms"),
        ("fashion", ""),
        ("shop", ""),
        ("invoices", "%m/%d/%Y %H:%M"),
        ("books", ""),
    ],
)
def test_units_of_times(name: str, unit: str) -> None:
    assert guess_roles(FRAMES[name]).time_unit == unit


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([1_500_000_000_000_000, 1_500_000_001_000_000], "us"),
        ([1_500_000_000_000_000_000], "ns"),
        ([20_200_131, 20_191_201], "yyyymmdd"),
        (["03.12.20 8:00", "31.12.20 9:00"], ""),
        (["31.12.2020 9:00"], "%d.%m.%Y %H:%M"),
        ([1.6e12, 1.7e12], "ms"),
        (["Tue Apr 03 18:00:09 +0000 2012"], "%a %b %d %H:%M:%S %z %Y"),
        ([pl.Series([1_600_000_000]).cast(pl.Datetime("ms"))[0]], ""),
    ],
)
def test_forms_of_times(values: list[Any], unit: str) -> None:
    frame = pl.DataFrame({"user_id": range(len(values)), "item_id": 1, "seen": values})
    assert guess_roles(frame).time_unit == unit


def test_times_of_every_form_are_the_same_seconds() -> None:
    at = 1_583_107_200  # 2020-03-02 00:00 UTC
    forms: list[Any] = [at, at * 10**3, at * 10**6, at * 10**9, float(at), 20_200_302, "2020-03-02T00:00:00Z"]
    for value in [
        *forms,
        "2020-03-02",
        "March 2, 2020",
        "2020/03/02 00:00:00",
        "Mon Mar 02 00:00:00 +0000 2020",
    ]:
        data = from_tables({"user_id": [1], "item_id": [2], "seen": [value]})
        assert data.interactions["timestamp"].to_list() == [at], value


def test_event_types_are_proposed_weights_that_make_the_rows_weights() -> None:
    types = ["view"] * 3 + ["addToCart", "Purchase", "remove_from_cart", "teleport"]
    assert event_weights(pl.Series("e", types)) == {
        "view": 1, "addToCart": 3, "Purchase": 5, "remove_from_cart": 0, "teleport": 1,
    }  # fmt: skip
    rows = {"user": range(7), "item": [1] * 7, "weight": [2] * 7, "event": types}
    data = from_tables(rows)
    assert data.interactions.rows() == [
        (str(u), "1", w) for u, w in zip([0, 1, 2, 3, 4, 6], [2, 2, 2, 6, 10, 2], strict=True)
    ]
    chosen = {"view": 0, "addToCart": 0, "Purchase": 0.5, "remove_from_cart": 0, "teleport": 0}
    assert from_tables(rows, event_weights=chosen).interactions.rows() == [("4", "1", 1.0)]
    del chosen["teleport"]
    with pytest.raises(DataError, match=r"column 'event', row 6: .* got 'teleport'") as caught:
        from_tables(rows, event_weights=chosen)
    assert "teleport = 1" in caught.value.hint and "--set data.event_weights.teleport=1" in caught.value.hint
    unsaid = {"user": range(3), "item": [1] * 3, "event": ["view", "view", None]}
    read = from_tables(unsaid, event="event", event_weights=chosen | {"view": 0.5})
    assert read.interactions["weight"].to_list() == [0.5, 0.5, 1.0]


@pytest.mark.parametrize(
    ("columns", "words", "hint"),
    [
        (
            {"customer_id": USERS, "client_id": USERS, "item_id": ITEMS},
            "'client_id' .* or 'customer_id' .* could each be the user",
            "--user client_id",
        ),
        (
            {"user_id": USERS, "a": ITEMS, "b": ITEMS},
            "item cannot be told: it could be 'a' .* or 'b'",
            "--item COLUMN",
        ),
        ({"a": USERS, "b": ITEMS}, "no column 'user_id', .* 'a' .* or 'b'", "--user COLUMN"),
        ({"a": USERS, "b": ITEMS, "Day": DAY}, "no column 'user_id'", "known: a, b, Day"),
        ({"item_id": ITEMS, "price": lambda i: i / 7}, "no column 'user_id'", "--user COLUMN"),
        (
            {"user_id": USERS, "item_id": ITEMS, "order_date": DAY, "invoice_date": DAY},
            "could each be the timestamp",
            "--timestamp none",
        ),
        (
            {"user_id": USERS, "item_id": ITEMS, "date": one_of("01/02/2020", "03/04/2020")},
            "'date' read as %d/%m/%Y and as %m/%d/%Y",
            "--time-unit",
        ),
        (
            {"user_id": USERS, "item_id": ITEMS, "stars": STARS, "score": STARS},
            "each be the rating",
            "--rating score",
        ),
    ],
)
def test_what_cannot_be_told_is_asked(columns: dict[str, Column], words: str, hint: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        guess_roles(table(columns))
    assert hint in caught.value.hint


def test_numbers_of_a_wide_range_are_no_ratings_by_a_doubtful_name() -> None:
    for most, column in ((10, "value"), (500, None)):
        found = guess_roles(table({"user_id": USERS, "item_id": ITEMS, "value": ints(most, 0)}))
        assert found.column("rating") == column


def test_ids_that_read_as_times_are_no_times() -> None:
    for name, role in (("seen", "timestamp"), ("basket_no", "context")):
        found = guess_roles(table({"user_id": USERS, "item_id": ITEMS, name: second}))
        assert {guess.column: guess.role for guess in found.guesses}[name] == role


def test_what_was_said_goes_before_what_is_guessed() -> None:
    frame = table(
        {"user_id": USERS, "client_id": USERS, "item_id": ITEMS, "order_date": DAY, "invoice_date": DAY}
    )
    found = guess_roles(frame, {"user": "client_id", "timestamp": ""})
    assert (found.column("user"), found.column("timestamp")) == ("client_id", None)
    with pytest.raises(DataError, match="no column 'clientid'") as caught:
        guess_roles(frame, {"user": "clientid"})
    assert "did you mean 'client_id'" in caught.value.hint
    data = from_tables(
        {"user_id": [1], "item_id": [2], "rating": [3], "timestamp": [4]}, rating="", timestamp=""
    )
    assert data.interactions.columns == ["user_id", "item_id"]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("date", "soon", "'date', row 7: expected a time.* got 'soon'"),
        ("stars", "five", "'stars', row 7: expected a finite number, got 'five'"),
    ],
)
def test_a_wrong_value_does_not_hide_a_role(column: str, value: str, words: str) -> None:
    usual = {"date": "2020-01-01", "stars": "3"}[column]
    frame = table({"user_id": USERS, "item_id": ITEMS, column: lambda i: value if i == 7 else usual})
    with pytest.raises(DataError, match=words):
        from_tables(frame)


@pytest.mark.parametrize("name", ["wann genau", "seen_at"])
@pytest.mark.parametrize("form", ["2020-01-0{} 10:00:00", "2{}.05.2024", "2{}.05.2024 8:15"])
def test_a_few_unreadable_times_are_an_error_not_another_column(name: str, form: str) -> None:
    seen = {"who": USERS, "what": ITEMS, name: lambda i: "gestern" if i in (7, 9) else form.format(i % 7 + 1)}
    with pytest.raises(DataError, match=f"'{name}', row 7: .* got 'gestern'.* but 2 of 120 rows") as caught:
        from_tables(table(seen), user="who", item="what")
    assert "--timestamp none" in caught.value.hint
    assert from_tables(table(seen), user="who", item="what", timestamp="").interactions.width == 3


def test_days_written_as_texts_are_no_times() -> None:
    frame = table({"user_id": USERS, "item_id": ITEMS, "day": one_of("1", "28"), "seen": DAY})
    assert guess_roles(frame).column("timestamp") == "seen"


def test_a_few_numbers_that_are_no_times_leave_the_others_times() -> None:
    frame = table({"user_id": USERS, "item_id": ITEMS, "seen": lambda i: 0 if i == 3 else second(i)})
    guess = {guess.role: guess for guess in guess_roles(frame).guesses}["timestamp"]
    assert (guess.column, guess.reason) == (
        "seen",
        "the only times: seconds since 1970, but for 1 of 120 rows",
    )


def test_ids_of_items_are_found_by_what_they_hold(tmp_path: Path) -> None:
    events = {"customer": ["a", "b", "a"], "sku": ["007", "8", "9"]}
    pl.DataFrame({"nr": [1, 2, 3], "id": ["9", "8", "007"], "name": ["x", "y", "z"]}).write_csv(
        tmp_path / "items.csv"
    )
    data = from_tables(events, items=tmp_path / "items.csv")
    assert data.items.rows() == [("9", 1, "x"), ("8", 2, "y"), ("007", 3, "z")]
    assert "the item's id in its own table is 'id'" in data.notes[-1]
    assert from_tables(events, items=tmp_path / "items.csv", item_key="name").items.height == 6
    with pytest.raises(DataError, match="no column holds ids of the interactions' column 'sku'") as caught:
        from_tables(events, items={"name": ["x"], "price": [3.5]})
    assert "--item-key" in caught.value.hint
    ids = pl.Series(["1", "2"])
    frame = pl.DataFrame({"row": [1, 2], "movie_id": [2, 1]})
    assert guess_key(frame, "item", ids, name="film").column == "movie_id"
