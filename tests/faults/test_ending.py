"""A process that is told to end while a store is away: it ends by itself, in its time, and says what is lost."""

import asyncio
import contextlib
import json
import signal
import time
from typing import Any
from uuid import UUID

import pytest

from devstack import ports
from devstack.process import ChildProcess
from shared.commands import operation_id_of_key
from tests.faults.ground import Ground, ended, start
from tests.faults.proxy import Cut, Proxy
from tests.service import Answer, Client
from tests.waiting import until

DRAIN_SECONDS = 4.0
CLOSE_SECONDS_MAX = 2.0  # far below DRAIN_SECONDS, far above what it takes
STOP_SECONDS_MAX = 5.0  # far below what DRAIN_SECONDS is unless set, far above what it takes
LOOK_SECONDS_MAX = 0.7  # far below the 5 s after which the first submit is given up, and what waits behind it refused
LOST = 110
WAITING = "waiting for a store"


def lines_of(process: ChildProcess, event: str) -> list[dict[str, Any]]:
    """Return the whole lines of a process's log that tell of an event."""
    lines = [line for line in process.log_path.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return [told for told in map(json.loads, lines) if told["event"] == event]


async def test_gateway_ends_while_redis_never_comes_back__in_its_time_and_it_names_what_is_lost(
    ground: Ground, redis_proxy: Proxy
) -> None:
    limits = {"WAIT_SECONDS": str(DRAIN_SECONDS), "DRAIN_SECONDS": str(DRAIN_SECONDS)}
    client = await ground.ready_with(gateway={"REDIS_URL": redis_proxy.redis_url, **limits})
    gateway = ground.service.gateways["gateway"]
    wallet_id = await client.create_wallet()
    redis_proxy.cut_at(b"wallet_submit", Cut.BEFORE)
    request = start(ground.witness.deposit(client, wallet_id, "1.00", prefer="wait=1"))
    await redis_proxy.fired.wait()
    redis_proxy.hold()
    ground.redis.kill()
    redis_proxy.flow()
    accepted = await request
    assert accepted is not None
    assert accepted.status == 202
    refused_id = operation_id_of_key(UUID(wallet_id), "", "open")
    open_request = start(ground.witness.deposit(client, wallet_id, "2.00", key="open"))

    async def is_under_way() -> bool:
        return (await client.get(f"/api/v1/wallets/{wallet_id}/operations/{refused_id}")).status == 200

    await until(is_under_way)
    gateway.signal(signal.SIGTERM)
    began = time.monotonic()

    assert await ended(gateway) == 0
    assert time.monotonic() - began < DRAIN_SECONDS + CLOSE_SECONDS_MAX
    [told] = lines_of(gateway, "ended with commands that Redis may not have")
    assert (told["operations"], told["count"]) == ([accepted.body["operation"]["id"]], 1)
    refused = await open_request
    assert refused is not None
    assert refused.status == 503


async def test_gateway_ends_with_more_than_a_line_can_name__all_are_named(ground: Ground, redis_proxy: Proxy) -> None:
    limits = {"WAIT_SECONDS": "3", "DRAIN_SECONDS": "3"}
    wallet_id = await (await ground.ready_with(gateway={"REDIS_URL": redis_proxy.redis_url, **limits})).create_wallet()
    gateway = ground.service.gateways["gateway"]
    client = Client(ground.service.url, connections_max=3 * LOST)
    ids = [str(operation_id_of_key(UUID(wallet_id), "", f"{i}")) for i in range(LOST + 1)]

    async def all_are_under_way() -> bool:
        # One that is asked for before it is there waits for Redis, which does not answer: then it is asked for again.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS_MAX):
                looks = (client.get(f"/api/v1/wallets/{wallet_id}/operations/{each}") for each in ids[: len(requests)])
                return {answer.status for answer in await asyncio.gather(*looks)} == {200}
        return False

    def send(number: int) -> "asyncio.Task[Answer]":
        return asyncio.create_task(client.deposit(wallet_id, 1, Idempotency_Key=f"{number}"))

    redis_proxy.hold()
    requests = [send(0)]
    await until(all_are_under_way, 20)
    requests += [send(number) for number in range(1, LOST + 1)]  # they gather behind the first
    await until(all_are_under_way, 20)
    redis_proxy.cut_at(b"wallet_submit", Cut.BEFORE, nth=2)
    redis_proxy.flow()
    async with asyncio.timeout(10):
        await redis_proxy.fired.wait()
    redis_proxy.hold()
    ground.redis.kill()
    redis_proxy.flow()
    assert {answer.status for answer in await asyncio.gather(*requests)} == {202}
    gateway.signal(signal.SIGTERM)

    assert await ended(gateway) == 0
    lines = lines_of(gateway, "ended with commands that Redis may not have")
    assert {told["count"] for told in lines} == {LOST}
    assert sorted(each for told in lines for each in told["operations"]) == sorted(ids[1:])
    await client.close()


@pytest.mark.parametrize("module", ["gateway", "worker", "worker.maintenance"])
async def test_told_to_stop_while_there_is_no_postgres__ends_at_once_with_0(ground: Ground, module: str) -> None:
    process = ground.service.start_worker("waiting", module, POSTGRES_PORT=str(ports.pick_free()))

    await stops_at_once(process)


@pytest.mark.parametrize(
    ("module", "event"),
    [
        ("gateway", WAITING),
        ("worker", WAITING),
        ("worker.maintenance", "redis is away"),
    ],
)
async def test_told_to_stop_while_there_is_no_redis__ends_at_once_with_0(
    ground: Ground, module: str, event: str
) -> None:
    own = {"PORT": str(ports.pick_free()), "REDIS_URL": f"redis://127.0.0.1:{ports.pick_free()}/0"}
    process = ground.service.start_worker("waiting", module, **own)

    await stops_at_once(process, event)


async def test_two_gateway_processes_told_to_stop_while_there_is_no_postgres__both_end_at_once_with_0(
    ground: Ground,
) -> None:
    own = {"PORT": str(ports.pick_free()), "POSTGRES_PORT": str(ports.pick_free()), "GATEWAY_PROCESSES": "2"}
    process = ground.service.start_worker("waiting", "gateway", **own)

    await stops_at_once(process, processes=2)


async def stops_at_once(process: ChildProcess, event: str = WAITING, processes: int = 1) -> None:
    """Wait until each process waits for a store, tell them to stop, and see that they do."""

    async def all_wait() -> bool:
        assert process.is_alive, process.log_tail()
        return len(lines_of(process, event)) >= processes

    await until(all_wait, 10)
    process.signal(signal.SIGTERM)
    began = time.monotonic()

    assert await ended(process) == 0
    assert time.monotonic() - began < STOP_SECONDS_MAX
