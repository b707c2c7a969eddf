"""What may stand behind "?" in an address: how it is read, and what the OpenAPI document says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shortlist.server.problems import Trouble

Given = Mapping[str, list[str]]
"""What was given, by name: one text each, but where there may be many."""


class Parameter:
    """One of them. schema: JSON Schema, for the document; many: whether it may be given more than once."""

    def __init__(self, name: str, schema: dict[str, Any], *, many: bool = False) -> None:
        self.name, self.schema, self.many = name, schema, many

    def wrong(self, said: str) -> Trouble:
        """What is wrong with it."""
        return Trouble(422, said, pointer=f"/{self.name}")


class Text(Parameter):
    """A text of at most so many characters; left out: ""."""

    def __init__(self, name: str, longest: int) -> None:
        super().__init__(name, {"type": "string", "maxLength": longest})
        self.longest = longest

    def of(self, given: Given) -> str:
        """What was given. Trouble."""
        text = given.get(self.name, [""])[0]
        if len(text) > self.longest:
            raise self.wrong(f"expected at most {self.longest:,} characters")
        return text


class Choice(Parameter):
    """One of some texts; left out: the first."""

    def __init__(self, name: str, *texts: str) -> None:
        super().__init__(name, {"type": "string", "enum": [*texts], "default": texts[0]})
        self.texts = texts

    def of(self, given: Given) -> str:
        """What was given. Trouble."""
        text = given.get(self.name, self.texts)[0]
        if text not in self.texts:
            raise self.wrong(f"expected {' or '.join(self.texts)}, got {text!r}")
        return text


class Whole(Parameter):
    """A whole number."""

    def __init__(self, name: str, default: int, least: int, most: int) -> None:
        super().__init__(name, {"type": "integer", "minimum": least, "maximum": most, "default": default})
        self.default, self.least, self.most = default, least, most

    def of(self, given: Given) -> int:
        """What was given. Trouble."""
        if self.name not in given:
            return self.default
        text = given[self.name][0]
        if text.isascii() and text.isdigit() and len(text) <= 18 and self.least <= int(text) <= self.most:
            return int(text)
        raise self.wrong(f"expected a whole number from {self.least} to {self.most}, got {text!r}")


class Texts(Parameter):
    """Texts, for each of which the parameter is given once. most: how many; None: as an address holds."""

    def __init__(self, name: str, most: int | None = None) -> None:
        bound = {} if most is None else {"maxItems": most}
        super().__init__(name, {"type": "array", "items": {"type": "string"}, **bound}, many=True)
        self.most = most

    def of(self, given: Given) -> list[str]:
        """What was given. Trouble."""
        texts = given.get(self.name, [])
        if self.most is not None and len(texts) > self.most:
            raise self.wrong(f"at most {self.most} items are asked for by id")
        return texts
