"""The typed door to Redis: the functions of `wallet_streams.lua` and the few reads beside them.

Guarantees that a lost function library (a Redis that came back empty) is loaded
again and the call repeated. Knows what a command is; knows nothing of HTTP, Postgres or ownership.
"""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from shared import keys
from shared.codec import Unreadable, decode_command, decode_replies, encode_command, encode_replies, texts_of
from shared.commands import Command, Reply
from shared.messages import Claim, Message, Ready
from shared.node import RedisError, is_unknown_function, is_wrong_type, was_not_run
from shared.nodes import Nodes
from shared.ready import ClusterReader, ReadyReader, Shares, SingleReader
from shared.settings import Settings

LIBRARY = (Path(__file__).parent / "wallet_streams.lua").read_text(encoding="utf-8")
LIBRARY_VERSION = int(re.findall(r"^local VERSION = (\d+)$", LIBRARY, re.MULTILINE)[0])
SCAN_PAGE = 500  # messages or keys read in one go by the looks that page
REPLIES_PAGE = 100  # messages of a reply key read in one go; each holds a batch's outcomes

log = structlog.get_logger(__name__)

__all__ = ["LIBRARY", "LIBRARY_VERSION", "Full", "RedisError", "Streams", "Submission"]


class Submission(Enum):
    """What became of a submitted command when it was not accepted."""

    WALLET_FULL = "wallet_full"
    PARTITION_FULL = "partition_full"
    NOT_A_STREAM = "not_a_stream"  # something else has the key of the wallet's stream
    NOT_RUN = "not_run"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Full:
    """A submitted command found no room. `oldest_ms` is how long the oldest in front of it has waited."""

    queue: Submission
    oldest_ms: int


