"""The socket that clients knock at: who is let in, and how it is closed without turning anybody away."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field

from shortlist.errors import ShortlistError
from shortlist.server.connections import Connections
from shortlist.server.protocol import Connection
from shortlist.server.settings import Settings

_BACKLOG = 2048
_ATTACH_FILTER, _DETACH_FILTER = 26, 27  # of Linux: SO_...
# What a Linux socket lets in that drops the first packet of every new connection (SYN), and nothing else:
# (operation, where to go on if so, if not, operand). Flags are byte 13 of a TCP header, SYN is bit 1.
_NOBODY_NEW = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_KNOCKED = 0.1  # seconds in which a handshake that has begun ends
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TURN, _TURNS = 0.001, 5  # seconds left to a worker that has fewer connections, and how often
_PAUSE = 0.5  # seconds without letting anybody in where a process has no more files


def listen(settings: Settings) -> socket.socket:
    """The socket, before anything is loaded: a port that is taken is told at once. Nobody is let in before
    the bundles have answered."""
    made = None
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(found[0], socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(found[4])
    except OSError as error:
        if made is not None:
            made.close()
        raise ShortlistError(
            f"cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}",
            hint="another --port (0: any that is free)",
        ) from error
    made.set_inheritable(True)
    return made


@dataclass(eq=False)
class Door:
    """Lets clients in at a socket that several workers may share."""

    listening: socket.socket
    shared: Connections
    _coming: set[asyncio.Task[object]] = field(default_factory=set)
    _open: bool = True
    _left: int = 0  # to others, one after the other

    @classmethod
    def open(cls, listening: socket.socket, shared: Connections) -> Door:
        """Let in who knocks from now on."""
        made = cls(listening, shared)
        listening.setblocking(False)
        shared.counts[shared.worker] = 0
        made._watch()
        return made

    def _watch(self) -> None:
        if self._open:
            self.shared.loop.add_reader(self.listening, self._let_one_in)

    def _let_one_in(self) -> None:
        """One at a time, and after workers that have fewer: those who come together are shared."""
        if self._left < _TURNS and self._others_have_fewer():
            self._left += 1
            self._wait(_TURN)
            return
        self._left = 0
        try:
            made, _ = self.listening.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:  # the socket would tell of those who wait again and again
                self._wait(_PAUSE)
            return
        self._let_in(made)

    def _others_have_fewer(self) -> bool:
        own = self.shared.count()
        return any(0 <= count < own for count in self.shared.counts)

    def _wait(self, seconds: float) -> None:
        self.shared.loop.remove_reader(self.listening)
        self.shared.loop.call_later(seconds, self._watch)

    def _let_in(self, made: socket.socket) -> None:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = self.shared.loop
        task = loop.create_task(loop.connect_accepted_socket(lambda: Connection(self.shared), made))
        self._coming.add(task)
        self.shared.coming += 1
        self.shared.count()
        task.add_done_callback(self._entered)

    def _entered(self, task: asyncio.Task[object]) -> None:
        self._coming.discard(task)
        self.shared.coming -= 1
        self.shared.count()

    async def close(self) -> list[asyncio.Task[object]]:
        """Let in who has knocked already, then nobody; what lets in those who are not yet in."""
        _close_door(self.listening)
        await asyncio.sleep(_KNOCKED)
        self._open = False
        self.shared.counts[self.shared.worker] = -1
        self.shared.loop.remove_reader(self.listening)
        for made in _waiting(self.listening):
            self._let_in(made)
        return list(self._coming)


def _waiting(listening: socket.socket) -> list[socket.socket]:
    """Connections nobody has accepted yet."""
    found: list[socket.socket] = []
    listening.setblocking(False)
    while True:
        try:
            found.append(listening.accept()[0])
        except OSError:
            return found


def open_door(listening: socket.socket) -> None:
    """Listen, also where another worker that was told to stop has closed the door of all."""
    if sys.platform.startswith("linux"):
        with suppress(OSError):
            listening.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
    listening.listen(_BACKLOG)


def _close_door(listening: socket.socket) -> None:
    """Let nobody knock any more, while those who have are let in: closing would turn away who came a moment
    before. Linux's socket filters can; elsewhere the moment stays."""
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError):
        steps = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _NOBODY_NEW))
        program = struct.pack("@HP", len(_NOBODY_NEW), ctypes.addressof(steps))
        listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
