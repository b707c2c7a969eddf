from __future__ import annotations

import pytest

from shortlist.data.spans import span


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-0.01, "0.0 s"),
        (0.04, "0.0 s"),
        (4.24, "4.2 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (45.4, "45 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (599.6, "10 min"),
        (725, "12 min"),
        (3590, "1 h 0 min"),
        (10_834, "3 h 1 min"),
        (86_385, "1 day 0 h"),
        (187_300, "2 days 4 h"),
    ],
)
def test_a_time_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert span(seconds) == said
