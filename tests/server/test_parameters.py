"""Parameters are read within the bounds that the document tells."""

from __future__ import annotations

from typing import Any

import pytest

from shortlist.server.parameters import Choice, Parameter, Text, Texts, Whole
from shortlist.server.problems import Trouble
from shortlist.server.routes.table import operations

ALL = [(one.name, parameter) for one in operations() for parameter in one.parameters]


def examples(parameter: Parameter) -> tuple[list[tuple[Any, list[str]]], list[list[str]]]:
    """What the document allows, each with what it is read as (first nothing at all), and what it does not."""
    told = parameter.schema
    if isinstance(parameter, Whole):
        least, most = told["minimum"], told["maximum"]
        bad = [str(least - 1), str(most + 1), "", "1.0", "\u0661", "9" * 5_000]
        good = [(least, [str(least)]), (most, [str(most)])]
        return [(told["default"], []), *good], [[text] for text in bad]
    if isinstance(parameter, Choice):
        return [(told["default"], []), *((text, [text]) for text in told["enum"])], [["another"]]
    if isinstance(parameter, Text):
        longest = "x" * told["maxLength"]
        return [("", []), (longest, [longest])], [[longest + "x"]]
    if isinstance(parameter, Texts):
        most = told.get("maxItems", 1_000)
        return [([], []), (["x"] * most, ["x"] * most)], [["x"] * (most + 1)] if "maxItems" in told else []
    return [], []  # a field of a query, which reads it


@pytest.mark.parametrize(("route", "parameter"), ALL, ids=[f"{name}-{one.name}" for name, one in ALL])
def test_bounds_are_those_of_the_document(route: str, parameter: Any) -> None:
    good, bad = examples(parameter)
    for expected, given in good:
        assert parameter.of({parameter.name: given} if given else {}) == expected
    for given in bad:
        with pytest.raises(Trouble) as refused:
            parameter.of({parameter.name: given})
        assert (refused.value.status, refused.value.pointer) == (422, f"/{parameter.name}")


@pytest.mark.parametrize("asked", ["/v1/items?limit=", "/v1/users?q=", "/v1/map?by=", "/v1/recommend/1?k="])
def test_what_is_no_list_is_given_once(client: Any, asked: str) -> None:
    name = asked.partition("?")[2][:-1]
    problem = client.get(f"{asked}1&{name}=2").json()
    assert (problem["status"], problem["pointer"]) == (422, f"/{name}")
    assert problem["detail"] == f"{name} is given 2 times"
