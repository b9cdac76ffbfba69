"""Mends what the doctor can mend: ready messages, depths, the function library.

Guarantees that each step is harmless beside live traffic and when it is made twice. Writes to Redis only.
"""

from collections.abc import Sequence

from inspector.reading.doctor import diagnose
from inspector.reading.walk import Faults, still_lost
from inspector.seen import FAULT, Diagnosis, Done
from inspector.stores import CALLS_PER_TRIP, Stores
from shared import keys
from shared.errors import ServiceError
from shared.messages import Claim
from shared.node import RedisError
from shared.streams import LIBRARY_VERSION, Streams


async def repair(stores: Stores, *, yes: bool) -> Done:
    """Mend, or say what would be mended; `refused` is what this cannot mend."""
    diagnosis, faults = await diagnose(stores)
    plan = _plan(diagnosis, faults)
    if not yes:
        would = [f"would {line}" for line in plan] + (["nothing was changed; --yes does it"] if plan else [])
        return Done(False, would or ["nothing to mend"], _beyond(diagnosis), diagnosis.is_fine)
    if not plan:
        return Done(False, ["nothing to mend"], _beyond(diagnosis), diagnosis.is_fine)
    lines: list[str] = []
    try:
        await _mend(stores, diagnosis, faults, lines)
        after, _ = await diagnose(stores)
    except ServiceError as error:
        if not lines:
            raise
        return Done(True, lines, [f"it ended there: {error.detail}"], is_fine=False)
    left = [f"still: {check.line}" for check in after.checks if check.verdict == FAULT and check.mendable]
    return Done(True, lines, [*left, *_beyond(after)], after.is_fine)


def _plan(diagnosis: Diagnosis, faults: Faults) -> list[str]:
    lines = []
    if _library_is_old(diagnosis):
        lines.append(f"load version {LIBRARY_VERSION} of the function library")
    lines += [f"make wallet {wallet} of partition {p:02d} ready" for p, wallet in faults.lost]
    lines += [f"remove the ready message {h.ready_id} of wallet {h.wallet}, which has no stream" for h in faults.hollow]
    lines += [f"correct the depth of partition {p:02d} by {by:+d}" for p, by in sorted(faults.depths.items())]
    return lines


async def _mend(stores: Stores, diagnosis: Diagnosis, faults: Faults, lines: list[str]) -> None:
    """Mend, and add to `lines` what was done as it is done."""
    streams = Streams(stores.settings)
    try:
        if _library_is_old(diagnosis):
            await streams.load_library()
            lines.append(f"loaded version {LIBRARY_VERSION} of the function library")
        lines += await _restore(stores, faults.lost)
        # The claim of a wallet that has nothing: finishing it removes the ready message, unless something came since.
        claims = [Claim(hollow.partition, hollow.wallet, hollow.ready_id) for hollow in faults.hollow]
        for start in range(0, len(claims), CALLS_PER_TRIP):
            await streams.finish(claims[start : start + CALLS_PER_TRIP], {}, 1, 1)
        lines += [f"removed the ready message {h.ready_id} of wallet {h.wallet}" for h in faults.hollow]
    except RedisError as error:
        raise stores.unanswered(error) from None
    finally:
        await streams.close()
    for p, by in sorted(faults.depths.items()):
        meta = keys.meta(p)
        # By the difference, not to a value: what is submitted and finished meanwhile stays counted.
        await stores.one(meta, "HINCRBY", meta, "depth", by)
        lines.append(f"corrected the depth of partition {p:02d} by {by:+d}")


async def _restore(stores: Stores, suspects: Sequence[tuple[int, str]]) -> list[str]:
    """Make lost wallets ready, if they are still lost by now: the sweep of the housekeeping looks for them as well."""
    lost = await still_lost(stores, suspects)
    calls = []
    for p, wallet in lost:
        ready, meta, stream = keys.ready_stream(p), keys.meta(p), keys.wallet_stream(p, wallet)
        calls.append((ready, ("FCALL", "wallet_restore", 3, ready, meta, stream, wallet)))
    answers = await stores.many(calls)
    return [
        f"made wallet {wallet} of partition {p:02d} ready"
        for (p, wallet), was_made_ready in zip(lost, answers, strict=True)
        if was_made_ready
    ]


def _library_is_old(diagnosis: Diagnosis) -> bool:
    return any(check.name == "function_library" and check.verdict == FAULT for check in diagnosis.checks)


def _beyond(diagnosis: Diagnosis) -> list[str]:
    return [f"for you: {check.line}" for check in diagnosis.checks if check.verdict == FAULT and not check.mendable]
