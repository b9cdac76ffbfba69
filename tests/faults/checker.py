"""Compares what clients were told with what the stores hold. Trusts nothing that the service keeps in memory.

The comparison is pure (`violations`), so that it is itself tested against books with a planted error of each kind;
`check` reads the stores and raises with every violation found.
"""

import asyncio
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import asyncpg
from aiohttp import ClientConnectorError, ClientError
from redis.asyncio import Redis

from shared.commands import operation_id_of_key
from shared.settings import Settings
from tests.service import Answer, Client

FOLLOW_SECONDS = 0.05  # between two looks at what was accepted
DRAIN_SECONDS_MAX = 15.0  # far above any batch: what still waits then is stuck

REJECTIONS = {"insufficient_funds", "balance_limit_exceeded"}
DO_NOT_WAIT = "wait=0"
SENTENCES_MAX = 20  # of a broken promise the first few tell enough


class Lost(Enum):
    """Why a request has no answer; only one that nobody could hear is certain not to be in the books."""

    BROKEN = "the connection broke"
    LEFT = "the client left before the answer"
    UNREACHED = "no connection was made"


@dataclass(frozen=True, slots=True)
class Told:
    """One request and what its client was told: `answer`, or None when it was `lost`. Times: seconds of one clock."""

    client: str
    wallet_id: str
    operation_type: str
    units: int
    key: str | None
    answer: Answer | None
    lost: Lost = Lost.BROKEN
    sent_at: float = 0.0
    answered_at: float = 0.0
    waits: bool = True  # whether the outcome was wanted; if not, a 202 is, and a 503 while Redis is away
    decided_at: float | None = None  # when the client, which got a 202 and waited for it, saw that it is decided


@dataclass
class Witness:
    """Sends operations and writes down every request with its answer, in the order of the answers."""

    told: list[Told] = field(default_factory=list)

    async def operate(
        self,
        client: Client,
        wallet_id: str,
        operation_type: str,
        amount: str,
        key: str | None = None,
        name: str = "",
        patience_seconds: float | None = None,
        follow: Sequence[Client] = (),
        **headers: str,
    ) -> Answer | None:
        """Send one operation; None when it has no answer: the client leaves when its patience ends.

        After a 202 the gateways of `follow` are asked by turns until it is decided.
        """
        if key is not None:
            headers["Idempotency_Key"] = key
        answer, lost, sent_at = None, Lost.BROKEN, time.monotonic()
        try:
            async with asyncio.timeout(patience_seconds):
                answer = await client.operate(wallet_id, operation_type, amount, **headers)
        except ClientConnectorError:
            lost = Lost.UNREACHED
        except ClientError:
            pass
        except TimeoutError:
            if patience_seconds is None:
                raise
            lost = Lost.LEFT
        units = int(Decimal(amount) * 100)
        rest = (lost, sent_at, time.monotonic(), headers.get("prefer") != DO_NOT_WAIT)
        told, place = Told(name, wallet_id, operation_type, units, key, answer, *rest), len(self.told)
        self.told.append(told)
        if follow and answer is not None and answer.status == 202:
            await until_decided(follow, answer)
            self.told[place] = replace(told, decided_at=time.monotonic())
        return answer

    async def deposit(self, client: Client, wallet_id: str, amount: str, **more: Any) -> Answer | None:
        return await self.operate(client, wallet_id, "DEPOSIT", amount, **more)

    async def withdraw(self, client: Client, wallet_id: str, amount: str, **more: Any) -> Answer | None:
        return await self.operate(client, wallet_id, "WITHDRAW", amount, **more)

    def statuses(self) -> Counter[int]:
        """Return how many requests were answered with which status; 0 stands for a broken connection."""
        return Counter(told.answer.status if told.answer else 0 for told in self.told)


