"""What the inspector shows of stores in a known state, as text and as JSON."""

import asyncio
import contextlib
import json
import re
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace
from redis.crc import key_slot

from shared import keys
from shared.commands import operation_id_of_key
from shared.database import connect
from shared.release import own_release, release_text
from shared.settings import Settings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit, wallet_in, withdraw
from tests.integration.inspector_stage import Inspector
from tests.integration.stage import claim_of
from tests.service import Client, Service

COUNT = Settings.model_fields["partition_count"].default
MANY = 10_000


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the two readings of a speed closer together: nobody reads these figures."""
    monkeypatch.setattr("inspector.reading.partitions.SAMPLE_SECONDS", 0.15)
    monkeypatch.setattr("inspector.reading.walk.AGAIN_SECONDS", 0.02)


@pytest.fixture
def inspect(stores: dict[str, Any]) -> Inspector:
    """The inspector over the stores of one test, where nobody works."""
    return Inspector(Settings(**stores))


@pytest.fixture
def inspect_service(service: Service) -> Inspector:
    """The inspector over the shared service, which works."""
    return Inspector(service.settings)


async def queued(streams: Streams, partition: int, messages: int) -> UUID:
    """Submit so many deposits to a new wallet of a partition; returns it."""
    wallet_id = wallet_in(partition, COUNT)
    await streams.submit([deposit(wallet_id) for _ in range(messages)], MANY, MANY)
    return wallet_id


async def test_partitions__tell_what_waits_how_long_for_whom_and_that_nobody_owns_it(
    inspect: Inspector, streams: Streams
) -> None:
    hot = await queued(streams, 7, 5)
    await queued(streams, 7, 2)

    said = await inspect("partitions", "--json")

    assert said.code == 1  # nobody owns them
    assert len(said.json["partitions"]) == COUNT
    seen = said.json["partitions"][7]
    assert seen.pop("oldest_age_seconds") < 10
    assert seen == {
        "partition": 7,
        "owner": None,
        "ready_wallets": 2,
        "waiting": 7,
        "in_per_second": 0.0,
        "out_per_second": 0.0,
        "hottest_wallet": str(hot),
        "hottest_waiting": 5,
        "dead_letters": 0,
    }
    assert said.json["partitions"][8]["oldest_age_seconds"] is None
    text = await inspect("partitions")
    assert text.code == 1
    assert text.lines[8].split()[:4] == ["07", "nobody", "2", "7"]


async def test_partitions__tell_how_fast_commands_come_and_go(inspect: Inspector, streams: Streams) -> None:
    looking = asyncio.create_task(inspect("partitions", "--json"))
    sent = 0
    while not looking.done():
        await queued(streams, 3, 10)
        sent += 10
        claims = await claim_of(streams, [3], 1, 5)
        await streams.finish([replace(claims[0], messages=claims[0].messages[:5])], {}, 60, 10)
        await asyncio.sleep(0.02)
    seen = (await looking).json

    speed = seen["partitions"][3]
    assert 0 < speed["in_per_second"] <= sent / seen["sample_seconds"]
    # Half of what came was finished.
    assert speed["out_per_second"] == pytest.approx(speed["in_per_second"] / 2, rel=0.4)


async def test_wallet__tells_where_it_is_what_waits_and_what_was_decided(
    inspect: Inspector, streams: Streams, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet(balance=1_050, seq=0)
    first, second = deposit(wallet_id, 250), withdraw(wallet_id, 99)
    await streams.submit([first, second], MANY, MANY)
    partition = keys.partition_of(wallet_id, COUNT)

    said = await inspect("wallet", str(wallet_id), "--limit", "1", "--json")

    assert said.code == 0
    assert (said.json["partition"], said.json["slot"]) == (partition, key_slot(keys.ready_stream(partition).encode()))
    assert (said.json["balance"], said.json["seq"], said.json["waiting"]) == ("10.50", 0, 2)
    [message] = said.json["messages"]
    assert (message["operation_id"], message["type"], message["amount"]) == (str(first.id), "DEPOSIT", "2.50")
    assert 0 <= message["age_seconds"] < 10
    text = await inspect("wallet", str(wallet_id))
    assert any("10.50" in line for line in text.lines)
    assert any(str(second.id) in line and "0.99" in line for line in text.lines)


async def test_wallet_that_does_not_exist__is_said(inspect: Inspector) -> None:
    said = await inspect("wallet", str(uuid4()))

    assert said.code == 1
    assert "no such wallet" in said.out


async def test_operation_that_waits__is_found_with_its_place_in_line(inspect: Inspector, streams: Streams) -> None:
    wallet_id = wallet_in(9, COUNT)
    commands = [deposit(wallet_id) for _ in range(120)]  # more than is read of a wallet at first
    message_ids = await streams.submit(commands, MANY, MANY)
    await queued(streams, 9, 1)

    for arguments in ([], ["--wallet", str(wallet_id)]):
        said = await inspect("operation", str(commands[110].id), *arguments, "--json")

        assert said.code == 0
        assert (said.json["state"], said.json["ahead"], said.json["partition"]) == ("waiting", 110, 9)
        assert (said.json["wallet_id"], said.json["message_id"]) == (str(wallet_id), message_ids[110])
        assert said.json["decided_at"] is None
    assert "nobody owns it" in (await inspect("operation", str(commands[110].id))).out


async def test_operation_that_is_nowhere__is_said(inspect: Inspector) -> None:
    said = await inspect("operation", str(uuid4()))

    assert said.code == 1
    assert "neither in the books nor in a stream" in said.out


async def test_operation_among_the_dead__is_found(inspect: Inspector, streams: Streams) -> None:
    wallet_id = wallet_in(2, COUNT)
    command = deposit(wallet_id)
    [message_id] = await streams.submit([command], MANY, MANY)
    await streams.bury(2, str(wallet_id), str(message_id), "for the test", 10)

    said = await inspect("operation", str(command.id), "--json")

    assert (said.code, said.json["state"], said.json["reason"]) == (1, "dead", "for the test")


async def test_operation_by_its_key__has_its_whole_way_with_times(client: Client, inspect_service: Inspector) -> None:
    wallet_id = await client.create_wallet()
    began = datetime.now(UTC)
    answer = await client.deposit(wallet_id, "12.34", Idempotency_Key="order-1")
    operation_id = str(operation_id_of_key(UUID(wallet_id), "", "order-1"))
    assert answer.body["operation"]["id"] == operation_id

    said = await inspect_service("operation", "--key", "order-1", "--wallet", wallet_id, "--json")

    assert said.code == 0
    seen = said.json
    assert (seen["operation_id"], seen["state"], seen["status"], seen["amount"]) == (
        operation_id,
        "decided",
        "APPLIED",
        "12.34",
    )
    steps = ("submitted", "claimed", "decided", "committed", "replied")
    way = [began, *(datetime.fromisoformat(seen[f"{step}_at"]) for step in steps), datetime.now(UTC)]
    # A worker knows Postgres' clock to within half a trip, and of Redis' there are whole milliseconds.
    a_trip = timedelta(milliseconds=50)
    assert all(before - a_trip <= after for before, after in pairwise(way))
    text = (await inspect_service("operation", operation_id)).out
    assert all(step in text for step in steps)
    assert "APPLIED, seq 1, balance 12.34" in text


async def test_key_without_its_wallet__is_a_wrong_command_line(inspect: Inspector) -> None:
    said = await inspect("operation", "--key", "order-1")

    assert said.code == 2
    assert "needs --wallet" in said.err


async def test_workers_and_overview__tell_who_works_and_how_fast(
    client: Client, service: Service, inspect_service: Inspector
) -> None:
    [name] = service.workers
    wallet_id = await client.create_wallet()
    await asyncio.gather(*(client.deposit(wallet_id, 1) for _ in range(30)))
    assert (await client.withdraw(wallet_id, 1_000)).status == 400

    seen = await inspect_service.read("workers")

    [worker] = seen["workers"]
    assert (worker["name"], worker["host"], worker["draining"]) == (name, "127.0.0.1", False)
    assert worker["partitions"] == list(range(COUNT))
    assert worker["batch_size"] >= 1
    assert worker["ops_per_second"] is not None
    assert worker["version"] == release_text(own_release())
    last = datetime.fromisoformat(worker["last_batch_at"])
    assert timedelta(0) <= datetime.now(UTC) - last < timedelta(seconds=30)
    overview = await inspect_service.read()
    assert (overview["workers"], overview["partitions_without_owner"]) == (1, [])
    assert overview["recent_operations"] >= 31
    assert overview["recent_rejections"] >= 1
    assert overview["nodes"][0]["eviction"] == "noeviction"
    head, text, *_ = (await inspect_service("workers")).lines
    assert re.split(r"  +", head)[:4] == ["worker", "host", "session pid", "partitions"]
    assert text.split()[:4] == [name, "127.0.0.1", str(worker["pid"]), str(COUNT)]


async def test_pid_of_a_worker__is_that_of_its_session_and_not_of_its_process(
    service: Service, inspect_service: Inspector
) -> None:
    [(name, process)] = service.workers.items()

    [worker] = (await inspect_service.read("workers"))["workers"]

    connection = await connect(service.settings, "test")
    pids = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = $1", name)
    await connection.close()
    assert [row["pid"] for row in pids] == [worker["pid"]] != [process.pid]


async def test_overview_without_a_worker__says_what_is_wrong(inspect: Inspector, streams: Streams) -> None:
    await queued(streams, 1, 3)

    said = await inspect()

    assert said.code == 1
    assert "! no worker lives" in said.lines
    assert f"! {COUNT} partitions without an owner: 0-{COUNT - 1}" in said.lines
    assert any(line.startswith("waiting") and "3 operations of 1 wallets" in line for line in said.lines)
    assert (await inspect("overview", "--json")).json["waiting"] == 3


async def test_overview_of_a_busy_service__names_the_time_that_its_figures_are_of(
    inspect: Inspector, books: BooksAsTheyStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many of the latest operations are read: at 2,000 a second they go back less than ten seconds."""
    monkeypatch.setattr("inspector.reading.workers.RECENT_OPERATIONS", 50)
    await books.connection.execute(
        "INSERT INTO operations (id, wallet_id, type, amount, status, reason, balance, submitted_at, decided_at)"
        " SELECT gen_random_uuid(), $1, 'WITHDRAW', 1, 'REJECTED', 'x', 0, now(), now() - n * interval '40 ms'"
        " FROM generate_series(0, 99) AS n",
        await books.create_wallet(),
    )

    seen = await inspect.read()
    text = await inspect("overview")

    assert seen["recent_operations"] == 50
    assert 49 * 0.04 <= seen["recent_seconds"] < 9
    [line] = [line for line in text.lines if line.startswith("rejections")]
    assert "50 of 50 operations" in line
    assert "in the last 10 s" not in line


