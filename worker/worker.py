"""The worker: claim → settle → reply → finish, one batch after another.

Guarantees that replies follow the commit, that a finish follows its replies, and that whatever fails is claimed again:
the books know what was settled. What comes meanwhile is the next batch. A session's end ends the shift; the next shift
starts with nothing in mind.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import Collection, Sequence
from itertools import islice
from uuid import UUID

import structlog

from shared import tracing
from shared.commands import Reason, Reply
from shared.database import DatabaseError
from shared.messages import Claim
from shared.node import is_refused
from shared.settings import WorkerSettings
from shared.streams import RedisError, Streams
from worker import metrics
from worker.aside import Aside
from worker.batch import Batch, DeadLetter
from worker.health import Health
from worker.outage import Outage
from worker.partitions import Partitions, fair_share
from worker.session import Session
from worker.store import Store, WalletsLocked

BLOCK_MS = 100  # longest wait in one read for ready wallets: new partitions and a stop are seen this soon
RETRY_SECONDS = 0.1  # pause after Redis failed
RECONNECT_SECONDS = 0.2  # pause after the session was lost
LOCKED_IN_A_LINE = 100  # ids in one line of the log: what collects logs cuts longer ones

log = structlog.get_logger(__name__)


class Worker:
    """Works shift after shift, each with a session of its own, until told to stop."""

    def __init__(self, settings: WorkerSettings, streams: Streams, health: Health) -> None:
        self._settings = settings
        self._streams = streams
        self._health = health
        self._redis = Outage("redis")

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then drain: what was claimed is settled, answered and finished."""
        postgres = Outage("postgres")
        while not stop.is_set():
            has_session = False
            try:
                async with Session.open(self._settings) as session:
                    has_session = True
                    postgres.is_over("open a session")
                    shift = Shift(self._settings, self._streams, session, stop, self._health, self._redis)
                    # A task of its own: in Python 3.11.2, which Debian has, no time-out works any more in one whose
                    # group of tasks has failed.
                    await asyncio.create_task(shift.work())
            except* DatabaseError as lost:
                error = lost.exceptions[0]
                if has_session:
                    metrics.SESSIONS_LOST.inc()
                    metrics.note_owned(())
                    log.warning("session lost", worker=self._settings.worker_name, error=repr(error))
                else:
                    postgres.goes_on("open a session", error)
                await _wait(stop, RECONNECT_SECONDS)


