"""What processes that share a large run tell each other: MessagePack behind its length, on pipes."""

from __future__ import annotations

from typing import IO, TypeVar

import msgspec

from shortlist import errors
from shortlist.errors import RequestError, ShortlistError
from shortlist.pipeline.everybody import Question
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.resumable import Block

T = TypeVar("T")
_SIZE = 8  # bytes of a frame's length


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What another process is told first: whose answers are wanted, by `fingerprint`, from which folder."""

    folder: str
    fingerprint: str
    question: Question
    ending: str


class Task(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A block to answer. first: whether it begins its file."""

    users: list[str]
    first: bool

    def block(self, recommender: Recommender, question: Question, ending: str) -> Block:
        """What is answered. Raises as `Recommender.recommend` does."""
        return question.block(recommender, self.users, ending, first=self.first)


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """same: whether the folder holds the recommender that was named."""

    same: bool


class Done(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A `Block`."""

    answers: int
    rows: int
    data: bytes


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """An error raised on purpose, by the name of its class in `shortlist.errors`."""

    kind: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: ShortlistError) -> Failed:
        """By the nearest class of that module that is made of a message and a hint."""
        plain = {ShortlistError.__init__, RequestError.__init__}
        kinds = (
            of.__name__
            for of in type(error).__mro__
            if of.__init__ in plain and of.__module__ == errors.__name__  # type: ignore[misc]
        )
        return cls(next(kinds), str(error), error.hint)

    def error(self) -> ShortlistError:
        """The error to raise."""
        made: ShortlistError = getattr(errors, self.kind)(self.message, hint=self.hint)
        return made


_encode = msgspec.msgpack.Encoder().encode
ASKED = msgspec.msgpack.Decoder(Hello | Task)
ANSWERED = msgspec.msgpack.Decoder(Ready | Done | Failed)


def framed(said: msgspec.Struct) -> bytes:
    """A frame's bytes."""
    content = _encode(said)
    return len(content).to_bytes(_SIZE, "little") + content


def read(pipe: IO[bytes], decoder: msgspec.msgpack.Decoder[T]) -> T:
    """The next frame. EOFError where the pipe ends."""
    head = pipe.read(_SIZE)
    size = int.from_bytes(head, "little")
    if len(head) < _SIZE or len(content := pipe.read(size)) < size:
        raise EOFError
    return decoder.decode(content)
