"""A process in which everything goes wrong that libraries and Python itself write about: `test_logs_of_others`."""

import asyncio
import logging
import threading
import warnings

import asyncpg

from shared import logs
from shared.settings import Settings


class Refused(asyncpg.CheckViolationError):
    """As Postgres says it: with the row."""

    def __str__(self) -> str:
        return "a row violates a check\nDETAIL:  Failing row contains (4711, secret)."


async def forget() -> None:
    async def fail() -> None:
        raise Refused("in a task that nobody waits for")

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task


class Broken:
    """Fails where nobody can be told."""

    def __del__(self) -> None:
        raise Refused("in a finaliser")


def fail() -> None:
    raise Refused("uncaught")


def main() -> None:
    logs.configure(Settings.load(), "noisy")
    asyncio.run(forget())
    logging.getLogger("aiohttp.server").error("Error handling request\nfrom %s", "somewhere")
    logging.getLogger("aiohttp.server").info("not told")
    logging.getLogger("opentelemetry.sdk").log(35, "of a level of its own")
    logging.getLogger("opentelemetry.sdk").warning("with arguments that do not fit: %s %s", *(1,))
    try:
        fail()
    except Refused:
        logging.getLogger("some.library").exception("could not: a row violates a check\nDETAIL:  (4711, secret)")
    warnings.warn("old", stacklevel=1)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    Broken()
    fail()


if __name__ == "__main__":
    main()
