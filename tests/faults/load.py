"""A load of many clients over a few hot and many cold wallets; every request and its answer goes to the witness.

A client sends one operation after another and stays with it: with an Idempotency-Key it tries until it is told what
became of it. Some keys are used twice at once on purpose, some clients leave before the answer. About 30 % are refused.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.faults.checker import DO_NOT_WAIT, Witness
from tests.service import Answer, Client

WALLETS_AT_ONCE = 50  # creations under way at a time
RETRY_SECONDS = 0.1  # between two tries of one key, and after a refusal
TRIES_MAX = 600  # of one key: a minute, longer than any fault lasts
STOP_SECONDS_MAX = 60.0  # for the last answers; a request waits 10 s for its outcome


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is sent, and of what kind. Shares are of all operations."""

    clients: int = 64
    hot_wallets: int = 4
    cold_wallets: int = 400
    hot_share: float = 0.5
    deposit_share: float = 0.5
    deposit_units_max: int = 10_000
    # More than deposits bring in: the difference is refused.
    withdrawal_units_max: int = 32_000
    key_share: float = 1 / 3
    twice_at_once_share: float = 0.2  # of those with a key
    unwaiting_share: float = 0.05  # that want a 202 at once and look no further
    leaving_share: float = 0.04
    leaving_seconds_max: float = 0.01
    pause_seconds: float = 0.03  # between two operations of a client, on average
    operations_max: int = 200_000
    follows_202s: bool = False  # whether a client that got a 202 waits until it is decided before its next operation


@dataclass(frozen=True, slots=True)
class _Plan:
    """One operation as a client means it."""

    wallet_id: str
    operation_type: str
    amount: str
    key: str | None
    is_sent_twice: bool
    prefer: str | None
    patience_seconds: float | None


@dataclass
class Load:
    """The clients; each starts at one gateway and goes to the next when its connection breaks."""

    witness: Witness
    urls: list[str]
    shape: Shape
    seed: str
    prefer: str | None = None  # what requests say in `Prefer`
    hot: list[str] = field(default_factory=list)
    cold: list[str] = field(default_factory=list)
    _clients: list[Client] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Create the wallets and let the clients work; leaving waits for every client's last answer."""
        self._clients = [Client(url, connections_max=0) for url in self.urls]
        try:
            await self._create_wallets()
            tasks = [asyncio.create_task(self._work(number)) for number in range(self.shape.clients)]
            try:
                yield self
                self._stop.set()
                async with asyncio.timeout(STOP_SECONDS_MAX):
                    await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for client in self._clients:
                await client.close()

    async def _create_wallets(self) -> None:
        room = asyncio.Semaphore(WALLETS_AT_ONCE)

        async def create() -> str:
            async with room:
                return await self._clients[0].create_wallet()

        count = self.shape.hot_wallets + self.shape.cold_wallets
        wallets = await asyncio.gather(*(create() for _ in range(count)))
        self.hot, self.cold = wallets[: self.shape.hot_wallets], wallets[self.shape.hot_wallets :]

    async def _work(self, number: int) -> None:
        chance = random.Random(f"{self.seed}-{number}")
        name = f"client-{number}"
        turns = itertools.count(number)
        while not self._stop.is_set() and len(self.witness.told) < self.shape.operations_max:
            await self._carry_out(name, self._plan(chance), turns)
            await asyncio.sleep(chance.expovariate(1 / self.shape.pause_seconds))

    def _plan(self, chance: random.Random) -> _Plan:
        shape = self.shape
        is_deposit = chance.random() < shape.deposit_share
        units = chance.randint(1, shape.deposit_units_max if is_deposit else shape.withdrawal_units_max)
        has_key = chance.random() < shape.key_share
        return _Plan(
            wallet_id=chance.choice(self.hot if chance.random() < shape.hot_share else self.cold),
            operation_type="DEPOSIT" if is_deposit else "WITHDRAW",
            amount=f"{units // 100}.{units % 100:02d}",
            key=f"{chance.getrandbits(128):032x}" if has_key else None,
            is_sent_twice=has_key and chance.random() < shape.twice_at_once_share,
            prefer=DO_NOT_WAIT if chance.random() < shape.unwaiting_share else self.prefer,
            patience_seconds=(
                chance.uniform(0, shape.leaving_seconds_max) if chance.random() < shape.leaving_share else None
            ),
        )

    async def _carry_out(self, name: str, plan: _Plan, turns: "itertools.count[int]") -> None:
        turn = next(turns) if len(self._clients) > 1 else 0
        if plan.is_sent_twice:
            answer, _ = await asyncio.gather(
                self._try(name, plan, turn, plan.patience_seconds), self._try(name, plan, turn + 1)
            )
        else:
            answer = await self._try(name, plan, turn, plan.patience_seconds)
        for _ in range(TRIES_MAX):
            if _is_final(answer):
                return
            await asyncio.sleep(RETRY_SECONDS)
            if plan.key is None:
                return  # whether it happened is not known: sent again, it might happen twice
            turn += 1
            answer = await self._try(name, plan, turn)

    async def _try(self, name: str, plan: _Plan, turn: int, patience_seconds: float | None = None) -> Answer | None:
        headers: Mapping[str, str] = {"prefer": plan.prefer} if plan.prefer else {}
        return await self.witness.operate(
            self._clients[turn % len(self._clients)],
            plan.wallet_id,
            plan.operation_type,
            plan.amount,
            key=plan.key,
            name=name,
            patience_seconds=patience_seconds,
            follow=self._clients if self.shape.follows_202s else (),
            **headers,
        )


def _is_final(answer: Answer | None) -> bool:
    """Tell whether a client has been told what became of its operation, or that it will be decided."""
    return answer is not None and answer.status not in {429, 503}