class Streams:
    """One process's access to the streams of all partitions."""

    def __init__(self, settings: Settings) -> None:
        self._partition_count = settings.partition_count
        self._nodes = Nodes(settings)
        self._ready: ReadyReader = ClusterReader(self._nodes) if settings.redis_cluster else SingleReader(self._nodes)
        self._shares = Shares()

    async def close(self) -> None:
        """Close all connections."""
        await self._ready.close()
        await self._nodes.close()

    async def ping(self) -> None:
        """Raise RedisError when Redis does not answer."""
        await self._nodes.ping()

    async def silent_nodes(self) -> list[str]:
        """Return what of Redis does not answer: `redis`, or of a Cluster which nodes."""
        return await self._nodes.silent()

    async def load_library(self) -> None:
        """Load the function library wherever it is missing or older; raises RedisError when no node takes it."""
        versions = await self._nodes.everywhere("FCALL", "wallet_version", 0)
        if all(isinstance(version, int) and version >= LIBRARY_VERSION for version in versions):
            return
        if any(isinstance(version, int) and version > LIBRARY_VERSION for version in versions):
            return  # a newer release is being rolled out: its own processes load it
        loaded = await self._nodes.everywhere("FUNCTION LOAD", "REPLACE", LIBRARY)
        errors = [answer for answer in loaded if isinstance(answer, Exception)]
        if len(errors) == len(loaded):
            raise errors[0]

    # ---- the gateway's side -------------------------------------------------------------------------------------

    async def submit(
        self, commands: Sequence[Command], wallet_queue_max: int, partition_queue_max: int
    ) -> list[str | Submission | Full]:
        """Append commands to their wallets' streams, in order, in one trip.

        Returns, per command, its message id or why there is none. Never raises: a broken connection is UNKNOWN for
        every command of the trip, since they may have been appended.
        """
        by_partition: dict[int, list[int]] = defaultdict(list)
        for index, command in enumerate(commands):
            by_partition[keys.partition_of(command.wallet_id, self._partition_count)].append(index)
        calls = []
        for partitions in self._together(by_partition):
            on: list[str] = []
            args: list[Any] = [wallet_queue_max, partition_queue_max]
            for partition in partitions:
                indexes = by_partition[partition]
                prefix = keys.wallet_prefix(partition)
                on += (keys.ready_stream(partition), keys.meta(partition))
                args.append(len(indexes))
                for index in indexes:
                    wallet = str(commands[index].wallet_id)
                    on.append(prefix + wallet)
                    args += (wallet, encode_command(commands[index]))
            calls.append(("wallet_submit", on, args))
        results: list[str | Submission | Full] = [Submission.UNKNOWN] * len(commands)
        answers = await self._call(calls)
        for partitions, answer in zip(self._together(by_partition), answers, strict=True):
            indexes = [index for partition in partitions for index in by_partition[partition]]
            for index, result in zip(indexes, _submissions_of(answer, len(indexes)), strict=True):
                results[index] = result
        return results

    async def read_replies(self, reply_key: str, after: str, block_ms: int) -> tuple[str, list[Reply]]:
        """Wait for replies beyond the id `after`; returns the last id read and the replies, or (`after`, [])."""
        answer = await self._nodes.read([reply_key], REPLIES_PAGE, block_ms, after)
        if not answer:
            return after, []
        entries = answer[0][1]
        replies = []
        for message_id, fields in entries:
            try:
                replies += decode_replies(fields.get(b"outcomes", b""))
            except Unreadable as error:
                # Of another release, or made by hand: the books have the outcomes, and the look finds them.
                log.warning("unreadable reply", message_id=message_id.decode(), error=str(error))
        return entries[-1][0].decode(), replies

    async def missing(self, messages: Sequence[tuple[Command, str]]) -> list[Command]:
        """Return the commands whose message, by its id, is no longer in its wallet's stream.

        What a node that is away has is not known; raises RedisError when nothing is.
        """
        streams = [(self._wallet_stream(command.wallet_id), message_id) for command, message_id in messages]
        found = await self._nodes.many([(stream, ("XRANGE", stream, of, of)) for stream, of in streams])
        if all(isinstance(entries, Exception) for entries in found):
            _raise_first(found)
        return [command for (command, _), entries in zip(messages, found, strict=True) if not entries]

    async def find_waiting(self, wallet_id: UUID, operation_id: UUID) -> Command | None:
        """Look through a wallet's waiting messages for one command; reads at most the whole queue, page by page."""
        wanted = str(operation_id)
        async for fields in self._messages(self._wallet_stream(wallet_id)):
            if texts_of(fields).get("id") == wanted:
                try:
                    return decode_command(wallet_id, fields)
                except Unreadable:
                    return None
        return None

    # ---- the worker's side --------------------------------------------------------------------------------------

    async def wait_ready(self, partitions: Sequence[int], wallets_max: int, block_ms: int) -> list[Ready]:
        """Wait until some partitions have ready wallets; returns the first, some `wallets_max` of them, or []."""
        return await self._ready.wait(partitions, wallets_max, block_ms)

    async def claim(self, ready: Sequence[Ready], wallets_max: int, commands_max: int) -> list[Claim]:
        """Read the head of the streams of ready wallets, as many as the limits allow; partitions share them.

        Removes nothing: claiming is repeatable. A stream that is gone has no messages.
        """
        chosen, calls = [], []
        for wallet, count in self._shares.of(ready, wallets_max, commands_max):
            stream = keys.wallet_stream(wallet.partition, wallet.wallet)
            chosen.append(wallet)
            calls.append((stream, ("XRANGE", stream, "-", "+", "COUNT", count)))
        claims = []
        for wallet, entries in zip(chosen, await self._nodes.many(calls), strict=True):
            if isinstance(entries, Exception) and not is_wrong_type(entries):  # made by hand: as if it were gone
                raise entries
            found = [] if isinstance(entries, Exception) else entries
            messages = [Message(message_id.decode(), fields) for message_id, fields in found]
            claims.append(Claim(wallet.partition, wallet.wallet, wallet.id, messages))
        return claims

    async def finish(
        self, claims: Iterable[Claim], replies: Mapping[str, Sequence[Reply]], ttl_seconds: int, messages_max: int
    ) -> None:
        """Send the replies of a committed batch, then remove its messages: one trip, in this order.

        A reply that cannot be sent, since its key is on another node which is away, keeps nothing from being removed:
        the gateway finds the outcome in the books.
        """
        calls: list[tuple[str, list[str], list[Any]]] = [
            ("wallet_reply", [reply_key], [encode_replies(outcomes), messages_max, ttl_seconds * 1000])
            for reply_key, outcomes in replies.items()
        ]
        by_partition: dict[int, list[Claim]] = defaultdict(list)
        for claim in claims:
            by_partition[claim.partition].append(claim)
        for partitions in self._together(by_partition):
            on: list[str] = []
            args: list[Any] = []
            for partition in partitions:
                on += (keys.ready_stream(partition), keys.meta(partition))
                args.append(len(by_partition[partition]))
                for claim in by_partition[partition]:
                    on.append(keys.wallet_stream(partition, claim.wallet))
                    args += (claim.wallet, claim.ready_id, claim.keep_from)
            calls.append(("wallet_finish", on, args))
        answers = await self._call(calls)
        _raise_first(answers[len(replies) :])
        unsent = [answer for answer in answers[: len(replies)] if isinstance(answer, Exception)]
        if unsent:
            log.warning("replies not sent", gateways=len(unsent), error=repr(unsent[0]))

    async def bury(self, partition: int, wallet: str, message_id: str, reason: str, dead_letters_max: int) -> None:
        """Move one message to the partition's dead letters."""
        stream = keys.wallet_stream(partition, wallet)
        call = (
            "wallet_bury",
            [keys.dead_stream(partition), keys.meta(partition), stream],
            [message_id, wallet, reason, dead_letters_max],
        )
        _raise_first(await self._call([call]))

    # ---- how calls are made -------------------------------------------------------------------------------------

    def _together(self, partitions: Iterable[int]) -> list[list[int]]:
        """Return the partitions that one function call may take together: all, or on a Cluster each by itself."""
        if self._nodes.is_cluster:
            return [[partition] for partition in partitions]
        together = list(partitions)
        return [together] if together else []

    def _wallet_stream(self, wallet_id: UUID) -> str:
        return keys.wallet_stream(keys.partition_of(wallet_id, self._partition_count), wallet_id)

    async def _messages(self, stream: str) -> AsyncIterator[Mapping[bytes, bytes]]:
        """Read a stream's messages from its start, page by page."""
        after = "-"
        while page := await self._nodes.one(stream, "XRANGE", stream, after, "+", "COUNT", SCAN_PAGE):
            for _, fields in page:
                yield fields
            after = f"({page[-1][0].decode()}"

    async def _call(self, calls: Sequence[tuple[str, list[str], list[Any]]]) -> list[Any]:
        """Run functions in one trip; an answer may be an exception. Loads a lost library and calls again, once."""
        commands = [(on[0], ("FCALL", name, len(on), *on, *args)) for name, on, args in calls]
        answers = await self._nodes.many(commands)
        unknown = [i for i, answer in enumerate(answers) if is_unknown_function(answer)]
        if unknown:
            try:
                await self.load_library()
            except RedisError:
                return answers
            for i, answer in zip(unknown, await self._nodes.many([commands[i] for i in unknown]), strict=True):
                answers[i] = answer
        return answers


def _raise_first(answers: Iterable[Any]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


def _submissions_of(answer: Any, count: int) -> Sequence[str | Submission | Full]:
    if isinstance(answer, Exception):
        # A function that is not there did not run either.
        not_run = was_not_run(answer) or is_unknown_function(answer)
        return [Submission.NOT_RUN if not_run else Submission.UNKNOWN] * count
    return [_submission_of(text.decode()) for text in answer]


def _submission_of(text: str) -> str | Submission | Full:
    if "-" in text:
        return text
    why, _, oldest_ms = text.partition(" ")
    return Full(Submission(why), int(oldest_ms)) if oldest_ms else Submission(why)