async def until_decided(gateways: Sequence[Client], accepted: Answer) -> Answer:
    """Ask gateways by turns, at a 202's Location, until one says what became of it; others may know nothing of it."""
    for gateway in itertools.cycle(gateways):
        try:
            seen = await gateway.get(accepted.headers["Location"])
        except ClientError:
            pass
        else:
            if seen.status == 200 and seen.body["status"] != "PENDING":
                return seen
        await asyncio.sleep(FOLLOW_SECONDS)
    raise AssertionError("no gateway to ask")


@dataclass(frozen=True, slots=True)
class Books:
    """The contents of Postgres: rows by id."""

    wallets: Mapping[str, Mapping[str, Any]]
    operations: Mapping[str, Mapping[str, Any]]


def violations(told: Sequence[Told], books: Books, left_in_redis: Sequence[str] = ()) -> list[str]:
    """Return every promise that was broken, as sentences."""
    return [
        *_wrong_wallets(books),
        *(sentence for each in told for sentence in _wrong_answer(each, books)),
        *_wrong_doubles(told),
        *_wrong_order(told, books),
        *_unexplained(told, books),
        *(f"left in Redis: {what}" for what in left_in_redis),
    ]


def _wrong_wallets(books: Books) -> Iterable[str]:
    applied = defaultdict(list)
    balances: dict[str, set[int]] = defaultdict(lambda: {0})  # all that a wallet ever had
    for operation in books.operations.values():
        if operation["status"] == "APPLIED":
            applied[str(operation["wallet_id"])].append(operation)
    for wallet_id, wallet in books.wallets.items():
        operations = sorted(applied[wallet_id], key=lambda operation: int(operation["seq"]))
        if [operation["seq"] for operation in operations] != list(range(1, wallet["seq"] + 1)):
            yield f"wallet {wallet_id}: seq is not 1…{wallet['seq']}: {[o['seq'] for o in operations]}"
        balance = 0
        for operation in operations:
            balance += operation["amount"] if operation["type"] == "DEPOSIT" else -operation["amount"]
            balances[wallet_id].add(balance)
            if balance != operation["balance"] or balance < 0:
                yield f"wallet {wallet_id}: after seq {operation['seq']} {operation['balance']} instead of {balance}"
        if balance != wallet["balance"]:
            yield f"wallet {wallet_id}: balance {wallet['balance']}, its operations come to {balance}"
    for operation_id, operation in books.operations.items():
        if operation["status"] == "APPLIED":
            continue
        if operation["balance"] not in balances[str(operation["wallet_id"])]:
            yield f"operation {operation_id} was refused at {operation['balance']}, which its wallet never had"
        if operation["reason"] == "insufficient_funds" and operation["amount"] <= operation["balance"]:
            yield f"operation {operation_id} was refused, but {operation['balance']} covers {operation['amount']}"


def _wrong_answer(told: Told, books: Books) -> Iterable[str]:
    answer = told.answer
    if answer is None or not _operation_id(answer):
        return
    operation = books.operations.get(_operation_id(answer))
    if operation is None:
        yield f"answered {answer.status} but not in the books: {answer.body}"
        return
    request = (told.wallet_id, told.operation_type, told.units)
    if (str(operation["wallet_id"]), operation["type"], operation["amount"]) != request:
        yield f"answered {answer.status} to {request}, the books have {dict(operation)}"
    outcome: tuple[object, ...]
    if answer.status == 200:
        said = answer.body["operation"]
        outcome = ("APPLIED", said["seq"], _units(said["balance"]), None)
    elif answer.status == 400:
        outcome = ("REJECTED", None, _units(answer.body["balance"]), answer.code)
    else:
        return
    if (operation["status"], operation["seq"], operation["balance"], operation["reason"]) != outcome:
        yield f"told {outcome}, the books have {dict(operation)}"


