"""Looks at everything at once: one screen, and the lines that a person should read first."""

import msgspec

import sql
from inspector.reading.nodes import read_nodes
from inspector.reading.partitions import read_partitions
from inspector.reading.workers import recent, workers_of
from inspector.seen import JobSeen, NodeSeen, Overview, PartitionsSeen, WorkersSeen, ranges
from inspector.stores import Stores
from shared.database import Record

HOUSEKEEPING_SECONDS_MAX = 600.0  # since a job last ended well, each of which runs every minute: the alert's limit
OLD_SECONDS = 10.0  # a request waits for its outcome for this long, unless it was set otherwise


async def read_overview(stores: Stores) -> Overview:
    """Look at everything."""
    nodes = await read_nodes(stores)
    newest = await recent(stores)
    partitions = await read_partitions(stores)
    workers = await workers_of(stores, partitions, newest)
    jobs, findings = await read_housekeeping(stores)
    seen = partitions.partitions
    return Overview(
        in_per_second=_total([p.in_per_second for p in seen]),
        out_per_second=_total([p.out_per_second for p in seen]),
        waiting=sum(p.waiting for p in seen),
        ready_wallets=sum(p.ready_wallets for p in seen),
        oldest_age_seconds=max((p.oldest_age_seconds for p in seen if p.oldest_age_seconds is not None), default=None),
        workers=len(workers.workers),
        workers_draining=sum(worker.draining for worker in workers.workers),
        partitions=len(seen),
        partitions_without_owner=workers.partitions_without_owner,
        recent_seconds=newest.seconds,
        recent_operations=newest.operations,
        recent_rejections=newest.rejections,
        dead_letters=sum(p.dead_letters for p in seen),
        memory_bytes=sum(node.memory_bytes or 0 for node in nodes),
        nodes=nodes,
        jobs=jobs,
        findings=findings,
        problems=_problems(partitions, workers, nodes, jobs, findings),
    )


async def read_housekeeping(stores: Stores) -> tuple[list[JobSeen], int | None]:
    """Return the last run of each job and the number of findings; nothing where this database has no such tables."""
    [has] = await stores.rows(sql.query("inspect_housekeeping"))
    rows = await stores.rows(sql.query("inspect_maintenance")) if has["runs"] else []
    findings = await stores.value(sql.query("inspect_findings")) if has["findings"] else None
    return [_job(row) for row in rows], findings


def _job(row: Record) -> JobSeen:
    # A result is JSON, which the client hands on as text.
    result = msgspec.json.decode(row["result"]) if row["result"] else None
    unwell = row["unwell_seconds"]
    overdue = unwell if unwell > HOUSEKEEPING_SECONDS_MAX else None
    return JobSeen(
        row["job"], row["started_at"], row["finished_at"], row["seconds"], result, row["error"],
        row["succeeded_at"], overdue,
    )  # fmt: skip


def overdue(job: JobSeen) -> str:
    """Return in words that a job has not ended well for too long; empty when it has."""
    if job.overdue_seconds is None:
        return ""
    if job.succeeded_at is None:
        return f"{job.job} has never ended well; it last began {job.started_at:%Y-%m-%d %H:%M:%S}"
    return f"{job.job} has not ended well since {job.succeeded_at:%Y-%m-%d %H:%M:%S}"


def stranded(job: JobSeen) -> str:
    """Return in words that the sweep found operations that nobody will decide; empty when it did not."""
    count = job.result.get("stranded_wallets", 0) if job.job == "sweep" and isinstance(job.result, dict) else 0
    return f"{count} wallets wait in partitions that there are none of" if count else ""


def dangers(node: NodeSeen) -> list[str]:
    """Return which settings of a node may lose what waits in it."""
    found = []
    if node.eviction not in {None, "noeviction"}:
        found.append(f"maxmemory-policy is {node.eviction}: it may evict waiting commands; set noeviction")
    if node.append_only == "no":
        found.append("the append-only file is off: a restart forgets what waits; set appendonly yes")
    elif node.append_fsync == "no":
        found.append("appendfsync is no: a crash may forget more than a second; set everysec")
    return found


def _problems(
    partitions: PartitionsSeen,
    workers: WorkersSeen,
    nodes: list[NodeSeen],
    jobs: list[JobSeen],
    findings: int | None,
) -> list[str]:
    lines = []
    if not workers.workers:
        lines.append("no worker lives")
    if free := workers.partitions_without_owner:
        lines.append(f"{len(free)} partitions without an owner: {ranges(free)}")
    lines += [f"worker {w.name} was last heard {w.silent_seconds:.1f} s ago" for w in workers.workers if w.is_late]
    ages = [p.oldest_age_seconds for p in partitions.partitions if p.oldest_age_seconds is not None]
    if ages and max(ages) > OLD_SECONDS:
        lines.append(f"the oldest waiting operation is {max(ages):.0f} s old")
    if letters := sum(p.dead_letters for p in partitions.partitions):
        lines.append(f"{letters} dead letters")
    lines += [f"Redis {node.node}: {danger}" for node in nodes for danger in dangers(node)]
    lines += [f"housekeeping: {job.job} failed: {job.error}" for job in jobs if job.error]
    lines += [f"housekeeping: {late}" for job in jobs if (late := overdue(job))]
    lines += [f"housekeeping: {line}" for job in jobs if (line := stranded(job))]
    if findings:
        lines.append(f"housekeeping found {findings} errors in the books")
    return lines


def _total(speeds: list[float | None]) -> float | None:
    known = [speed for speed in speeds if speed is not None]
    return sum(known) if known else None
