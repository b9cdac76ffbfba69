"""The contract of waiting: 202 when the outcome takes longer, 429 and 503 when nothing was accepted, and what then."""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from shared.keys import partition_of
from shared.settings import GatewaySettings
from tests.acceptance.problems import assert_problem
from tests.service import Answer, Client, Service
from tests.waiting import until

OPERATION_FIELDS = {"id", "operation_type", "amount", "status", "seq", "balance", "created_at", "applied_at"}
SERVICE_WAIT_SECONDS = GatewaySettings.model_fields["wait_seconds"].default  # how long it waits unless told otherwise


@pytest.fixture
async def alone(own_service: Service) -> AsyncIterator[Client]:
    """A client of a gateway whose queues are short and behind which no worker runs yet."""
    own_service.environment = {"WALLET_QUEUE_MAX": "5", "PARTITION_QUEUE_MAX": "8", "HELD_COMMANDS_MAX": "12"}
    own_service.start_gateway()
    await own_service.wait_ready("/healthz")
    client = Client(own_service.url)
    yield client
    await client.close()


def assert_accepted(answer: Answer, wallet_id: str) -> str:
    """Check that an answer is a 202 to the last field; returns the operation's path."""
    assert answer.status == 202, answer
    assert answer.body.keys() == {"operation"}
    operation = answer.body["operation"]
    assert operation.keys() == OPERATION_FIELDS
    assert (operation["status"], operation["seq"], operation["balance"], operation["applied_at"]) == (
        "PENDING",
        *[None] * 3,
    )
    location = f"/api/v1/wallets/{wallet_id}/operations/{operation['id']}"
    assert answer.headers["Location"] == location
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["X-Request-ID"]
    return location


async def decided(client: Client, location: str) -> Answer:
    """Wait until an operation is no longer pending."""

    async def look() -> Answer | None:
        answer = await client.get(location)
        assert answer.status == 200, answer
        return answer if answer.body["status"] != "PENDING" else None

    await until(look, 10)
    return await client.get(location)


async def test_no_worker__202_pending_at_every_gateway_and_decided_once_when_one_comes(own_service: Service) -> None:
    own_service.start_gateway()
    own_service.start_gateway()
    await own_service.wait_ready("/healthz")
    clients = [Client(url) for url in own_service.urls.values()]
    wallet_id, key = await clients[0].create_wallet(), str(uuid4())

    began = time.monotonic()
    waited = await clients[0].deposit(wallet_id, "10.00", prefer="wait=1", Idempotency_Key=key)
    assert 1.0 <= time.monotonic() - began < SERVICE_WAIT_SECONDS
    assert waited.headers["Preference-Applied"] == "wait=1"
    at_once = await clients[1].withdraw(wallet_id, "99.00", prefer="wait=0")
    assert time.monotonic() - began < SERVICE_WAIT_SECONDS
    assert at_once.headers["Preference-Applied"] == "wait=0"
    locations = [assert_accepted(answer, wallet_id) for answer in (waited, at_once)]

    for client in clients:
        for location, answer in zip(locations, (waited, at_once), strict=True):
            pending = await client.get(location)
            assert (pending.status, pending.body) == (200, answer.body["operation"])
            assert int(pending.headers["Retry-After"]) >= 1
        nothing = f"/api/v1/wallets/{wallet_id}/operations/{uuid4()}"
        assert_problem(await client.get(nothing), 404, "operation_not_found", nothing)
        elsewhere = f"/api/v1/wallets/{uuid4()}/operations/{waited.body['operation']['id']}"
        assert_problem(await client.get(elsewhere), 404, "wallet_not_found", elsewhere)
    again = await clients[1].deposit(wallet_id, "10.00", prefer="wait=0", Idempotency_Key=key)
    assert assert_accepted(again, wallet_id) == locations[0]
    assert await clients[0].balance(wallet_id) == "0.00"

    own_service.start_worker()
    for client in clients:
        applied, rejected = [await decided(client, location) for location in locations]
        assert (applied.body["status"], applied.body["seq"], applied.body["balance"]) == ("APPLIED", 1, "10.00")
        assert "Retry-After" not in applied.headers
        assert (rejected.body["status"], rejected.body["reason"]) == ("REJECTED", "insufficient_funds")
        stored = await client.deposit(wallet_id, "10.00", Idempotency_Key=key)
        assert (stored.status, stored.headers["Idempotency-Replayed"]) == (200, "true")
        assert stored.body["operation"] == applied.body
        assert await client.balance(wallet_id) == "10.00"
        assert len(await client.history(wallet_id)) == len(await client.history(wallet_id, "REJECTED")) == 1
        await client.close()


