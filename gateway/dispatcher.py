"""Turns a command into its reply: submits it, waits for the outcome, and does not forget it until it is decided.

Guarantees that a command is held until its outcome is known: submitted again, under the same id, whenever Redis may
have lost it. A submit whose fate is unknown counts as accepted. Knows nothing of HTTP.
"""

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from itertools import islice
from uuid import UUID

import structlog

from gateway import metrics
from gateway.held import Deadlines, Held, State, Tell, Waiter, reason_of, refusal_of
from gateway.refusals import refusals
from shared import keys
from shared.commands import Command, Reply
from shared.database import DatabaseError
from shared.errors import Pending, Refused, ServiceError, Unavailable, WalletQueueFull
from shared.messages import START
from shared.process import end_process_when_broken, end_tasks, seconds_since_stop
from shared.settings import GatewaySettings
from shared.streams import Full, RedisError, Streams, Submission

BLOCK_MS = 1_000  # longest wait in one read of the reply key
RETRY_SECONDS = 0.1  # pause between tries while Redis is away
ANSWER_AT_ONCE = 256  # requests, before others are read: some ms
LOOK_EVERY_SECONDS = 1.0  # one look per second for all old waiters together
LOOK_AFTER_SECONDS = 1.0  # a reply that takes longer may have been lost
LOOK_MAX = 5_000  # commands in one look, oldest first
LOSS_TOLD_SECONDS = 10.0  # a node of a Cluster that is away is lost again and again: the others answer in between
LOST_IN_A_LINE = 100  # ids in one line of the log: what collects logs cuts longer ones

Find = Callable[[Sequence[UUID]], Awaitable[Sequence[Reply]]]

log = structlog.get_logger(__name__)


