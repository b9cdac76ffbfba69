"""What a fault under load is made of: what breaks, what clients may see of it, and how long it lasts.

Durations are those of the long form; `Pace` cuts them for the short one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults.ground import Ground

DECIDED = frozenset({200, 400})
AWAY = DECIDED | {202, 429, 503}
BROKEN = 0  # stands for a broken connection among the statuses


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a form's faults last, of their full length, and how often what takes no time is repeated."""

    factor: float = 1.0
    rounds: int = 5
    statements: int = 12  # at which a connection is cut: of a settle there are five, beats and surveys in between

    async def pass_seconds(self, seconds: float) -> None:
        """Let a fault last so long, scaled."""
        await asyncio.sleep(seconds * self.factor)


Action = Callable[[Ground, Pace], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault: `statuses` are what clients may see, `stall_seconds_max` how long any of them may wait (long form)."""

    id: str
    title: str
    act: Action
    gateways: int = 1
    workers: int = 2
    statuses: frozenset[int] = DECIDED
    # What somebody has to be told: else the fault was none.
    seen: frozenset[int] = DECIDED
    stall_seconds_max: float | None = None
    # Whether Redis is away for a while: then who does not wait is told 503.
    is_queue_away: bool = False
    # A Redis that forgets may let a later operation pass one that was answered with a 202: only the sum is promised.
    keeps_order_of_202s: bool = True
    # Whether clients, which go by turns to all gateways, wait after a 202 until it is decided; and are impatient.
    follows_202s: bool = False
    on_cluster: bool = False  # three nodes in place of one Redis
    has_small_queues: bool = False  # so that they are full before the fault is over
