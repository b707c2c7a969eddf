"""A SavedModel behind a server of asyncio's own: `serve_savedmodel.py PORT DATA STORE SAVEDMODEL`.

The server speaks as much HTTP as the load does and costs a few microseconds a request. Requests that arrive
together are answered together: signature `query` gives their vectors, NumPy searches, signature `rank` rates
100 items each by their raw columns.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf
from serve_store import Store

RETRIEVED, WEIGHT, MOST = 100, 0.1, 64
_HEAD = b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


class Model:
    """Both stages and what users have seen."""

    def __init__(self, data: Any, folder: str) -> None:
        self.loaded = tf.saved_model.load(folder)
        self.query, self.rank = (self.loaded.signatures[name] for name in ("query", "rank"))
        self.read = self.rank.structured_input_signature[1].keys()
        self.users = {name: row for row, name in enumerate(data["users"].tolist())}
        self.items = {name: place for place, name in enumerate(data["items"].tolist())}
        self.ids, self.titles = data["items"].astype(object), data["titles"].astype(object)
        self.times = data["times"]
        self.across = np.ascontiguousarray(data["item_vectors"].T)
        self.seen = np.zeros((len(self.users), len(self.ids)), np.bool_)
        self.seen[data["seen_user"].astype(np.int64), data["seen_item"].astype(np.int64)] = True

    def recommend(self, users: list[str], k: int) -> list[list[dict[str, Any]]]:
        """The best of each."""
        rows, own = np.arange(len(users))[:, None], [self.users[user] for user in users]
        times = self.times[own]
        query = self.query(user_id=tf.constant(users), timestamp=tf.constant(times))
        scores = query["vector"].numpy() @ self.across
        log_z = np.log(np.exp(scores - scores.max(1, keepdims=True)).sum(1)) + scores.max(1)
        scores[self.seen[own]] = -np.inf
        places = np.argpartition(scores, -RETRIEVED, axis=1)[:, -RETRIEVED:]
        flat = places.reshape(-1)
        columns = {
            "user_id": np.repeat(np.array(users, object), RETRIEVED),
            "timestamp": np.repeat(times, RETRIEVED),
            "item_id": self.ids[flat],
            "title": self.titles[flat],
        }
        rating = self.rank(**{name: tf.constant(columns[name]) for name in self.read})
        ratings = rating["rating"].numpy().reshape(places.shape)
        log_p = scores[rows, places] - log_z[:, None]
        total = log_p + WEIGHT * ratings
        order = np.argsort(-total, axis=1)[:, :k]
        found = [x[rows, order].tolist() for x in (self.ids[places], total, log_p, ratings)]
        return [
            [
                {"item_id": item, "score": s, "rank": n, "retrieval_score": p, "rating": r}
                for n, (item, s, p, r) in enumerate(zip(*one, strict=True), 1)
            ]
            for one in zip(*found, strict=True)
        ]


class Service:
    """Answers by path; shortlists of one turn of the loop at once."""

    def __init__(self, model: Model, store: Store) -> None:
        self.model, self.store = model, store
        self.waiting = list[tuple[str, int, asyncio.Future[Any]]]()

    async def answer(self, path: bytes, body: bytes) -> tuple[int, bytes]:
        """Status and body."""
        if path == b"/v1/recommend":
            asked = json.loads(body)
            if asked["user_id"] not in self.model.users:
                return 404, b"{}"
            items = await self.ask(asked["user_id"], asked.get("k", 10))
            return 200, json.dumps({"user_id": asked["user_id"], "items": items}).encode()
        if path == b"/v1/events":
            event = json.loads(body)
            names = ("event_id", "user_id", "item_id", "rating", "timestamp")
            await self.store.append(tuple(event.get(name) for name in names))
            user, item = self.model.users.get(event["user_id"]), self.model.items.get(event["item_id"])
            if user is not None and item is not None:
                self.model.seen[user, item] = True
            return 200, b'{"accepted":1}'
        return (200, b'{"status":"ready"}') if path == b"/health/ready" else (404, b"{}")

    def ask(self, user: str, k: int) -> asyncio.Future[Any]:
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


class Connection(asyncio.Protocol):
    """Requests one after the other, each with a Content-Length or without a body."""

    def __init__(self, service: Service) -> None:
        self.service, self.buffer, self.transport = service, b"", asyncio.Transport()

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer once a request is whole."""
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head, length = self.buffer[:end], 0
        for line in head.split(b"\r\n")[1:]:
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        if len(self.buffer) < end + 4 + length:
            return
        body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
        task = asyncio.ensure_future(self.reply(head.split(b" ", 2)[1], body))
        task.add_done_callback(lambda done: done.exception() and self.transport.abort())

    async def reply(self, path: bytes, body: bytes) -> None:
        """Send an answer."""
        status, answer = await self.service.answer(path, body)
        self.transport.write(_HEAD % (status, len(answer)) + answer)


async def main() -> None:
    """Serve on the loopback."""
    port, data, store, folder = sys.argv[1:5]
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = Model(np.load(data), folder)
    some = list(model.users)
    for size in (1, 2, 8, 32):
        model.recommend(some[:size], 10)
    service = Service(model, Store(store))
    loop = asyncio.get_running_loop()
    served = await loop.create_server(lambda: Connection(service), "127.0.0.1", int(port))
    await served.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
