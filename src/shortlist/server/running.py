"""A process that answers: its socket, its signals, and stopping without dropping a request."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import socket
from types import FrameType

import uvicorn

from shortlist.errors import ShortlistError
from shortlist.pipeline.blas import one_thread
from shortlist.server.app import make_app, make_board
from shortlist.server.connections import Connections, Limits
from shortlist.server.door import Door, listen, open_door
from shortlist.server.guards import Keys
from shortlist.server.logs import LOG, begin, of_loop
from shortlist.server.memory import one_heap, unwatched
from shortlist.server.metrics import Board
from shortlist.server.protocol import Connection
from shortlist.server.service import Service
from shortlist.server.settings import Settings
from shortlist.server.workers import supervise

_YOUNG = 20_000  # objects made since the last look for cycles
_FILES, _OTHER_FILES = 1 << 16, 256  # open files: as many as are of use, and those that are no connections


def serve(settings: Settings) -> int:
    """Answer until told to stop (SIGTERM, SIGINT); SIGHUP loads the bundles anew. The exit code.

    Raises ShortlistError for settings that do not go together, and for bundles that cannot be used.
    """
    require_safe(settings)
    begin(ids=settings.log_ids)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # waits until there is something to load anew
    signal.signal(signal.SIGTERM, lambda sig, frame: os._exit(0))  # the kernel's own way is not for process 1
    board = make_board(settings)
    listening = listen(settings)

    def work(worker: int, parent: int | None = None) -> int:
        return _work(settings, board, worker, listening, parent)

    try:
        if settings.workers == 1:
            return work(0)
        return supervise(
            settings.workers, work, listening, lambda number: board.agreement.serve(number, False)
        )
    finally:
        listening.close()
        board.agreement.forget()


def require_safe(settings: Settings) -> None:
    """ShortlistError for a server that anybody could ask without this being wished."""
    if not settings.local and settings.keys is None and not settings.open:
        raise ShortlistError(
            f"{settings.host} can be reached from elsewhere, and there are no keys",
            hint="--keys FILE (shortlist key makes one), or --open where something before it guards it",
        )


class _Server(uvicorn.Server):
    """Uvicorn's frame of a process, which says that it is stopping before it does."""

    service: Service
    shared: Connections
    doors: list[Door]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = sig == signal.SIGINT
        elif self.service.draining or not self.service.settings.drain:
            self.should_exit = True
        else:
            self.shared.loop.call_later(self.service.settings.drain, self._stop)
        self.service.draining = self.shared.draining = True
        tell_system(b"STOPPING=1")

    def _stop(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where it can be reached, once it can."""
        await super().startup([])
        for one in sockets or ():
            self.doors.append(Door.open(one, self.shared))
            host, port = one.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            LOG.info(json.dumps({"event": "ready", "url": url, "process": os.getpid()}))
        tell_system(b"READY=1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Whoever is connected already is let in before the socket closes, which would turn them away."""
        letting_in = [task for door in self.doors for task in await door.close()]
        self.shared.stop()
        await super().shutdown(sockets)
        await asyncio.gather(*letting_in, return_exceptions=True)


def _work(settings: Settings, board: Board, worker: int, listening: socket.socket, parent: int | None) -> int:
    board.use(worker)
    with one_thread():  # of products: requests are answered one batch after the other
        return _answer(settings, board, listening, parent)


def _settle() -> None:
    """What was made so far stays, so the collector of cycles need not look through it again and again; what
    requests make goes when they are answered, without a look for cycles every few hundred objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)


def _answer(settings: Settings, board: Board, listening: socket.socket, parent: int | None) -> int:
    one_heap()
    with unwatched():
        service = Service(settings, board)
    _settle()
    open_door(listening)
    limits = Limits(connections=min(Limits.connections, open_files() - _OTHER_FILES))
    config = uvicorn.Config(
        make_app(service),
        loop="auto",
        http=Connection,  # made by doors alone
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=max(1, round(settings.grace)),
        proxy_headers=False,
    )
    server = _Server(config)
    server.service, server.doors = service, []
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_running(server, limits, listening, parent))
    return 0 if server.started else 1


def open_files() -> int:
    """How many files may be open, once as many are allowed as can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


async def _running(server: _Server, limits: Limits, listening: socket.socket, parent: int | None) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(of_loop)
    server.config.load()
    state = server.server_state
    board = server.service.board
    server.shared = Connections(
        server.config.loaded_app, limits, state.connections, state.tasks, board.connections, board.worker
    )
    tasks: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(_reload(server.service))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def orphaned() -> None:
        assert parent is not None
        loop.remove_reader(parent)
        server.handle_exit(signal.SIGTERM, None)

    loop.add_signal_handler(signal.SIGHUP, reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    if parent is not None:
        loop.add_reader(parent, orphaned)
    await server.serve(sockets=[listening])


def tell_system(state: bytes) -> None:
    """Tell the service manager, where one listens, that the server is ready or stops (sd_notify)."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto(state, "\0" + path[1:] if path.startswith("@") else path)
    except OSError as error:
        LOG.warning(json.dumps({"event": "notify", "detail": str(error)}))


async def _reload(service: Service) -> None:
    """Keys and bundles as they are on disk now; what is no good is said, and what was in use stays."""
    if service.settings.keys is not None:
        try:
            service.guard.keys = Keys.read(service.settings.keys)
        except (ShortlistError, OSError) as error:
            LOG.warning(json.dumps({"event": "keys_refused", "detail": str(error)}))
    try:
        await service.reload()
    except ShortlistError:
        return  # said already
