"""Fairness: what a hot wallet, whose queue is kept full, does to the clients of other wallets."""

import asyncio
import threading
from datetime import UTC, datetime
from random import getrandbits

from pydantic import SecretStr

from bench.load import Load, deposit, uniform, wallet_id
from bench.measures import Bench
from bench.part import Cell, Part
from bench.scenarios import DRAWN
from bench.stack import Service, Stack
from shared import keys
from shared.commands import Command, OperationType
from shared.ids import new_id
from shared.settings import GatewaySettings
from shared.streams import Streams

DATABASE = "fairness"
OTHERS, HOT = 100, 101  # wallets 1 … 100 are the others'
CONNECTIONS = 32
FEED = 500  # commands in one trip of the feeder
FEED_SECONDS = 0.02
REPLY_KEY = keys.reply_stream("fedcba9876543210")


def measure(bench: Bench) -> Part:
    """Measure the others alone and beside the hot wallet, in turn."""
    stack = bench.stack
    service = stack.service(DATABASE)
    stack.fill_wallets(DATABASE, HOT)
    load = Load([deposit(wallet) for wallet in uniform(OTHERS, DRAWN)], CONNECTIONS)
    rows: list[list[Cell]] = []
    for number in range(1, bench.plan.rounds + 1):
        for what in ("alone", "beside the hot wallet"):
            with _Feeder(stack, service, is_on=what != "alone") as feeder:
                sample = bench.run(f"round {number}, others {what}", load, service)
            rows.append([number, what, sample.rate, sample.p50_ms, sample.p99_ms, feeder.accepted or None])
    stack.discard(service)
    ratios = sorted(float(b[3] or 0) / float(a[3] or 1) for a, b in zip(rows[::2], rows[1::2], strict=True))
    median = ratios[len(ratios) // 2]
    return Part(
        "fairness",
        "One hot wallet at its limit, and the others",
        ["round", "others", "answers/s", "p50 ms", "p99 ms", "hot operations meanwhile"],
        rows,
        f"p50 of the others {median:.2f} times what it is alone",
        [
            f"{OTHERS} wallets, {CONNECTIONS} connections, deposits. The hot wallet's queue is kept at its limit "
            "(WALLET_QUEUE_MAX, 10,000) by a feeder that submits as a gateway does and waits for no reply.",
        ],
    )


class _Feeder:
    """Keeps the hot wallet's queue full, in a thread of its own."""

    def __init__(self, stack: Stack, service: Service, *, is_on: bool) -> None:
        url = SecretStr(stack.settings(service.database, service.redis_number)["REDIS_URL"])
        self._settings = GatewaySettings.load().model_copy(update={"redis_url": url})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._feed())) if is_on else None
        self.accepted = 0

    def __enter__(self) -> "_Feeder":
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    async def _feed(self) -> None:
        streams = Streams(self._settings)
        while not self._stop.is_set():
            answers = await streams.submit(
                [_command() for _ in range(FEED)], self._settings.wallet_queue_max, self._settings.partition_queue_max
            )
            accepted = sum(isinstance(answer, str) for answer in answers)
            self.accepted += accepted
            if accepted < FEED:
                await asyncio.sleep(FEED_SECONDS)
        await streams.close()


def _command() -> Command:
    return Command(
        id=new_id(),
        wallet_id=wallet_id(HOT),
        type=OperationType.DEPOSIT,
        amount=100,
        submitted_at=datetime.now(UTC),
        reply_to=REPLY_KEY,
        request_id=f"{getrandbits(128):032x}",
        token=getrandbits(63),
    )
