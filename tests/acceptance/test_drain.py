"""A worker taken out of service under load: its partitions go to the others, and no request fails."""

import asyncio
from typing import Any

from devstack.process import ChildProcess
from shared.database import connect
from shared.settings import Settings
from tests.books import BooksAsTheyStand
from tests.integration.inspector_stage import Inspector
from tests.service import Client, Service
from tests.waiting import until

COUNT = Settings.model_fields["partition_count"].default
CLIENTS = 16
WALLETS = 60


async def shares(inspect: Inspector) -> dict[str, int]:
    """Return how many partitions each worker owns."""
    rows = (await inspect.read("workers"))["workers"]
    return {row["name"]: len(row["partitions"]) for row in rows}


async def shared_like(inspect: Inspector, expected: dict[str, int], seconds_max: float = 15.0) -> None:
    async def are() -> bool:
        return await shares(inspect) == expected

    await until(are, seconds_max)


class Load:
    """Clients that make deposits of one, one after another, and keep every answer."""

    def __init__(self, client: Client, wallets: list[str]) -> None:
        self._client, self._wallets = client, wallets
        self._over = False
        self.answers: list[int] = []
        self._tasks = [asyncio.create_task(self._work(i)) for i in range(CLIENTS)]

    async def _work(self, number: int) -> None:
        while not self._over:
            number += CLIENTS
            answer = await self._client.deposit(self._wallets[number % len(self._wallets)], 1)
            self.answers.append(answer.status)

    async def goes_on(self, requests: int) -> None:
        """Wait for so many more answers."""
        wanted = len(self.answers) + requests

        async def came() -> bool:
            return len(self.answers) >= wanted

        await until(came, 20)

    async def end(self) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)


async def test_worker_drained_under_load_and_resumed__no_request_fails(own_service: Service, monkeypatch: Any) -> None:
    monkeypatch.setattr("inspector.reading.partitions.SAMPLE_SECONDS", 0.05)
    inspect = Inspector(own_service.settings)
    own_service.start_gateway()
    first: ChildProcess = own_service.start_worker("first")
    own_service.start_worker("second")
    await own_service.wait_ready()
    await shared_like(inspect, {"first": COUNT // 2, "second": COUNT // 2})
    client = Client(own_service.url)
    wallets = [await client.create_wallet() for _ in range(WALLETS)]
    load = Load(client, wallets)
    await load.goes_on(100)

    # Without --yes nothing happens, and who would be the last is not let go.
    would = await inspect("drain", "first")
    assert (would.code, would.lines[0]) == (1, f"would drain first: its {COUNT // 2} partitions go to second")
    assert (await inspect("drain", "nobody", "--yes")).code == 1
    drained = await inspect("drain", "first", "--yes")

    assert drained.code == 0, drained
    assert drained.lines[0].startswith(f"first is drained: {COUNT // 2} partitions moved to second in ")
    assert await shares(inspect) == {"first": 0, "second": COUNT}
    [seen] = [row for row in (await inspect.read("workers"))["workers"] if row["name"] == "first"]
    assert seen["draining"]
    last = await inspect("drain", "second", "--yes")
    assert last.code == 1
    assert "second is the last worker in service" in last.out
    await load.goes_on(100)

    # Restarted under its name it is still drained: an upgrade takes its time.
    await asyncio.to_thread(first.stop)
    first.start()
    await shared_like(inspect, {"first": 0, "second": COUNT})
    resumed = await inspect("resume", "first", "--yes")
    assert resumed.code == 0
    await shared_like(inspect, {"first": COUNT // 2, "second": COUNT // 2})
    await load.goes_on(100)
    await load.end()

    assert set(load.answers) == {200}
    total = sum([float(await client.balance(wallet_id)) for wallet_id in wallets])
    assert total == len(load.answers)
    await client.close()


async def test_drained_worker_that_is_left_alone__owns_everything_again(own_service: Service, monkeypatch: Any) -> None:
    monkeypatch.setattr("inspector.reading.partitions.SAMPLE_SECONDS", 0.05)
    inspect = Inspector(own_service.settings)
    own_service.start_worker("first")
    second = own_service.start_worker("second")
    await shared_like(inspect, {"first": COUNT // 2, "second": COUNT // 2})
    assert (await inspect("drain", "first", "--yes")).code == 0

    second.kill()

    # Partitions that nobody owns would be worse than a worker that works although it was drained.
    await shared_like(inspect, {"first": COUNT}, 5.0)
    connection = await connect(own_service.settings, "test")
    try:
        assert await BooksAsTheyStand(connection).connection.fetchval("SELECT name FROM drained_workers") == "first"
    finally:
        await connection.close()
