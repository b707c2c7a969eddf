"""The sites of deploy/nginx.conf and deploy/Caddyfile: checked by the proxies themselves, then each before a
server with keys (`make test-deploy`). Ports, names and the certificate are replaced by those of a test."""

from __future__ import annotations

import os
import re
import shlex
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest

from shortlist.server.guards import ADMIN, add_key

ROOT = Path(__file__).resolve().parents[2]
NAME = "recommend.example.com"
CERTIFICATE = (
    f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={NAME}"
    f" -addext subjectAltName=DNS:{NAME},IP:127.0.0.1"
)


Start = Callable[..., AbstractContextManager[Any]]


class Server(NamedTuple):
    """Where a server answers, a key of each role, and what it said."""

    url: str
    key: str
    admin: str
    said: list[str]


class Behind(NamedTuple):
    """A server that is reached through a proxy. through: asks the proxy; own: asks the server itself."""

    through: httpx.Client
    own: httpx.Client
    server: Server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate and its key."""
    place = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [*shlex.split(CERTIFICATE), "-keyout", place / f"{NAME}.key", "-out", place / f"{NAME}.pem"],
        check=True,
        capture_output=True,
    )
    return place


def nginx(place: Path, certificate: Path, upstream: int, port: int) -> list[str]:
    """The site inside of an nginx of its own; the command that starts it."""
    site = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    site = site.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}").replace("443 ssl", f"127.0.0.1:{port} ssl")
    site = site.replace("/etc/ssl/", f"{certificate}/")
    bodies = "".join(
        f"{name}_temp_path {place}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (place / "nginx.conf").write_text(
        f"{user}daemon off;\npid {place}/pid;\nerror_log {place}/errors;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{bodies}{site}\n}}\n",
        encoding="utf-8",
    )
    return ["nginx", "-p", str(place), "-c", str(place / "nginx.conf"), "-e", str(place / "errors")]


def caddy(place: Path, certificate: Path, upstream: int, port: int) -> list[str]:
    site = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    files = f"{certificate}/{NAME}.pem {certificate}/{NAME}.key"
    site = site.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
    site = site.replace(f"{NAME} {{", f"https://{NAME}:{port} {{\n\tbind 127.0.0.1\n\ttls {files}", 1)
    options = f"{{\n\tdefault_sni {NAME}\n\tadmin off\n\tauto_https off\n}}\n"
    (place / "Caddyfile").write_text(options + site, encoding="utf-8")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(place / "Caddyfile")]


@pytest.fixture(scope="module")
def server(bundle: Path, running: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with keys."""
    place = tmp_path_factory.mktemp("server")
    keys = place / "keys.txt"
    key, admin = add_key(keys, "shop"), add_key(keys, "me", ADMIN)
    program = [sys.executable, "-c", "from shortlist.cli import main; main()"]
    words = ["serve", bundle, "--port", "0", "--keys", keys, "--events", place / "e.db", "--log", "all"]
    with running([*program, *words], env=os.environ, cwd=place) as started:
        yield Server(started.url, key, admin, started.said)


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def behind(
    request: pytest.FixtureRequest,
    server: Server,
    certificate: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Behind]:
    place = tmp_path_factory.mktemp(request.param.__name__)
    upstream, port = int(server.url.rsplit(":", 1)[1]), free_port()
    command = request.param(place, certificate, upstream, port)
    environment = {
        **os.environ,
        "HOME": str(place),
        "XDG_DATA_HOME": str(place),
        "XDG_CONFIG_HOME": str(place),
    }
    headers = {"Authorization": f"Bearer {server.key}"}
    trusted = ssl.create_default_context(cafile=str(certificate / f"{NAME}.pem"))
    address = f"https://127.0.0.1:{port}"
    with (
        (place / "log").open("w") as log,
        httpx.Client(base_url=address, verify=trusted, headers={**headers, "Host": NAME}) as through,
        httpx.Client(base_url=server.url, headers=headers) as own,
    ):
        proxy = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_for(through, proxy, place)
            yield Behind(through, own, server)
        finally:
            proxy.terminate()
            proxy.wait(15)


