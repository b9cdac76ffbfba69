"""The gateway's dispatcher over real stores: every command is refused for good, or decided exactly once."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis as RedisClient

from devstack.redis import Redis
from gateway.books import Books
from gateway.dispatcher import Dispatcher
from shared import keys
from shared.commands import Command, Reason, Reply, Status
from shared.database import open_pool
from shared.errors import Pending, Unavailable, WalletQueueFull
from shared.messages import START
from shared.settings import GatewaySettings, WorkerSettings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit, empty_wallet, said_in, wallet_in, withdraw
from tests.integration import stage
from tests.waiting import until
from worker.ledger import decide
from worker.session import Session
from worker.store import Store

WAIT = 10.0  # far longer than anything here takes
SHORT = 0.05


@dataclass(frozen=True, slots=True)
class Desk:
    """A dispatcher, and what it stands between."""

    dispatcher: Dispatcher
    streams: Streams
    partition_count: int
    redis: RedisClient

    async def submit(self, command: Command, wait_seconds: float = WAIT) -> Reply:
        """Submit a command as a request does: its reply comes here, unless it says otherwise."""
        reply_to = command.reply_to or self.dispatcher.reply_key
        return await self.dispatcher.submit(replace(command, reply_to=reply_to), wait_seconds)

    def start(self, command: Command, wait_seconds: float = WAIT) -> asyncio.Task[Reply]:
        """Submit a command and let it wait."""
        return asyncio.create_task(self.submit(command, wait_seconds))

    def holds(self, command: Command) -> bool:
        """Tell whether the dispatcher holds a command, undecided."""
        held = self.dispatcher.find_held(command.id)
        return held is not None and replace(held, reply_to=command.reply_to) == command

    async def waiting(self, wallet_id: UUID) -> list[UUID]:
        """Return the operation ids that wait in Redis for a wallet, in order."""
        stream = keys.wallet_stream(keys.partition_of(wallet_id, self.partition_count), wallet_id)
        return [UUID(said_in(fields)["id"]) for _, fields in await self.redis.xrange(stream)]

    async def queued(self, command: Command, count: int = 1) -> None:
        """Wait until Redis has a command."""

        async def is_queued() -> bool:
            return (await self.waiting(command.wallet_id)).count(command.id) >= count

        await until(is_queued)

    async def decided(self, command: Command) -> None:
        """Wait until the dispatcher knows a command's outcome."""

        async def is_decided() -> bool:
            return self.dispatcher.find_held(command.id) is None

        await until(is_decided)


