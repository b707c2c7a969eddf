"""The root of every declaration: frozen, comparable, hashable, JSON and TOML in and out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from math import isfinite
from typing import Any, Self

import msgspec

from shortlist.errors import SpecError


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A declaration without arrays or code.

    Values are held to their declared types, in Python as in a file (SpecError shows the field). Lists become
    tuples and whole numbers floats where those are declared, so that equal specs have equal hashes.
    """

    def __post_init__(self) -> None:
        for name, kind in _field_types(type(self)):
            value = getattr(self, name)
            typed = _typed(value, kind, f"{type(self).__name__}.{name}")
            if typed is not value:
                msgspec.structs.force_setattr(self, name, typed)
        self.check()

    def check(self) -> None:
        """Raise SpecError where the declaration contradicts itself."""

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.to_json()))

    def to_json(self) -> str:
        return msgspec.json.encode(self, order="deterministic").decode()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, defaults included, nulls left out (TOML has none)."""
        plain: dict[str, Any] = _without_nulls(msgspec.to_builtins(self))
        return plain

    def to_toml(self) -> str:
        import tomli_w

        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        made: Self = _convert(lambda: msgspec.convert(plain, cls), cls)
        return made

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        made: Self = _convert(lambda: msgspec.json.decode(text, type=cls), cls)
        return made

    @classmethod
    def from_toml(cls, text: str) -> Self:
        try:
            plain = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"not valid TOML: {error}") from error
        return cls.from_dict(plain)


def positive(spec: Spec, *names: str) -> None:
    """Check that the named fields are above zero."""
    for name in names:
        value = getattr(spec, name)
        if not value > 0:
            raise SpecError(f"{type(spec).__name__}.{name} must be above 0, got {value!r}")


def not_negative(spec: Spec, *names: str) -> None:
    """Check that the named fields are not below zero."""
    for name in names:
        value = getattr(spec, name)
        if not value >= 0:
            raise SpecError(f"{type(spec).__name__}.{name} must not be negative, got {value!r}")


def share(spec: Spec, *names: str) -> None:
    """Check that the named fields lie in [0, 1)."""
    for name in names:
        value = getattr(spec, name)
        if not 0 <= value < 1:
            raise SpecError(f"{type(spec).__name__}.{name} must lie in [0, 1), got {value!r}")


@cache
def _field_types(cls: type[Spec]) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.type) for field in msgspec.structs.fields(cls))


def _typed(value: Any, kind: Any, where: str) -> Any:
    """The value as its declared type; SpecError where it has no such form."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a NumPy number
    try:
        typed = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise SpecError(f"{where} is {value!r}: {error}") from error
    if not isinstance(typed, float):
        return typed
    if not isfinite(typed):
        raise SpecError(f"{where} must be finite, got {typed!r}")
    return typed or 0.0  # -0.0 equals 0.0, so it must hash and print like it


def _convert(read: Any, cls: type) -> Any:
    try:
        return read()
    except msgspec.ValidationError as error:
        cause = error.__cause__  # a check's own error carries its hint
        hint = cause.hint if isinstance(cause, SpecError) else _nearest_key(str(error))
        raise SpecError(f"{cls.__name__}: {error}", hint=hint) from error
    except msgspec.DecodeError as error:
        raise SpecError(f"{cls.__name__}: not valid JSON: {error}") from error


def _nearest_key(message: str) -> str:
    """A hint for a misspelt key: the nearest one of any declaration."""
    found = re.search(r"unknown field `(.+?)`", message)
    names = {name for cls in _every(Spec) for name, _ in _field_types(cls)}
    near = get_close_matches(found[1], sorted(names), n=1) if found else []
    return f"did you mean {near[0]!r}?" if near else ""


def _every(cls: type[Spec]) -> Iterator[type[Spec]]:
    for child in cls.__subclasses__():
        yield child
        yield from _every(child)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(v) for v in value]
    return value