def wait_for(client: httpx.Client, proxy: subprocess.Popen[bytes], place: Path) -> None:
    found = ""
    for _ in range(600):
        try:
            answer = client.get("/health/ready")
            if answer.status_code == 200:
                return
            found = answer.text
        except httpx.TransportError as error:
            found = str(error)
        said = "".join(path.read_text() for path in place.glob("[el]*") if path.is_file())
        assert proxy.poll() is None, said
        time.sleep(0.1)
    raise AssertionError(f"the proxy does not answer: {found}")


def test_the_proxies_understand_their_sites(tmp_path: Path, certificate: Path) -> None:
    for make, words in ((nginx, ["-t"]), (caddy, None)):
        command = make(tmp_path, certificate, 9, free_port())
        command = [*command, *words] if words else [command[0], "validate", *command[2:]]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)}
        )
        assert done.returncode == 0, done.stdout + done.stderr
    formatted = subprocess.run(
        ["caddy", "fmt", ROOT / "deploy" / "Caddyfile"], capture_output=True, text=True
    )
    assert formatted.stdout == (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")


def test_answers_are_the_servers_own_whatever_an_id_holds(behind: Behind) -> None:
    for user in ("405", "a/b", "a//b", "100%", "ü ?#&", "%2F", "a/similar"):
        path = f"/v1/recommend/{quote(user, safe='')}?k=3"
        answer = behind.through.get(path)
        assert answer.json()["user_id"] == user, (user, answer.text)
        assert answer.json()["items"] == behind.own.get(path).json()["items"]
    event = {"event_id": "e", "user_id": "405", "item_id": "50"}
    assert behind.through.post("/v1/events", json=event).status_code == 200
    refused = behind.through.post("/v1/recommend", json={"k": 0})
    assert (refused.status_code, refused.json()["pointer"]) == (422, "/k")
    assert httpx.get(f"{behind.server.url}/v1/items").status_code == 401


def test_what_is_for_the_inside_stays_inside(behind: Behind) -> None:
    headers = {"Authorization": f"Bearer {behind.server.admin}"}
    assert behind.own.post("/v1/admin/reload", json={}, headers=headers).status_code == 200
    assert behind.own.get("/metrics").status_code == 200
    for path in ("/v1/admin/reload", "/v1/admin%2Freload", "/v1/%61dmin/reload", "/v1//admin/reload"):
        assert behind.through.post(path, json={}, headers=headers).status_code in (404, 405), path
    for path in ("/metrics", "/%6Detrics", "/metrics?x=1"):
        assert behind.through.get(path).status_code == 404, path


def test_a_request_has_the_proxys_id_and_no_address(behind: Behind) -> None:
    """What is said of who asks is neither believed nor written down."""
    claims = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=203.0.113.9",
    }
    given = {"X-Request-Id": "mine", "X-Forwarded-Proto": "gopher", **claims}
    answer = behind.through.get("/v1/recommend/405?k=3", headers=given)
    assert answer.status_code == 200
    identity = answer.headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f-]{32,36}", identity)
    for _ in range(600):
        if any(identity in line for line in behind.server.said):
            break
        time.sleep(0.1)
    said = "".join(behind.server.said)
    assert identity in said
    assert "203.0.113" not in said and "evil" not in said and "gopher" not in said


def test_a_body_that_is_too_long_is_refused(behind: Behind) -> None:
    body = b'{"user_id": "' + b"x" * (1 << 20) + b'"}'
    answer = behind.through.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_nginx_limits_rates(behind: Behind, request: pytest.FixtureRequest) -> None:
    """The last: whoever asked too much is let in again later."""
    if request.node.callspec.params["behind"] is not nginx:
        return
    statuses = [behind.through.get("/health/live").status_code for _ in range(400)]
    assert set(statuses) == {200, 429}
