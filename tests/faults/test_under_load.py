"""Each fault under load, in its short form: nothing is lost, nothing happens twice, nobody sees what they should not.

How long anybody waits is a matter of the long form (`make faults`): here many tests share the machine.
"""

from collections.abc import AsyncIterator
from itertools import count

import asyncpg
import pytest
from redis.asyncio import Redis as RedisClient

from devstack.postgres import Postgres
from devstack.redis import Redis
from tests.faults.checker import SENTENCES_MAX
from tests.faults.ground import Ground
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.trial import SHORT, ground_over, run_trial

_numbers = count(1)
# In test_connections.py, one request at a time, the statement that is cut is known.
ELSEWHERE = {"postgres-cut", "redis-cut"}
SHORT_SCENARIOS = [scenario for scenario in SCENARIOS if scenario.id not in ELSEWHERE]


@pytest.fixture(scope="module")
async def battered(
    fragile_postgres: Postgres, fragile_redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ground]:
    """One service that goes through all faults, one after another.

    With its own database: a process that is handed more of this module's tests later sets it up once more.
    """
    name = f"under_load_{next(_numbers)}"
    for store in (fragile_postgres, fragile_redis):
        store.resume()
        store.start()
    admin = await asyncpg.connect(fragile_postgres.url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    async with RedisClient.from_url(fragile_redis.url) as client:
        await client.flushall()
    logs = tmp_path_factory.mktemp("under-load")
    async with ground_over(fragile_postgres, fragile_redis, name, logs, SHORT) as ground:
        yield ground


@pytest.mark.parametrize("scenario", SHORT_SCENARIOS, ids=lambda scenario: scenario.id)
async def test_fault_under_load__the_books_are_exact_and_clients_see_what_they_may(
    battered: Ground, scenario: Scenario
) -> None:
    result = await run_trial(battered, scenario, SHORT)

    assert not result.violations, "\n".join(result.violations[:SENTENCES_MAX])
    assert result.statuses["200"] > 0
    assert result.statuses["400"] > 0