def _wrong_doubles(told: Sequence[Told]) -> Iterable[str]:
    by_id = defaultdict(list)
    by_key = defaultdict(set)
    for each in told:
        if each.answer and (operation_id := _operation_id(each.answer)):
            by_id[operation_id].append(each)
            if each.key is not None:
                by_key[each.wallet_id, each.key].add(operation_id)
    for operation_id, sharing in by_id.items():
        if len(sharing) > 1 and len({(each.wallet_id, each.key) for each in sharing} | {(None, None)}) != 2:
            yield f"operation {operation_id} was given to requests with different keys"
        if len(sharing) > 1 and sharing[0].key is None:
            yield f"operation {operation_id} was given to {len(sharing)} requests without a key"
        outcomes = {_outcome(each.answer) for each in sharing if each.answer and each.answer.status != 202}
        if len(outcomes) > 1:
            yield f"operation {operation_id} was answered in different ways: {outcomes}"
    for (wallet_id, key), ids in by_key.items():
        if len(ids) > 1:
            yield f"the key {key} on wallet {wallet_id} made {len(ids)} operations: {ids}"


def _wrong_order(told: Sequence[Told], books: Books) -> Iterable[str]:
    """Find operations that were overtaken: what is sent after another's answer has the higher seq, whoever sent it.

    A 202 is an answer, too: its operation has its place from then on, or from when it was seen to be decided where
    clients go by turns to several gateways and wait for that.
    """
    sent_at: dict[tuple[str, str], float] = {}  # the first try of a key may have brought it in
    for each in told:
        if each.key is not None:
            request = (each.wallet_id, each.key)
            sent_at[request] = min(each.sent_at, sent_at.get(request, each.sent_at))
    spans: dict[str, dict[int, tuple[float, float]]] = defaultdict(dict)  # per wallet and seq: sent, answered
    for each in told:
        if each.answer is None or each.answer.status not in {200, 202}:
            continue
        operation = books.operations.get(_operation_id(each.answer), {})
        if not (seq := operation.get("seq")):
            continue
        sent = each.sent_at if each.key is None else sent_at[each.wallet_id, each.key]
        answered_at = each.answered_at if each.decided_at is None else each.decided_at
        answered_at = min(answered_at, spans[each.wallet_id].get(seq, (0, answered_at))[1])
        spans[each.wallet_id][seq] = (sent, answered_at)
    for wallet_id, by_seq in spans.items():
        answered_first = sorted(by_seq, key=lambda seq: by_seq[seq][1])
        highest, done = 0, 0
        for seq in sorted(by_seq, key=lambda seq: by_seq[seq][0]):
            while done < len(answered_first) and by_seq[answered_first[done]][1] < by_seq[seq][0]:
                highest = max(highest, answered_first[done])
                done += 1
            if seq < highest:
                yield f"wallet {wallet_id}: seq {seq} was sent after seq {highest} had been answered"


def _unexplained(told: Sequence[Told], books: Books) -> Iterable[str]:
    """Find operations that no answer speaks of: each must be a request that may have been heard but has no answer."""
    known = {_operation_id(each.answer) for each in told if each.answer}
    wallets = {each.wallet_id for each in told}
    unanswered = [each for each in told if each.answer is None and each.lost is not Lost.UNREACHED]
    # With a key it is known which operation a request would be; without one, what it would say.
    by_id = {
        str(operation_id_of_key(UUID(each.wallet_id), "", each.key)): _what(each)
        for each in unanswered
        if each.key is not None
    }
    by_what = Counter(_what(each) for each in unanswered if each.key is None)
    for operation_id, operation in books.operations.items():
        what = (str(operation["wallet_id"]), operation["type"], operation["amount"])
        if operation_id in known or what[0] not in wallets or by_id.get(operation_id) == what:
            continue
        if by_what[what] <= 0:
            yield f"nobody was told of operation {operation_id}: {dict(operation)}"
        by_what[what] -= 1


def _what(told: Told) -> tuple[str, str, int]:
    return told.wallet_id, told.operation_type, told.units


