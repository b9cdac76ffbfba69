"""Checks every invariant of the design, each with one line.

Guarantees that a fault is reported only after it was seen twice, where traffic could make it look like one. Knows what
can be mended, not how.
"""

import asyncio
from collections.abc import Sequence

import sql
from inspector.reading.nodes import read_nodes
from inspector.reading.overview import dangers, overdue, read_housekeeping, stranded
from inspector.reading.walk import AGAIN_SECONDS, Faults, walk
from inspector.reading.workers import late_seconds
from inspector.seen import FAULT, OK, UNKNOWN, Check, Diagnosis, NodeSeen, ranges
from inspector.stores import Stores
from shared.database import PARTITION_LOCKS, WORKER_LOCKS, Record
from shared.release import RELEASE_LOCKS
from shared.streams import LIBRARY_VERSION

SAMPLE_PAGES = 100  # of the table of wallets, from which the sample is drawn: some 10,000 wallets
SAMPLE_WALLETS = 200
SAMPLE_OPERATIONS = 1_000  # of each wallet, from the newest back
EXAMPLES = 5


async def diagnose(stores: Stores) -> tuple[Diagnosis, Faults]:
    """Check everything; returns the lines, and what is wrong in the streams for who would mend it."""
    nodes = await read_nodes(stores)
    faults = await walk(stores)
    checks = [
        *_streams(faults),
        *await _ownership(stores),
        *_nodes(nodes),
        await _postgres(stores),
        await _books(stores),
        await _housekeeping(stores),
    ]
    return Diagnosis(checks), faults


def _streams(faults: Faults) -> list[Check]:
    lost = [f"{p:02d}/{wallet}" for p, wallet in faults.lost]
    hollow = [f"{h.partition:02d}/{h.wallet}" for h in faults.hollow]
    wrong = [f"{p:02d}: {missing:+d}" for p, missing in sorted(faults.depths.items())]
    or_more = " or more" if faults.is_cut else ""
    depth = Check(
        "depth",
        FAULT if wrong else UNKNOWN if faults.depths_unknown else OK,
        f"the depth of {len(wrong)} partitions is not what waits in them"
        if wrong
        else f"the depth of {len(faults.depths_unknown)} partitions cannot be told: too much moves or is not ready"
        if faults.depths_unknown
        else f"the depth of every partition is what waits in it: {faults.messages:,} messages",
        bool(wrong),
        wrong[:EXAMPLES],
    )
    return [
        Check(
            "streams_without_ready_message",
            FAULT if lost else OK,
            f"{len(lost):,}{or_more} wallets have messages and are not ready: they wait for ever"
            if lost
            else f"every wallet stream has a ready message: {faults.wallets:,} ready wallets",
            bool(lost),
            lost[:EXAMPLES],
        ),
        Check(
            "ready_messages_without_stream",
            FAULT if hollow else OK,
            f"{len(hollow):,} ready messages have no stream" if hollow else "every ready message has a stream",
            bool(hollow),
            hollow[:EXAMPLES],
        ),
        depth,
    ]


async def _sessions(stores: Stores) -> list[Record]:
    return await stores.rows(sql.query("inspect_workers"), WORKER_LOCKS, PARTITION_LOCKS, RELEASE_LOCKS)


async def _ownership(stores: Stores) -> list[Check]:
    rows = await _sessions(stores)
    free, late_ones = _free(stores, rows), _late(stores, rows)
    if free or late_ones:  # on its way from one worker to another? held up for a moment?
        await asyncio.sleep(AGAIN_SECONDS)
        rows = await _sessions(stores)
        free = sorted(set(free) & set(_free(stores, rows)))
        late_ones = {pid: row for pid, row in _late(stores, rows).items() if pid in late_ones}
    late = [f"{row['name']}: {row['silent_seconds']:.1f} s" for row in late_ones.values()]
    return [
        Check(
            "owners",
            FAULT if free else OK,
            f"{len(free)} partitions are owned by nobody: {ranges(free)}"
            if free
            else f"every partition has an owner: {len(stores.partitions)} partitions, {len(rows)} workers",
        ),
        Check(
            "heartbeats",
            FAULT if late else OK if rows else UNKNOWN,
            f"{len(late)} workers are late with their heartbeat"
            if late
            else "every worker's session was heard of in time"
            if rows
            else "no worker lives",
            examples=late[:EXAMPLES],
        ),
    ]


