"""The names in `--json`: programs rely on them, so they stay. New ones are added here, none is taken away."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis as Client

from shared import keys
from shared.settings import Settings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit, wallet_in
from tests.integration.conftest import OpenSession
from tests.integration.inspector_stage import Inspector

COUNT = Settings.model_fields["partition_count"].default
P = 5

DONE = "changed is_fine lines refused"
NAMES = {
    "overview": "dead_letters findings in_per_second jobs memory_bytes nodes oldest_age_seconds out_per_second "
    "partitions partitions_without_owner problems ready_wallets recent_operations recent_rejections recent_seconds "
    "waiting workers workers_draining",
    "overview.nodes": "append_fsync append_only eviction library_version memory_bytes memory_max_bytes node version",
    "overview.jobs": "error finished_at job overdue_seconds result seconds started_at succeeded_at",
    "partitions": "partitions sample_seconds",
    "partitions.partitions": "dead_letters hottest_waiting hottest_wallet in_per_second oldest_age_seconds "
    "out_per_second owner partition ready_wallets waiting",
    "workers": "partitions_without_owner workers",
    "workers.workers": "batch_size drained_since draining host is_late last_batch_at name ops_per_second partitions "
    "pid silent_seconds since version",
    "wallet WALLET": "balance created_at exists messages operations owner partition seq slot updated_at "
    "waiting wallet_id",
    "wallet WALLET.messages": "age_seconds amount message_id operation_id submitted_at type",
    "wallet WALLET.operations": "amount balance decided_at operation_id reason seq status submitted_at type",
    "operation OPERATION": "ahead amount balance claimed_at committed_at decided_at entered_at message_id operation_id "
    "owner partition reason replied_at reply_key seq state status submitted_at type wallet_id where",
    "oldest": "is_fine looked_at ready_wallets wallets",
    "oldest.wallets": "oldest_age_seconds operation_id owner partition waiting wallet_id",
    "tail --count 1 --for 10": "amount at balance kind operation_id reason seq status type wallet_id",
    "dead list": "dead_letters letters",
    "dead list.letters": "died_at fields letter message_id operation_id partition reason wallet_id",
    "dead show LETTER": "died_at fields letter message_id operation_id partition reason wallet_id",
    "doctor": "checks",
    "doctor.checks": "examples line mendable name verdict",
    "repair": DONE,
    "dead requeue LETTER": DONE,
    "dead drop LETTER": DONE,
    "drain one": DONE,
    "resume one": DONE,
    "repartition 128": DONE,
}
CHECKS = (
    "streams_without_ready_message ready_messages_without_stream depth owners heartbeats redis_settings "
    "function_library postgres_settings books housekeeping"
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.reading.partitions.SAMPLE_SECONDS", 0.1)
    monkeypatch.setattr("inspector.reading.walk.AGAIN_SECONDS", 0.02)
    monkeypatch.setattr("inspector.reading.doctor.AGAIN_SECONDS", 0.02)


@pytest.fixture
async def words(
    streams: Streams, books: BooksAsTheyStand, stores: dict[str, Any], open_session: OpenSession
) -> dict[str, str]:
    """Something of everything: a worker, a job, a decided, a waiting and a dead operation. Returns their ids."""
    await open_session()
    wallet_id = await books.create_wallet()
    await books.connection.execute(
        "INSERT INTO operations (id, wallet_id, type, amount, status, seq, balance, submitted_at, decided_at)"
        " VALUES (gen_random_uuid(), $1, 'DEPOSIT', 1, 'APPLIED', 1, 1, now(), now())",
        wallet_id,
    )
    await books.connection.execute("INSERT INTO maintenance_runs (job, started_at) VALUES ('sweep', now())")
    command = deposit(wallet_id)
    doomed = deposit(wallet_in(P, COUNT))
    await streams.submit([command], 10, 10)
    [message_id] = await streams.submit([doomed], 10, 10)
    await streams.bury(P, str(doomed.wallet_id), str(message_id), "for the test", 10)
    client: Client = Client.from_url(stores["redis_url"])
    [(letter, _)] = await client.xrange(keys.dead_stream(P))
    await client.aclose()
    return {"WALLET": str(wallet_id), "OPERATION": str(command.id), "LETTER": f"{P:02d}/{letter.decode()}"}


async def test_names_in_json__stay(stores: dict[str, Any], words: dict[str, str], streams: Streams) -> None:
    inspect = Inspector(Settings(**stores))
    seen: dict[str, str] = {}
    for command in (name for name in NAMES if "." not in name):
        if command.startswith("tail"):
            continue
        document = await inspect.read(*(words.get(word, word) for word in command.split()))
        seen[command] = names_of(document)
        for name, value in document.items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                seen[f"{command}.{name}"] = names_of(value[0])
        if command == "doctor":
            assert " ".join(check["name"] for check in document["checks"]) == CHECKS

    assert seen == {name: names for name, names in NAMES.items() if not name.startswith("tail")}


async def test_names_in_a_line_of_tail__stay(stores: dict[str, Any], streams: Streams) -> None:
    inspect = Inspector(Settings(**stores))
    [command] = [name for name in NAMES if name.startswith("tail")]

    async def submit() -> None:
        while True:
            await streams.submit([deposit(wallet_in(P, COUNT))], 10_000, 10_000)
            await asyncio.sleep(0.02)

    submitting = asyncio.create_task(submit())
    said = await inspect.read(*command.split())
    submitting.cancel()

    assert names_of(said) == NAMES[command]


def names_of(document: dict[str, Any]) -> str:
    return " ".join(sorted(document))