def wrong_statuses(told: Sequence[Told], allowed: Collection[int], *, is_queue_away: bool = False) -> list[str]:
    """Return what clients should not have been told; 0 in `allowed` stands for a broken connection.

    Who does not wait is told 202 at any time, and 503 where `is_queue_away`: nothing can be accepted at that moment.
    """
    at_once = {202, 503} if is_queue_away else {202}
    found = []
    for each in told:
        if each.answer is None:
            if each.lost is not Lost.LEFT and 0 not in allowed:
                found.append(f"{each.lost.value} of a {each.operation_type}")
        elif each.answer.status not in allowed and (each.waits or each.answer.status not in at_once):
            found.append(f"answered {each.answer.status}: {each.answer.body}")
        elif each.answer.status in {202, 429, 503} and not each.answer.headers.get("Retry-After", "").isdigit():
            found.append(f"a {each.answer.status} without Retry-After: {each.answer.body}")
    return found


def unseen_statuses(told: Sequence[Told], expected: Collection[int]) -> list[str]:
    """Return what nobody was told, though the fault is there to bring it: else it has proved nothing."""
    seen = {each.answer.status for each in told if each.answer}
    return [f"nobody was told {status}" for status in sorted(set(expected) - seen)]


def _operation_id(answer: Answer) -> str:
    """Return the operation that an answer speaks of; empty when it says that nothing happened."""
    if answer.status in {200, 202}:
        return str(answer.body["operation"]["id"])
    if answer.status == 400 and answer.code in REJECTIONS:
        return str(answer.body["operation_id"])
    return ""


def _outcome(answer: Answer) -> tuple[object, ...]:
    if answer.status == 200:
        operation = answer.body["operation"]
        return 200, operation["seq"], operation["balance"], operation["applied_at"]
    return answer.status, answer.code, answer.body["balance"]


def _units(balance: str) -> int:
    return int(Decimal(balance) * 100)


async def check(witness: Witness, settings: Settings) -> None:
    """Wait until everything accepted is decided, then compare; fails with every violation."""
    found = await find_violations(witness, settings)
    assert not found, "\n".join(found[:SENTENCES_MAX])


async def find_violations(witness: Witness, settings: Settings) -> list[str]:
    """Wait until everything accepted is decided, then compare; returns every violation."""
    left = await until_drained(settings)
    return violations(witness.told, await read_books(settings), left)


async def read_books(settings: Settings) -> Books:
    """Read all wallets and operations."""
    connection = await asyncpg.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        user=settings.postgres_user,
        database=settings.postgres_db,
    )
    try:
        wallets = await connection.fetch("SELECT * FROM wallets")
        operations = await connection.fetch("SELECT * FROM operations")
    finally:
        await connection.close()
    return Books({str(row["id"]): dict(row) for row in wallets}, {str(row["id"]): dict(row) for row in operations})


async def until_drained(settings: Settings) -> list[str]:
    """Wait until nothing is left in the streams; returns what still is after DRAIN_SECONDS_MAX."""
    ends = time.monotonic() + DRAIN_SECONDS_MAX
    urls = settings.redis_url.get_secret_value().split(",")
    async with AsyncExitStack() as stack:
        # Of a Cluster: all nodes, each asked for what it holds itself.
        clients = [await stack.enter_async_context(Redis.from_url(url)) for url in urls]
        while (left := await _left_on_all(clients)) and time.monotonic() < ends:  # noqa: ASYNC110 others empty them
            await asyncio.sleep(0.02)
    return left


async def _left_on_all(clients: Sequence[Redis]) -> list[str]:
    return [what for client in clients for what in await _left(client)]


async def _left(client: Redis) -> list[str]:
    left = []
    for key in await client.keys("{p*"):
        name = key.decode()
        if name.endswith("}:meta"):
            depth = int((await client.hgetall(name)).get(b"depth", 0))  # type: ignore[misc] # its stubs know no async
            if depth:
                left.append(f"{name} counts {depth} messages")
        elif await client.xlen(name):
            left.append(f"{name} holds {await client.xlen(name)} messages")
        elif ":wallet:" in name:
            left.append(f"{name} is empty and was not deleted")
    return left
