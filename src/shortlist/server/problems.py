"""What goes wrong as problem details (RFC 9457), with the path of the field that is to blame (RFC 6901)."""

from __future__ import annotations

import re
from http import HTTPStatus

import msgspec

from shortlist.errors import BundleError, RequestError, ShortlistError
from shortlist.server.answers.outcomes import Problem
from shortlist.server.events.event import Fault
from shortlist.server.events.trouble import Overloaded, Stopping, StoreError, StoreFull
from shortlist.server.wire import OWN

MEDIA_TYPE = b"application/problem+json"
_AT = re.compile(r"(?P<said>.*) - at `(?:key in )?\$(?P<path>.*)`$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.+?)`", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `(.*?)`(?: - at |$)", re.DOTALL)
_CONTEXT = "context."
_AGAIN = "what was acknowledged is safe; send the rest again later"


class Trouble(Exception):
    """A request that cannot be answered: the status, what to say, and headers such as Retry-After. private:
    what is to be known of it by those alone who read the log."""

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        pointer: str | None = None,
        hint: str = "",
        retry_after: int = 0,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        private: str = "",
    ) -> None:
        super().__init__(detail)
        self.private = private
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
    if found := _UNKNOWN.search(said) or _MISSING.search(said):
        pointer += "/" + escaped(found[1])
    return Trouble(422, said, pointer=pointer)


def of_error(error: ShortlistError, inside: str = "", asked: object = None) -> Trouble:
    """Of what the recommender, a store or a bundle says; inside: the path of what was asked, in the request;
    asked: what that is."""
    if isinstance(error, StoreError):
        return _of_store(error)
    if isinstance(error, BundleError):
        return Trouble(409, str(error), hint=error.hint)
    if isinstance(error, RequestError):
        return Trouble(422, _plain(error), pointer=inside + _pointer_of(error, asked), hint=error.hint)
    return Trouble(500, "a fault inside the server")  # whose message may show what nobody outside may see


def _of_store(error: StoreError) -> Trouble:
    """Files, hosts and what a database says of them are named in the log alone."""
    if isinstance(error, Overloaded):
        return Trouble(503, str(error), retry_after=error.retry_after)
    if isinstance(error, Stopping):
        return Trouble(503, str(error), hint=error.hint, retry_after=1)
    private = f"{error} ({error.hint})" if error.hint else str(error)
    if isinstance(error, StoreFull):
        said = "there is no room left for events: none of those given was kept"
        return Trouble(507, said, hint=_AGAIN, retry_after=60, private=private)
    said = "events cannot be kept or read just now"
    return Trouble(503, said, hint=_AGAIN, retry_after=1, private=private)


def of_fault(fault: Fault) -> Trouble:
    """Of an event that cannot be kept."""
    inside = fault.field.removeprefix(_CONTEXT)  # a name may hold dots of its own
    pointer = f"/{escaped(inside)}" if fault.field else ""
    return Trouble(422, fault.why, pointer="/context" + pointer if inside != fault.field else pointer)


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


def _pointer_of(error: RequestError, asked: object) -> str:
    """The path of the field inside what was asked."""
    index = "" if error.index is None else f"/{error.index}"
    if error.column is None:
        return "" if error.argument is None else f"/{error.argument}{index}"
    if error.argument is not None:
        place = f"/{error.argument}"
    elif error.column in OWN:
        place = ""
    else:
        place = "/item" if error.column in getattr(asked, "item", ()) else "/context"
    return f"{place}/{escaped(error.column)}{index}"


def _plain(error: RequestError) -> str:
    """What is said, without the place, which the pointer tells: the row is not one of the caller's, nor is
    the list of queries that were asked together."""
    index = "" if error.index is None else f", index {error.index}"
    said = str(error).removeprefix(f"row 0, column {error.column!r}{index}: ")
    argument = error.argument or ""
    return said.replace(f"{argument}[0]", argument, 1) if said.startswith(f"{argument}[0]") else said
