"""How many requests are under way in this process, and how many may be; and the rest of those that were refused.

Guarantees that a refused connection is read again as soon as there is room, and after a second at the latest.
"""

import asyncio
import contextlib


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
        """Count one less, and let whoever has rested longest ask again."""
        self.under_way -= 1
        if self._resting:
            longest = next(iter(self._resting))
            del self._resting[longest]
            if not longest.done():
                longest.set_result(None)

    async def rest(self, seconds: float) -> None:
        """Wait until there may be room, but no longer than this."""
        freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting[freed] = None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await freed
        finally:
            self._resting.pop(freed, None)