async def test_other_body_while_the_first_is_pending__422_and_the_first_is_decided(
    alone: Client, own_service: Service
) -> None:
    wallet_id, key = await alone.create_wallet(), str(uuid4())
    first = await alone.deposit(wallet_id, 4, Idempotency_Key=key, prefer="wait=0")
    other = await alone.deposit(wallet_id, 5, Idempotency_Key=key, prefer="wait=0")
    assert_problem(other, 422, "idempotency_key_reused", f"/api/v1/wallets/{wallet_id}/operation")
    own_service.start_worker()
    await decided(alone, assert_accepted(first, wallet_id))
    assert await alone.balance(wallet_id) == "4.00"


async def test_other_body_at_another_gateway_while_the_first_is_pending__422_as_well(own_service: Service) -> None:
    for _ in range(2):
        own_service.start_gateway()
    await own_service.wait_ready("/healthz")
    one, two = [Client(url) for url in own_service.urls.values()]
    wallet_id, key = await one.create_wallet(), str(uuid4())
    first = await one.deposit(wallet_id, 4, Idempotency_Key=key, prefer="wait=0")
    assert_accepted(first, wallet_id)
    same = await two.deposit(wallet_id, 4, Idempotency_Key=key, prefer="wait=0")
    assert assert_accepted(same, wallet_id) == first.headers["Location"]
    other = await two.deposit(wallet_id, 5, Idempotency_Key=key, prefer="wait=0")
    assert_problem(other, 422, "idempotency_key_reused", f"/api/v1/wallets/{wallet_id}/operation")
    for client in (one, two):
        await client.close()


async def test_client_gone_before_the_answer__its_operation_is_decided_once(
    alone: Client, own_service: Service
) -> None:
    wallet_id, key = await alone.create_wallet(), str(uuid4())
    request = asyncio.create_task(alone.deposit(wallet_id, 4, Idempotency_Key=key))
    pending = await alone.deposit(wallet_id, 4, Idempotency_Key=key, prefer="wait=1")
    request.cancel()
    own_service.start_worker()
    location = assert_accepted(pending, wallet_id)
    assert (await decided(alone, location)).body["seq"] == 1
    assert await alone.balance(wallet_id) == "4.00"


@pytest.mark.parametrize(
    ("prefer", "granted"),
    [
        ("wait=0", "wait=0"),
        ("respond-async, WAIT=0", "wait=0"),
        ('wait="0"; x=y', "wait=0"),
        ("wait=1000000", None),
        ("wait=-1", None),
        ("wait=0.5", None),
        ("wait", None),
        ("await=0", None),
        ("handling=lenient", None),
    ],
)
async def test_prefer__is_honoured_when_understood_and_ignored_otherwise(
    client: Client, prefer: str, granted: str | None
) -> None:
    wallet_id = await client.create_wallet()
    answer = await client.deposit(wallet_id, 1, prefer=prefer)
    assert answer.headers.get("Preference-Applied") == granted
    if granted is None:
        assert answer.status == 200
    elif answer.status == 202:
        await decided(client, answer.headers["Location"])
    assert await client.balance(wallet_id) == "1.00"


async def test_wait_that_was_granted__is_told_with_a_rejection_too(client: Client) -> None:
    wallet_id = await client.create_wallet()

    rejected = await client.withdraw(wallet_id, 1, prefer="wait=9")

    assert (rejected.status, rejected.headers["Preference-Applied"]) == (400, "wait=9")


