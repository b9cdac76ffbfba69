"""Draws what was seen, for people: one function per thing seen. Pure; colours say ill, never alone."""

from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from inspector import seen as s
from inspector.seen import ranges

NONE = "-"


def partitions(seen: s.PartitionsSeen) -> RenderableType:
    table = grid(
        "partition",
        "owner",
        "ready>",
        "waiting>",
        "oldest>",
        "in/s>",
        "out/s>",
        "hottest wallet",
        "its queue>",
        "dead>",
    )
    for p in seen.partitions:
        table.add_row(
            f"{p.partition:02d}",
            p.owner or ill("nobody"),
            number(p.ready_wallets),
            number(p.waiting),
            age(p.oldest_age_seconds),
            rate(p.in_per_second),
            rate(p.out_per_second),
            p.hottest_wallet or NONE,
            number(p.hottest_waiting),
            number(p.dead_letters),
        )
    return table


def workers(seen: s.WorkersSeen) -> RenderableType:
    table = grid(
        "worker",
        "host",
        "session pid>",  # the process of Postgres that serves the worker, not the worker's own
        "partitions>",
        "batch>",
        "ops/s>",
        "last batch",
        "heard",
        "draining",
        "version",
    )
    for w in seen.workers:
        heard = f"{w.silent_seconds:.1f} s ago"
        table.add_row(
            w.name,
            w.host or "socket",
            str(w.pid),
            f"{len(w.partitions)}",
            batch(w.batch_size),
            rate(w.ops_per_second),
            clock(w.last_batch_at),
            ill(heard) if w.is_late else heard,
            f"since {clock(w.drained_since)}" if w.draining else "no",
            w.version or NONE,
        )
    lines: list[RenderableType] = [table]
    if not seen.workers:
        lines.append(ill("no worker lives"))
    if free := seen.partitions_without_owner:
        lines.append(ill(f"{len(free)} partitions without an owner: {ranges(free)}"))
    return Group(*lines)


def overview(seen: s.Overview) -> RenderableType:
    table = pairs()
    table.add_row("throughput", f"{rate(seen.in_per_second)} in/s, {rate(seen.out_per_second)} out/s")
    oldest = f", the oldest for {age(seen.oldest_age_seconds)}" if seen.oldest_age_seconds is not None else ""
    table.add_row("waiting", f"{number(seen.waiting)} operations of {number(seen.ready_wallets)} wallets{oldest}")
    draining = f", {seen.workers_draining} draining" if seen.workers_draining else ""
    table.add_row("workers", f"{seen.workers}{draining}")
    free = len(seen.partitions_without_owner)
    table.add_row("partitions", f"{seen.partitions}, " + (f"{free} without an owner" if free else "all owned"))
    share = f" ({seen.recent_rejections / seen.recent_operations:.1%})" if seen.recent_operations else ""
    window = f"{seen.recent_seconds:.{0 if seen.recent_seconds >= 10 else 1}f} s"
    counted = f"{number(seen.recent_rejections)} of {number(seen.recent_operations)} operations{share}"
    table.add_row("rejections", f"{counted} in the last {window}")
    table.add_row("dead letters", number(seen.dead_letters))
    for node in seen.nodes:
        table.add_row(f"Redis {node.node}", node_line(node))
    for job in seen.jobs:
        table.add_row(f"job {job.job}", _job(job))
    if seen.findings is not None:
        table.add_row("findings", f"{number(seen.findings)} errors in the books")
    verdict = [ill(f"! {line}") for line in seen.problems] or [Text("all is well", style="green")]
    return Group(table, "", *verdict)


def wallet(seen: s.WalletSeen) -> RenderableType:
    table = pairs()
    table.add_row("wallet", str(seen.wallet_id))
    table.add_row("partition", f"{seen.partition:02d}, slot {seen.slot}, owner {seen.owner or 'nobody'}")
    if seen.exists:
        table.add_row("balance", f"{seen.balance} after {seen.seq} operations")
        table.add_row("created", f"{moment(seen.created_at)}, last changed {moment(seen.updated_at)}")
    else:
        table.add_row("balance", ill("Postgres has no such wallet"))
    table.add_row("waiting", number(seen.waiting))
    parts: list[RenderableType] = [table]
    if seen.messages:
        waiting = grid("message", "operation", "type", "amount>", "age>")
        for m in seen.messages:
            waiting.add_row(m.message_id, m.operation_id, m.type, m.amount, age(m.age_seconds))
        parts += ["", waiting]
        if seen.waiting > len(seen.messages):
            parts.append(f"… and {number(seen.waiting - len(seen.messages))} more")
    if seen.operations:
        last = grid("decided", "operation", "seq>", "type", "amount>", "status", "balance>")
        for o in seen.operations:
            seq = NONE if o.seq is None else str(o.seq)
            status = f"{o.status} {o.reason}" if o.reason else o.status
            last.add_row(moment(o.decided_at), str(o.operation_id), seq, o.type, o.amount, status, o.balance)
        parts += ["", last]
    return Group(*parts)


