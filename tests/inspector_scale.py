"""The inspector before a million waiting wallets: `python -m tests.inspector_scale [WALLETS]`.

Fills a Redis of its own by the service's own submit, then runs each listing command as an operator would and prints how
long it took, how much memory it needed, and how long the slowest other call to Redis had to wait meanwhile.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import redis

from devstack.postgres import Postgres
from devstack.redis import Redis
from shared import logs
from shared.database import connect
from shared.migrations import migrate
from shared.settings import Settings
from shared.streams import Streams
from tests.commands import deposit

WALLETS = 1_000_000
PER_TRIP = 5_000
QUEUE_MAX = 10_000_000  # the limits of a gateway are not what is tried here
HOT = 5_000  # messages of one wallet among those with one each
PROBE_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Run:
    """One command: what it wrote, and what it cost."""

    code: int
    out: str
    seconds: float
    memory_mb: float
    others_ms_max: float


class Others:
    """Calls Redis again and again, as the service would, and notes the longest wait."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._call)
        self.ms_max = 0.0

    def __enter__(self) -> "Others":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()

    def _call(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            self._client.ping()
            self.ms_max = max(self.ms_max, (time.monotonic() - began) * 1000)
            time.sleep(PROBE_SECONDS)


async def fill(settings: Settings, wallets: int) -> tuple[UUID, UUID]:
    """Let one command wait for each wallet and many for one; returns that one and the last operation."""
    connection = await connect(settings, "scale")
    await migrate(connection)
    await connection.close()
    streams = Streams(settings)
    await streams.load_library()
    hot = uuid4()
    command = deposit(hot)
    for start in range(0, wallets + HOT, PER_TRIP):
        count = min(PER_TRIP, wallets + HOT - start)
        commands = [deposit(uuid4() if start + i < wallets else hot) for i in range(count)]
        answers = await streams.submit(commands, QUEUE_MAX, QUEUE_MAX)
        assert all(isinstance(answer, str) for answer in answers)
        command = commands[-1]
    await streams.close()
    return hot, command.id


def run(environment: dict[str, str], url: str, *arguments: str) -> Run:
    """Run one command as a process of its own."""
    with tempfile.TemporaryFile("w+") as out, Others(url) as others:
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "inspector", *arguments], env=environment, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    return Run(process.returncode, text, seconds, usage.ru_maxrss / 1024, others.ms_max)


def main() -> None:
    """Fill, look, and print the figures."""
    wallets = int(sys.argv[1]) if len(sys.argv) > 1 else WALLETS
    logs.configure(Settings.load().model_copy(update={"log_level": "error", "log_format": "console"}), "scale")
    with tempfile.TemporaryDirectory() as folder:
        stores = Postgres(Path(folder) / "postgres"), Redis(Path(folder) / "redis")
        try:
            for store in stores:
                store.start()
            measure(*stores, wallets)
        finally:
            for store in stores:
                store.stop()


def measure(postgres: Postgres, server: Redis, wallets: int) -> None:
    """Run each command over full stores; every answer is checked for what was put in."""
    values: dict[str, Any] = {"postgres_port": postgres.port, "redis_url": server.url}
    began = time.monotonic()
    hot, operation_id = asyncio.run(fill(Settings(**values), wallets))
    say(f"{wallets:,} wallets wait since {time.monotonic() - began:.0f} s\n")
    environment = {**os.environ, "POSTGRES_PORT": str(postgres.port), "REDIS_URL": server.url}
    environment["POSTGRES_HOST"] = postgres.host
    commands: dict[str, Callable[[Any], bool]] = {
        "overview": lambda seen: seen["waiting"] == wallets + HOT,
        "partitions": lambda seen: sum(p["ready_wallets"] for p in seen["partitions"]) == wallets + 1,
        "workers": lambda seen: seen["workers"] == [],
        f"wallet {hot}": lambda seen: seen["waiting"] == HOT,
        "oldest": lambda seen: seen["ready_wallets"] == wallets + 1 and len(seen["wallets"]) == 20,
        "oldest --all": lambda seen: seen["looked_at"] == wallets + 1,
        f"operation {operation_id} --wallet {hot}": lambda seen: seen["ahead"] == HOT - 1,
        f"operation {operation_id}": lambda seen: seen["ahead"] == HOT - 1,
        "dead list": lambda seen: seen["dead_letters"] == 0,
        "doctor": lambda seen: [c["verdict"] for c in seen["checks"]][:3] == ["ok"] * 3,
    }
    say(f"{'command':<34}{'seconds':>9}{'MB':>7}{'others wait, ms at most':>26}")
    for command, is_right in commands.items():
        told = run(environment, server.url, *command.split(), "--json")
        assert is_right(json.loads(told.out)), f"{command}: {told.out[:500]}"
        name = " ".join(word if len(word) < 36 else "ID" for word in command.split())
        say(f"{name:<34}{told.seconds:>9.1f}{told.memory_mb:>7.0f}{told.others_ms_max:>26.1f}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
