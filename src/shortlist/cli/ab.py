"""`shortlist ab`: what an experiment on a server has shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from shortlist.cli.console import Json, Quiet, examples, note, out, out_json, table
from shortlist.cli.events import Place, opened, time_of
from shortlist.errors import RequestError

if TYPE_CHECKING:
    from shortlist.evaluation.intervals import Estimate
    from shortlist.server.experiments import Report

app = typer.Typer(no_args_is_help=True, help="Experiments: two bundles side by side on one server.")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@app.callback()
def _ab() -> None:
    """Two bundles on one server: shortlist serve A --against B --events STORE --impressions."""


@app.command(
    epilog=examples(
        "shortlist ab report events.db",
        "shortlist ab report events.db --success buy --window 7d --metric reached",
        "shortlist ab report events.db --least-rating 4 --against a --share a=90 --share b=10 --json",
    )
)
def report(
    store: Place,
    against: Annotated[
        str, typer.Option("--against", metavar="SIDE", help="Compare others with this side; else the first.")
    ] = "",
    success: Annotated[
        list[str] | None,
        typer.Option("--success", metavar="TYPE", help="Events of this type count; repeatable. Else all."),
    ] = None,
    least_rating: Annotated[
        float | None, typer.Option("--least-rating", metavar="X", help="Only events rated X or better count.")
    ] = None,
    window: Annotated[
        str, typer.Option(metavar="TIME", help="How long after an item was shown: 90m, 24h, 7d.")
    ] = "24h",
    metric: Annotated[
        str,
        typer.Option(help="What there is a verdict of: rate (an impression), per-user, reached (users)."),
    ] = "rate",
    since: Annotated[str, typer.Option(metavar="TIME", help="Only what was shown from then on.")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Only what was shown before.")] = "",
    share: Annotated[
        list[str] | None,
        typer.Option("--share", metavar="SIDE=N", help="How users were to be divided; else equally."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what each side showed, what came of it, and whether they differ.

    A side wins or loses only where the 95 % interval of the difference excludes zero; users are the unit.
    Look once, when the experiment is over: whoever looks daily and stops at the first verdict will find one.
    """
    from shortlist.server.attributing import Success, exposed
    from shortlist.server.experiments import compare

    wanted = Success(tuple(success or ()), least_rating, _seconds(window))
    with opened(store) as events:
        found = exposed(events, wanted, since=time_of("--since", since), until=time_of("--until", until))
    told = compare(found, wanted.sentence, against=against, metric=metric, shares=_shares(share))
    if json:
        out_json(told.to_dict())
        return
    _say(told)
    for warning in told.warnings:
        note(f"warning: {warning}", quiet=quiet)


def _say(told: Report) -> None:
    from shortlist.server.experiments import METRICS

    out(f"success  {told.success}\n")
    rows = [
        [s.name, s.users, s.impressions, s.successes, *(_shown(s.figures[name]) for name in METRICS)]
        for s in told.sides
    ]
    out(table(["side", "users", "impressions", "successes", *METRICS.values()], rows))
    gaps = [
        [f"{one.side} - {one.against}", METRICS[one.metric], _shown(one.difference, "+")]
        for one in told.compared
    ]
    if gaps:
        out("\n" + table(["difference", "of", "95 % interval"], gaps))
    out("")
    for one in told.compared:
        if one.metric == told.metric:
            out(f"verdict  {one.sentence}")
    for shares in told.shares:
        out(
            f"shares   {shares.found:.1%} of users had {shares.side}, expected {shares.expected:.1%}"
            f" (p = {shares.probability:.2g})"
        )
    if told.same is not None:
        out(
            f"A/A      {told.same.differing} of {told.same.splits} random halvings of {told.same.side} seem"
            " to differ, about 1 in 20 is right"
        )
    for side in told.sides:
        versions = ", ".join(f"{name or '(unknown)'} ({count:,})" for name, count in side.versions.items())
        out(f"bundles  {side.name}: {versions}")


def _shown(value: Estimate, sign: str = "") -> str:
    if value.low != value.low:
        return f"{value.value:{sign}.4f}"
    return f"{value.value:{sign}.4f} [{value.low:{sign}.4f}, {value.high:{sign}.4f}]"


def _seconds(text: str) -> int:
    number, unit = (text[:-1], text[-1]) if text and text[-1] in _UNITS else (text, "s")
    if not (number.isascii() and number.isdigit() and 0 < int(number) * _UNITS[unit] <= 10**9):
        raise RequestError(f"--window {text!r} is no span of time", hint="90m, 24h, 7d, or whole seconds")
    return int(number) * _UNITS[unit]


def _shares(given: Sequence[str] | None) -> dict[str, float] | None:
    if not given:
        return None
    shares = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            shares[name] = float(number)
        except ValueError:
            shares[name] = 0.0
        if not name or not 0 < shares[name] < float("inf"):
            raise RequestError(
                f"--share {text!r}: expected SIDE=N, N above 0", hint="--share a=90 --share b=10"
            )
    return shares
