"""`validate`: raw tables read leniently, every check run, everything found reported."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import polars as pl

from shortlist.data.checks import columns, crowds, ids, leakage, numbers, parts, rows, times
from shortlist.data.checks.finding import SEVERITIES, Check, Finding, Hit, Limits
from shortlist.data.checks.gathering import PARTS, Gathered, gather, place_of
from shortlist.data.checks.result import Validation
from shortlist.data.checks.subject import Subject
from shortlist.data.dataset import Dataset, from_tables
from shortlist.data.reading import Source
from shortlist.data.splits import Split, parse_rule
from shortlist.errors import DataError, did_you_mean

LOADING = Check(
    "not-loadable",
    lambda subject: (),
    "repair what the message names; nothing can be trained on the table before",
)
CHECKS: tuple[Check, ...] = (
    *rows.CHECKS,
    *ids.CHECKS,
    *times.CHECKS,
    *numbers.CHECKS,
    *columns.CHECKS,
    *leakage.CHECKS,
    *crowds.CHECKS,
    *parts.CHECKS,
    LOADING,
)
"""Every check, in the order in which findings of one severity are reported."""


def validate(
    interactions: Source | Dataset | Split,
    users: Source | None = None,
    items: Source | None = None,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    timestamp: str | None = None,
    weight: str | None = None,
    time_unit: str = "",
    guess: bool = True,
    rule: str = "",
    seed: int = 42,
    scale: tuple[float, float] | None = None,
    ignore: Collection[str] = (),
    limits: Limits | None = None,
    name: str = "",
    now: float | None = None,
) -> Validation:
    """Every named check of `CHECKS` on raw tables: what is wrong or doubtful, how often, where, what to do.

    interactions: whatever `read_table` takes, a folder of train.parquet, validation.parquet and
    test.parquet (as `shortlist data split` writes), a Dataset or a Split; users and items belong to the
    first two. user, item, rating, timestamp, weight, time_unit, guess: as in `from_tables`. rule: a split in
    the syntax of `splits.parse_rule`, made of the rows that can be split, to be checked too. scale: the
    lowest and the highest rating there may be. ignore: names of checks that are not run. now: seconds since
    1970, the clock's by default.

    Reads leniently: rows the strict reader refuses are findings, not exceptions. Raises DataError where a
    table cannot be read at all or has no column of ids, and for an unknown check, limit or rule.
    """
    for unknown in set(ignore) - {check.name for check in CHECKS}:
        raise DataError(
            f"there is no check {unknown!r}", hint=did_you_mean(unknown, (c.name for c in CHECKS))
        )
    named = {"user": user, "item": item, "rating": rating, "timestamp": timestamp, "weight": weight}
    gathered = gather(interactions, users, items, named, guess=guess, time_unit=time_unit)
    if gathered.subject.has("timestamp") and gathered.subject.rows["timestamp"].dtype.is_temporal():
        time_unit = ""  # these need none
    subject = replace(
        gathered.subject,
        now=time.time() if now is None else now,
        scale=scale,
        limits=limits or Limits(),
        time_unit=time_unit or gathered.subject.time_unit,
        unit_stated=bool(time_unit),
    )
    if rule:
        subject = _divided(subject, rule, seed)
    found = _run(subject, [check for check in CHECKS if check.name not in ignore], gathered)
    return _result(name or place_of(interactions), subject, found, set(ignore))


def _divided(subject: Subject, rule: str, seed: int) -> Subject:
    """With the parts a rule makes of the rows that have ids, and a time where there are times."""
    how = parse_rule(rule)
    if subject.part is not None:
        raise DataError("a split cannot be split again", hint="leave the rule out")
    frame = pl.DataFrame([subject.user, subject.item, *([subject.time] if subject.has("timestamp") else [])])
    frame = frame.with_row_index("_row").drop_nulls()
    try:
        made = how.apply(Dataset(frame, frame.select("user_id"), frame.select("item_id")), seed=seed)
    except DataError as error:
        return replace(subject, rule=rule, rule_problem=f"{error} ({error.hint})")
    part = [getattr(made, name).select("_row", pl.lit(name).alias("part")) for name in PARTS]
    every = pl.DataFrame({"_row": pl.arange(subject.rows.height, dtype=pl.get_index_type(), eager=True)})
    placed = every.join(pl.concat(part), on="_row", how="left", maintain_order="left")
    return replace(subject, rule=rule, part=placed["part"])


def _run(subject: Subject, checks: list[Check], gathered: Gathered) -> list[Finding]:
    found = [
        Finding.of(check, hit)
        for check in checks
        if all(subject.has(need) for need in check.needs)
        for hit in check.run(subject)
    ]
    if LOADING in checks and all(finding.severity != "error" for finding in found):
        found += [Finding.of(LOADING, hit) for hit in _loading(subject, gathered)]
    return found


def _loading(subject: Subject, gathered: Gathered) -> Iterator[Hit]:
    """What the strict reader says of tables in which no check found an error."""
    if gathered.tables is None:
        return
    rows, users, items = gathered.tables
    unit = subject.time_unit if subject.unit_stated else ""
    options: dict[str, Any] = {**gathered.options, "time_unit": unit}
    problem = gathered.refused
    if not problem:
        try:
            from_tables(rows, users, items, **options)
        except DataError as error:
            problem = str(error)
    if problem:
        yield Hit("error", rows.height, rows.height, "tables", f"the strict reader refuses: {problem}")


def _result(name: str, subject: Subject, found: list[Finding], ignored: Collection[str]) -> Validation:
    skipped: dict[str, str] = {}
    for check in CHECKS:
        lacking = [need for need in check.needs if not subject.has(need)]
        if check.name in ignored:
            skipped[check.name] = "ignored"
        elif lacking:
            skipped[check.name] = f"no {lacking[0]}"
    ordered = sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
    named = {finding.name for finding in found} | skipped.keys()
    clean = tuple(check.name for check in CHECKS if check.name not in named)
    return Validation(name, subject.rows.height, tuple(ordered), clean, skipped, subject.names)
