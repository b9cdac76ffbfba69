"""What health says, and what clients get, while a store is away."""

from tests.faults.ground import Ground
from tests.service import Answer, Client
from tests.waiting import until


async def until_ready_says(client: Client, status: int) -> Answer:
    async def look() -> bool:
        return (await client.get("/readyz")).status == status

    await until(look, 10)
    return await client.get("/readyz")


async def test_redis_down__alive_but_not_ready_and_named_until_it_is_back(ground: Ground) -> None:
    client = await ground.ready_with(worker={})
    wallet_id = await client.create_wallet()

    ground.redis.kill()

    answer = await until_ready_says(client, 503)
    assert answer.body == {"status": "unavailable", "missing": ["redis"]}
    assert (await client.get("/healthz")).status == 200
    assert await client.balance(wallet_id) == "0.00"  # reads need Postgres only
    await client.create_wallet()
    refused = await ground.witness.deposit(client, wallet_id, "100.00", prefer="wait=1")
    assert refused is not None
    assert (refused.status, refused.code) == (503, "unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    ground.redis.start()
    assert (await until_ready_says(client, 200)).body["missing"] == []
    answer = await client.deposit(wallet_id, "1.00")
    assert answer.body["balance"] == "1.00"  # what was refused did not happen


async def test_postgres_down__alive_but_not_ready_and_named_until_it_is_back(ground: Ground) -> None:
    client = await ground.ready_with(worker={})

    ground.postgres.kill()

    answer = await until_ready_says(client, 503)
    assert answer.body == {"status": "unavailable", "missing": ["postgres"]}
    assert (await client.get("/healthz")).status == 200
    refused = await client.request("POST", "/api/v1/wallets")
    assert (refused.status, refused.code) == (503, "unavailable")
    ground.postgres.start()
    await until_ready_says(client, 200)
    await client.create_wallet()


async def test_both_down__both_are_named(ground: Ground) -> None:
    client = await ground.ready_with(worker={})
    ground.redis.kill()
    ground.postgres.kill()
    answer = await until_ready_says(client, 503)

    async def both() -> bool:
        return bool((await client.get("/readyz")).body["missing"] == ["postgres", "redis"])

    await until(both)
    assert answer.status == 503
    ground.postgres.start()
    ground.redis.start()
    await until_ready_says(client, 200)
