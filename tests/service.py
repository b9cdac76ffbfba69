"""The service as its users meet it: real gateway and worker processes over real stores, spoken to over HTTP."""

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from devstack import ports
from devstack.postgres import Postgres
from devstack.process import PROJECT_DIR, ChildProcess, python_module
from devstack.redis import Redis
from shared.settings import Settings

READY_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `body` is the decoded JSON."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """The problem's code."""
        return str(self.body["code"])


class Client:
    """A REST client with a connection pool of its own."""

    def __init__(self, url: str, connections_max: int = 100) -> None:
        self.url = url
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections_max), timeout=aiohttp.ClientTimeout(total=60)
        )

    async def close(self) -> None:
        await self._http.close()

    @property
    def connections(self) -> int:
        """How many connections this client has open, those included that rest."""
        assert self._http.connector is not None
        return sum(map(len, self._http.connector._conns.values()))

    async def request(
        self, method: str, path: str, body: Any = None, *, data: bytes | str | None = None, **headers: str
    ) -> Answer:
        """Send a request: `body` as JSON, or `data` as it is; a header `Prefer` is written `prefer=…`, `_` for `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            data = json.dumps(body)
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        url = f"{self.url}{path}"
        async with self._http.request(method, url, data=data, headers=sent, allow_redirects=False) as response:
            text = await response.read()
            decoded = json.loads(text) if text and "json" in response.content_type else text
            return Answer(response.status, decoded, response.headers)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.request("GET", path, **headers)

    async def create_wallet(self) -> str:
        """Create a wallet and return its id."""
        answer = await self.request("POST", "/api/v1/wallets")
        assert answer.status == 201, answer
        return str(answer.body["id"])

    async def operate(self, wallet_id: str, operation_type: str, amount: Any, **headers: str) -> Answer:
        body = {"operation_type": operation_type, "amount": amount}
        return await self.request("POST", f"/api/v1/wallets/{wallet_id}/operation", body, **headers)

    async def deposit(self, wallet_id: str, amount: Any, **headers: str) -> Answer:
        return await self.operate(wallet_id, "DEPOSIT", amount, **headers)

    async def withdraw(self, wallet_id: str, amount: Any, **headers: str) -> Answer:
        return await self.operate(wallet_id, "WITHDRAW", amount, **headers)

    async def balance(self, wallet_id: str) -> str:
        answer = await self.get(f"/api/v1/wallets/{wallet_id}")
        assert answer.status == 200, answer
        return str(answer.body["balance"])

    async def history(self, wallet_id: str, status: str = "APPLIED") -> list[dict[str, Any]]:
        """Return all operations of one status, newest first, page by page."""
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            answer = await self.get(f"/api/v1/wallets/{wallet_id}/operations?limit=500&status={status}{cursor}")
            assert answer.status == 200, answer
            items += answer.body["items"]
            if answer.body["next_cursor"] is None:
                return items
            cursor = f"&cursor={answer.body['next_cursor']}"


@dataclass
class Service:
    """Gateways and workers over given stores; stopped, killed and started again at will."""

    settings: Settings
    logs: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    gateways: dict[str, ChildProcess] = field(default_factory=dict)
    workers: dict[str, ChildProcess] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    _numbers: Any = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        """The first gateway's address."""
        return next(iter(self.urls.values()))

    def start_gateway(
        self, name: str = "", port: int | None = None, module: str = "gateway", **environment: str
    ) -> ChildProcess:
        """Start a gateway process, of the service's own module or of one that wraps it; see `wait_ready`."""
        name = name or f"gateway-{next(self._numbers)}"
        port = port or ports.pick_free()
        self.urls[name] = f"http://127.0.0.1:{port}"
        process = self._start(module, name, {"PORT": str(port), **environment})
        self.gateways[name] = process
        return process

    def start_worker(self, name: str = "", module: str = "worker", **environment: str) -> ChildProcess:
        """Start a worker process, of the service's own module or of one that wraps it; see `wait_ready`."""
        name = name or f"worker-{next(self._numbers)}-{uuid4().hex[:6]}"
        process = self._start(module, name, {"WORKER_NAME": name, **environment})
        self.workers[name] = process
        return process

    async def wait_ready(self, path: str = "/readyz") -> None:
        """Wait until every gateway says that it is ready; with `/healthz`, that it is alive, workers or not."""
        ends = time.monotonic() + READY_SECONDS_MAX
        for name, url in self.urls.items():
            said: object = None
            client = Client(url)
            try:
                while True:
                    try:
                        answer = await client.get(path)
                        if answer.status == 200:
                            break
                        said = answer.body
                    except aiohttp.ClientError as error:
                        said = error
                    ended = [p.name for p in (*self.gateways.values(), *self.workers.values()) if not p.is_alive]
                    assert time.monotonic() < ends, f"{name} is not ready: {said}; ended: {ended}; logs: {self.logs}"
                    await asyncio.sleep(0.02)
            finally:
                await client.close()

    def keys(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `python -m gateway keys …` on the service's database, as operators do."""
        command = [sys.executable, "-m", "gateway", "keys", *arguments]
        environment = {**os.environ, **self._stores()}
        return subprocess.run(command, env=environment, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)

    def stop(self) -> list[int | None]:
        """Stop gateways, then workers; returns their exit codes."""
        return [process.stop() for process in (*self.gateways.values(), *self.workers.values())]

    def _stores(self) -> dict[str, str]:
        return {
            "POSTGRES_HOST": self.settings.postgres_host,
            "POSTGRES_PORT": str(self.settings.postgres_port),
            "POSTGRES_USER": self.settings.postgres_user,
            "POSTGRES_DB": self.settings.postgres_db,
            "REDIS_URL": self.settings.redis_url.get_secret_value(),
            "REDIS_CLUSTER": str(self.settings.redis_cluster),
        }

    def _start(self, module: str, name: str, environment: Mapping[str, str]) -> ChildProcess:
        own = {**self._stores(), "AUTH": "off", "LOG_LEVEL": "info"}
        process = python_module(module, self.logs / f"{name}.log", {**own, **self.environment, **environment}, name)
        process.start()
        return process


@contextlib.contextmanager
def stores_in(folder: Path, **postgres_options: str) -> Iterator[dict[str, Any]]:
    """Start stores in a folder and give the settings by which they are reached; they are killed in the end."""
    postgres, redis = Postgres(folder / "postgres", options=postgres_options), Redis(folder / "redis")
    try:
        postgres.start()
        redis.start()
        yield {
            "postgres_host": postgres.host,
            "postgres_port": postgres.port,
            "postgres_user": postgres.user,
            "redis_url": redis.url,
        }
    finally:
        redis.kill()
        postgres.kill()
