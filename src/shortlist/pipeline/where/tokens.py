"""The words of a predicate: names, numbers, texts and signs, each with its place."""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from shortlist.errors import FilterError

LONGEST = 1 << 16
"""Characters of a predicate, at most."""
_DIGITS = 40  # of a number: int64 has 19

KEYWORDS = frozenset({"and", "or", "not", "in", "is", "missing"})
Kind = Literal["name", "keyword", "number", "text", "sign", "end"]


class Token(NamedTuple):
    """A word. value: a column's name, a keyword in small letters, a number, a text or a sign. start: its
    place in the predicate, from 0. written: how it stands there."""

    kind: Kind
    value: Any
    start: int
    written: str


_WORD = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<name>[^\W\d]\w*)
  | (?P<quoted>`(?:[^`]|``)*`)
  | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
  | (?P<sign>==|!=|<=|>=|<(?!>)|>|\(|\)|\[|\]|,)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_HINTS = {
    "=": "values are compared with ==",
    "<>": "differs is !=",
    "&": "join conditions with `and`",
    "|": "join conditions with `or`",
    "!": "turn a condition round with `not`",
    "'": "the text has no closing quote",
    '"': "the text has no closing quote",
    "`": "the column's name has no closing backtick",
}


def tokens(text: str) -> list[Token]:
    """The words of a predicate, an "end" after the last. FilterError names what is none and where."""
    if not isinstance(text, str):
        raise FilterError(f"where must be a text, got {text!r} ({type(text).__name__})", text="", position=0)
    if len(text) > LONGEST:
        raise FilterError(
            f"where has {len(text):,} characters, at most {LONGEST:,} are read",
            text=text,
            position=LONGEST,
            hint="choose from many ids with only= or exclude=",
        )
    found, at = [], 0
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None:
            raise _unreadable(text, at)
        kind, written = str(match.lastgroup), match[0]
        if kind != "space":
            found.append(_token(text, kind, written, at))
        at = match.end()
    return [*found, Token("end", "", len(text), "")]


def _token(text: str, kind: str, written: str, at: int) -> Token:
    if kind == "number":
        return Token("number", _number(text, written, at), at, written)
    if kind == "quoted":
        return Token("name", written[1:-1].replace("``", "`"), at, written)
    if kind == "text":
        return Token("text", _text(text, written, at), at, written)
    if kind == "name" and written.lower() in KEYWORDS:
        return Token("keyword", written.lower(), at, written)
    return Token("name" if kind == "name" else "sign", written, at, written)


def _number(text: str, written: str, at: int) -> int | float:
    if len(written) > _DIGITS:
        raise FilterError(
            f"a number of {len(written)} characters, at most {_DIGITS} are read", text=text, position=at
        )
    if written.lstrip("+-").isdecimal():
        return int(written)
    value = float(written)
    if value in (float("inf"), float("-inf")):
        raise FilterError(f"{written} is too large a number", text=text, position=at)
    return value


def _text(text: str, written: str, at: int) -> str:
    def plain(match: re.Match[str]) -> str:
        if code := match[1] or match[2]:
            return chr(int(code, 16))
        if match[3] not in _ESCAPED:
            raise FilterError(
                f"unknown escape {match[0]!r}",
                text=text,
                position=at + 1 + match.start(),
                hint=r"known: \\ \' \" \n \t \r \xNN \uNNNN",
            )
        return _ESCAPED[match[3]]

    found = _ESCAPE.sub(plain, written[1:-1])
    try:  # a character beyond \uffff is written as two halves
        return found.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise FilterError(
            f"the text {found!r} holds half a character",
            text=text,
            position=at,
            hint=r"write the character itself, or both halves: \ud83d\ude00",
        ) from None


def _unreadable(text: str, at: int) -> FilterError:
    sign = "<>" if text.startswith("<>", at) else text[at]
    if re.match(r"[+-]?\.?\d", text[at:]):
        word = re.match(r"[\w.+-]+", text[at:])
        shown = word[0][:_DIGITS] if word else sign
        return FilterError(f"{shown!r} is no number", text=text, position=at)
    hint = _HINTS.get(sign, "")
    if not hint and (not sign.isascii() or sign in "#$%?@"):
        hint = "a column's name with other signs than letters, digits and _ goes in backticks: `€ price` < 20"
    return FilterError(f"{sign!r} is not understood", text=text, position=at, hint=hint)
