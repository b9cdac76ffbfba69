"""What waits, and what Postgres knows, as it is looked at for the metrics: true on stores in a known state."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from shared import keys
from shared.database import PARTITION_LOCKS, WORKER_LOCKS, Connection, connect
from shared.migrations import agree_on_partitions
from shared.nodes import Nodes
from shared.settings import GatewaySettings, MaintenanceSettings, WorkerSettings
from shared.streams import Streams
from tests.commands import deposit, wallet_in
from worker.backlog import look as look_at_backlog
from worker.housekeeping.watch import Watch
from worker.housekeeping.watch import look as look_at_postgres

HOT, COLD, IDLE = 3, 5, 7
SWEPT = '{"stranded_wallets": 3, "restored": 0, "round_began_at": "2026-11-25"}'
COUNT = GatewaySettings.model_fields["partition_count"].default


@pytest.fixture
async def nodes(worker_settings: WorkerSettings) -> AsyncIterator[Nodes]:
    opened = Nodes(worker_settings)
    yield opened
    await opened.close()


@pytest.fixture
async def session(stores: dict[str, Any]) -> AsyncIterator[Connection]:
    opened = await connect(MaintenanceSettings(**stores), "test")
    yield opened
    await opened.close()


async def waiting_since(nodes: Nodes, wallet: UUID, partition: int, ms_ago: int) -> None:
    """Leave one message in a wallet's stream that entered it so long ago, behind all others in the line."""
    seconds, microseconds = await nodes.one(keys.meta(partition), "TIME")
    entered = int(seconds) * 1000 + int(microseconds) // 1000 - ms_ago
    stream, ready = keys.wallet_stream(partition, wallet), keys.ready_stream(partition)
    await nodes.one(stream, "XADD", stream, f"{entered}-0", "id", "x")
    await nodes.one(ready, "XADD", ready, "*", "wallet", str(wallet))


async def test_backlog__is_what_waits_and_how_long_the_oldest_has(streams: Streams, nodes: Nodes) -> None:
    hot, cold = wallet_in(HOT, COUNT), wallet_in(COLD, COUNT)
    await streams.submit([deposit(hot), deposit(hot), deposit(cold)], 10, 10)
    # A hot wallet that was put back at the end of the line waits longest.
    await waiting_since(nodes, wallet_in(HOT, COUNT), HOT, 60_000)

    waiting = await look_at_backlog(nodes, {HOT, COLD, IDLE})

    assert {partition: seen.commands for partition, seen in waiting.items()} == {HOT: 2, COLD: 1, IDLE: 0}
    assert 60 <= waiting[HOT].oldest_seconds < 70
    assert waiting[COLD].oldest_seconds < 5
    assert waiting[IDLE].oldest_seconds == 0


async def test_backlog__does_not_end_at_a_ready_message_that_names_no_wallet(streams: Streams, nodes: Nodes) -> None:
    await streams.submit([deposit(wallet_in(HOT, COUNT))], 10, 10)
    ready = keys.ready_stream(HOT)
    await nodes.one(ready, "XADD", ready, "*", "made by", "hand")
    await nodes.one(ready, "XADD", ready, "*", "wallet", b"\xff")

    assert (await look_at_backlog(nodes, {HOT}))[HOT].commands == 1


async def test_backlog__counts_dead_letters_that_are_kept(streams: Streams, nodes: Nodes) -> None:
    wallet = wallet_in(COLD, COUNT)
    [message_id] = await streams.submit([deposit(wallet)], 10, 10)
    await streams.bury(COLD, str(wallet), str(message_id), "planted", 10)

    waiting = await look_at_backlog(nodes, {COLD, IDLE})

    assert (waiting[COLD].dead_letters, waiting[COLD].commands) == (1, 0)
    assert waiting[IDLE].dead_letters == 0


async def test_backlog__does_not_end_at_keys_of_the_wrong_type(streams: Streams, nodes: Nodes) -> None:
    wallet_id, spoilt = wallet_in(HOT, COUNT), wallet_in(HOT, COUNT)
    await streams.submit([deposit(wallet_id), deposit(spoilt)], 10, 10)
    for key in (keys.ready_stream(COLD), keys.wallet_stream(HOT, spoilt)):
        await nodes.one(key, "SET", key, "by hand")

    waiting = await look_at_backlog(nodes, {HOT, COLD, IDLE})

    assert (set(waiting), waiting[HOT].commands) == ({HOT, IDLE}, 2)


async def test_backlog__of_no_partition_asks_nobody(nodes: Nodes) -> None:
    assert await look_at_backlog(nodes, set()) == {}


def exported(watch: Watch) -> dict[tuple[str, ...], float]:
    return {(s.name, *s.labels.values()): s.value for family in watch.collect() for s in family.samples}


async def test_watch__sees_owners_errors_in_the_books_and_jobs(session: Connection) -> None:
    await session.execute("SELECT pg_advisory_lock($1, 1)", WORKER_LOCKS)
    await session.execute("SELECT pg_advisory_lock($1, p) FROM generate_series(0, 9) AS p", PARTITION_LOCKS)
    await session.execute(
        "INSERT INTO maintenance_runs VALUES ('sweep', now(), now(), 0.25, $1, 'broken', now())", SWEPT
    )
    await session.execute(
        "INSERT INTO reconciliation_findings"
        " SELECT gen_random_uuid(), 'seq_gap', 'seq 3', 2, 3, '', now(), now(), ended"
        " FROM unnest(ARRAY[NULL, NULL, now()]) AS ended"
    )
    await agree_on_partitions(session, COUNT, is_asked_for=False)
    watch = Watch()
    watch.seen = await look_at_postgres(session)

    seen = exported(watch)
    assert seen["wallet_postgres_up",] == 1
    assert seen["wallet_partitions",] - seen["wallet_partitions_owned",] == COUNT - 10
    assert seen["wallet_workers",] == 1
    assert seen["wallet_reconciliation_findings_open",] == 2  # the third was resolved
    assert seen["wallet_housekeeping_last_run_failed", "sweep"] == 1
    assert seen["wallet_housekeeping_last_run_duration_seconds", "sweep"] == 0.25
    counted = {
        tuple(what): count for (name, *what), count in seen.items() if name == "wallet_housekeeping_last_run_count"
    }
    assert counted == {("sweep", "stranded_wallets"): 3, ("sweep", "restored"): 0}
    assert seen["wallet_housekeeping_last_success_timestamp_seconds", "sweep"] > 1_700_000_000


def test_postgres_that_does_not_answer__leaves_nothing_but_that() -> None:
    assert exported(Watch()) == {("wallet_postgres_up",): 0}
