"""What a server writes to stderr: a JSON object a line.

Of a fault it tells where it happened and not what was in it, because values are ids and what people did.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import threading
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import Any

LOG = logging.getLogger("shortlist.server")
_VALUE = re.compile(r"[(<'\"{\[].*", re.DOTALL)  # where a library begins to show objects
_told_all = False


class Lines(logging.Formatter):
    """A record as a line. What other libraries say is kept up to the first value in it, unless ids may be
    logged."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said = record.getMessage()
        if record.name == LOG.name and said.startswith("{") and record.exc_info is None:
            return said
        if record.name != LOG.name and not _told_all:
            said = _VALUE.sub("...", said)
        line: dict[str, Any] = {"event": "log", "level": record.levelname.lower(), "detail": said.strip()}
        if record.name != LOG.name:
            line["logger"] = record.name
        if record.exc_info and record.exc_info[1] is not None:
            line |= fault(record.exc_info[1])
        return json.dumps(line)


def begin(*, ids: bool = False) -> None:
    """Write lines to stderr, whoever logs; faults that nobody caught too. ids: with what is in them."""
    global _told_all
    _told_all = ids
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOG.setLevel(logging.INFO)
    logging.captureWarnings(True)
    threading.excepthook = lambda given: _uncaught("a thread failed", given.exc_value)
    sys.unraisablehook = lambda given: _uncaught("a fault that could not be raised", given.exc_value)


def of_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What an event loop says of faults that nobody caught."""
    said = str(context.get("message", "a fault in the event loop"))
    _uncaught(said if _told_all else _VALUE.sub("...", said), context.get("exception"))


def log_fault(what: str, error: BaseException, **more: str) -> None:
    """A line about a fault of ours."""
    LOG.error(json.dumps({"event": "fault", "detail": what, **more, **fault(error)}))


def fault(error: BaseException) -> dict[str, Any]:
    """What kind of error, and where: file, line and function of each call, the innermost last."""
    found: dict[str, Any] = {"error": type(error).__name__, "calls": _calls(error.__traceback__)}
    if _told_all:
        found["message"] = str(error)
    return found


def _calls(traceback: TracebackType | None) -> list[str]:
    """The names of what was called; no text of ours or of others, which may show values."""
    calls = []
    for frame, line in walk_tb(traceback):
        code = frame.f_code
        calls.append(f"{'/'.join(Path(code.co_filename).parts[-2:])}:{line} {code.co_name}")
    return calls[-30:]


def _uncaught(what: str, error: BaseException | None) -> None:
    if error is None:
        LOG.error(json.dumps({"event": "fault", "detail": what}))
    else:
        log_fault(what, error)
