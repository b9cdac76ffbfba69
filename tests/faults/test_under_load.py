"""Each fault under load, in its short form: nothing is lost, nothing happens twice, nobody sees what they should not.

How long anybody waits is a matter of the long form (`make faults`): here many tests share the machine.
"""

from collections.abc import AsyncIterator

import pytest

from devstack.cluster import Cluster
from devstack.postgres import Postgres
from devstack.redis import Redis
from tests.faults.checker import SENTENCES_MAX
from tests.faults.conftest import emptied, new_database
from tests.faults.ground import Ground, ground_over
from tests.faults.scenario import Scenario
from tests.faults.scenarios import SCENARIOS
from tests.faults.trial import SHORT, run_trial

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
    name = await new_database(fragile_postgres)
    logs = tmp_path_factory.mktemp("under-load")
    async with ground_over(fragile_postgres, await emptied(fragile_redis), name, logs, SHORT.environment) as ground:
        yield ground


@pytest.fixture(scope="module")
async def battered_on_cluster(
    fragile_postgres: Postgres, fragile_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ground]:
    """The same on a Redis Cluster of three nodes."""
    name = await new_database(fragile_postgres)
    logs = tmp_path_factory.mktemp("under-load-on-cluster")
    async with ground_over(fragile_postgres, fragile_cluster, name, logs, SHORT.environment) as ground:
        yield ground


def _short(*, on_cluster: bool) -> pytest.MarkDecorator:
    scenarios = [scenario for scenario in SHORT_SCENARIOS if scenario.on_cluster == on_cluster]
    return pytest.mark.parametrize("scenario", scenarios, ids=lambda scenario: scenario.id)


@_short(on_cluster=False)
async def test_fault_under_load__the_books_are_exact_and_clients_see_what_they_may(
    battered: Ground, scenario: Scenario
) -> None:
    result = await run_trial(battered, scenario, SHORT)

    assert not result.violations, "\n".join(result.violations[:SENTENCES_MAX])


@_short(on_cluster=True)
async def test_fault_of_a_cluster_under_load__the_books_are_exact_and_clients_see_what_they_may(
    battered_on_cluster: Ground, scenario: Scenario
) -> None:
    result = await run_trial(battered_on_cluster, scenario, SHORT)

    assert not result.violations, "\n".join(result.violations[:SENTENCES_MAX])
