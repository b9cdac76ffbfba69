"""`python -m tests.acceptance.gateway_that_never_looks`: the gateway, which takes outcomes from its reply key alone.

The service's own also looks for old commands in the books, a second later, so that a reply which never comes costs its
client no more than that, and nobody sees it. This one answers such a client with a 202 when the wait is over.
"""

from collections.abc import Sequence

from gateway.__main__ import main
from gateway.dispatcher import Dispatcher
from gateway.held import Held


async def look_for_nothing(self: Dispatcher, old: Sequence[Held]) -> None:
    """In place of the look for old commands."""


if __name__ == "__main__":
    Dispatcher._look_for = look_for_nothing  # type: ignore[method-assign]
    main()
