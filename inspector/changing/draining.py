"""Takes a worker out of service, and puts it back.

A drained worker owns nothing: it gives its partitions away between batches, and the others take them at once.
Guarantees that the last worker in service is not drained; should the others end later, the workers let it own again.
"""

import asyncio
import time

import sql
from inspector.progress import progress
from inspector.seen import Done
from inspector.stores import Stores
from shared.database import PARTITION_LOCKS, WORKER_LOCKS, Record
from shared.release import RELEASE_LOCKS

LOOK_SECONDS = 0.05


async def drain(stores: Stores, name: str, timeout_seconds: float, *, yes: bool) -> Done:
    """Drain a worker and wait until it owns nothing and everything has another owner."""
    rows = await _workers(stores)
    own = [row for row in rows if row["name"] == name]
    others = sorted({row["name"] for row in rows if row["name"] != name and row["drained_since"] is None})
    if not own:
        lives = ", ".join(sorted({row["name"] for row in rows})) or "none"
        return Done(False, [], [f"there is no worker {name} (alive: {lives})"], is_fine=False)
    if not others:
        why = f"{name} is the last worker in service: nobody would take its partitions; start another first"
        return Done(False, [], [why], is_fine=False)
    count = _owned(rows, name)
    if not yes:
        line = f"would drain {name}: its {count} partitions go to {', '.join(others)}"
        return Done(False, [line, "nothing was changed; --yes does it"], is_fine=False)
    began = time.monotonic()
    await stores.rows(sql.query("drain_worker"), name)
    left = await _wait_until_moved(stores, name, count, began + timeout_seconds)
    seconds = time.monotonic() - began
    if left:
        line = f"{name} is to be drained, but after {seconds:.1f} s {left}"
        return Done(True, [line], [f"look at `workers`; `resume {name}` calls it off"], is_fine=False)
    return Done(
        True,
        [
            f"{name} is drained: {count} partitions moved to {', '.join(others)} in {seconds:.2f} s",
            f"it stays so, also when restarted under this name, until: wallet-streams resume {name} --yes",
        ],
    )


async def resume(stores: Stores, name: str, *, yes: bool) -> Done:
    """Let a worker own partitions again."""
    if not yes:
        return Done(False, [f"would put {name} back into service", "nothing was changed; --yes does it"], is_fine=False)
    rows = await stores.rows(sql.query("resume_worker"), name)
    if not rows:
        return Done(False, [f"{name} was not drained"])
    return Done(True, [f"{name} is in service again: it takes its share within moments"])


async def _workers(stores: Stores) -> list[Record]:
    return await stores.rows(sql.query("inspect_workers"), WORKER_LOCKS, PARTITION_LOCKS, RELEASE_LOCKS)


def _owned(rows: list[Record], name: str) -> int:
    return sum(len(row["partitions"]) for row in rows if row["name"] == name)


async def _wait_until_moved(stores: Stores, name: str, count: int, ends: float) -> str:
    """Wait until a worker owns nothing and all partitions are owned; returns what is left, or nothing."""
    seen = 0
    with progress(f"partitions of {name} moved", count) as step:
        while True:
            rows = await _workers(stores)
            own, owned = _owned(rows, name), sum(len(row["partitions"]) for row in rows)
            step(max(0, count - own - seen))
            seen = max(seen, count - own)
            free = len(stores.partitions) - owned
            if not own and not free:
                return ""
            if time.monotonic() >= ends:
                return f"it owns {own} partitions" + (f", and {free} have no owner" if free else "")
            await asyncio.sleep(LOOK_SECONDS)
