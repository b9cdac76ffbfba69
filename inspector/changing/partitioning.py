"""Gives a service that stands still more partitions, so that more workers find work.

A wallet's partition says under which key it waits; the books know nothing of it. Guarantees that the count only grows,
and only while nothing waits and nobody is seen at work. A gateway that is overlooked does no harm to the books: what it
puts under a wallet's former partition is settled by whoever owns that one.
"""

import sql
from inspector.progress import progress
from inspector.seen import Done
from inspector.stores import Stores
from shared import keys
from shared.database import PARTITION_LOCKS, WORKER_LOCKS
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
    in_the_way = [*await _at_work(stores), *await _waiting(stores)]
    if in_the_way:
        return Done(False, [], in_the_way, is_fine=False)
    if not yes:
        lines = [f"would have {count} partitions instead of {recorded}", "nothing was changed; --yes does it"]
        return Done(False, lines, is_fine=False)
    await stores.rows(sql.query("repartition"), count, recorded)
    await stores.agree_on_partitions()
    if len(stores.partitions) != count:
        why = f"somebody else was quicker: there are {len(stores.partitions)} partitions"
        return Done(False, [], [why], is_fine=False)
    return Done(
        True,
        [
            f"there are {count} partitions instead of {recorded}",
            f"start the processes again, where PARTITION_COUNT is set with PARTITION_COUNT={count}",
        ],
    )


async def _at_work(stores: Stores) -> list[str]:
    rows = [
        *await stores.rows(sql.query("inspect_workers"), WORKER_LOCKS, PARTITION_LOCKS, RELEASE_LOCKS),
        *await stores.rows(sql.query("inspect_housekeepers")),
    ]
    names = sorted({row["name"] for row in rows})
    names = names or [f"whoever waits for messages from {address}" for address in await _readers(stores)]
    return [f"{name} is at work: stop the gateways, then workers and housekeeping" for name in names]


async def _readers(stores: Stores) -> list[str]:
    """Return where somebody waits for messages: workers do, and gateways, which may have no session in Postgres."""
    found = []
    for answers in (await stores.each(("CLIENT INFO",), ("CLIENT LIST",))).values():
        if any(isinstance(answer, Exception) for answer in answers):
            continue  # it does not tell us
        own, clients = answers
        here = [client for client in clients if int(client["db"]) == int(own["db"])]
        found += [client["addr"] for client in here if client["cmd"] == "xread" and "b" in client["flags"]]
    return sorted(found)


async def _waiting(stores: Stores) -> list[str]:
    with progress("keys looked at", None) as step:
        async for page in stores.scan(keys.ALL, SCAN_COUNT):
            step(len(page))
            for key in page:
                partition = keys.partition_named_in(key.decode(errors="replace"))
                if partition is not None and key.startswith(keys.wallet_prefix(partition).encode()):
                    wallet = key.decode(errors="replace").removeprefix(keys.wallet_prefix(partition))
                    return [f"operations wait, of wallet {wallet} for one: start workers again until nothing waits"]
    return []
