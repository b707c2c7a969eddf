"""The application: every route over one service.

Routes are found by the path as it was sent, before %2F means a slash, so that an id may hold any character
without becoming another route.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from shortlist.server.connections import App
from shortlist.server.endpoint import Call, Endpoint, Reply
from shortlist.server.metrics import Board
from shortlist.server.origins import Origins
from shortlist.server.problems import Trouble
from shortlist.server.routes import ui
from shortlist.server.routes.table import operations
from shortlist.server.service import Service
from shortlist.server.settings import Settings

NONE = "none"
"""What requests are counted as that are for no route."""
_HEAD = "HEAD"


def make_board(settings: Settings) -> Board:
    """What the processes of a server count on, made before they part."""
    names = [one.name for one in operations()]
    return Board([*names, ui.NAME, NONE], [side.name for side in settings.sides], settings.workers)


def make_app(service: Service) -> App:
    """An ASGI application that answers with a service."""
    app = Routes(service)
    return Origins(app, service.settings.origins) if service.settings.origins else app


class _Methods(dict[str, App]):
    """What answers a path, by method; every other method is told which there are."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service

    def __missing__(self, method: str) -> App:
        if method == _HEAD and "GET" in self:
            return self["GET"]
        allowed = ", ".join(sorted([*self, _HEAD] if "GET" in self else self))

        async def refuse(call: Call) -> Reply[Any]:
            raise Trouble(405, f"this path takes {allowed}", headers=((b"allow", allowed.encode()),))

        return Endpoint(NONE, refuse, self.service, role="", counted=False)


class _Pattern(NamedTuple):
    """A path with an id in it: what is before the id and after."""

    before: bytes
    after: bytes
    methods: _Methods


class Routes:
    """Which endpoint answers what."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._exact: dict[bytes, _Methods] = {}
        self._patterns: list[_Pattern] = []
        for one in operations():
            methods = self._methods(one.path)
            methods[one.method] = Endpoint(
                one.name,
                one.handler,
                service,
                one.parameters,
                role=one.role,
                takes_body=one.method == "POST",
                counted=one.counted,
            )
        nothing = Endpoint(NONE, _nothing, service, role="", counted=False)
        self._otherwise: App = ui.Explorer(service, nothing) if service.settings.explorer else nothing

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        await self.found(scope)(scope, receive, send)

    def found(self, scope: Any) -> App:
        """What answers a request."""
        path = scope.get("raw_path") or scope["path"].encode()
        if (exact := self._exact.get(path)) is not None:
            return exact[scope["method"]]
        for before, after, methods in self._patterns:
            if (
                path.startswith(before)
                and path.endswith(after)
                and len(path) > len(before) + len(after)  # "/v1/items/similar" is an item
            ):
                return methods[scope["method"]]
        return self._otherwise

    def _methods(self, path: str) -> _Methods:
        before, bracket, after = path.partition("{")
        if not bracket:
            return self._exact.setdefault(path.encode(), _Methods(self.service))
        ends = before.encode(), after.partition("}")[2].encode()
        for one in self._patterns:
            if (one.before, one.after) == ends:
                return one.methods
        self._patterns.append(_Pattern(*ends, _Methods(self.service)))
        return self._patterns[-1].methods

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        self.service.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.service.stop()
        await send({"type": "lifespan.shutdown.complete"})


async def _nothing(call: Call) -> Reply[Any]:
    raise Trouble(404, "there is nothing at this path", hint="/docs lists what there is")
