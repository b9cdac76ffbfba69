"""How many requests are under way in this process, and how many may be; and the rest of those that were refused.

Guarantees that a refused connection is read again once there is room to spare, and when its rest is over at the latest.
"""

import asyncio
import contextlib
from itertools import islice


class Room:
    """Requests enter, leave, or are refused."""

    def __init__(self, requests_max: int) -> None:
        self.requests_max = requests_max
        self.under_way = 0
        self._resting: dict[asyncio.Future[None], None] = {}  # in the order in which they came

    @property
    def is_full(self) -> bool:
        """Whether one more is too many."""
        return self.under_way >= self.requests_max

    def enter(self) -> None:
        """Count a request."""
        self.under_way += 1

    def leave(self) -> None:
        """Count one less; with half of the room free, let those who have rested longest ask again.

        Not with any room: while more ask than it holds, whoever is let go is refused again, and all time goes there.
        """
        self.under_way -= 1
        if self._resting:
            spare = self.requests_max // 2 - self.under_way
            for longest in list(islice(self._resting, max(0, spare))):
                del self._resting[longest]
                if not longest.done():
                    longest.set_result(None)

    async def rest(self, seconds: float) -> None:
        """Wait until there is room to spare, but no longer than this."""
        freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting[freed] = None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await freed
        finally:
            self._resting.pop(freed, None)