class Dispatcher:
    """One gateway process's commands under way."""

    def __init__(self, settings: GatewaySettings, streams: Streams, find: Find) -> None:
        self._loop = asyncio.get_running_loop()  # kept: to ask for it each time is a call to the kernel
        self._settings = settings
        self._streams = streams
        self._find = find
        self.reply_key = _new_reply_key()
        self._held: dict[UUID, Held] = {}
        self._outbox: deque[Held] = deque()
        self._outbox_filled = asyncio.Event()
        # Accepted commands that Redis may not have, until the next look sends them again: their ids, by wallet.
        self._parked: dict[UUID, set[UUID]] = {}
        self._look_now = asyncio.Event()
        self._redis_away = False
        self._is_loss_told, self._loss_told_at = False, float("-inf")
        self._waiting: dict[UUID, int] = {}  # requests, by wallet
        self._deadlines = Deadlines(self._stop_waiting)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the flush, the reply reader, the look for lost replies and the end of waits; leaving ends them."""
        steps = (self._flush, self._read_replies, self._look, self._deadlines.keep)
        tasks = [asyncio.create_task(step()) for step in steps]
        for task in tasks:
            task.add_done_callback(end_process_when_broken)
        try:
            yield
            await self._make_safe()
        finally:
            await end_tasks(tasks)

    async def submit(self, command: Command, wait_seconds: float) -> Reply:
        """Return the reply to a command, whose id may be that of an earlier one: then the earlier outcome is the reply.

        Raises Pending when the wait ends first, and WalletQueueFull or Unavailable when the command was not accepted:
        then nothing will happen.
        """
        future: asyncio.Future[Reply] = self._loop.create_future()

        def tell(outcome: Reply | ServiceError) -> None:
            if future.done():
                return
            if isinstance(outcome, Reply):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

        self.begin(command, wait_seconds, tell)
        return await future

    def begin(self, command: Command, wait_seconds: float, tell: Tell) -> None:
        """Submit a command and return; `tell` hears later what `submit` would return or raise.

        Raises Unavailable when this gateway holds as many commands as it may, and WalletQueueFull when as many requests
        wait for this wallet as may: one wallet must not take the room of all.
        """
        now = self._loop.time()
        waiting = self._waiting.get(command.wallet_id, 0)
        if waiting >= self._settings.wallet_requests_max:
            refusals.note("wallet_requests_max", command)
            raise WalletQueueFull(f"Too many requests wait for wallet {command.wallet_id}.")
        held = self._held.get(command.id)
        if held is None:
            if len(self._held) >= self._settings.held_commands_max:
                refusals.note("held_commands_max", command)
                raise Unavailable("Too many operations are under way in this gateway.")
            held = self._held[command.id] = Held(command, now, in_outbox=True)
            self._outbox.append(held)
            self._outbox_filled.set()
        waiter = Waiter(held, tell, self._deadlines.at(now + wait_seconds), self._waiting)
        self._waiting[command.wallet_id] = waiting + 1
        waiter.deadlines.add(waiter)
        held.waiters.append(waiter)

    def find_held(self, operation_id: UUID) -> Command | None:
        """Return a command that this gateway holds, undecided."""
        held = self._held.get(operation_id)
        return held.command if held else None

    # ---- the flush ----------------------------------------------------------------------------------------------

    async def _flush(self) -> None:
        while True:
            await self._outbox_filled.wait()
            if self._redis_away:
                await self._until_redis_answers()
            batch = self._take_outbox()
            if not batch:
                continue
            # While this trip is under way the next one gathers: there is no timer.
            began = time.perf_counter()
            answers = await self._streams.submit(
                [held.command for held in batch],
                self._settings.wallet_queue_max,
                self._settings.partition_queue_max,
            )
            metrics.SUBMIT_SECONDS.observe(time.perf_counter() - began)
            metrics.FLUSH_COMMANDS.observe(len(batch))
            for held, answer in zip(batch, answers, strict=True):
                self._take_answer(held, answer)

    def _take_outbox(self) -> list[Held]:
        batch: list[Held] = []
        while self._outbox and len(batch) < self._settings.flush_commands_max:
            held = self._outbox.popleft()
            held.in_outbox = False
            if self._held.get(held.command.id) is not held:  # decided or refused meanwhile
                continue
            # It would overtake what may have been answered with a 202.
            if self._parked and held.command.wallet_id in self._parked:
                self._park(held)
                continue
            if held.state is State.QUEUED:
                held.state = State.SENDING
            batch.append(held)
        if not self._outbox:
            self._outbox_filled.clear()
        return batch

    def _take_answer(self, held: Held, answer: str | Submission | Full) -> None:
        """Note what became of a submit. What was neither accepted nor refused is parked: the look sends it again."""
        if isinstance(answer, str):
            held.state, held.message_id = State.SUBMITTED, answer
            if not held.late:
                return
        elif answer is Submission.UNKNOWN:
            held.state = State.SUBMITTED
            self._lost_redis("submit")
        elif held.state is State.SENDING:
            held.state = State.QUEUED
            refusal = refusal_of(held, answer)
            if refusal:
                self._refuse(held, refusal, reason_of(answer))
        self._park(held)

    def _park(self, held: Held) -> None:
        """Leave to the next look what neither is in Redis nor on its way, and end the waits that are over."""
        if held.state is State.SUBMITTED and held.is_parked and self._held.get(held.command.id) is held:
            self._parked.setdefault(held.command.wallet_id, set()).add(held.command.id)
        if held.late:
            late, held.late = held.late, []
            for waiter in late:
                self._stop_waiting(waiter)

    def _unpark(self, command: Command) -> None:
        if (parked := self._parked.get(command.wallet_id)) is not None:
            parked.discard(command.id)
            if not parked:
                del self._parked[command.wallet_id]

    async def _until_redis_answers(self) -> None:
        while self._redis_away:
            for held in [held for held in self._held.values() if held.late]:
                for waiter in held.late:
                    self._stop_waiting(waiter)
            try:
                await self._streams.ping()
            except RedisError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._redis_away = False
                self._submit_again(held for held in self._held.values() if held.is_parked)
                if self._is_loss_told:
                    log.info("redis answers again", held=len(self._held))

    def _lost_redis(self, doing: str) -> None:
        if not self._redis_away:
            metrics.REDIS_LOSSES.inc()
            now = self._loop.time()
            self._is_loss_told = now - self._loss_told_at >= LOSS_TOLD_SECONDS
            if self._is_loss_told:
                self._loss_told_at = now
                log.warning("redis is away", doing=doing, held=len(self._held))
        self._redis_away = True

    def _submit_again(self, commands: Iterable[Held]) -> None:
        """Submit commands before all that came later: some were answered with 202, and what follows relies on them."""
        again = sorted(commands, key=lambda held: held.since)
        metrics.RESUBMISSIONS.inc(len(again))
        for held in again:
            held.in_outbox = True
            self._unpark(held.command)
        self._outbox.extendleft(reversed(again))
        if again:
            self._outbox_filled.set()

    # ---- the end of a wait --------------------------------------------------------------------------------------

    def _stop_waiting(self, waiter: Waiter) -> None:
        if waiter.is_told:
            return
        held = waiter.held
        if held.state is State.SUBMITTED:
            held.waiters.remove(waiter)
            waiter.answer(Pending(held.command))
        elif held.state is State.QUEUED and (self._redis_away or not held.in_outbox):
            error = Unavailable("The operations queue does not take the operation at the moment.")
            self._refuse(held, error, "redis_away")
        else:
            # It is on its way at this moment: the answer says whether it was accepted.
            held.late.append(waiter)

    def _refuse(self, held: Held, error: Refused, reason: str) -> None:
        del self._held[held.command.id]
        refusals.note(reason, held.command)
        held.answer(error)

    def _decide(self, replies: Iterable[Reply]) -> None:
        for reply in replies:
            held = self._held.pop(reply.operation.id, None)
            if held is not None:
                if self._parked:
                    self._unpark(held.command)
                held.answer(reply)

    # ---- replies, and the look for those that were lost ---------------------------------------------------------

    async def _read_replies(self) -> None:
        after, broken = START, False
        while True:
            try:
                after, replies = await self._streams.read_replies(self.reply_key, after, BLOCK_MS)
            except RedisError:
                # From the start again: a Redis that came back empty may give out lower ids. What is read twice finds
                # nobody waiting.
                after, broken = START, True
                if self._settings.redis_cluster:
                    # Most likely on another node. What is sent to the old key meanwhile is found in the books.
                    self.reply_key = _new_reply_key()
                self._lost_redis("read replies")
                self._outbox_filled.set()  # the flush finds out when it is back
                await asyncio.sleep(RETRY_SECONDS)
            else:
                for start in range(0, len(replies), ANSWER_AT_ONCE):
                    self._decide(replies[start : start + ANSWER_AT_ONCE])
                    await asyncio.sleep(0)
                if broken:
                    broken = False
                    self._look_now.set()

    async def _look(self) -> None:
        while True:
            everything = self._look_now.is_set()
            self._look_now.clear()
            metrics.HELD.set(len(self._held))
            refusals.tell()
            # Parked ones first: to submit again is always safe, and needs no Postgres.
            self._submit_again(held for held in self._held.values() if held.is_parked)
            before = self._loop.time() - (0 if everything else LOOK_AFTER_SECONDS)
            old = islice((h for h in self._held.values() if h.state is State.SUBMITTED and h.since <= before), LOOK_MAX)
            try:
                await self._look_for(list(old))
            except (*DatabaseError, *RedisError) as error:
                log.warning("could not look for old operations", error=repr(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_SECONDS):
                    await self._look_now.wait()

    async def _look_for(self, old: Sequence[Held]) -> None:
        """Find the outcomes of old commands in Postgres, and submit again those that Redis no longer has."""
        if not old:
            return
        # To the end of the line: when there are more old ones than one look takes, each comes to its turn.
        self._held.update({held.command.id: self._held.pop(held.command.id) for held in old})
        self._decide(await self._find([held.command.id for held in old]))
        by_id = {held.command.id: held for held in old if held.message_id and held.command.id in self._held}
        if not by_id:
            return
        waiting = [(held.command, held.message_id) for held in by_id.values() if held.message_id]
        missing = [command.id for command in await self._streams.missing(waiting)]
        if not missing:
            return
        # Gone from the stream means decided or lost. Decided is committed first, so that it is seen here.
        self._decide(await self._find(missing))
        lost = [by_id[operation_id] for operation_id in missing if operation_id in self._held]
        if lost:
            log.warning("redis lost commands; submitting them again", commands=len(lost))
            for held in lost:
                held.message_id = None
            self._submit_again(lost)

    async def _make_safe(self) -> None:
        """Before the end, wait until Redis has every command that was accepted: whoever got a 202 relies on it.

        One deadline, counted from SIGTERM, holds for the open requests and for this.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_seconds - seconds_since_stop()):
                while any(held.message_id is None for held in self._held.values()):
                    self._look_now.set()
                    await asyncio.sleep(RETRY_SECONDS)
        lost = [str(held.command.id) for held in self._held.values() if held.message_id is None]
        for start in range(0, len(lost), LOST_IN_A_LINE):
            some = lost[start : start + LOST_IN_A_LINE]
            log.error("ended with commands that Redis may not have", operations=some, count=len(lost))


def _new_reply_key() -> str:
    return keys.reply_stream(secrets.token_hex(6))
