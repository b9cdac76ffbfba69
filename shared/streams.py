"""The typed door to Redis: the functions of `wallet_streams.lua` and the few reads beside them.

The only module that imports redis. Guarantees that a lost function library (a Redis that came back empty) is loaded
again and the call repeated. Knows what a command is; knows nothing of HTTP, Postgres or ownership.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import redis.exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared import keys
from shared.codec import Unreadable, decode_command, decode_replies, encode_command, encode_replies
from shared.commands import Command, Reply
from shared.messages import Claim, Message
from shared.settings import Settings

LIBRARY = (Path(__file__).parent / "wallet_streams.lua").read_text(encoding="utf-8")
LIBRARY_VERSION = int(re.findall(r"^local VERSION = (\d+)$", LIBRARY, re.MULTILINE)[0])
SOCKET_TIMEOUT_SECONDS = 5.0  # a Redis that does not answer for this long is treated as lost
CONNECT_TIMEOUT_SECONDS = 2.0
SCAN_PAGE = 500  # messages or keys read in one go by the looks that page

# What a caller catches: Redis is away, slow, or refuses. OSError and TimeoutError come from the socket itself.
RedisError = (redis.exceptions.RedisError, OSError, TimeoutError)

# Answers that say "I did not run this": the command may be sent again without doubt.
_NOT_RUN = ("MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "MISCONF", "NOREPLICAS")
# The client makes types of these, and takes the word away.
_NotRun = (redis.exceptions.OutOfMemoryError, redis.exceptions.BusyLoadingError, redis.exceptions.ReadOnlyError)
_NO_FUNCTION = "Function not found"


class Submission(Enum):
    """What became of a submitted command when it was not accepted."""

    WALLET_FULL = "wallet_full"
    PARTITION_FULL = "partition_full"
    NOT_RUN = "not_run"
    UNKNOWN = "unknown"


class Streams:
    """One process's access to the streams of all partitions."""

    def __init__(self, settings: Settings) -> None:
        self._partition_count = settings.partition_count
        url = settings.redis_url.get_secret_value()
        # Retries belong to those who know what a repeated call means: none are hidden in the client.
        self._redis = _connect(url, SOCKET_TIMEOUT_SECONDS)
        # A blocking read holds its connection: a client of its own, with a timeout that the block never reaches.
        self._blocking = _connect(url, SOCKET_TIMEOUT_SECONDS)

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
        await self._blocking.aclose()

    async def ping(self) -> None:
        """Raise RedisError when Redis does not answer."""
        await _heed(self._redis.ping())

    async def load_library(self) -> None:
        """Load the function library unless the server has this version or a newer one."""
        try:
            version: int = await self._redis.execute_command("FCALL", "wallet_version", 0)  # type: ignore[no-untyped-call]
        except redis.exceptions.ResponseError as error:
            if _NO_FUNCTION not in str(error):
                raise
            version = 0
        if int(version) < LIBRARY_VERSION:
            await self._redis.execute_command("FUNCTION LOAD", "REPLACE", LIBRARY)  # type: ignore[no-untyped-call]

    # ---- the gateway's side -------------------------------------------------------------------------------------

    async def submit(
        self, commands: Sequence[Command], wallet_queue_max: int, partition_queue_max: int
    ) -> list[str | Submission]:
        """Append commands to their wallets' streams, in order; one call per partition, all in one trip.

        Returns, per command, its message id or why there is none. Never raises: a broken connection is UNKNOWN for
        every command of the trip, since they may have been appended.
        """
        by_partition: dict[int, list[int]] = defaultdict(list)
        for index, command in enumerate(commands):
            by_partition[keys.partition_of(command.wallet_id, self._partition_count)].append(index)
        calls = []
        for partition, indexes in by_partition.items():
            encoded = [encode_command(commands[index]) for index in indexes]
            streams = [keys.wallet_stream(partition, wallet) for wallet, *_ in encoded]
            limits = (wallet_queue_max, partition_queue_max)
            calls.append(
                (
                    "wallet_submit",
                    [keys.ready_stream(partition), keys.meta(partition), *streams],
                    [*limits, *(value for fields in encoded for value in fields)],
                )
            )
        results: list[str | Submission] = [Submission.UNKNOWN] * len(commands)
        try:
            answers = await self._call(calls)
        except RedisError:
            return results
        for indexes, answer in zip(by_partition.values(), answers, strict=True):
            for position, index in enumerate(indexes):
                results[index] = _submission_of(answer, position)
        return results

    async def read_replies(self, reply_key: str, after: str, block_ms: int) -> tuple[str, list[Reply]]:
        """Wait for replies beyond the id `after`; returns the last id read and the replies, or (`after`, [])."""
        answer = await _heed(self._blocking.xread({reply_key: after}, count=100, block=block_ms))
        if not answer:
            return after, []
        entries = answer[0][1]
        replies = [reply for _, fields in entries for reply in decode_replies(fields[b"outcomes"])]
        return entries[-1][0].decode(), replies

    async def missing(self, messages: Sequence[tuple[Command, str]]) -> list[Command]:
        """Return the commands whose message, by its id, is no longer in its wallet's stream."""
        pipeline = self._redis.pipeline(transaction=False)
        for command, message_id in messages:
            pipeline.xrange(self._wallet_stream(command.wallet_id), message_id, message_id)
        found = await _heed(pipeline.execute())
        return [command for (command, _), entries in zip(messages, found, strict=True) if not entries]

    async def find_waiting(self, wallet_id: UUID, operation_id: UUID) -> Command | None:
        """Look through a wallet's waiting messages for one command; reads at most the whole queue, page by page."""
        after = "-"
        wanted = str(operation_id).encode()
        while page := await self._redis.xrange(self._wallet_stream(wallet_id), after, "+", count=SCAN_PAGE):
            for _, fields in page:
                if fields.get(b"id") == wanted:
                    try:
                        return decode_command(wallet_id, [part for pair in fields.items() for part in pair])
                    except Unreadable:
                        return None
            after = f"({page[-1][0].decode()}"
        return None

    # ---- the worker's side --------------------------------------------------------------------------------------

    async def wait_ready(self, cursors: Mapping[int, str], block_ms: int) -> list[int]:
        """Wait until a ready stream has a message beyond its cursor; returns those partitions, [] after the block."""
        by_key = {keys.ready_stream(partition).encode(): partition for partition in cursors}
        wanted = {keys.ready_stream(partition): after for partition, after in cursors.items()}
        answer = await _heed(self._blocking.xread(wanted, count=1, block=block_ms))  # type: ignore[arg-type] # str keys
        return [by_key[key] for key, _ in answer]

    async def claim(self, cursors: Mapping[int, str], wallets_max: int, commands_max: int) -> list[Claim]:
        """Read the ready wallets beyond each cursor and the head of their streams; partitions share the limits."""
        share = max(1, commands_max // len(cursors))
        wallets = max(1, wallets_max // len(cursors))
        calls = [
            ("wallet_claim", [keys.ready_stream(p)], [after, wallets, share, share, keys.wallet_prefix(p)])
            for p, after in cursors.items()
        ]
        claims = []
        for partition, answer in zip(cursors, await self._call(calls), strict=True):
            if isinstance(answer, Exception):
                raise answer
            for ready_id, wallet, entries in answer:
                messages = [Message(message_id.decode(), fields) for message_id, fields in entries]
                claims.append(Claim(partition, wallet.decode(errors="replace"), ready_id.decode(), messages))
        return claims

    async def finish(
        self, claims: Iterable[Claim], replies: Mapping[str, Sequence[Reply]], ttl_seconds: int, messages_max: int
    ) -> None:
        """Send the replies of a committed batch, then remove its messages: one trip, in this order."""
        calls: list[tuple[str, list[str], list[Any]]] = [
            ("wallet_reply", [reply_key], [encode_replies(outcomes), messages_max, ttl_seconds * 1000])
            for reply_key, outcomes in replies.items()
        ]
        by_partition: dict[int, list[Claim]] = defaultdict(list)
        for claim in claims:
            by_partition[claim.partition].append(claim)
        for partition, settled in by_partition.items():
            streams = [keys.wallet_stream(partition, claim.wallet) for claim in settled]
            args = [part for claim in settled for part in (claim.wallet, claim.ready_id, claim.keep_from)]
            calls.append(("wallet_finish", [keys.ready_stream(partition), keys.meta(partition), *streams], args))
        for answer in await self._call(calls):
            if isinstance(answer, Exception):
                raise answer

    async def bury(self, partition: int, wallet: str, message_id: str, reason: str, dead_letters_max: int) -> None:
        """Move one message to the partition's dead letters."""
        stream = keys.wallet_stream(partition, wallet)
        call = (
            "wallet_bury",
            [keys.dead_stream(partition), keys.meta(partition), stream],
            [message_id, wallet, reason, dead_letters_max],
        )
        [answer] = await self._call([call])
        if isinstance(answer, Exception):
            raise answer

    # ---- the sweep's side ---------------------------------------------------------------------------------------

    async def restore_ready(self, partition: int) -> list[str]:
        """Make ready again each wallet of a partition whose ready message is missing; returns those wallets."""
        ready: set[bytes | None] = set()
        after = "-"
        while page := await self._redis.xrange(keys.ready_stream(partition), after, "+", count=SCAN_PAGE):
            ready.update(fields.get(b"wallet") for _, fields in page)
            after = f"({page[-1][0].decode()}"
        restored = []
        prefix = keys.wallet_prefix(partition)
        async for key in self._redis.scan_iter(match=f"{prefix}*", count=SCAN_PAGE, _type="stream"):
            wallet = key.decode().removeprefix(prefix)
            if wallet.encode() in ready:
                continue
            call = ("wallet_restore", [keys.ready_stream(partition), keys.meta(partition), key.decode()], [wallet])
            [answer] = await self._call([call])
            if isinstance(answer, Exception):
                raise answer
            if answer:
                restored.append(wallet)
        return restored

    # ---- how calls are made -------------------------------------------------------------------------------------

    def _wallet_stream(self, wallet_id: UUID) -> str:
        return keys.wallet_stream(keys.partition_of(wallet_id, self._partition_count), wallet_id)

    async def _call(self, calls: Sequence[tuple[str, list[str], list[Any]]]) -> list[Any]:
        """Run functions in one trip; an answer may be an exception. Loads a lost library and calls again, once."""
        answers = await self._trip(calls)
        unknown = [i for i, a in enumerate(answers) if isinstance(a, Exception) and _NO_FUNCTION in str(a)]
        if unknown:
            await self.load_library()
            for i, answer in zip(unknown, await self._trip([calls[i] for i in unknown]), strict=True):
                answers[i] = answer
        return answers

    async def _trip(self, calls: Sequence[tuple[str, list[str], list[Any]]]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for function, function_keys, args in calls:
            pipeline.execute_command("FCALL", function, len(function_keys), *function_keys, *args)
        answers: list[Any] = await _heed(pipeline.execute(raise_on_error=False))
        return answers


async def _heed(answer: Awaitable[Any]) -> Any:
    """Await an answer of Redis; raise a cancellation that came meanwhile, if the client let it pass.

    It sends within `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes as the last byte
    leaves: the loop that was to end would go on for ever.
    """
    try:
        return await answer
    finally:
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError


def _connect(url: str, timeout_seconds: float) -> Redis:
    client: Redis = Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )
    return client


def _submission_of(answer: Any, position: int) -> str | Submission:
    if isinstance(answer, Exception):
        not_run = isinstance(answer, _NotRun) or str(answer).startswith(_NOT_RUN)
        return Submission.NOT_RUN if not_run else Submission.UNKNOWN
    text: str = answer[position].decode()
    return text if "-" in text else Submission(text)