def operation(seen: s.OperationWay) -> RenderableType:
    table = pairs()
    table.add_row("operation", str(seen.operation_id))
    table.add_row("now", seen.where if seen.is_fine else ill(seen.where))
    if seen.wallet_id:
        table.add_row("wallet", str(seen.wallet_id))
    if seen.partition is not None:
        table.add_row("partition", f"{seen.partition:02d}, owner {seen.owner or 'nobody'}")
    if seen.type:
        table.add_row("command", f"{seen.type} {seen.amount}")
    if seen.status:
        what = f"{seen.status} {seen.reason}" if seen.reason else f"{seen.status}, seq {seen.seq}"
        table.add_row("outcome", f"{what}, balance {seen.balance}")
    way = (
        ("submitted", seen.submitted_at, "by the gateway's clock"),
        ("entered", seen.entered_at, f"message {seen.message_id}"),
        ("claimed", seen.claimed_at, "by a worker, from its stream"),
        ("decided", seen.decided_at, "with its batch"),
        ("committed", seen.committed_at, ""),
        ("replied", seen.replied_at, f"to {seen.reply_key}"),
    )
    for step, at, remark in way:
        since = f"{(at - seen.submitted_at).total_seconds() * 1000:+.1f} ms" if at and seen.submitted_at else ""
        if at:
            table.add_row(step, "  ".join(filter(None, (f"{at:%Y-%m-%d %H:%M:%S.%f}", since, remark))))
    return table


def oldest(seen: s.OldestSeen) -> RenderableType:
    table = grid("age>", "wallet", "partition", "owner", "waiting>", "first operation")
    for w in seen.wallets:
        table.add_row(
            age(w.oldest_age_seconds),
            w.wallet_id,
            f"{w.partition:02d}",
            w.owner or ill("nobody"),
            number(w.waiting),
            w.operation_id,
        )
    looked = f"looked at {number(seen.looked_at)} of {number(seen.ready_wallets)} ready wallets"
    return Group(table, looked if seen.looked_at >= seen.ready_wallets else f"{looked}; --all looks at every one")


def done(seen: s.Done) -> RenderableType:
    return Group(*seen.lines, *(ill(line) for line in seen.refused))


def doctor(seen: s.Diagnosis) -> RenderableType:
    marks = {s.OK: Text("✓", style="green"), s.FAULT: ill("✗"), s.UNKNOWN: Text("\u2013", style="yellow")}
    lines: list[RenderableType] = []
    for check in seen.checks:
        hint = "  (repair mends it)" if check.mendable else ""
        lines.append(Text.assemble(marks[check.verdict], f" {check.line}{hint}"))
        lines += [f"    {example}" for example in check.examples]
    return Group(*lines)


def dead(seen: s.DeadSeen) -> RenderableType:
    table = grid("letter", "died", "wallet", "operation", "reason")
    for letter in seen.letters:
        reason = letter.reason if len(letter.reason) <= 80 else f"{letter.reason[:79]}…"
        table.add_row(letter.letter, moment(letter.died_at), letter.wallet_id, letter.operation_id or NONE, reason)
    shown = f"{number(len(seen.letters))} of {number(seen.dead_letters)} dead letters"
    return Group(table, shown) if seen.dead_letters else Text("no dead letters")


def dead_letter(seen: s.DeadLetterSeen) -> RenderableType:
    table = pairs()
    table.add_row("letter", seen.letter)
    table.add_row("died", moment(seen.died_at))
    table.add_row("wallet", seen.wallet_id)
    table.add_row("message", seen.message_id)
    table.add_row("reason", seen.reason)
    for name, value in seen.fields.items():
        table.add_row(f"field {name}", value)
    return table


def node_line(node: s.NodeSeen) -> str:
    of = f" of {size(node.memory_max_bytes)}" if node.memory_max_bytes else ""
    fsync = f" {node.append_fsync}" if node.append_only == "yes" else ""
    return (
        f"{node.version or NONE}, {size(node.memory_bytes)}{of}, eviction {node.eviction or NONE}, "
        f"append-only {node.append_only or NONE}{fsync}, library {node.library_version or NONE}"
    )


def _job(job: s.JobSeen) -> RenderableType:
    if job.error:
        return ill(f"failed {moment(job.finished_at)}: {job.error}")
    if job.finished_at is None:
        return f"began {moment(job.started_at)}"
    took = "" if job.seconds is None else f" in {job.seconds:.2f} s"
    return f"{moment(job.finished_at)}{took}{_result(job.result)}"


def _result(result: object) -> str:
    if not isinstance(result, dict):
        return ""
    return "".join(f", {name.replace('_', ' ')} {value}" for name, value in result.items() if isinstance(value, int))


# How things are written.


def grid(*columns: str) -> Table:
    """Return an empty table; a column named `x>` stands right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.endswith(">")
        table.add_column(column.rstrip(">"), justify="right" if right else "left", no_wrap=True)
    return table


def pairs() -> Table:
    """Return an empty table of names and what belongs to them."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def ill(text: str) -> Text:
    return Text(text, style="red")


def number(value: int) -> str:
    return f"{value:,}"


def rate(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def batch(operations: float | None) -> str:
    return NONE if operations is None else f"{operations:.1f}"


def age(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def size(value: int | None) -> str:
    if value is None:
        return NONE
    return f"{value / 2**30:.1f} GB" if value >= 2**30 else f"{value / 2**20:.1f} MB"


def moment(at: datetime | None) -> str:
    return NONE if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def clock(at: datetime | None) -> str:
    return NONE if at is None else f"{at:%H:%M:%S}"