async def test_oldest__are_in_order_of_age_whatever_their_place_in_line(inspect: Inspector, streams: Streams) -> None:
    wallets = []
    for partition in (5, 6, 5, 6):
        wallets.append(await queued(streams, partition, 2))
        await asyncio.sleep(0.003)  # message ids count milliseconds
    # The first is claimed in part and put back at the end of its line: still the one that waits longest.
    [claim] = await claim_of(streams, [5], 1, 1)
    await streams.finish([claim], {}, 60, 10)

    seen = await inspect.read("oldest", "--limit", "3")

    assert [wallet["wallet_id"] for wallet in seen["wallets"]] == [str(wallet) for wallet in wallets[:3]]
    assert (seen["ready_wallets"], seen["looked_at"]) == (4, 4)
    assert seen["wallets"][0]["waiting"] == 1
    assert str(wallets[0]) in (await inspect("oldest")).lines[1]


async def test_tail__shows_commands_and_outcomes_as_they_pass(client: Client, inspect_service: Inspector) -> None:
    wallet_id, other = await client.create_wallet(), await client.create_wallet()

    async def deposit_steadily() -> None:
        while True:
            await client.deposit(other, 1)
            await client.deposit(wallet_id, 3)

    load = asyncio.create_task(deposit_steadily())
    said = await inspect_service("tail", "--wallet", wallet_id, "--count", "5", "--for", "10", "--json")
    load.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await load

    passed = [json.loads(line) for line in said.lines]
    assert said.code == 0
    assert len(passed) == 5
    assert {one["wallet_id"] for one in passed} == {wallet_id}
    assert {one["amount"] for one in passed} == {"3.00"}
    assert "outcome" in {one["kind"] for one in passed}


async def test_tail_of_all__shows_a_command_that_nobody_settles(inspect: Inspector, streams: Streams) -> None:
    tail = asyncio.create_task(inspect("tail", "--count", "1", "--for", "10"))
    while not tail.done():
        await queued(streams, 11, 1)
        await asyncio.sleep(0.05)

    said = await tail
    assert said.code == 0
    assert " command " in said.lines[0]
    assert "1.00" in said.lines[0]


async def test_look__changes_nothing(inspect: Inspector, streams: Streams, books: BooksAsTheyStand) -> None:
    await books.create_wallet()
    await queued(streams, 4, 3)
    before = await claim_of(streams, [4], 10, 10)
    began = time.monotonic()

    for command in ("overview", "partitions", "workers", "oldest", "doctor", "repair"):
        await inspect(command)

    assert await claim_of(streams, [4], 10, 10) == before
    assert time.monotonic() - began < 30