OpenDesk = Callable[..., AbstractAsyncContextManager[Desk]]
Working = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture(autouse=True)
async def _no_broken_dispatcher() -> AsyncIterator[None]:
    """Fail a test in which a loop of the dispatcher ended: it would end the process, and here that is the test run."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    yield
    loop.remove_signal_handler(signal.SIGTERM)
    assert not ended.is_set()


@asynccontextmanager
async def _open_desk(stores: dict[str, Any], **changes: Any) -> AsyncIterator[Desk]:
    settings = GatewaySettings(**{**stores, **changes})
    streams = Streams(settings)
    await streams.load_library()
    async with await open_pool(settings, "desk", 2) as pool:
        dispatcher = Dispatcher(settings, streams, Books(pool).find)
        async with dispatcher.running(), RedisClient.from_url(settings.redis_url.get_secret_value()) as redis:
            yield Desk(dispatcher, streams, settings.partition_count, redis)
    await streams.close()


def _working(stores: dict[str, Any]) -> AbstractAsyncContextManager[None]:
    return stage.working(WorkerSettings(**stores, worker_name="worker-under-test"))


@pytest.fixture
async def desk(stores: dict[str, Any]) -> AsyncIterator[Desk]:
    """A desk at which nobody works yet."""
    async with _open_desk(stores) as opened:
        yield opened


@pytest.fixture
def working(stores: dict[str, Any]) -> Callable[[], AbstractAsyncContextManager[None]]:
    """A worker for the length of a block."""
    return lambda: _working(stores)


async def test_command__its_outcome_comes_back(desk: Desk, books: BooksAsTheyStand, working: Working) -> None:
    wallet_id = await books.create_wallet()
    async with working():
        applied = await desk.submit(deposit(wallet_id, 500))
        rejected = await desk.submit(withdraw(wallet_id, 501))

    assert (applied.operation.status, applied.operation.balance) == (Status.APPLIED, 500)
    assert rejected.operation.reason is Reason.INSUFFICIENT_FUNDS
    assert applied.wallet_created_at == (await books.wallet(wallet_id)).created_at


async def test_outcomes__come_by_the_reply_key_and_none_is_looked_for_in_the_books(
    stores: dict[str, Any], books: BooksAsTheyStand, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No look makes up for a reply that is lost, nor is one made because the machine is slow.
    monkeypatch.setattr("gateway.dispatcher.LOOK_AFTER_SECONDS", 10 * WAIT)
    looked_for: list[UUID] = []
    wallets = [await books.create_wallet() for _ in range(20)]

    async with _open_desk(stores) as desk, working():
        find = desk.dispatcher._find

        async def find_and_note(operation_ids: Sequence[UUID]) -> Sequence[Reply]:
            looked_for.extend(operation_ids)
            return await find(operation_ids)

        monkeypatch.setattr(desk.dispatcher, "_find", find_and_note)
        replies = []
        for _ in range(15):  # so many batches at least
            replies += await asyncio.gather(*(desk.submit(deposit(wallet_id)) for wallet_id in wallets))

    assert {reply.operation.status for reply in replies} == {Status.APPLIED}
    assert len({reply.operation.id for reply in replies}) == 300
    assert not looked_for


async def test_commands_of_one_wallet__are_applied_in_the_order_in_which_they_came(
    stores: dict[str, Any], books: BooksAsTheyStand, working: Working
) -> None:
    wallet_id = await books.create_wallet()
    commands = [deposit(wallet_id, amount) for amount in range(1, 101)]

    async with _open_desk(stores, flush_commands_max=7) as desk, working():
        replies = await asyncio.gather(*(desk.start(command) for command in commands))

    assert [reply.operation.seq for reply in replies] == list(range(1, 101))
    assert await books.balance(wallet_id) == 5_050


async def test_waiters_for_one_id__share_one_message_and_all_get_the_outcome(
    desk: Desk, books: BooksAsTheyStand, working: Working
) -> None:
    wallet_id = await books.create_wallet()
    command, later = deposit(wallet_id), deposit(wallet_id)
    first, second = desk.start(command), desk.start(command)
    await desk.queued(command)
    third, last = desk.start(command), desk.start(later)
    await desk.queued(later)
    assert await desk.waiting(wallet_id) == [command.id, later.id]

    async with working():
        replies = await asyncio.gather(first, second, third, last)

    assert replies[0] == replies[1] == replies[2]
    assert await books.balance(wallet_id) == 200


async def test_waiter_with_another_body__gets_the_outcome_of_the_first(
    desk: Desk, books: BooksAsTheyStand, working: Working
) -> None:
    wallet_id = await books.create_wallet()
    command = deposit(wallet_id, 100)
    conflicting = deposit(wallet_id, 999, id=command.id)
    waiting = [desk.start(command), desk.start(conflicting)]

    async with working():
        first, second = await asyncio.gather(*waiting)
        after = await desk.submit(conflicting)

    assert first == second == after
    assert first.operation.answers(command)
    assert not first.operation.answers(conflicting)
    assert await books.balance(wallet_id) == 100


async def test_one_waiter_that_gives_up__leaves_the_others_waiting(
    desk: Desk, books: BooksAsTheyStand, working: Working
) -> None:
    command = deposit(await books.create_wallet())
    patient, hasty = desk.start(command), desk.start(command, SHORT)
    with pytest.raises(Pending):
        await hasty

    async with working():
        assert (await patient).operation.id == command.id


@pytest.mark.parametrize("wait_seconds", [0, SHORT])
async def test_wait_that_ends_first__the_command_is_pending_and_decided_later(
    desk: Desk, books: BooksAsTheyStand, working: Working, wait_seconds: float
) -> None:
    command = deposit(await books.create_wallet())

    with pytest.raises(Pending) as pending:
        await desk.submit(command, wait_seconds)

    assert pending.value.command.id == command.id
    assert desk.holds(command)
    async with working():
        await desk.decided(command)
    assert await books.balance(command.wallet_id) == 100


async def test_wait_that_ends_while_the_command_is_on_its_way__is_pending_once_it_was_accepted(
    on_own_redis: dict[str, Any], own_redis: Redis, books: BooksAsTheyStand
) -> None:
    command = deposit(await books.create_wallet())
    async with _open_desk(on_own_redis) as desk:
        await desk.streams.read_replies(desk.dispatcher.reply_key, START, 1)  # connected
        own_redis.pause()
        on_its_way = desk.start(command, SHORT)
        await asyncio.sleep(4 * SHORT)
        assert not on_its_way.done()  # whether it was accepted is not known yet

        own_redis.resume()

        with pytest.raises(Pending):
            await asyncio.wait_for(on_its_way, WAIT)
        assert await desk.waiting(command.wallet_id) == [command.id]


async def test_client_that_went_away__its_command_is_decided_all_the_same(
    desk: Desk, books: BooksAsTheyStand, working: Working
) -> None:
    command = deposit(await books.create_wallet())
    request = desk.start(command)
    await desk.queued(command)
    request.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await request

    async with working():
        await desk.decided(command)

    assert await books.balance(command.wallet_id) == 100


async def test_decided_id_that_comes_again__gets_the_stored_outcome(
    desk: Desk, books: BooksAsTheyStand, working: Working
) -> None:
    command = deposit(await books.create_wallet())
    again = replace(command, token=command.token + 1)
    async with working():
        first = await desk.submit(command)
        second = await desk.submit(again)

    assert first == second
    assert second.operation.replays(again)
    assert await books.balance(command.wallet_id) == 100


async def test_one_id_at_two_gateways_at_once__is_applied_once_and_both_get_the_outcome(
    stores: dict[str, Any], books: BooksAsTheyStand, working: Working
) -> None:
    command = deposit(await books.create_wallet())
    async with _open_desk(stores) as here, _open_desk(stores) as there:
        waiting = [desk.start(command) for desk in (here, there, here, there)]
        async with working():
            replies = await asyncio.gather(*waiting)

    assert replies == [replies[0]] * 4
    assert await books.balance(command.wallet_id) == 100


# What is refused.


async def test_full_wallet__refused_at_once_and_nothing_happens(
    stores: dict[str, Any], books: BooksAsTheyStand, working: Working
) -> None:
    wallet_id = await books.create_wallet()
    first, refused = deposit(wallet_id, 1), deposit(wallet_id, 10)
    async with _open_desk(stores, wallet_queue_max=1) as desk:
        waiting = desk.start(first)
        await desk.queued(first)

        with pytest.raises(WalletQueueFull):
            await desk.submit(refused)

        assert not desk.holds(refused)
        async with working():
            await waiting
            assert await books.balance(wallet_id) == 1
            # Nothing of the refusal is left: the same id may come again when there is room.
            assert (await desk.submit(refused)).operation.balance == 11


async def test_accepted_commands_that_redis_lost_and_refuses_now__hold_up_nobody_else(
    stores: dict[str, Any], books: BooksAsTheyStand, working: Working
) -> None:
    wallet_id, other = await books.create_wallet(), await books.create_wallet()
    lost = [deposit(wallet_id, 1) for _ in range(5)]
    async with _open_desk(stores, wallet_queue_max=5, flush_commands_max=2) as desk, _open_desk(stores) as next_desk:
        for command in lost:
            with pytest.raises(Pending):
                await desk.submit(command, SHORT)
        await desk.redis.flushdb()
        taken = [next_desk.start(deposit(wallet_id, 1)) for _ in range(5)]
        await until(lambda: _waits(desk, wallet_id, 5))
        desk.dispatcher._look_now.set()
        await until(lambda: _are_parked(desk, lost))

        async with working():
            assert (await desk.submit(deposit(other, 7))).operation.balance == 7
            await asyncio.gather(*taken)
            for command in lost:
                await desk.decided(command)
    assert await books.balance(wallet_id) == 10


async def _waits(desk: Desk, wallet_id: UUID, count: int) -> bool:
    return len(await desk.waiting(wallet_id)) == count


async def _are_parked(desk: Desk, commands: list[Command]) -> bool:
    return all(desk.dispatcher._held[command.id].message_id is None for command in commands)


async def test_full_partition__refused_at_once_and_nothing_happens(
    stores: dict[str, Any], books: BooksAsTheyStand
) -> None:
    first = deposit(await books.create_wallet())
    async with _open_desk(stores, partition_queue_max=1) as desk:
        partition = keys.partition_of(first.wallet_id, desk.partition_count)
        neighbour = deposit(wallet_in(partition, desk.partition_count))
        waiting = desk.start(first)
        await desk.queued(first)

        with pytest.raises(Unavailable):
            await desk.submit(neighbour)

        assert await desk.waiting(neighbour.wallet_id) == []
        waiting.cancel()


async def test_refusal__reaches_everybody_who_waits_for_that_id(
    stores: dict[str, Any], books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet()
    async with _open_desk(stores, wallet_queue_max=1) as desk:
        blocking = desk.start(deposit(wallet_id))
        refused = deposit(wallet_id)
        answers = await asyncio.gather(desk.start(refused), desk.start(refused), return_exceptions=True)
        blocking.cancel()

    assert [type(answer) for answer in answers] == [WalletQueueFull] * 2


async def test_gateway_that_holds_as_much_as_it_may__refuses_more_until_something_is_decided(
    stores: dict[str, Any], books: BooksAsTheyStand, working: Working
) -> None:
    wallet_id = await books.create_wallet()
    async with _open_desk(stores, held_commands_max=2) as desk:
        held = [deposit(wallet_id, 1), deposit(wallet_id, 1)]
        for command in held:
            with pytest.raises(Pending):
                await desk.submit(command, 0)

        with pytest.raises(Unavailable):
            await desk.submit(deposit(wallet_id, 10))
        joined = desk.start(held[0])  # nothing more to hold: who asks for the same is welcome

        async with working():
            assert (await joined).operation.id == held[0].id
            await desk.decided(held[1])
            assert (await desk.submit(deposit(wallet_id, 100))).operation.balance == 102


# What is lost.


async def test_reply_that_never_comes__the_outcome_is_found_in_the_books(
    desk: Desk, books: BooksAsTheyStand, working: Working
) -> None:
    command = replace(deposit(await books.create_wallet()), reply_to="{gw-nobody}:replies")

    async with working():
        reply = await desk.submit(command)

    assert (reply.operation.status, reply.operation.balance) == (Status.APPLIED, 100)
    assert reply.wallet_created_at == (await books.wallet(command.wallet_id)).created_at


async def test_outcome_that_was_recorded_and_not_sent__is_found_though_its_message_still_waits(
    desk: Desk, books: BooksAsTheyStand, session: Session
) -> None:
    command = deposit(await books.create_wallet())
    waiting = desk.start(command)
    await desk.queued(command)

    recorded = await Store(session).settle([command])  # and the worker dies here

    assert [await waiting] == recorded
    assert await desk.waiting(command.wallet_id) == [command.id]


async def test_redis_emptied_while_commands_wait__they_are_submitted_again_and_decided_once(
    desk: Desk, books: BooksAsTheyStand, working: Working
) -> None:
    wallet_id = await books.create_wallet()
    commands = [deposit(wallet_id, amount) for amount in (1, 10, 100)]
    waiting = [desk.start(command) for command in commands]
    await desk.queued(commands[-1])

    await desk.redis.flushdb()

    await desk.queued(commands[-1])
    async with working():
        replies = await asyncio.gather(*waiting)
    assert [reply.operation.balance for reply in replies] == [1, 11, 111]
    assert await books.balance(wallet_id) == 111


async def test_command_answered_as_pending__survives_the_loss_of_redis(
    desk: Desk, books: BooksAsTheyStand, working: Working
) -> None:
    command = deposit(await books.create_wallet())
    with pytest.raises(Pending):
        await desk.submit(command, SHORT)

    await desk.redis.flushdb()

    await desk.queued(command)
    async with working():
        await desk.decided(command)
    assert await books.balance(command.wallet_id) == 100


async def test_command_submitted_again_though_redis_had_it__is_decided_once(
    desk: Desk, books: BooksAsTheyStand, working: Working
) -> None:
    command = deposit(await books.create_wallet())
    waiting = desk.start(command)
    await desk.queued(command)
    await desk.streams.submit([command], 100, 100)  # as after an answer that was lost
    assert await desk.waiting(command.wallet_id) == [command.id] * 2

    async with working():
        assert (await waiting).operation.seq == 1
        await until(lambda: _nothing_waits(desk, command.wallet_id))
    assert await books.balance(command.wallet_id) == 100


async def _nothing_waits(desk: Desk, wallet_id: UUID) -> bool:
    """Nothing waits for the wallet."""
    return not await desk.waiting(wallet_id)


@pytest.mark.parametrize("empty", [False, True], ids=["with what it had", "empty"])
async def test_redis_killed_and_back__what_waited_is_decided_once(
    on_own_redis: dict[str, Any], own_redis: Redis, books: BooksAsTheyStand, empty: bool
) -> None:
    wallet_id = await books.create_wallet()
    commands = [deposit(wallet_id, amount) for amount in (1, 10, 100)]
    async with _open_desk(on_own_redis) as desk:
        waiting = [desk.start(command) for command in commands]
        await desk.queued(commands[-1])

        own_redis.kill()
        own_redis.restart(empty=empty)

        async with _working(on_own_redis):
            replies = await asyncio.gather(*waiting)

    assert [reply.operation.balance for reply in replies] == [1, 11, 111]
    assert await books.balance(wallet_id) == 111


async def test_redis_killed_while_a_worker_works__every_command_is_decided_once_and_answered(
    on_own_redis: dict[str, Any], own_redis: Redis, books: BooksAsTheyStand
) -> None:
    wallets = [await books.create_wallet() for _ in range(5)]
    async with _open_desk(on_own_redis) as desk, _working(on_own_redis):
        waiting = []
        for round_ in range(40):
            waiting += [desk.start(deposit(wallet_id, 1)) for wallet_id in wallets]
            if round_ == 20:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                own_redis.kill()
                own_redis.restart()
            await asyncio.sleep(0)
        replies = await asyncio.gather(*waiting)

    assert len(replies) == 200
    assert [(await books.balance(w), (await books.wallet(w)).seq) for w in wallets] == [(40, 40)] * 5


# What is away.


async def test_redis_away__each_command_is_refused_for_good_or_decided_once(
    on_own_redis: dict[str, Any], own_redis: Redis, books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet()
    refused: list[Command] = []
    accepted: list[Command] = []
    async with _open_desk(on_own_redis) as desk:
        own_redis.kill()
        while len(refused) < 3:  # the first ones may be on their way when the loss is seen: those count as accepted
            command = deposit(wallet_id)
            try:
                await desk.submit(command, SHORT)
            except Unavailable:
                refused.append(command)
                assert not desk.holds(command)
            except Pending:
                accepted.append(command)

        own_redis.start()
        async with _working(on_own_redis):
            last = await desk.submit(deposit(wallet_id, 1))
            for command in accepted:
                await desk.decided(command)

    recorded = [operation.id for operation in await books.operations(wallet_id)]
    assert sorted(recorded) == sorted([*(command.id for command in accepted), last.operation.id])


async def test_redis_away_for_less_than_the_wait__the_client_notices_nothing(
    on_own_redis: dict[str, Any], own_redis: Redis, books: BooksAsTheyStand
) -> None:
    command = deposit(await books.create_wallet())
    async with _open_desk(on_own_redis) as desk:
        own_redis.kill()
        waiting = desk.start(command)
        await asyncio.wait([waiting], timeout=SHORT)
        own_redis.start()
        async with _working(on_own_redis):
            assert (await waiting).operation.status is Status.APPLIED


async def test_redis_that_is_full__refuses_when_the_wait_is_over_and_nothing_happens(
    on_own_redis: dict[str, Any], books: BooksAsTheyStand
) -> None:
    wallet_id = await books.create_wallet()
    async with _open_desk(on_own_redis) as desk:
        await desk.redis.config_set("maxmemory", "1")
        with pytest.raises(Unavailable):
            await desk.submit(deposit(wallet_id, 10), 0.3)

        await desk.redis.config_set("maxmemory", "0")
        async with _working(on_own_redis):
            last = await desk.submit(deposit(wallet_id, 1))
    assert last.operation.balance == 1


async def test_redis_frozen_while_a_command_is_on_its_way__it_counts_as_accepted_and_is_decided_once(
    on_own_redis: dict[str, Any],
    own_redis: Redis,
    books: BooksAsTheyStand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.node.SOCKET_TIMEOUT_SECONDS", 1.5)  # instead of 5: less to wait for
    command = deposit(await books.create_wallet())
    async with _open_desk(on_own_redis) as desk:
        await desk.streams.read_replies(desk.dispatcher.reply_key, START, 1)  # connected
        own_redis.pause()
        with pytest.raises(Pending):
            await desk.submit(command, SHORT)

        own_redis.resume()
        async with _working(on_own_redis):
            await desk.decided(command)
            await until(lambda: _nothing_waits(desk, command.wallet_id))
    assert await books.balance(command.wallet_id) == 100


@pytest.mark.parametrize("look_seconds", [0.05, 60.0])  # with a look at what is held meanwhile, and without
async def test_redis_killed_while_a_command_is_on_its_way__later_ones_do_not_overtake_it(
    on_own_redis: dict[str, Any],
    own_redis: Redis,
    books: BooksAsTheyStand,
    monkeypatch: pytest.MonkeyPatch,
    look_seconds: float,
) -> None:
    monkeypatch.setattr("shared.node.SOCKET_TIMEOUT_SECONDS", 1.5)
    monkeypatch.setattr("gateway.dispatcher.LOOK_EVERY_SECONDS", look_seconds)
    wallet_id = await books.create_wallet()
    first, later = deposit(wallet_id, 1), withdraw(wallet_id, 1)
    async with _open_desk(on_own_redis) as desk:
        await desk.streams.read_replies(desk.dispatcher.reply_key, START, 1)  # connected
        own_redis.pause()
        on_its_way = desk.start(first, SHORT)
        await asyncio.sleep(SHORT)
        waiting = desk.start(later)
        own_redis.kill()
        with pytest.raises(Pending):  # its fate is unknown; in truth it is lost
            await on_its_way
        await asyncio.sleep(2 * look_seconds if look_seconds < 1 else 0)
        await asyncio.to_thread(own_redis.start)
        async with _working(on_own_redis):
            reply = await waiting

    assert reply.operation.status is Status.APPLIED, "the withdrawal overtook the deposit that covers it"


async def test_accepted_command_that_redis_lost_and_refuses_for_a_while__later_ones_do_not_overtake_it(
    on_own_redis: dict[str, Any], books: BooksAsTheyStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.dispatcher.LOOK_EVERY_SECONDS", 60.0)  # it looks when it is told to
    wallet_id, other = await books.create_wallet(), await books.create_wallet()
    first, later = deposit(wallet_id, 1), withdraw(wallet_id, 1)
    async with _open_desk(on_own_redis) as desk:
        await _lost_and_refused(desk, first)

        await desk.redis.config_set("maxmemory", "0")
        waiting = desk.start(later)
        with pytest.raises(Unavailable):  # who does not wait is told so at once
            await desk.submit(deposit(wallet_id, 1), 0)
        async with _working(on_own_redis):
            assert (await desk.submit(deposit(other, 7))).operation.balance == 7
            desk.dispatcher._look_now.set()
            reply = await waiting

    assert reply.operation.status is Status.APPLIED, "the withdrawal overtook the deposit that covers it"
    assert not desk.dispatcher._parked


async def test_command_decided_while_it_is_parked__holds_up_nobody(
    on_own_redis: dict[str, Any], books: BooksAsTheyStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.dispatcher.LOOK_EVERY_SECONDS", 60.0)  # it looks when it is told to
    first = deposit(await books.create_wallet())
    later = deposit(first.wallet_id)
    async with _open_desk(on_own_redis) as desk:
        await _lost_and_refused(desk, first)

        # As if another gateway had been asked the same.
        decided = decide(first, empty_wallet(first.wallet_id), first.submitted_at)
        desk.dispatcher._decide([Reply(decided, first.submitted_at)])
        await desk.redis.config_set("maxmemory", "0")
        with pytest.raises(Pending):
            await desk.submit(later, SHORT)

        assert await desk.waiting(first.wallet_id) == [later.id]


async def _lost_and_refused(desk: Desk, command: Command) -> None:
    """Have Redis accept a command, lose it, and refuse it when it is sent again."""
    with pytest.raises(Pending):
        await desk.submit(command, SHORT)
    await desk.redis.flushdb()
    await desk.redis.config_set("maxmemory", "1")
    desk.dispatcher._look_now.set()

    async def is_parked() -> bool:
        return desk.dispatcher._held[command.id].is_parked and command.wallet_id in desk.dispatcher._parked

    await until(is_parked)


async def test_command_decided_while_it_is_sent_again_in_vain__holds_up_nobody(
    on_own_redis: dict[str, Any], own_redis: Redis, books: BooksAsTheyStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.node.SOCKET_TIMEOUT_SECONDS", 1.5)
    first = deposit(await books.create_wallet(), 1)
    async with _open_desk(on_own_redis) as desk:
        await desk.streams.read_replies(desk.dispatcher.reply_key, START, 1)  # connected
        own_redis.pause()
        on_its_way = desk.start(first)
        await asyncio.sleep(SHORT)
        # As if another gateway had been asked the same: it is found in the books before the trip has failed.
        decided = decide(first, empty_wallet(first.wallet_id), first.submitted_at)
        desk.dispatcher._decide([Reply(decided, first.submitted_at)])
        assert (await on_its_way).operation.id == first.id
        own_redis.kill()
        await asyncio.to_thread(own_redis.start)
        async with _working(on_own_redis):
            assert (await desk.submit(deposit(first.wallet_id, 5))).operation.balance == 5
    assert not desk.dispatcher._parked


async def test_reply_that_cannot_be_read__is_passed_over_and_the_outcome_found_in_the_books(
    desk: Desk, books: BooksAsTheyStand, working: Working
) -> None:
    command = deposit(await books.create_wallet())
    waiting = desk.start(command)
    await desk.queued(command)
    for outcomes in ("[{}]", "no JSON", '[{"id": 1}]'):
        await desk.redis.xadd(desk.dispatcher.reply_key, {"outcomes": outcomes})
    await desk.redis.xadd(desk.dispatcher.reply_key, {"other": "field"})

    async with working():
        assert (await waiting).operation.status is Status.APPLIED
        assert (await desk.submit(deposit(command.wallet_id))).operation.seq == 2


async def test_requests_for_one_wallet__have_a_limit_of_their_own_and_others_find_room(
    stores: dict[str, Any], books: BooksAsTheyStand, working: Working
) -> None:
    hot, other = await books.create_wallet(), await books.create_wallet()
    async with _open_desk(stores, wallet_requests_max=3) as desk:
        waiting = [desk.start(deposit(hot)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(WalletQueueFull):
            await desk.submit(deposit(hot))
        elsewhere = desk.start(deposit(other))
        async with working():
            replies = await asyncio.gather(*waiting, elsewhere)
            assert (await desk.submit(deposit(hot))).operation.seq == 4

    assert {reply.operation.status for reply in replies} == {Status.APPLIED}
    assert not desk.dispatcher._waiting


async def test_many_retries_of_a_pending_command__are_forgotten_once_they_were_told(
    desk: Desk, books: BooksAsTheyStand
) -> None:
    command = deposit(await books.create_wallet())
    for _ in range(50):
        told = await asyncio.gather(*(desk.start(command, 0) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(outcome, Pending) for outcome in told)

    assert not desk.dispatcher._held[command.id].waiters
    assert not desk.dispatcher._waiting


async def test_wallet_that_does_not_exist__is_an_outcome(desk: Desk, working: Working) -> None:
    async with working():
        reply = await desk.submit(deposit(uuid4()))

    assert (reply.operation.reason, reply.wallet_created_at) == (Reason.WALLET_NOT_FOUND, None)


async def test_dispatcher_that_is_stopped_at_any_moment__ends(stores: dict[str, Any]) -> None:
    for turns in range(40):
        streams = Streams(GatewaySettings(**stores))

        async def nothing(_ids: object) -> list[Reply]:
            return []

        async def run(streams: Streams = streams, turns: int = turns) -> None:
            async with Dispatcher(GatewaySettings(**stores), streams, nothing).running():
                for _ in range(turns):
                    await asyncio.sleep(0)

        running = asyncio.create_task(run())
        _, hanging = await asyncio.wait([running], timeout=3)
        for task in asyncio.all_tasks() - {asyncio.current_task()} if hanging else ():
            task.cancel()
        assert not hanging, f"stopped after {turns} turns of the event loop, it goes on"
        await streams.close()
