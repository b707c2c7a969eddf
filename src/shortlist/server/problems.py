"""What goes wrong as problem details (RFC 9457), with the path of the field that is to blame (RFC 6901)."""

from __future__ import annotations

import re
from http import HTTPStatus

import msgspec

from shortlist.errors import BundleError, RequestError, ShortlistError
from shortlist.server.events.event import Fault
from shortlist.server.events.trouble import Overloaded, StoreError, StoreFull
from shortlist.server.wire import Problem

MEDIA_TYPE = b"application/problem+json"
_AT = re.compile(r"(?P<said>.*) - at `(?:key in )?\$(?P<path>.*)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `(.+?)`", re.DOTALL)
_CELL = re.compile(r"^row \d+, column '([^']+)'(?:, index (\d+))?: (.*)$", re.DOTALL)
_COLUMN = re.compile(r"^unknown column '(.+)' in the request")
_FILTER = re.compile(r"^(only|exclude|where)(?:\[\d+\])?(?:\[(\d+)\])?[:,] ")
_OWN = frozenset({"user_id", "item_id", "timestamp", "history", "history_timestamp", "history_rating"})


class Trouble(Exception):
    """A request that cannot be answered: the status, what to say, and headers such as Retry-After."""

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        pointer: str | None = None,
        hint: str = "",
        retry_after: int = 0,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.pointer, self.hint = status, detail, pointer, hint
        after = ((b"retry-after", b"%d" % retry_after),) if retry_after else ()
        self.headers = headers + after

    def body(self, request_id: str = "") -> bytes:
        """The problem as JSON."""
        problem = Problem(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            pointer=self.pointer,
            hint=self.hint,
            request_id=request_id,
        )
        return msgspec.json.encode(problem)


def of_json(error: Exception) -> Trouble:
    """Of a body that is no JSON (400), or not what was expected (422)."""
    if not isinstance(error, msgspec.ValidationError):
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return Trouble(400, f"the body is no valid JSON: {said}", pointer="")
    said, pointer = str(error), ""
    if found := _AT.match(said):
        said, pointer = found["said"], _pointer(found["path"])
    if found := _UNKNOWN.search(said):
        pointer += "/" + escaped(found[1])
    return Trouble(422, said, pointer=pointer)


def of_error(error: ShortlistError, inside: str = "") -> Trouble:
    """Of what the recommender, a store or a bundle says; inside: the path of the query that it is said of."""
    if isinstance(error, Overloaded):
        return Trouble(503, str(error), retry_after=error.retry_after)
    if isinstance(error, StoreFull):
        return Trouble(507, str(error), hint=error.hint, retry_after=60)
    if isinstance(error, StoreError):
        return Trouble(503, str(error), hint=error.hint, retry_after=1)
    if isinstance(error, BundleError):
        return Trouble(409, str(error), hint=error.hint)
    if isinstance(error, RequestError):
        said, pointer = _located(str(error))
        return Trouble(422, said, pointer=inside + pointer, hint=error.hint)
    return Trouble(500, str(error), hint=error.hint)


def of_fault(fault: Fault) -> Trouble:
    """Of an event that cannot be kept."""
    steps = fault.field.replace("[", ".").replace("]", "").split(".") if fault.field else []
    return Trouble(422, fault.why, pointer="".join("/" + escaped(step) for step in steps))


def escaped(step: str) -> str:
    """A name as a step of a JSON pointer."""
    return step.replace("~", "~0").replace("/", "~1")


def _pointer(path: str) -> str:
    """`.queries[0].k` -> /queries/0/k; the path ends before a key it does not name."""
    out = ""
    for name, index in _STEP.findall(path):
        if index == "...":
            break
        out += "/" + escaped(name or index)
    return out


def _located(said: str) -> tuple[str, str]:
    """What the recommender says of row 0, as the path of the field; and what else it says."""
    if found := _CELL.match(said):
        name, index, rest = found.groups()
        own = f"/{name}" if name in _OWN else f"/context/{escaped(name)}"
        return rest, own + (f"/{index}" if index else "")
    if found := _COLUMN.match(said):
        return said, f"/context/{escaped(found[1])}"
    if found := _FILTER.match(said):
        return said, f"/{found[1]}" + (f"/{found[2]}" if found[2] else "")
    return said, ""
