"""The faults that are made under load: one table of what is broken, and what clients may see of it.

An action finds a service under load and leaves it to `trial.py` to heal what it broke. It knows nothing of the load.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import asyncpg

from devstack.postgres import Postgres
from devstack.process import ChildProcess
from devstack.redis import Redis
from shared.database import PARTITION_LOCKS
from tests.faults.cluster_faults import freeze_node, half_move_slot, kill_node
from tests.faults.crashing_worker import POINTS
from tests.faults.ground import Ground, ended
from tests.faults.proxy import Cut, Proxy
from tests.faults.scenario import AWAY, BROKEN, DECIDED, Pace, Scenario
from tests.waiting import until

CALLS = (b"XREAD", b"XRANGE", b"wallet_reply", b"wallet_finish")
SPREAD_SECONDS_MAX = 20.0  # for partitions to find new owners, on a busy machine
CUT_SECONDS_MAX = 10.0


# ---- workers --------------------------------------------------------------------------------------------------------


def _some_worker(ground: Ground) -> tuple[str, ChildProcess]:
    name = next(iter(ground.service.workers))
    return name, ground.service.workers[name]


async def _spread(ground: Ground, workers: int) -> None:
    """Wait until so many workers share the partitions evenly."""
    settings = ground.settings
    connection = await asyncpg.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        user=settings.postgres_user,
        database=settings.postgres_db,
    )

    async def evenly() -> bool:
        """Every worker holds its share of the partitions."""
        rows = await connection.fetch(
            "SELECT count(*) AS held FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY pid",
            PARTITION_LOCKS,
        )
        share = -(-settings.partition_count // workers)
        held = [row["held"] for row in rows]
        return len(held) == workers and sum(held) == settings.partition_count and max(held) <= share

    try:
        await until(evenly, SPREAD_SECONDS_MAX)
    finally:
        await connection.close()


async def _stop_worker(ground: Ground, name: str) -> None:
    """SIGTERM: the worker drains and ends by itself."""
    code = await asyncio.to_thread(ground.service.workers.pop(name).stop)
    assert code == 0, f"{name} ended with {code} when told to stop"


async def kill_worker(ground: Ground, pace: Pace) -> None:
    for _ in range(pace.rounds):
        name, process = _some_worker(ground)
        await asyncio.to_thread(process.kill)
        del ground.service.workers[name]
        await pace.pass_seconds(2)
        if pace.rounds > 1:
            await asyncio.to_thread(ground.service.start_worker)
            await _spread(ground, 2)


async def freeze_worker(ground: Ground, pace: Pace) -> None:
    _, process = _some_worker(ground)
    process.pause()
    await pace.pass_seconds(10)
    process.resume()


async def scale(ground: Ground, pace: Pace) -> None:
    first, _ = _some_worker(ground)
    for _ in range(3):
        await asyncio.to_thread(ground.service.start_worker)
    await _spread(ground, 4)
    await pace.pass_seconds(2)
    await asyncio.gather(*(_stop_worker(ground, name) for name in list(ground.service.workers) if name != first))
    await _spread(ground, 1)


async def roll_workers(ground: Ground, pace: Pace) -> None:
    names = list(ground.service.workers)
    for name in names:
        await _stop_worker(ground, name)
        await asyncio.to_thread(ground.service.start_worker)
        await _spread(ground, len(names))
        await pace.pass_seconds(0.5)


async def crash_worker(ground: Ground, pace: Pace, point: str) -> None:
    for _ in range(pace.rounds):
        await asyncio.to_thread(ground.start_crashing_worker, point)
        code = await ended(ground.service.workers.pop("crashing"))
        assert code == -signal.SIGKILL, f"the worker ended with {code} instead of crashing {point}"
        # One failure at a time: the next newcomer must not take, and crash over, what this one left behind.
        await _spread(ground, 1)
        await pace.pass_seconds(1)


# ---- stores ---------------------------------------------------------------------------------------------------------


async def kill_redis(ground: Ground, pace: Pace, *, empty: bool) -> None:
    await asyncio.to_thread(ground.redis.kill)
    await pace.pass_seconds(3)
    await asyncio.to_thread(ground.redis.restart, empty=empty)


async def kill_postgres(ground: Ground, pace: Pace, seconds: float) -> None:
    await asyncio.to_thread(ground.postgres.kill)
    await pace.pass_seconds(seconds)
    await asyncio.to_thread(ground.postgres.start)


async def restart_postgres(ground: Ground, pace: Pace) -> None:
    del pace
    await asyncio.to_thread(ground.postgres.restart)


async def pause_store(ground: Ground, pace: Pace, store: Callable[[Ground], Postgres | Redis]) -> None:
    await asyncio.to_thread(store(ground).pause)
    try:
        await pace.pass_seconds(5)
    finally:
        await asyncio.to_thread(store(ground).resume)


async def kill_both_stores(ground: Ground, pace: Pace) -> None:
    ground.redis.process.signal(signal.SIGKILL)
    ground.postgres.process.signal(signal.SIGKILL)
    await asyncio.to_thread(ground.redis.kill)
    await asyncio.to_thread(ground.postgres.kill)
    await pace.pass_seconds(3)
    await asyncio.gather(asyncio.to_thread(ground.postgres.start), asyncio.to_thread(ground.redis.start))


async def kill_everything(ground: Ground, pace: Pace) -> None:
    processes = (*ground.service.gateways.values(), *ground.service.workers.values())
    for process in (ground.redis.process, ground.postgres.process, *processes):
        process.signal(signal.SIGKILL)
    for process in (*processes, ground.redis.process, ground.postgres.process):
        await asyncio.to_thread(process.kill)
    ground.service.workers.clear()
    await pace.pass_seconds(3)
    await ground.heal(1, 2)


# ---- gateways and connections ---------------------------------------------------------------------------------------


async def kill_gateway(ground: Ground, pace: Pace) -> None:
    process = list(ground.service.gateways.values())[-1]
    await asyncio.to_thread(process.kill)
    await pace.pass_seconds(2)


async def cut_to_postgres(ground: Ground, pace: Pace) -> None:
    async with _through_a_proxy(ground, ground.postgres, lambda proxy: {"POSTGRES_PORT": str(proxy.port)}) as proxy:
        for nth in range(1, pace.statements + 1):
            for when in Cut:
                await _cut(ground, pace, proxy, b"", when, nth)


async def cut_to_redis(ground: Ground, pace: Pace) -> None:
    async with _through_a_proxy(ground, ground.redis, lambda proxy: {"REDIS_URL": proxy.redis_url}) as proxy:
        for _ in range(pace.rounds):
            for word in CALLS:
                for when in Cut:
                    await _cut(ground, pace, proxy, word, when, 1)


@asynccontextmanager
async def _through_a_proxy(
    ground: Ground, store: Postgres | Redis, environment: Callable[[Proxy], dict[str, str]]
) -> AsyncIterator[Proxy]:
    """Replace all workers by one that reaches a store through a proxy; leaving replaces it again."""
    async with Proxy(store.host, store.port).running() as proxy:
        direct = list(ground.service.workers)
        await asyncio.to_thread(ground.service.start_worker, "proxied", "worker", **environment(proxy))
        await _spread(ground, len(direct) + 1)
        for name in direct:
            await _stop_worker(ground, name)
        yield proxy
        await asyncio.to_thread(ground.service.start_worker)
        await _spread(ground, 2)
        await _stop_worker(ground, "proxied")


async def _cut(ground: Ground, pace: Pace, proxy: Proxy, word: bytes, when: Cut, nth: int) -> None:
    # It counts from a session that serves: else all that is ever cut is the making of the next one.
    await _spread(ground, 1)
    await pace.pass_seconds(0.5)
    proxy.cut_at(word, when, nth)
    async with asyncio.timeout(CUT_SECONDS_MAX):
        await proxy.fired.wait()


# ---- the table ------------------------------------------------------------------------------------------------------

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("worker-killed", "SIGKILL one worker", kill_worker, stall_seconds_max=1.0),
    Scenario("worker-frozen", "SIGSTOP one worker for 10 s, then SIGCONT", freeze_worker, stall_seconds_max=3.0),
    Scenario("workers-scaled", "SIGTERM: scale 1 → 4 → 1", scale, workers=1, stall_seconds_max=1.0),
    Scenario("workers-rolled", "rolling restart of all workers", roll_workers, workers=3, stall_seconds_max=1.0),
    *(
        Scenario(
            f"worker-crashes-{point.replace('_', '-')}",
            f"a worker killed {point.replace('_', ' ')}",
            partial(crash_worker, point=point),
            workers=1,
            stall_seconds_max=1.0,
        )
        for point in POINTS
    ),
    Scenario(
        "redis-killed",
        "SIGKILL Valkey, back after 3 s with its AOF",
        partial(kill_redis, empty=False),
        is_queue_away=True,
    ),
    Scenario(
        "redis-killed-two-gateways",
        "SIGKILL Valkey under two gateways that clients use by turns, back after 3 s with its AOF",
        partial(kill_redis, empty=False),
        gateways=2,
        statuses=AWAY,
        seen=DECIDED | {202},
        is_queue_away=True,
        follows_202s=True,
    ),
    Scenario(
        "redis-emptied",
        "SIGKILL Valkey, back after 3 s empty",
        partial(kill_redis, empty=True),
        is_queue_away=True,
        keeps_order_of_202s=False,
    ),
    Scenario(
        "redis-paused",
        "Valkey paused (SIGSTOP) for 5 s",
        partial(pause_store, store=lambda ground: ground.redis),
        is_queue_away=True,
    ),
    Scenario("postgres-killed", "SIGKILL Postgres, back after 3 s", partial(kill_postgres, seconds=3)),
    Scenario("postgres-restarted", "Postgres restarted (fast)", restart_postgres),
    Scenario(
        "postgres-paused",
        "Postgres paused (SIGSTOP) for 5 s",
        partial(pause_store, store=lambda ground: ground.postgres),
    ),
    Scenario("postgres-away", "Postgres away for 30 s", partial(kill_postgres, seconds=30), statuses=AWAY),
    Scenario("gateway-killed", "SIGKILL one of two gateways", kill_gateway, gateways=2, statuses=DECIDED | {BROKEN}),
    Scenario("postgres-cut", "worker ↔ Postgres cut at every statement in turn", cut_to_postgres, workers=1),
    Scenario("redis-cut", "worker ↔ Redis cut at every call in turn", cut_to_redis, workers=1),
    Scenario("stores-killed", "both stores killed at once, back after 3 s", kill_both_stores, is_queue_away=True),
    Scenario(
        "everything-killed",
        "everything killed at once, started again after 3 s",
        kill_everything,
        is_queue_away=True,
        statuses=DECIDED | {BROKEN},
    ),
    Scenario(
        "queues-full",
        "Postgres away for 30 s, with small queues",
        partial(kill_postgres, seconds=30),
        statuses=AWAY,
        seen=frozenset({202, 429, 503}),
        has_small_queues=True,
    ),
    Scenario(
        "cluster-node-killed",
        "Cluster: SIGKILL one of three nodes, back after 3 s with its AOF",
        kill_node,
        on_cluster=True,
        is_queue_away=True,
    ),
    Scenario(
        "cluster-node-frozen",
        "Cluster: one of three nodes paused (SIGSTOP) for 5 s",
        freeze_node,
        on_cluster=True,
        is_queue_away=True,
    ),
    Scenario(
        "cluster-slot-moved",
        "Cluster: the busiest slot moved, half moved for 3 s",
        half_move_slot,
        on_cluster=True,
        is_queue_away=True,
        stall_seconds_max=5.0,
    ),
)