def _free(stores: Stores, rows: Sequence[Record]) -> list[int]:
    return sorted(set(stores.partitions) - {partition for row in rows for partition in row["partitions"]})


def _late(stores: Stores, rows: Sequence[Record]) -> dict[int, Record]:
    late_after = late_seconds(stores.settings)
    return {row["pid"]: row for row in rows if row["silent_seconds"] > late_after}


def _nodes(nodes: Sequence[NodeSeen]) -> list[Check]:
    found = [f"{node.node}: {danger}" for node in nodes for danger in dangers(node)]
    hidden = [node.node for node in nodes if node.eviction is None or node.append_only is None]
    old = [
        f"{node.node}: {node.library_version or 'none'}"
        for node in nodes
        if (node.library_version or 0) < LIBRARY_VERSION
    ]
    newer = [node.node for node in nodes if (node.library_version or 0) > LIBRARY_VERSION]
    return [
        Check(
            "redis_settings",
            FAULT if found else UNKNOWN if hidden else OK,
            f"settings of Redis endanger what waits: {'; '.join(found)}"
            if found
            else f"{', '.join(hidden)} does not tell its settings"
            if hidden
            else "Redis evicts nothing and appends everything to its file",
            examples=found[:EXAMPLES],
        ),
        Check(
            "function_library",
            FAULT if old else OK,
            f"{len(old)} nodes lack version {LIBRARY_VERSION} of the function library"
            if old
            else f"{', '.join(newer)} has a newer function library than this inspector's release"
            if newer
            else f"every node has version {LIBRARY_VERSION} of the function library",
            bool(old),
            old[:EXAMPLES],
        ),
    ]


async def _postgres(stores: Stores) -> Check:
    rows = await stores.rows(sql.query("inspect_postgres_settings"))
    off = [row["name"] for row in rows if row["setting"] == "off"]
    return Check(
        "postgres_settings",
        FAULT if off else OK,
        f"Postgres may lose what was committed: {', '.join(off)} off"
        if off
        else "Postgres keeps what was committed: fsync, synchronous_commit and full_page_writes are on",
        examples=off,
    )


async def _books(stores: Stores) -> Check:
    """Compare the balance of a sample of wallets with the sum of their operations."""
    pages = await stores.value(sql.query("inspect_wallets_pages"))
    percent = min(100.0, 100.0 * SAMPLE_PAGES / max(1, pages))
    rows = await stores.rows(sql.query("inspect_books"), percent, SAMPLE_WALLETS, SAMPLE_OPERATIONS)
    wrong = [f"{row['id']}: {reason}" for row in rows if (reason := wrong_in_books(row))]
    return Check(
        "books",
        FAULT if wrong else OK,
        f"{len(wrong)} of {len(rows)} sampled wallets do not add up"
        if wrong
        else f"the operations of {len(rows)} sampled wallets add up to their balances, without a gap",
        examples=wrong[:EXAMPLES],
    )


def wrong_in_books(row: Record) -> str:
    """Return why a wallet's row and its latest operations contradict each other; empty when they do not."""
    operations, opening = row["operations"], row["opening"] or 0
    if (row["last_seq"] or 0) != row["seq"]:
        return f"seq is {row['seq']}, the last operation is {row['last_seq'] or 'none'}"
    if operations and row["last_seq"] - row["first_seq"] + 1 != operations:
        return f"there is a gap between seq {row['first_seq']} and {row['last_seq']}"
    if row["first_seq"] in {None, 1} and opening != 0:
        return f"it began with {opening} minor units"
    if opening + row["change"] != row["balance"]:
        return f"the balance is {row['balance']} minor units, the operations say {opening + row['change']}"
    return ""


async def _housekeeping(stores: Stores) -> Check:
    jobs, findings = await read_housekeeping(stores)
    failed = [f"{job.job}: {job.error}" for job in jobs if job.error]
    late = [line for job in jobs if (line := overdue(job))]
    left = [line for job in jobs if (line := stranded(job))]
    if findings or failed or late or left:
        line = f"housekeeping: {findings or 0} errors in the books, {len(failed)} jobs failed, {len(late)} overdue"
        line += ", operations that nobody will decide" if left else ""
        return Check("housekeeping", FAULT, line, examples=[*failed, *late, *left][:EXAMPLES])
    if not jobs:
        return Check("housekeeping", UNKNOWN, "housekeeping has not run on this database")
    return Check("housekeeping", OK, f"housekeeping found no error in the books, and {len(jobs)} jobs ran well")
