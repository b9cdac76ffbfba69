"""A command that is not decided yet, who waits for it, and why it may be refused after all."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from math import ceil
from uuid import UUID

from msgspec import Struct

from shared.commands import Command, Reply
from shared.errors import Refused, ServiceError, Unavailable, WalletQueueFull
from shared.streams import Full, Submission

RETRY_AFTER_SECONDS_MAX = 60  # what waits may stand still, and go on at any moment

TICK_SECONDS = 0.02

# Takes what became of a command: its reply, or Pending, or Refused. Called once, and must not raise.
Tell = Callable[[Reply | ServiceError], None]


class State(Enum):
    """How far a command came."""

    QUEUED = auto()  # certainly not in Redis: it may still be refused
    SENDING = auto()
    SUBMITTED = auto()  # accepted, or its fate is unknown, which counts as accepted


class Waiter(Struct, eq=False):
    """Somebody who waits for the outcome of a held command, until a deadline."""

    held: "Held"
    tell: Tell
    deadlines: "set[Waiter]"  # those that share this one's tick
    waiting: dict[UUID, int]  # how many wait, by wallet
    is_told: bool = False

    def answer(self, outcome: Reply | ServiceError) -> None:
        """Tell the outcome, unless one was told."""
        if not self.is_told:
            self.is_told = True
            self.deadlines.discard(self)
            wallet_id = self.held.command.wallet_id
            others = self.waiting.pop(wallet_id) - 1
            if others:
                self.waiting[wallet_id] = others
            self.tell(outcome)


class Deadlines:
    """Ends waits, up to a tick late: a timer for each request costs more than all else that is kept of it."""

    def __init__(self, end: Callable[[Waiter], None]) -> None:
        self._end = end
        self._by_tick: dict[int, set[Waiter]] = {}

    def at(self, moment: float) -> set[Waiter]:
        """Return the waiters whose wait ends with the tick of a moment of the loop's clock; add to it, or discard."""
        tick = ceil(moment / TICK_SECONDS)
        waiters = self._by_tick.get(tick)
        if waiters is None:
            waiters = self._by_tick[tick] = set()
        return waiters

    async def keep(self) -> None:
        """End waits, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = int(loop.time() / TICK_SECONDS)
            for tick in [tick for tick in self._by_tick if tick <= now]:
                for waiter in list(self._by_tick.pop(tick)):
                    self._end(waiter)


class Held(Struct, eq=False):
    """A command that is not decided yet, and the requests that wait for it."""

    command: Command
    since: float
    state: State = State.QUEUED
    message_id: str | None = None
    # Whether the flush will take it; a command that was refused on its way is parked until the next look.
    in_outbox: bool = False
    waiters: list[Waiter] = []
    late: list[Waiter] = []

    def answer(self, outcome: Reply | ServiceError) -> None:
        """Tell everybody who waits; it is not held any more."""
        for waiter in self.waiters:
            waiter.answer(outcome)
        self.waiters.clear()  # they know it, and it knows them: left so, only the garbage collector would free them

    @property
    def is_parked(self) -> bool:
        """Whether nobody but the next look will send it."""
        return self.message_id is None and not self.in_outbox and self.state is not State.SENDING


def refusal_of(held: Held, answer: Submission | Full) -> Refused | None:
    """Return why a command that Redis certainly does not have is refused now; None: it is worth another try."""
    if isinstance(answer, Full):
        # As long as the oldest has waited: in that time, at the present pace, all that waits now is worked off.
        seconds = min(max(1, ceil(answer.oldest_ms / 1_000)), RETRY_AFTER_SECONDS_MAX)
        if answer.queue is Submission.WALLET_FULL:
            return WalletQueueFull(f"Too many operations wait for wallet {held.command.wallet_id}.", seconds)
        return Unavailable("Too many operations wait in this part of the service.", seconds)
    if answer is Submission.NOT_A_STREAM:
        return Unavailable(f"The queue of wallet {held.command.wallet_id} cannot be used.")
    return Unavailable("The operations queue takes nothing at the moment.") if held.late else None


def reason_of(answer: Submission | Full) -> str:
    """Return the reason under which a refusal is counted."""
    if isinstance(answer, Full):
        return f"{answer.queue.name.removesuffix('_FULL').lower()}_queue_full"
    return "not_a_stream" if answer is Submission.NOT_A_STREAM else "redis_away"