async def test_wallets_queue_full__429_and_nothing_happens(alone: Client, own_service: Service) -> None:
    full, other = await alone.create_wallet(), await alone.create_wallet()
    accepted = [await alone.deposit(full, 1, prefer="wait=0") for _ in range(5)]
    assert {answer.status for answer in accepted} == {202}

    key = str(uuid4())
    refused = [await alone.deposit(full, 100, prefer="wait=0", Idempotency_Key=key) for _ in range(3)]

    for answer in refused:
        assert_problem(answer, 429, "wallet_queue_full", f"/api/v1/wallets/{full}/operation")
        assert int(answer.headers["Retry-After"]) >= 1
    elsewhere = await alone.deposit(other, 1, prefer="wait=0")
    assert elsewhere.status == 202

    async def is_told_to_wait_longer() -> bool:
        # Nothing moves: the longer the queue has stood still, the later a retry is worth it.
        answer = await alone.deposit(full, 100, prefer="wait=0")
        return int(answer.headers["Retry-After"]) >= 2

    await until(is_told_to_wait_longer, 10)

    own_service.start_worker()
    for answer in (*accepted, elsewhere):
        await decided(alone, answer.headers["Location"])
    assert await alone.balance(full) == "5.00"
    first = await alone.deposit(full, 100, Idempotency_Key=key)
    assert (first.status, "Idempotency-Replayed" in first.headers, first.body["balance"]) == (200, False, "105.00")


async def test_partition_full__503_and_nothing_happens(alone: Client, own_service: Service) -> None:
    wallets = await same_partition(alone, own_service.settings.partition_count)
    accepted = [await alone.deposit(wallets[number // 4], 1, prefer="wait=0") for number in range(8)]
    assert {answer.status for answer in accepted} == {202}

    refused = await alone.deposit(wallets[0], 100, prefer="wait=0")

    assert_problem(refused, 503, "unavailable", f"/api/v1/wallets/{wallets[0]}/operation")
    assert int(refused.headers["Retry-After"]) >= 1
    own_service.start_worker()
    for answer in accepted:
        await decided(alone, answer.headers["Location"])
    assert [await alone.balance(wallet_id) for wallet_id in wallets] == ["4.00", "4.00"]


async def same_partition(client: Client, partition_count: int) -> tuple[str, str]:
    """Create wallets until two share a partition."""
    by_partition: dict[int, str] = {}
    while True:
        wallet_id = await client.create_wallet()
        earlier = by_partition.setdefault(partition_of(UUID(wallet_id), partition_count), wallet_id)
        if earlier != wallet_id:
            return earlier, wallet_id


async def test_gateway_holds_too_many__503_until_some_are_decided(alone: Client, own_service: Service) -> None:
    wallets = [await alone.create_wallet() for _ in range(13)]
    accepted = [await alone.deposit(wallet_id, 1, prefer="wait=0") for wallet_id in wallets[:12]]
    assert {answer.status for answer in accepted} == {202}

    refused = await alone.deposit(wallets[12], 1, prefer="wait=0")

    assert_problem(refused, 503, "unavailable", f"/api/v1/wallets/{wallets[12]}/operation")
    assert int(refused.headers["Retry-After"]) >= 1
    own_service.start_worker()
    for answer in accepted:
        await decided(alone, answer.headers["Location"])
    assert (await alone.deposit(wallets[12], 1)).body["balance"] == "1.00"


async def test_unknown_wallet_without_a_worker__202_and_404_once_it_is_decided(
    alone: Client, own_service: Service
) -> None:
    wallet_id = uuid4()
    location = assert_accepted(await alone.deposit(str(wallet_id), 1, prefer="wait=0"), str(wallet_id))
    own_service.start_worker()

    async def look() -> bool:
        return (await alone.get(location)).status == 404

    await until(look, 10)
    assert_problem(await alone.get(location), 404, "wallet_not_found", location)
