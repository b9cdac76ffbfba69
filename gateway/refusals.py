"""What this process refused: counted one by one, and told in one line a second however many there are."""

from collections import Counter

import structlog

from gateway import metrics
from shared.commands import Command

log = structlog.get_logger(__name__)


class Refusals:
    """The refusals since they were last told."""

    def __init__(self) -> None:
        self._untold: Counter[str] = Counter()
        self._last: dict[str, str] = {}

    def note(self, reason: str, command: Command | None = None) -> None:
        """Count one; `command` is what was refused, if it came so far."""
        metrics.note_refusal(reason)
        self._untold[reason] += 1
        if command is not None:
            self._last = {"request_id": command.request_id, "operation_id": str(command.id)}

    def tell(self) -> None:
        """Write a line if there were any; to be called once a second. The ids are of the last one."""
        if self._untold:
            log.warning("refused", count=self._untold.total(), **self._untold, **self._last)
            self._untold.clear()
            self._last = {}


refusals = Refusals()  # of this process
