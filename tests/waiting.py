"""How tests wait: for what they expect to become true, with a limit, and never for a length of time."""

import asyncio
import time
from collections.abc import Awaitable, Callable

LOOK_SECONDS = 0.005


async def until(condition: Callable[[], Awaitable[object]], seconds_max: float = 5.0) -> float:
    """Wait until `condition` holds and return how many seconds that took; fails after the limit."""
    began = time.monotonic()
    while not (found := await condition()):
        passed = time.monotonic() - began
        assert passed < seconds_max, f"not within {seconds_max:g} s: {condition.__doc__ or condition}, but {found!r}"
        await asyncio.sleep(LOOK_SECONDS)
    return time.monotonic() - began
