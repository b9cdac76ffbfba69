"""Stopping: whoever was accepted is answered, in order, and the process ends with 0."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import psutil

from devstack import procfs
from tests.service import Client, Service
from tests.waiting import until

CLIENTS = 20


async def under_load(service: Service, disturb: Callable[[], Awaitable[None]]) -> tuple[Client, str, list[Any]]:
    """Let many clients make deposits of one, one after another, before, while and after `disturb`.

    Returns a client, the wallet, and every answer: None where the connection broke, which ends that client's work.
    """
    client = Client(service.url)
    wallet_id = await client.create_wallet()
    answers: list[Any] = []
    over = False

    async def work() -> None:
        while not over and (not answers or answers[-1] is not None):
            try:
                answers.append(await client.deposit(wallet_id, 1))
            except aiohttp.ClientError:
                answers.append(None)
                return

    async def many() -> bool:
        return len(answers) >= 10 * CLIENTS

    load = [asyncio.create_task(work()) for _ in range(CLIENTS)]
    await until(many, 20)
    await disturb()
    over = True
    await asyncio.gather(*load)
    return client, wallet_id, answers


async def ended(process: Any) -> int:
    async def look() -> bool:
        return not process.is_alive

    await until(look, 20)
    return int(process.exit_code)


async def test_gateway_told_to_stop_under_load__every_accepted_request_is_answered(own_service: Service) -> None:
    gateway = own_service.start_gateway("stopped")
    own_service.start_worker()
    await own_service.wait_ready()

    async def stop() -> None:
        gateway.signal(signal.SIGTERM)
        assert await ended(gateway) == 0

    client, wallet_id, answers = await under_load(own_service, stop)
    await client.close()

    assert {answer.status for answer in answers if answer} == {200}
    own_service.start_gateway("stopped")
    await own_service.wait_ready()
    again = Client(own_service.url)
    # What was not answered was not accepted: the books have the answered ones, and no other.
    assert len(await again.history(wallet_id)) == sum(answer is not None for answer in answers)
    await again.close()


async def test_worker_told_to_stop_under_load__another_serves_and_no_request_fails(own_service: Service) -> None:
    own_service.start_gateway()
    workers = [own_service.start_worker() for _ in range(2)]
    await own_service.wait_ready()

    async def stop_one_then_start_and_stop_the_other() -> None:
        workers[0].signal(signal.SIGTERM)
        assert await ended(workers[0]) == 0
        own_service.start_worker("late")
        await own_service.wait_ready()
        workers[1].signal(signal.SIGTERM)
        assert await ended(workers[1]) == 0

    client, wallet_id, answers = await under_load(own_service, stop_one_then_start_and_stop_the_other)

    assert {answer.status if answer else None for answer in answers} == {200}
    assert await client.balance(wallet_id) == f"{len(answers)}.00"
    await client.close()


async def test_stop_while_nothing_happens__everything_ends_with_0(own_service: Service) -> None:
    own_service.start_gateway()
    own_service.start_worker()
    await own_service.wait_ready()
    idle = Client(own_service.url)
    await idle.get("/healthz")  # a connection that stays open must not hold up the end
    assert await asyncio.to_thread(own_service.stop) == [0, 0]
    await idle.close()


async def test_two_gateway_processes__each_serves_the_one_port_and_sigterm_ends_both(own_service: Service) -> None:
    gateway = own_service.start_gateway(GATEWAY_PROCESSES="2")
    own_service.start_worker()
    await own_service.wait_ready()

    async def both_serve() -> bool:
        return gateway.log_path.read_text().count('"event":"serving"') == 2

    await until(both_serve)
    processes = procfs.descendants(gateway.pid)
    assert len(processes) == 2
    for frozen in processes:
        # The other one takes every new connection.
        psutil.Process(frozen).suspend()
        for _ in range(5):
            client = Client(own_service.url)
            wallet_id = await client.create_wallet()
            assert (await client.deposit(wallet_id, 1)).body["balance"] == "1.00"
            await client.close()
        psutil.Process(frozen).resume()

    gateway.signal(signal.SIGTERM)
    assert await ended(gateway) == 0
    assert not any(procfs.is_alive(pid) for pid in processes)


async def test_one_of_two_gateway_processes_dies__the_gateway_ends_and_says_so(own_service: Service) -> None:
    gateway = own_service.start_gateway(GATEWAY_PROCESSES="2")
    await own_service.wait_ready("/healthz")
    processes = procfs.descendants(gateway.pid)
    psutil.Process(processes[0]).kill()
    assert await ended(gateway) == 1
    assert not any(procfs.is_alive(pid) for pid in processes)
    assert "ended by itself" in gateway.log_path.read_text()