class Shift:
    """One session's work: the partitions it owns, and the batch under way."""

    def __init__(
        self,
        settings: WorkerSettings,
        streams: Streams,
        session: Session,
        stop: asyncio.Event,
        health: Health,
        redis: Outage,
    ) -> None:
        self._settings = settings
        self._streams = streams
        self._session = session
        self._stop = stop
        self._health = health
        self._redis = redis
        self._store = Store(session)
        self._partitions = Partitions()
        self._aside = Aside()
        self._over = asyncio.Event()
        self._is_in_company = False

    async def work(self) -> None:
        """Work until told to stop; raises DatabaseError (in a group) when the session is lost."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_shares())
            tasks.create_task(self._serve())

    # ---- a batch ------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        while not self._stop.is_set():
            batch = await self._claim()
            if batch is None:
                continue
            began_ns = time.time_ns()
            try:
                replies = await self._store.settle(batch.commands, batch.claimed_at) if batch.commands else []
            except WalletsLocked as locked:
                self._put_aside(locked.wallet_ids)
                self._partitions.end()
                continue
            settled_ns = time.time_ns()
            if await self._finish(batch, replies):
                _tell(batch, began_ns, settled_ns)
            self._partitions.end()
            self._wake_shares_if_retiring()
            if self._is_in_company:
                # Who waits for this core runs first, and more gathers: several workers have smaller batches than one.
                os.sched_yield()
            if self._aside and not batch.commands:
                await asyncio.sleep(RETRY_SECONDS)  # they come to the head of the line again at once
        self._over.set()
        self._session.ownership_changed.set()

    async def _claim(self) -> Batch | None:
        """Wait for ready wallets, and return what waits in them."""
        partitions = self._partitions.claimable()
        if not partitions:
            await asyncio.sleep(BLOCK_MS / 1000)
            return None
        try:
            wallets_max = self._settings.batch_wallets_max
            ready = await self._streams.wait_ready(partitions, wallets_max, BLOCK_MS)
            if not self._settings.redis_cluster:  # where a node that is away only leaves its partitions unready
                self._redis.is_over("claim")
            if not ready:
                return None
            began = time.perf_counter()
            claims = await self._streams.claim(ready, wallets_max, self._settings.batch_commands_max)
            metrics.CLAIM.observe(time.perf_counter() - began)
            self._redis.is_over("claim")
        except RedisError as error:
            metrics.CLAIM_FAILURES.inc()
            self._redis.goes_on("claim", error)
            await asyncio.sleep(RETRY_SECONDS)
            return None
        # killed here: nothing was removed; the next owner claims the same messages.
        is_any_aside = bool(self._aside)
        begun = self._partitions.begin(self._aside.pass_by(claims))
        if not begun:
            return None
        batch = Batch.of(begun, self._session.now())
        return await self._without_locked(batch) if is_any_aside and batch.commands else batch

    async def _without_locked(self, batch: Batch) -> Batch:
        """Pass by what is locked, waiting for none: where one wallet is, hundreds may be, and each wait is long."""
        locked = await self._store.locked({command.wallet_id for command in batch.commands})
        if not locked:
            return batch
        self._put_aside(locked)
        return Batch.of(self._aside.pass_by(list(batch.claims)), batch.claimed_at)

    def _put_aside(self, wallet_ids: Collection[UUID]) -> None:
        named = [str(wallet_id) for wallet_id in islice(wallet_ids, LOCKED_IN_A_LINE)]
        log.warning("wallets are locked by somebody else", wallets=named, count=len(wallet_ids))
        self._aside.put(wallet_ids)

    async def _finish(self, batch: Batch, replies: Sequence[Reply]) -> bool:
        """Tell the outcomes and remove what was settled; returns whether Redis took it."""
        try:
            await self._send_and_finish(batch, replies)
        except RedisError as error:
            # The books have the outcomes: claimed again, they are found, answered again and finished.
            metrics.FINISH_FAILURES.inc()
            self._redis.goes_on("finish", error)
            await asyncio.sleep(RETRY_SECONDS)
            return False
        self._redis.is_over("finish")
        return True

    async def _send_and_finish(self, batch: Batch, replies: Sequence[Reply]) -> None:
        held_up, refusal = await self._bury(batch.unreadable, batch.refused(replies))
        began = time.perf_counter()
        await self._streams.finish(
            [claim for claim in batch.claims if all(claim is not each for each in held_up)],
            batch.by_reply_key(replies),
            self._settings.reply_ttl_seconds,
            self._settings.reply_messages_max,
        )
        metrics.FINISH.observe(time.perf_counter() - began)
        if refusal is not None:
            raise refusal

    async def _bury(self, *letters: Sequence[DeadLetter]) -> tuple[list[Claim], Exception | None]:
        """Bury dead letters; returns the claims of those that Redis refuses to, and its last word on that.

        Such a wallet waits (its messages must not be removed unburied), and no other does for it.
        """
        held_up, refusal = [], None
        for letter in itertools.chain(*letters):
            try:
                await self._streams.bury(
                    letter.claim.partition,
                    letter.claim.wallet,
                    letter.message_id,
                    letter.reason,
                    self._settings.dead_letters_max,
                )
            except RedisError as error:
                if not is_refused(error):
                    raise
                held_up.append(letter.claim)
                refusal = error
            else:
                # Not the reason, which may repeat what somebody sent: the inspector shows it.
                log.error("dead letter", wallet=letter.claim.wallet, message_id=letter.message_id, **letter.concerns)
                is_database = letter.reason == Reason.REFUSED_BY_DATABASE
                (metrics.REFUSED if is_database else metrics.UNREADABLE).inc()
        return held_up, refusal

    # ---- ownership ----------------------------------------------------------------------------------------------

    async def _keep_shares(self) -> None:
        """Beat, look at everybody's shares, take what is free and give back what is too much; leave when it is over."""
        while not self._over.is_set():
            self._session.ownership_changed.clear()
            await self._balance()
            self._health.beat()
            metrics.HEARTBEAT.set_to_current_time()
            metrics.note_owned(list(self._partitions))
            await _wait(self._session.ownership_changed, self._settings.heartbeat_seconds)
        await self._session.leave(list(self._partitions))
        metrics.note_owned(())

    async def _balance(self) -> None:
        survey = await self._session.survey()
        self._is_in_company = survey.workers > 1
        wanted, surplus = fair_share(
            self._settings.partition_count, survey.workers, survey.own, survey.held, is_drained=survey.is_drained
        )
        if wanted and not self._stop.is_set():
            taken = await self._session.take(wanted)
            self._store.forget()
            self._partitions.add(taken)
            if taken:  # others may have been quicker
                left = await self._session.mark_taken(taken)
                metrics.TAKEN_OVER.inc(len(left))
                metrics.TAKEN.inc(len(taken))
                of = {"taken_over": len(left), "last_owners": sorted(set(left.values()))} if left else {}
                log.info("took partitions", partitions=len(taken), owned=len(self._partitions), **of)
        self._partitions.retire(partition for partition in surplus if partition in self._partitions)
        released = self._partitions.pop_retired()
        await self._session.release(released)
        if released:
            metrics.RELEASED.inc(len(released))
            log.info("released partitions", partitions=len(released), owned=len(self._partitions))

    def _wake_shares_if_retiring(self) -> None:
        if self._partitions.is_retiring:
            self._session.ownership_changed.set()


def _tell(batch: Batch, began_ns: int, settled_ns: int) -> None:
    """Write of a batch that is settled and finished into the metrics, and the log and the traces if they want it."""
    metrics.BATCH_COMMANDS.observe(len(batch.commands))
    if log.is_enabled_for(logging.DEBUG):
        log.debug(
            "batch",
            commands=len(batch.commands),
            wallets=len(batch.claims),
            milliseconds=round((time.time_ns() - began_ns) / 1e6, 3),
            operation_ids=[str(command.id) for command in batch.commands],
            request_ids=[command.request_id for command in batch.commands],
        )
    if tracing.tracer is not None:
        for command in batch.commands:
            tracing.tracer.settled(command, began_ns, settled_ns, len(batch.commands))


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than this."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
