"""What the dev stack raises: always one line that says what happened, to what, and what to do."""

from collections.abc import Sequence


class StackError(Exception):
    """Something of the stack cannot be started or went down; the operator has to act."""

    def __init__(self, message: str, log_tail: Sequence[str] = ()) -> None:
        """Keep `message` (one line) and the last lines of the log of whatever failed."""
        super().__init__(message)
        self.log_tail = tuple(log_tail)
