"""Bytes in Redis per waiting wallet and per waiting operation; and none when nothing waits any more.

Commands are submitted as the gateway does it, while no worker runs; then a service is started that settles them.
"""

import asyncio
from datetime import UTC, datetime
from random import getrandbits

from pydantic import SecretStr
from uuid_utils.compat import uuid7

from bench import counters
from bench.load import wallet_id
from bench.measures import Bench
from bench.part import Part
from bench.stack import Stack
from devstack import procfs
from shared import keys
from shared.commands import Command, OperationType
from shared.settings import GatewaySettings
from shared.streams import Streams

DATABASE = "waiting"
REPLY_KEY = keys.reply_stream("0123456789abcdef")
SETTLED_SECONDS_MAX = 60.0
_QUEUE_MAX = 10_000_000


def measure(bench: Bench) -> Part:
    """Fill Redis twice, once in width and once in depth, and see what is left when all is settled."""
    stack, count = bench.stack, bench.plan.waiting_commands
    stack.fill_wallets(DATABASE, count)
    number = stack.take_redis_number()
    used, keys_before = _used(stack, number)
    bench.tell(f"{count:,} wallets with one waiting operation each")
    asyncio.run(_submit(stack, number, range(1, count + 1)))
    per_wallet = (_used(stack, number)[0] - used) / count
    own_key = _stream_bytes(stack, number, 1)
    used_wide = _used(stack, number)[0]
    bench.tell(f"{count:,} more operations on one of them")
    asyncio.run(_submit(stack, number, [1] * count))
    per_operation = (_used(stack, number)[0] - used_wide) / count
    bench.tell("settling all of it")
    service = stack.service(DATABASE, redis_number=number)
    done = procfs.wait_until(lambda: counters.books(stack, DATABASE).operations == 2 * count, SETTLED_SECONDS_MAX)
    procfs.wait_until(lambda: not _wallet_keys(stack, number), 5.0)
    idle = _wallet_keys(stack, number)
    keys_after = _used(stack, number)[1]
    stack.discard(service)
    return Part(
        "redis-bytes",
        "Bytes in Redis",
        ["what", "bytes"],
        [
            ["a waiting wallet with one operation, all in all", per_wallet],
            ["its stream alone (MEMORY USAGE)", own_key],
            ["each further waiting operation", per_operation],
            ["an idle wallet", 0 if done and not idle else None],
        ],
        f"{per_wallet:.0f} per waiting wallet, {per_operation:.0f} per further operation, "
        f"{len(idle)} wallet keys left when idle",
        [
            f"{count:,} wallets, then {count:,} operations on one; differences of used_memory, so the ready streams "
            f"and the key table are in it. Keys before: {keys_before}; when {2 * count:,} operations were settled: "
            f"{keys_after}, none of them a wallet's (the partitions' counters, and reply keys that expire).",
        ],
    )


async def _submit(stack: Stack, number: int, wallets: "range | list[int]") -> None:
    settings = stack.settings(DATABASE, number)
    streams = Streams(GatewaySettings.load().model_copy(update={"redis_url": SecretStr(settings["REDIS_URL"])}))
    await streams.load_library()
    for start in range(0, len(wallets), 500):
        commands = [
            Command(
                id=uuid7(),
                wallet_id=wallet_id(wallet),
                type=OperationType.DEPOSIT,
                amount=100,
                submitted_at=datetime.now(UTC),
                reply_to=REPLY_KEY,
                request_id=f"{getrandbits(128):032x}",
                token=getrandbits(63),
            )
            for wallet in wallets[start : start + 500]
        ]
        answers = await streams.submit(commands, _QUEUE_MAX, _QUEUE_MAX)
        assert all(isinstance(answer, str) for answer in answers), answers
    await streams.close()


def _used(stack: Stack, number: int) -> tuple[int, int]:
    with stack.redis_client(number) as client:
        info = client.info("memory")
        size = client.dbsize()
        assert isinstance(info, dict)
        assert isinstance(size, int)
        return int(info["used_memory"]), size


def _stream_bytes(stack: Stack, number: int, wallet: int) -> int:
    partition = keys.partition_of(wallet_id(wallet), GatewaySettings.load().partition_count)
    with stack.redis_client(number) as client:
        return int(client.memory_usage(keys.wallet_stream(partition, wallet_id(wallet)), samples=0) or 0)


def _wallet_keys(stack: Stack, number: int) -> list[bytes]:
    with stack.redis_client(number) as client:
        return list(client.scan_iter(match="*:wallet:*", count=1000))
