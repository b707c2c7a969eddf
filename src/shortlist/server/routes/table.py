"""Every route: its path, what it takes and gives, who may ask. The OpenAPI document is made of it too."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Any, get_args, get_type_hints

from shortlist.server import wire
from shortlist.server.endpoint import Handler
from shortlist.server.guards import ADMIN, USE
from shortlist.server.parameters import Parameter
from shortlist.server.routes import answering, browsing, describing, exploring, operating
from shortlist.server.routes import events as events_
from shortlist.server.routes.naming import SIDE


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One route. path: with {NAME:path} where an id is; bodies: types its body may be of; parameters: what
    may stand behind "?"; kind: of the answer; later: whether it may answer before all is done, 202; absent:
    that there may be nothing, 404."""

    method: str
    path: str
    name: str
    handler: Handler
    bodies: tuple[Any, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    role: str = USE
    counted: bool = True
    later: bool = False
    absent: bool = False
    kind: str = "application/json"

    @property
    def answers(self) -> tuple[Any, ...]:
        """Types its answer may be of, which are those its handler says."""
        [kind] = get_args(get_type_hints(self.handler)["return"])
        return get_args(kind) if isinstance(kind, UnionType) else (kind,)

    @property
    def summary(self) -> str:
        """The first sentence of what it does."""
        return " ".join((self.handler.__doc__ or "").split("\n\n")[0].split())


def _get(path: str, name: str, handler: Handler, **options: Any) -> Operation:
    return Operation(method="GET", path=path, name=name, handler=handler, **options)


def _post(path: str, name: str, handler: Handler, **options: Any) -> Operation:
    return Operation(method="POST", path=path, name=name, handler=handler, **options)


def operations() -> list[Operation]:
    """All of them; those that are asked most come first, and longer paths before shorter ones."""
    return [*_of_recommenders(), *_of_servers()]


def _of_recommenders() -> list[Operation]:
    return [
        _post(
            "/v1/recommend",
            "recommend",
            answering.recommend,
            bodies=(wire.Recommend,),
        ),
        _post(
            "/v1/events",
            "events",
            events_.events,
            bodies=(wire.EventGiven, wire.EventsGiven),
            absent=True,
        ),
        _post("/v1/score", "score", answering.score, bodies=(wire.Score,)),
        _get(
            "/v1/recommend/{user_id:path}",
            "recommend_user",
            answering.recommend_user,
            parameters=answering.RECOMMEND_USER,
        ),
        _post("/v1/rank", "rank", answering.rank, bodies=(wire.Rank,)),
        _get(
            "/v1/items/{item_id:path}/similar",
            "similar",
            browsing.similar,
            parameters=browsing.SIMILAR,
        ),
        _get(
            "/v1/items",
            "items",
            browsing.items,
            parameters=browsing.ITEMS,
        ),
        _get("/v1/items/{item_id:path}", "item", browsing.item, parameters=(SIDE,)),
        _get("/v1/users", "users", browsing.users, parameters=browsing.USERS),
        _get(
            "/v1/users/{user_id:path}",
            "user",
            browsing.user,
            parameters=browsing.USER,
        ),
        _get("/v1/about", "about", exploring.about, parameters=(SIDE,)),
        _get(
            "/v1/evaluation",
            "evaluation",
            exploring.judged,
            parameters=(SIDE,),
            absent=True,
        ),
        _get(
            "/v1/map",
            "map",
            exploring.chart,
            parameters=exploring.MAP,
            absent=True,
        ),
    ]


def _of_servers() -> list[Operation]:
    return [
        _get("/v1/bundles", "bundles", operating.bundles),
        _post(
            "/v1/admin/reload",
            "reload",
            operating.reload,
            bodies=(operating.Which,),
            role=ADMIN,
            later=True,
        ),
        _post(
            "/v1/admin/rollback",
            "rollback",
            operating.rollback,
            bodies=(operating.Which,),
            role=ADMIN,
            later=True,
        ),
        _get("/health/live", "live", operating.live, role="", counted=False),
        _get("/health/ready", "ready", operating.ready, role="", counted=False),
        _get("/metrics", "metrics", operating.metrics, counted=False, kind="text/plain"),
        _get("/openapi.json", "openapi", describing.openapi, role=""),
        _get("/docs", "docs", describing.docs, role="", kind="text/html"),
    ]
