"""The root of every declaration: frozen, comparable, hashable, JSON and TOML in and out."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, Self

import msgspec

from shortlist.errors import SpecError


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A declaration without arrays or code. Lists given to it become tuples, so that it stays frozen."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, list):
                msgspec.structs.force_setattr(self, name, tuple(value))
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


def _convert(read: Any, cls: type) -> Any:
    try:
        return read()
    except msgspec.ValidationError as error:
        raise SpecError(f"{cls.__name__}: {error}") from error
    except msgspec.DecodeError as error:
        raise SpecError(f"{cls.__name__}: not valid JSON: {error}") from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(v) for v in value]
    return value
