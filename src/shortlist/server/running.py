"""Processes: one that answers, or several over one socket; signals; stopping without dropping a request."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn

from shortlist.errors import ShortlistError
from shortlist.pipeline.blas import one_thread
from shortlist.server.app import make_app, make_board
from shortlist.server.endpoint import LOG
from shortlist.server.metrics import Board
from shortlist.server.service import Service
from shortlist.server.settings import Settings

_BACKLOG = 2048


def serve(settings: Settings) -> int:
    """Answer until told to stop (SIGTERM, SIGINT); SIGHUP loads the bundles anew. The exit code.

    Raises ShortlistError for settings that do not go together, and for bundles that cannot be used.
    """
    require_safe(settings)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    board = make_board(settings)
    listening = listen(settings)
    try:
        if settings.workers == 1:
            return _work(settings, board, 0, listening)
        return _supervise(settings, board, listening)
    finally:
        listening.close()


def require_safe(settings: Settings) -> None:
    """ShortlistError for a server that anybody could ask without this being wished."""
    if not settings.local and settings.keys is None and not settings.open:
        raise ShortlistError(
            f"{settings.host} can be reached from elsewhere, and there are no keys",
            hint="--keys FILE (shortlist key makes one), or --open where something before it guards it",
        )


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


class _Server(uvicorn.Server):
    """Uvicorn that says it is stopping before it does, and loads bundles anew when told so."""

    service: Service
    loop: asyncio.AbstractEventLoop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = sig == signal.SIGINT
        elif self.service.draining or not self.service.settings.drain:
            self.should_exit = True
        else:
            self.loop.call_later(self.service.settings.drain, self._stop)
        self.service.draining = True

    def _stop(self) -> None:
        self.should_exit = True


def _work(settings: Settings, board: Board, worker: int, listening: socket.socket) -> int:
    board.use(worker)
    with one_thread():  # of products: requests are answered one batch after the other
        return _answer(settings, board, listening)


def _answer(settings: Settings, board: Board, listening: socket.socket) -> int:
    service = Service(settings, board)
    listening.listen(_BACKLOG)
    config = uvicorn.Config(
        make_app(service),
        loop="auto",
        http="auto",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(settings.grace)),
        backlog=_BACKLOG,
        proxy_headers=False,
    )
    server = _Server(config)
    server.service = service
    _run(_running(server, listening), config)
    return 0 if server.started else 1


def _run(main: Any, config: uvicorn.Config) -> None:
    """Run on the loop that uvicorn would choose: uvloop's, where it is installed."""
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main)


async def _running(server: _Server, listening: socket.socket) -> None:
    server.loop = loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(_reload(server.service))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    host, port = listening.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    LOG.info('{"event": "ready", "url": "http://%s:%d", "process": %d}', name, port, os.getpid())
    await server.serve(sockets=[listening])


async def _reload(service: Service) -> None:
    try:
        await service.reload()
    except ShortlistError:
        return  # said already; what is in use stays


def _supervise(settings: Settings, board: Board, listening: socket.socket) -> int:
    """Several processes accept from one socket; one that ends though nobody told it to is begun again."""
    workers: dict[int, int] = {}
    stopping = False

    def stop(sig: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        for process in workers:
            os.kill(process, signal.SIGTERM)

    def pass_on(sig: int, frame: FrameType | None) -> None:
        for process in workers:
            os.kill(process, sig)

    for number in range(settings.workers):
        workers[_fork(settings, board, number, listening)] = number
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, stop)
    signal.signal(signal.SIGHUP, pass_on)
    failed = 0
    while workers:
        process, status = os.wait()
        number = workers.pop(process)
        if stopping:
            continue
        failed = os.waitstatus_to_exitcode(status)
        if failed == 1:  # it could not begin: another would fare the same
            stop(signal.SIGTERM, None)
            continue
        LOG.warning('{"event": "worker ended", "process": %d, "code": %d}', process, failed)
        workers[_fork(settings, board, number, listening)] = number
    return failed if failed == 1 else 0


def _fork(settings: Settings, board: Board, number: int, listening: socket.socket) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(sig, signal.SIG_DFL)
        code = _work(replace(settings), board, number, listening)
    except ShortlistError as error:
        LOG.error("error: %s", error)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
