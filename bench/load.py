"""What is sent and how: a load is a list of requests and a number of connections or a rate.

Runs a load as a program of its own (wrk, or the generators of this package) and returns what the program counted.
Knows nothing of what is behind the port.
"""

import hashlib
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

from devstack.errors import StackError
from devstack.process import ChildProcess

LUA = Path(__file__).parent / "wrk" / "load.lua"
GRACE_SECONDS = 60.0  # for a generator to start, and for its last answers
_run_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Load:
    """Requests, sent around and around: over `connections` that each wait for their answer, or at a `rate`."""

    requests: Sequence[str]
    connections: int
    rate: float = 0.0
    counts_statuses: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run of a generator counted. `refused` answers have a status above 399, `failed` requests have none.

    `stolen_share` is how much of the cores' time the host gave to its other machines meanwhile.
    """

    requests: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    refused: int
    failed: int
    by_status: dict[str, int] = field(default_factory=dict)
    stolen_share: float = 0.0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds


def wallet_id(number: int) -> UUID:
    """Return the id of a wallet by its number, as `fill_wallets.sql` makes it."""
    return UUID(hashlib.md5(f"wallet-{number}".encode()).hexdigest())


def deposit(wallet: int, amount: float = 1) -> str:
    """Write a deposit as a line of a load."""
    return _operation(wallet, "DEPOSIT", amount)


def withdrawal(wallet: int, amount: float = 1) -> str:
    """Write a withdrawal as a line of a load."""
    return _operation(wallet, "WITHDRAW", amount)


def reading(wallet: int) -> str:
    """Write a look at the balance as a line of a load."""
    return f"GET /api/v1/wallets/{wallet_id(wallet)}"


def _operation(wallet: int, kind: str, amount: float) -> str:
    body = json.dumps({"operation_type": kind, "amount": amount}, separators=(",", ":"))
    return f"POST /api/v1/wallets/{wallet_id(wallet)}/operation {body}"


def uniform(wallets: int, count: int, seed: int = 1) -> list[int]:
    """Draw wallets, each as likely as any other."""
    return random.Random(seed).choices(range(1, wallets + 1), k=count)


def zipf(wallets: int, count: int, seed: int = 1) -> list[int]:
    """Draw wallets after Zipf's law with exponent 1: the n-th is drawn 1/n times as often as the first."""
    weights = [1 / rank for rank in range(1, wallets + 1)]
    return random.Random(seed).choices(range(1, wallets + 1), weights, k=count)


@cache
def wrk_version() -> str:
    """Return the version of wrk, or nothing when there is none."""
    path = shutil.which("wrk")
    if path is None:
        return ""
    said = subprocess.run([path, "-v"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\d+\.\d+[\w.+-]*", said)
    return version[0] if version else "?"


def generator_of(load: Load, *, use_wrk: bool = True) -> str:
    """Name the generator that a load is sent by."""
    if load.rate:
        return "open_loop"
    return "wrk" if use_wrk and wrk_version() else "closed_loop"


def send(load: Load, port: int, seconds: float, folder: Path, *, use_wrk: bool = True) -> Sample:
    """Send a load for so long and return what was counted; raises StackError when the generator fails."""
    generator = generator_of(load, use_wrk=use_wrk)
    requests = write_requests(load.requests, folder)
    environment = {"BENCH_REQUESTS": str(requests), "BENCH_STATUSES": "1" if load.counts_statuses else ""}
    if generator == "wrk":
        # wrk counts whole seconds.
        command = ["wrk", "-t1", f"-c{load.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
        command += ["--latency", "-s", str(LUA), f"http://127.0.0.1:{port}"]
    else:
        command = [sys.executable, "-m", f"bench.{generator}", "--port", str(port), "--seconds", str(seconds)]
        command += ["--connections", str(load.connections), "--rate", str(load.rate), "--requests", str(requests)]
    stolen, began = _stolen_seconds(), time.monotonic()
    counted = run_generator(command, generator, folder, environment, seconds)
    core_seconds = (time.monotonic() - began) * (os.cpu_count() or 1)
    return Sample(**counted, stolen_share=(_stolen_seconds() - stolen) / core_seconds)


def _stolen_seconds() -> float:
    return float(getattr(psutil.cpu_times(), "steal", 0.0))  # Linux alone tells it


def write_requests(requests: Sequence[str], folder: Path) -> Path:
    """Write the lines of a load to a file that is named after them; written once."""
    text = "\n".join(requests) + "\n"
    path = folder / "requests" / f"{hashlib.md5(text.encode()).hexdigest()}.txt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path


def run_generator(
    command: Iterable[str], name: str, folder: Path, environment: dict[str, str], seconds: float
) -> dict[str, Any]:
    """Run a program that ends by itself and return the JSON on the last line of its output."""
    log = folder / "load" / f"{next(_run_numbers)}-{name}.log"
    process = ChildProcess(name, list(command), log, environment)
    run_to_end(process, seconds)
    tail = process.log_tail()
    if process.exit_code or not tail or not tail[-1].startswith("{"):
        raise StackError(f"{name} failed (exit code {process.exit_code})", tail)
    counted: dict[str, Any] = json.loads(tail[-1])
    return counted


def run_to_end(process: ChildProcess, seconds: float) -> None:
    """Start a program that works for so long and wait until it has ended; kill it when it does not."""
    process.start()
    ends = time.monotonic() + seconds + GRACE_SECONDS
    try:
        while process.is_alive and time.monotonic() < ends:
            time.sleep(0.05)  # the cores belong to what is measured
    finally:
        process.kill()
