"""What `wallet-streams tail` sees of gateways that come and go."""

from typing import Any
from uuid import uuid4

from inspector.reading.passing import Passing
from inspector.seen import Passed
from inspector.stores import Stores
from shared.commands import Operation, OperationType, Reply, Status
from shared.settings import WorkerSettings
from shared.streams import Streams
from tests.commands import EPOCH
from tests.waiting import until


async def test_gateway_that_had_rested__its_next_outcome_is_seen_soon(stores: dict[str, Any], streams: Streams) -> None:
    deposit = Operation(uuid4(), uuid4(), OperationType.DEPOSIT, 300, Status.APPLIED, None, 1, 300, EPOCH, EPOCH, 1)
    async with Stores.open(WorkerSettings(**stores)) as opened:
        passing = Passing(opened, None)
        assert await passing.look() == []  # no gateway has a reply key

        await streams.finish([], {"{gw-rested}:replies": [Reply(deposit, EPOCH)]}, 60, 256)

        async def outcomes() -> list[Passed]:
            """The outcome is seen."""
            return await passing.look()

        await until(outcomes, seconds_max=5)
