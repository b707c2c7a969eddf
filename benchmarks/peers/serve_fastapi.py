"""FastAPI and PyTorch, two stages: `serve_fastapi.py PORT DATA STORE`.

One process, one thread of PyTorch's, uvloop and httptools; answers are written by orjson, bodies checked by
Pydantic. Requests that arrive together are answered by one call of the model: this is faster under load than
a call each (`--alone`).
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel, Field
from serve_store import Store

try:
    import orjson
except ImportError:
    raise SystemExit("orjson is part of this environment: benchmarks/peers/fastapi.txt") from None

RETRIEVED, WEIGHT, MOST = 100, 0.1, 64


class Recommend(BaseModel):
    """A shortlist that is asked for."""

    user_id: str
    k: int = Field(10, ge=1, le=RETRIEVED)


class Event(BaseModel):
    """What a user did."""

    event_id: str
    user_id: str
    item_id: str
    rating: float | None = None
    timestamp: int


class Ranker(torch.nn.Module):
    """Layers of 64 and 32 over products of projected vectors, as the head of ml100k-ids has them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.user, self.item = torch.nn.Linear(width, 32), torch.nn.Linear(width, 32)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(32, 64),
            torch.nn.GELU(approximate="tanh"),
            torch.nn.Linear(64, 32),
            torch.nn.GELU(approximate="tanh"),
            torch.nn.Linear(32, 1),
        )

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        """users [b, 32] (projected), items [b, k, 32] (projected) -> [b, k]."""
        found: torch.Tensor = self.layers(user[:, None] * item)[..., 0]
        return found


class Model:
    """Both stages and what users have seen: a row of Booleans a user, on which an event sets one."""

    def __init__(self, data: Any) -> None:
        torch.manual_seed(0)
        self.users = {name: row for row, name in enumerate(data["users"].tolist())}
        self.ids = data["items"].tolist()
        self.items = {name: place for place, name in enumerate(self.ids)}
        self.user_vectors = torch.from_numpy(data["user_vectors"])
        item_vectors = torch.from_numpy(data["item_vectors"])
        self.across = item_vectors.T.contiguous()
        self.ranker = Ranker(item_vectors.shape[1]).eval()
        with torch.inference_mode():
            self.projected_items = self.ranker.item(item_vectors)
            self.projected_users = self.ranker.user(self.user_vectors)
        self.seen = torch.zeros(len(self.users), len(self.ids), dtype=torch.bool)
        self.seen[data["seen_user"].astype(np.int64), data["seen_item"].astype(np.int64)] = True

    @torch.inference_mode()
    def recommend(self, users: list[int], k: int) -> list[list[dict[str, Any]]]:
        """The best of each."""
        rows = torch.tensor(users)
        scores = self.user_vectors[rows] @ self.across
        log_z = torch.logsumexp(scores, 1, keepdim=True)
        scores.masked_fill_(self.seen[rows], -torch.inf)
        found, places = torch.topk(scores, RETRIEVED, sorted=False)
        rating = self.ranker(self.projected_users[rows], self.projected_items[places])
        log_p = found - log_z
        best, order = torch.topk(log_p + WEIGHT * rating, k)
        columns = [
            places.gather(1, order).tolist(),
            best.tolist(),
            log_p.gather(1, order).tolist(),
            rating.gather(1, order).tolist(),
        ]
        return [
            [
                {"item_id": self.ids[place], "score": s, "rank": n, "retrieval_score": p, "rating": r}
                for n, (place, s, p, r) in enumerate(zip(*one, strict=True), 1)
            ]
            for one in zip(*columns, strict=True)
        ]


class Batcher:
    """What arrives in one turn of the loop, and while a call runs, is asked at once."""

    def __init__(self, model: Model) -> None:
        self.model, self.waiting = model, list[tuple[int, int, asyncio.Future[Any]]]()

    def ask(self, user: int, k: int) -> asyncio.Future[Any]:
        """The shortlist of a user."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self.waiting:
            loop.call_soon(loop.call_soon, self.run)
        self.waiting.append((user, k, future))
        return future

    def run(self) -> None:
        """Answer whoever waits."""
        taken, self.waiting = self.waiting, []
        for start in range(0, len(taken), MOST):
            part = taken[start : start + MOST]
            answers = self.model.recommend([user for user, _, _ in part], max(k for _, k, _ in part))
            for (_, k, future), items in zip(part, answers, strict=True):
                if not future.done():
                    future.set_result(items[:k])


def make_app(data: Any, store: Store, *, alone: bool) -> FastAPI:
    """The service."""
    model = Model(data)
    model.recommend([0], 10)
    model.recommend(list(range(16)), 10)
    batcher, app = Batcher(model), FastAPI()

    @app.post("/v1/recommend")
    async def recommend(asked: Recommend) -> Response:
        user = model.users.get(asked.user_id)
        if user is None:
            return Response(b'{"detail":"unknown user"}', 404, media_type="application/json")
        items = model.recommend([user], asked.k)[0] if alone else await batcher.ask(user, asked.k)
        return Response(
            orjson.dumps({"user_id": asked.user_id, "items": items}), media_type="application/json"
        )

    @app.post("/v1/events")
    async def events(event: Event) -> Response:
        await store.append((event.event_id, event.user_id, event.item_id, event.rating, event.timestamp))
        user, item = model.users.get(event.user_id), model.items.get(event.item_id)
        if user is not None and item is not None:
            model.seen[user, item] = True
        return Response(b'{"accepted":1}', media_type="application/json")

    @app.get("/health/ready")
    async def ready() -> Response:
        return Response(b'{"status":"ready"}', media_type="application/json")

    return app


def main() -> None:
    """Serve on the loopback."""
    port, data, store = sys.argv[1:4]
    torch.set_num_threads(1)
    app = make_app(np.load(data), Store(store), alone="--alone" in sys.argv)
    uvicorn.run(app, host="127.0.0.1", port=int(port), access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
