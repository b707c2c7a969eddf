"""The command line: `shortlist`, one module a verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

from typing import Annotated

import typer

from shortlist.cli import (
    ab,
    compare,
    data,
    doctor,
    evaluate,
    events,
    export,
    index,
    init,
    inspect,
    recommend,
    reproduce,
    runs,
    score,
    serve,
    similar,
    train,
    tune,
    validate,
    verify,
)
from shortlist.cli.console import EXIT_CODES, Verbs

START = """\b
Start here:
  shortlist train ml100k-ids -o runs/demo
  shortlist recommend runs/demo --user 42 -k 10

"""

app = typer.Typer(
    name="shortlist",
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: the same in a terminal and in a pipe, and quick
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=START + EXIT_CODES,
)


def _version(asked: bool) -> None:
    if asked:
        from shortlist import __version__

        typer.echo(f"shortlist {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="SHORTLIST_DEBUG", help="Show where an error was raised.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From a table of what people did to a ranked shortlist: train, measure, recommend.

    Data goes to stdout, notes and progress to stderr.
    """


data.app.command(epilog=validate.EXAMPLES)(validate.validate)
app.add_typer(data.app, name="data")
app.command(epilog=init.EXAMPLES)(init.init)
app.command(epilog=train.EXAMPLES)(train.train)
app.command(epilog=tune.EXAMPLES)(tune.tune)
app.command(epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(epilog=compare.EXAMPLES)(compare.compare)
app.command(epilog=recommend.EXAMPLES)(recommend.recommend)
app.command(epilog=score.EXAMPLES)(score.score)
app.command(epilog=similar.EXAMPLES)(similar.similar)
app.command(epilog=export.EXAMPLES)(export.export)
app.command(epilog=inspect.EXAMPLES)(inspect.inspect)
app.command(epilog=verify.EXAMPLES)(verify.verify)
app.add_typer(index.app, name="index")
app.command(epilog=reproduce.EXAMPLES)(reproduce.reproduce)
app.add_typer(runs.app, name="runs")
app.command(epilog=serve.EXAMPLES)(serve.serve)
app.command(epilog=serve.KEY_EXAMPLES)(serve.key)
app.add_typer(events.app, name="events")
app.add_typer(ab.app, name="ab")
app.command(epilog=doctor.EXAMPLES)(doctor.doctor)


def main() -> None:
    """Run the command line and leave with its exit code."""
    app(prog_name="shortlist")
