"""Gives a service that stands still more partitions, so that more workers find work.

A wallet's partition says under which key it waits; the books know nothing of it. Guarantees that the count only grows,
and only while nobody is seen at work, and nothing waits where it would not be looked for afterwards. A worker that is
overlooked finds out before it owns anything, a gateway turns unready; until then what it puts under a wallet's former
partition is settled by whoever owns that one.
"""

from collections.abc import Iterable, Iterator

import sql
from inspector.progress import progress
from inspector.seen import Done
from inspector.stores import Stores
from shared import keys
from shared.database import PARTITION_LOCKS, WORKER_LOCKS
from shared.ids import read_id
from shared.release import RELEASE_LOCKS

SCAN_COUNT = 1_000


async def repartition(stores: Stores, count: int, *, yes: bool) -> Done:
    """Write a larger partition count into the books, for the processes that start from now on."""
    recorded = len(stores.partitions)
    if count == recorded:
        return Done(False, [f"there are {recorded} partitions"])
    if count < recorded:
        why = f"there are {recorded} partitions, and their number only grows: dead letters may lie in each"
        return Done(False, [], [why], is_fine=False)
    in_the_way = [*await _at_work(stores), *await _waiting(stores, count)]
    if in_the_way:
        return Done(False, [], in_the_way, is_fine=False)
    if not yes:
        lines = [f"would have {count} partitions instead of {recorded}", "nothing was changed; --yes does it"]
        return Done(False, lines, is_fine=False)
    async with stores.transaction():
        await stores.rows(sql.query("lock_partition_count"))
        # Once more: whoever joins from here on waits for the new number.
        in_the_way = _told(await _sessions(stores))
        if not in_the_way:
            await stores.rows(sql.query("repartition"), count, recorded)
    await stores.agree_on_partitions()
    if not in_the_way and len(stores.partitions) != count:
        in_the_way = [f"somebody else was quicker: there are {len(stores.partitions)} partitions"]
    if in_the_way:
        return Done(False, [], in_the_way, is_fine=False)
    return Done(
        True,
        [
            f"there are {count} partitions instead of {recorded}",
            f"start the processes again, where PARTITION_COUNT is set with PARTITION_COUNT={count}",
        ],
    )


async def _at_work(stores: Stores) -> list[str]:
    return _told(await _sessions(stores)) or await _readers(stores)


async def _sessions(stores: Stores) -> list[str]:
    """Return the names of the workers and of housekeeping, as far as they have a session."""
    rows = [
        *await stores.rows(sql.query("inspect_workers"), WORKER_LOCKS, PARTITION_LOCKS, RELEASE_LOCKS),
        *await stores.rows(sql.query("inspect_housekeepers")),
    ]
    return sorted({row["name"] for row in rows})


async def _readers(stores: Stores) -> list[str]:
    """Tell who waits for messages: gateways do, which may have no session in Postgres. A silent Redis may have any."""
    readers, untold = [], []
    for node, answers in (await stores.each(("CLIENT INFO",), ("CLIENT LIST",))).items():
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if errors:
            untold.append(f"Redis at {node} does not tell who waits there: {errors[0]}. Let this user call CLIENT LIST")
            continue
        own, clients = answers
        here = [client for client in clients if int(client["db"]) == int(own["db"])]
        readers += [client["addr"] for client in here if client["cmd"] == "xread" and "b" in client["flags"]]
    return [*_told(f"whoever waits for messages from {address}" for address in sorted(readers)), *untold]


def _told(at_work: Iterable[str]) -> list[str]:
    return [f"{name} is at work: stop the gateways, then workers and housekeeping" for name in at_work]


async def _waiting(stores: Stores, count: int) -> list[str]:
    """Tell of wallets that wait in another partition than they will have. (In their own they may: books of an earlier
    time have fewer partitions than there were.)"""
    highest, example = -1, ""
    with progress("keys looked at", None) as step:
        async for page in stores.scan(keys.ALL, SCAN_COUNT):
            step(len(page))
            for partition, wallet in _wallets_in(page):
                if partition != _partition_of(wallet, count) and partition > highest:
                    highest, example = partition, wallet
    if highest >= len(stores.partitions):
        return [
            f"operations wait in partitions up to {highest}, which these books do not have: first have as many as "
            f"there were when they were queued, more than {highest}"
        ]
    return [f"operations wait, of wallet {example} for one: start workers again until nothing waits"] if example else []


def _wallets_in(page: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    for name in page:
        key = name.decode(errors="replace")
        partition = keys.partition_named_in(key)
        if partition is not None and key.startswith(keys.wallet_prefix(partition)):
            yield partition, key.removeprefix(keys.wallet_prefix(partition))


def _partition_of(wallet: str, count: int) -> int | None:
    try:
        return keys.partition_of(read_id(wallet), count)
    except ValueError:
        return None  # made by hand
