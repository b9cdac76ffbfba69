"""How many requests are under way in this process, and how many may be; and the rest of those that were refused.

Guarantees that a refused connection is read again soon after the last refusal, and when its rest is over at the latest.
"""

import asyncio

LOOK_SECONDS = 0.1  # between two looks of those who rest
CALM_SECONDS = 0.2  # without a refusal: whoever asks now finds room


class Room:
    """Requests enter, leave, or are refused."""

    def __init__(self, requests_max: int) -> None:
        self.requests_max = requests_max
        self.under_way = 0
        self._refused_at = float("-inf")

    @property
    def is_full(self) -> bool:
        """Whether one more is too many."""
        return self.under_way >= self.requests_max

    def enter(self) -> None:
        """Count a request."""
        self.under_way += 1

    def leave(self) -> None:
        """Count one less."""
        self.under_way -= 1

    async def rest(self, seconds: float) -> None:
        """Wait until nobody is refused any more, but no longer than this.

        Not until there is room: while more ask than it holds there is some at any moment, and whoever is let go for it
        is refused once more; then all time goes there.
        """
        loop = asyncio.get_running_loop()
        self._refused_at = loop.time()
        ends = self._refused_at + seconds
        while True:
            now = loop.time()
            is_calm = not self.is_full and now - self._refused_at >= CALM_SECONDS
            if is_calm or now >= ends:
                return
            await asyncio.sleep(LOOK_SECONDS)
