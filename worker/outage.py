"""Tells that a store is away once when it goes and once when it is back, however often it is tried in between."""

import time

import structlog

log = structlog.get_logger(__name__)


class Outage:
    """Whether one store is away, as this process sees it: while one thing that is done there fails."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._since = 0.0
        # A store that only reads answers one and not the other: neither is told again and again for that.
        self._failing: set[str] = set()

    def goes_on(self, doing: str, error: BaseException) -> None:
        """Note that this failed."""
        if not self._failing:
            self._since = time.monotonic()
            log.warning(f"{self._store} is away", doing=doing, error=repr(error))
        self._failing.add(doing)

    def is_over(self, doing: str) -> None:
        """Note that this went well."""
        if doing in self._failing:
            self._failing.remove(doing)
            if not self._failing:
                log.info(f"{self._store} answers again", seconds=round(time.monotonic() - self._since, 1))
