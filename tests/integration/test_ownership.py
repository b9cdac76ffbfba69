"""Who owns which partition, with real worker processes: even shares, quick takeovers, and never two owners."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from devstack.process import ChildProcess
from shared.database import PARTITION_LOCKS
from shared.keys import partition_of
from shared.settings import Settings, WorkerSettings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit
from tests.integration.conftest import OpenSession
from tests.service import Service
from tests.waiting import until
from worker.health import Health
from worker.worker import Worker

ALL = Settings.model_fields["partition_count"].default
# A worker's start (its imports, above all) takes this long on a machine that is busy with other tests.
START_SECONDS_MAX = 15.0

OWNERS = """
SELECT a.application_name, count(*) AS partitions, count(DISTINCT l.objid) AS different
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid::bigint = $1 AND a.datname = current_database()
GROUP BY 1
"""


async def owners(books: BooksAsTheyStand) -> dict[str, int]:
    """Return how many partitions each worker owns, as Postgres says."""
    rows = await books.connection.fetch(OWNERS, PARTITION_LOCKS)
    assert all(row["partitions"] == row["different"] for row in rows), "a lock is held twice"
    return {row["application_name"]: row["partitions"] for row in rows}


async def owned_like(books: BooksAsTheyStand, expected: dict[str, int], seconds_max: float) -> float:
    """Wait until the shares are these; returns how long it took."""

    async def are_shared() -> bool:
        return await owners(books) == expected

    try:
        return await until(are_shared, seconds_max)
    except AssertionError:
        raise AssertionError(f"not within {seconds_max} s: {expected}, but {await owners(books)}") from None


async def two_workers(service: Service, books: BooksAsTheyStand) -> tuple[ChildProcess, ChildProcess]:
    """Start two workers and wait until they share."""
    first, second = service.start_worker("first"), service.start_worker("second")
    await owned_like(books, {"first": ALL // 2, "second": ALL // 2}, START_SECONDS_MAX)
    return first, second


async def test_worker_that_joins__gets_an_equal_share(own_service: Service, books: BooksAsTheyStand) -> None:
    own_service.start_worker("first")
    await owned_like(books, {"first": ALL}, START_SECONDS_MAX)

    own_service.start_worker("second")
    await owned_like(books, {"first": ALL // 2, "second": ALL // 2}, START_SECONDS_MAX)

    own_service.start_worker("third")
    thirds = Counter([22, 22, 20])

    async def are_thirds() -> bool:
        return Counter((await owners(books)).values()) == thirds

    await until(are_thirds, START_SECONDS_MAX)


async def test_worker_killed__the_other_owns_all_within_a_second_and_a_half(
    own_service: Service, books: BooksAsTheyStand
) -> None:
    first, _ = await two_workers(own_service, books)

    first.kill()

    await owned_like(books, {"second": ALL}, 1.5)


async def test_worker_frozen__the_other_owns_all_within_four_seconds_and_the_woken_one_shares_again(
    own_service: Service, books: BooksAsTheyStand
) -> None:
    first, _ = await two_workers(own_service, books)

    first.pause()
    await owned_like(books, {"second": ALL}, 4.0)

    first.resume()
    await owned_like(books, {"first": ALL // 2, "second": ALL // 2}, 5.0)


async def test_worker_told_to_stop__hands_over_at_once_and_exits_well(
    own_service: Service, books: BooksAsTheyStand
) -> None:
    first, _ = await two_workers(own_service, books)

    assert await asyncio.to_thread(first.stop) == 0

    # Well below a heartbeat: it says goodbye, and the other listens.
    await owned_like(books, {"second": ALL}, 0.4)


async def test_shares_and_hand_over__do_not_wait_for_a_heartbeat(own_service: Service, books: BooksAsTheyStand) -> None:
    rarely = {"HEARTBEAT_SECONDS": "60", "SESSION_TIMEOUT_SECONDS": "120"}
    first = own_service.start_worker("first", **rarely)
    await owned_like(books, {"first": ALL}, START_SECONDS_MAX)

    own_service.start_worker("second", **rarely)
    await owned_like(books, {"first": ALL // 2, "second": ALL // 2}, START_SECONDS_MAX)

    await asyncio.to_thread(first.stop)
    await owned_like(books, {"second": ALL}, 1.0)


async def test_worker_frozen_under_load__every_command_is_applied_once_and_in_order(
    own_service: Service, books: BooksAsTheyStand, streams: Streams
) -> None:
    wallets = [await books.create_wallet() for _ in range(20)]
    first, _ = await two_workers(own_service, books)
    sent = 0

    async def submit_more() -> None:
        nonlocal sent
        commands = [deposit(wallet_id, sent + 1) for wallet_id in wallets]
        answers = await streams.submit(commands, 10_000, 100_000)
        assert all(isinstance(answer, str) for answer in answers)
        sent += 1

    for _ in range(50):
        await submit_more()
    first.pause()  # in the middle of whatever it does
    for _ in range(50):
        await submit_more()
    await owned_like(books, {"second": ALL}, 4.0)
    first.resume()
    for _ in range(50):
        await submit_more()

    async def all_applied() -> bool:
        return all([(await books.wallet(wallet_id)).seq == sent for wallet_id in wallets])

    await until(all_applied, 10.0)
    for wallet_id in wallets:
        assert [o.amount for o in await books.operations(wallet_id)] == list(range(1, sent + 1))
        assert await books.balance(wallet_id) == sent * (sent + 1) // 2


@pytest.fixture
async def worker(stores: dict[str, Any], books: BooksAsTheyStand, streams: Streams) -> Any:
    """A worker of this process, which owns all partitions."""
    settings = WorkerSettings(**stores, worker_name="here")
    stop = asyncio.Event()
    running = asyncio.create_task(Worker(settings, streams, Health(settings)).run(stop))
    await owned_like(books, {"here": ALL}, 5.0)
    yield
    stop.set()
    _, hanging = await asyncio.wait([running], timeout=5)
    running.cancel()
    assert not hanging, "told to stop, it goes on"
    await running


@pytest.mark.usefixtures("worker")
async def test_session_ended_from_outside_at_any_moment__the_worker_comes_back_and_goes_on(
    books: BooksAsTheyStand, streams: Streams
) -> None:
    wallets = [await books.create_wallet() for _ in range(10)]
    rounds = 12
    for number in range(1, rounds + 1):
        await streams.submit([deposit(wallet_id, number) for wallet_id in wallets for _ in range(20)], 10_000, 100_000)
        for _ in range(number):  # some way into the batch, each time another
            await asyncio.sleep(0)
        ended = await books.connection.fetchval(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'here'"
        )
        assert ended
        await owned_like(books, {"here": ALL}, 3.0)

    async def all_applied() -> bool:
        return all([(await books.wallet(wallet_id)).seq == 20 * rounds for wallet_id in wallets])

    await until(all_applied, 5.0)
    for wallet_id in wallets:
        amounts = [operation.amount for operation in await books.operations(wallet_id)]
        assert amounts == sorted(amounts)


@pytest.mark.usefixtures("worker")
async def test_worker_in_company__gives_up_its_core_after_a_batch_and_alone_it_does_not(
    books: BooksAsTheyStand, streams: Streams, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = []
    monkeypatch.setattr("worker.worker.os.sched_yield", lambda: given_up.append(True))
    wallet_id = await books.create_wallet()

    async def operate() -> int:
        """One batch, and all that follows it: the next one comes after that."""
        for _ in range(2):
            seq = (await books.wallet(wallet_id)).seq
            await streams.submit([deposit(wallet_id)], 100, 100)

            async def is_applied(before: int = seq) -> bool:
                return (await books.wallet(wallet_id)).seq > before

            await until(is_applied)
        return len(given_up)

    assert await operate() == 0
    other = await open_session()  # counts as a worker, and takes nothing
    await owned_like(books, {"here": ALL // 2}, 5.0)
    free = await other.take(range(ALL))
    while partition_of(wallet_id, ALL) in free:
        wallet_id = await books.create_wallet()
    assert await operate() > 0


@pytest.mark.usefixtures("worker")
async def test_command_that_comes_to_an_idle_worker__is_applied_at_once(
    books: BooksAsTheyStand, streams: Streams
) -> None:
    wallet_id = await books.create_wallet()
    taken = []
    for number in range(1, 21):
        began = time.monotonic()
        await streams.submit([deposit(wallet_id)], 10, 10)

        async def is_applied(number: int = number) -> bool:
            return (await books.wallet(wallet_id)).seq == number

        await until(is_applied)
        taken.append(time.monotonic() - began)

    # No timer stands between: the middle one of twenty took far less than the longest read (100 ms).
    assert sorted(taken)[10] < 0.05


@pytest.mark.usefixtures("worker")
async def test_hot_wallet__does_not_hold_up_the_others(books: BooksAsTheyStand, streams: Streams) -> None:
    hot, *others = [await books.create_wallet() for _ in range(4)]
    await streams.submit([deposit(hot, 1) for _ in range(8_000)], 10_000, 100_000)
    await streams.submit([deposit(wallet_id, 1) for wallet_id in others], 10_000, 100_000)

    async def others_are_applied() -> bool:
        return all([(await books.wallet(wallet_id)).seq == 1 for wallet_id in others])

    await until(others_are_applied, 10.0)
    assert (await books.wallet(hot)).seq < 8_000

    async def hot_is_applied() -> bool:
        return (await books.wallet(hot)).seq == 8_000

    await until(hot_is_applied, 15.0)
