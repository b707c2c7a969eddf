"""A bundle on disk, and servers over it inside of the tests' own process."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

import shortlist as sl
from shortlist.server.app import make_app, make_board
from shortlist.server.service import Service
from shortlist.server.settings import Settings, Side


class Client:
    """Asks an application without a network."""

    def __init__(self, settings: Settings) -> None:
        self.service = Service(settings, make_board(settings))
        self.loop = asyncio.new_event_loop()
        app = make_app(self.service)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.loop.run_until_complete(self.client.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.run_until_complete(self.client.aclose())
        self.loop.run_until_complete(self.service.stop())
        self.loop.close()


Serve = Callable[..., Client]


@pytest.fixture(scope="session")
def bundle(joint: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the small joint model, not to be changed."""
    path: Path = tmp_path_factory.mktemp("served") / "bundle"
    joint.recommender().save(path)
    return path


@pytest.fixture(scope="session")
def recommender(bundle: Path) -> sl.Recommender:
    return sl.load(bundle)


@pytest.fixture
def serve(bundle: Path) -> Iterator[Serve]:
    """Starts a server; what is given replaces settings."""
    with ExitStack() as stack:

        def started(*, path: Path = bundle, against: Path | None = None, **options: Any) -> Client:
            sides = [Side(name="a", path=path)]
            if against is not None:
                sides.append(Side(name="b", path=against))
            return stack.enter_context(Client(Settings(sides=tuple(sides), **{"watch": 0.0, **options})))

        yield started


@pytest.fixture(scope="session")
def client_of() -> type[Client]:
    """A server of some settings, for fixtures of other modules."""
    return Client


@pytest.fixture(scope="module")
def client(bundle: Path) -> Iterator[Client]:
    """A server that keeps no events."""
    with Client(Settings(sides=(Side(name="a", path=bundle),), watch=0.0)) as made:
        yield made


@pytest.fixture
def own_bundle(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may replace."""
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))
