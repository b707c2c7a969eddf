"""Every error Shortlist raises on purpose.

    ShortlistError
    ├── DataError            a table, file, column, row or value is not what was expected
    │   └── DownloadError    no source of a data set could be reached or verified
    ├── SpecError            a feature, model or task is declared in a way that cannot be built
    ├── RecipeError          a recipe file is wrong; the message carries the path inside it
    ├── TrainingError        training cannot go on
    │   ├── NonFiniteLoss    a loss became NaN or infinite
    │   └── NotEnoughMemory  a run cannot fit into the memory there is
    ├── ExportError          a model has no faithful ONNX form
    │   └── UnsupportedPrimitive  one of its operations has none
    ├── BundleError          a bundle on disk cannot be loaded or written
    │   ├── BundleCorrupted  a file is missing, truncated or altered
    │   └── BundleVersion    written by a newer, incompatible format
    ├── RequestError         a question to a recommender is malformed (k, ids, columns)
    │   └── FilterError      its where= cannot be understood, or does not fit the items' columns
    └── MissingExtra         an optional dependency is not installed

Each carries a `hint`: what to do about it. `str(error)` is the message alone; the command line
prints both.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class ShortlistError(Exception):
    """Base of all errors raised on purpose. `hint` says what to do, or is empty."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")  # a traceback shows notes below the message


class DataError(ShortlistError):
    """A table, file, column, row or value is not what was expected."""


class DownloadError(DataError):
    """No source of a data set could be reached or verified."""


class SpecError(ShortlistError, ValueError):
    """A feature, model or task is declared in a way that cannot be built."""


class RecipeError(ShortlistError):
    """A recipe is wrong; the message carries the path inside it."""


class TrainingError(ShortlistError):
    """Training cannot go on."""


class NonFiniteLoss(TrainingError):
    """A loss became NaN or infinite."""


class NotEnoughMemory(TrainingError):
    """A run cannot fit into the memory there is; the message carries the arithmetic."""


class ExportError(ShortlistError):
    """A model has no faithful ONNX form."""


class UnsupportedPrimitive(ExportError):
    """A model uses an operation that has no ONNX form here."""


class BundleError(ShortlistError):
    """A bundle cannot be loaded or written."""


class BundleCorrupted(BundleError):
    """A file of a bundle is missing, truncated or altered."""


class BundleVersion(BundleError):
    """A bundle was written by a newer, incompatible format."""


class RequestError(ShortlistError, ValueError):
    """A question to a recommender is malformed. column: of the request, where one is to blame; argument:
    beside the request, such as `only`; index: in a list, of either."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        column: str | None = None,
        argument: str | None = None,
        index: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.column, self.argument, self.index = column, argument, index


class FilterError(RequestError):
    """A predicate cannot be understood, or does not fit the columns. text: all of it; position: where in it,
    from 0; query: whose it is, where it is of one among several. The message counts characters from 1."""

    def __init__(
        self, message: str, *, text: str, position: int, hint: str = "", query: int | None = None
    ) -> None:
        place = "where" if query is None else f"where[{query}]"
        super().__init__(f"{place}, character {position + 1}: {message}", hint=hint, argument="where")
        self.reason, self.text, self.position, self.query = message, text, position, query

    def of_query(self, query: int) -> FilterError:
        """The same, said of one query."""
        return FilterError(self.reason, text=self.text, position=self.position, hint=self.hint, query=query)


class MissingExtra(ShortlistError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            hint=f"install Shortlist with its extra '{extra}': pip install '.[{extra}]' in a checkout",
        )


def shortened(text: str, most: int = 60) -> str:
    """A text as it may stand in a message: its beginning, where it is long."""
    return text if len(text) <= most else text[: most - 3] + "..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint naming the nearest of the `known` names, then all of them (at most 20)."""
    names = [str(k) for k in known]
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    shown = ", ".join(map(shortened, names[:20])) + (", ..." if len(names) > 20 else "")
    start = f"did you mean {' or '.join(repr(shortened(n)) for n in near)}? " if near else ""
    return f"{start}known: {shown}" if names else start.strip()


_REFUSED = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room: no more may be written in your name",
    errno.EFBIG: "the system allows no file of this size here (ulimit -f)",
    errno.EACCES: "may you write there?",
    errno.EROFS: "may you write there?",
}


def what_to_do(error: OSError) -> str:
    """What to do where the system refuses to write, or "" where that is not known."""
    return _REFUSED.get(error.errno or 0, "" if error.errno else "is there room on the disk?")
