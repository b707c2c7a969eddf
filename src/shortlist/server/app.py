"""The application: Starlette's routes over one service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, Router

from shortlist.server.endpoint import Endpoint
from shortlist.server.metrics import Board
from shortlist.server.problems import MEDIA_TYPE, Trouble
from shortlist.server.routes import ui
from shortlist.server.routes.table import operations
from shortlist.server.service import Service
from shortlist.server.settings import Settings


def make_board(settings: Settings) -> Board:
    """What the processes of a server count on, made before they part."""
    names = [one.name for one in operations()]
    return Board([*names, ui.NAME, "none"], [side.name for side in settings.sides], settings.workers)


def make_app(service: Service) -> Any:
    """An ASGI application that answers with a service."""
    routes = [
        _Route(
            one.path,
            Endpoint(
                one.name,
                one.handler,
                service,
                role=one.role,
                takes_body=one.method == "POST",
                counted=one.counted,
            ),
            methods=[one.method],
        )
        for one in operations()
    ]

    @asynccontextmanager
    async def life(app: Any) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    default: Any = ui.Explorer(service, _nothing) if service.settings.explorer else _nothing
    app: Any = Router(routes, redirect_slashes=False, default=default, lifespan=life)
    if service.settings.origins:
        app = CORSMiddleware(
            app,
            allow_origins=list(service.settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-Id"],
        )
    return app


class _Route(Route):
    """A route that says what is wrong with a method as it says everything else."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        if self.methods and scope["method"] not in self.methods:
            allowed = ", ".join(sorted(self.methods))
            trouble = Trouble(405, f"this path takes {allowed}", headers=((b"allow", allowed.encode()),))
            await _refuse(send, trouble)
        else:
            await self.app(scope, receive, send)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    await _refuse(send, Trouble(404, "there is nothing at this path", hint="/docs lists what there is"))


async def _refuse(send: Any, trouble: Trouble) -> None:
    body = trouble.body()
    headers = [
        (b"content-type", MEDIA_TYPE),
        (b"content-length", b"%d" % len(body)),
        *trouble.headers,
    ]
    await send({"type": "http.response.start", "status": trouble.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
