"""What counts as a takeover: partitions whose last owner went without giving them back, and no others."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

from devstack import ports
from devstack.process import ChildProcess
from tests.books import BooksAsTheyStand
from tests.integration.conftest import OpenSession
from tests.integration.test_ownership import ALL, START_SECONDS_MAX, owned_like
from tests.scraping import Sample, scrape, total
from tests.service import Service
from tests.waiting import until
from worker.session import Session


@dataclass
class Watched:
    """A worker that serves its metrics."""

    process: ChildProcess
    port: int

    async def has_counted(self, taken: int, over: int) -> None:
        """Wait until it has counted what it took, a moment after it owns it; then compare what it took over."""
        samples: list[Sample] = []

        async def all_that_was_taken() -> bool:
            samples[:] = await scrape(self.port)
            return total(samples, "wallet_worker_partitions_taken_total") == taken

        await until(all_that_was_taken)
        assert total(samples, "wallet_worker_partitions_taken_over_total") == over

    @property
    def told(self) -> list[dict[str, Any]]:
        """Its log's lines of what it took over."""
        lines = map(json.loads, self.process.log_path.read_text().splitlines())
        return [line for line in lines if line["event"] == "took partitions" and "taken_over" in line]


def start(service: Service, name: str) -> Watched:
    port = ports.pick_free()
    return Watched(service.start_worker(name, METRICS_PORT=str(port)), port)


async def two(service: Service, books: BooksAsTheyStand) -> tuple[Watched, Watched]:
    first = start(service, "first")
    await owned_like(books, {"first": ALL}, START_SECONDS_MAX)
    second = start(service, "second")
    await owned_like(books, {"first": ALL // 2, "second": ALL // 2}, START_SECONDS_MAX)
    return first, second


async def test_first_start_a_hand_over_and_an_end_in_order__are_no_takeovers(
    own_service: Service, books: BooksAsTheyStand
) -> None:
    first, second = await two(own_service, books)
    await first.has_counted(ALL, 0)
    await second.has_counted(ALL // 2, 0)

    assert await asyncio.to_thread(first.process.stop) == 0
    await owned_like(books, {"second": ALL}, START_SECONDS_MAX)

    await second.has_counted(ALL, 0)
    assert first.told + second.told == []
    assert await asyncio.to_thread(second.process.stop) == 0
    assert await books.connection.fetch("SELECT FROM taken_partitions") == []


async def test_worker_killed__what_it_owned_is_taken_over_and_told_in_one_line(
    own_service: Service, books: BooksAsTheyStand
) -> None:
    first, second = await two(own_service, books)

    first.process.kill()
    await owned_like(books, {"second": ALL}, START_SECONDS_MAX)

    await second.has_counted(ALL, ALL // 2)
    [line] = second.told
    assert (line["partitions"], line["taken_over"], line["last_owners"]) == (ALL // 2, ALL // 2, ["first"])


async def test_worker_frozen__is_a_takeover_and_what_it_gets_again_is_none(
    own_service: Service, books: BooksAsTheyStand
) -> None:
    first, second = await two(own_service, books)

    first.process.pause()
    await owned_like(books, {"second": ALL}, START_SECONDS_MAX)
    first.process.resume()
    await owned_like(books, {"first": ALL // 2, "second": ALL // 2}, START_SECONDS_MAX)

    await second.has_counted(ALL, ALL // 2)
    await first.has_counted(ALL + ALL // 2, 0)


async def test_only_worker_killed__the_one_after_it_takes_over_however_late(
    own_service: Service, books: BooksAsTheyStand
) -> None:
    alone = start(own_service, "alone")
    await owned_like(books, {"alone": ALL}, START_SECONDS_MAX)
    alone.process.kill()
    await owned_like(books, {}, START_SECONDS_MAX)

    next_one = start(own_service, "next")
    await owned_like(books, {"next": ALL}, START_SECONDS_MAX)

    await next_one.has_counted(ALL, ALL)
    assert next_one.told[0]["last_owners"] == ["alone"]
    next_one.process.kill()
    await owned_like(books, {}, START_SECONDS_MAX)
    last = start(own_service, "last")
    await owned_like(books, {"last": ALL}, START_SECONDS_MAX)
    await last.has_counted(ALL, ALL)
    assert last.told[0]["last_owners"] == ["next"]


async def test_session_lost__the_worker_takes_over_from_itself(own_service: Service, books: BooksAsTheyStand) -> None:
    alone = start(own_service, "alone")
    await owned_like(books, {"alone": ALL}, START_SECONDS_MAX)
    await alone.has_counted(ALL, 0)  # or it may lose its session between the two
    assert await books.connection.fetchval(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'alone'"
    )
    await owned_like(books, {"alone": ALL}, START_SECONDS_MAX)

    await alone.has_counted(2 * ALL, ALL)
    assert alone.told[0]["last_owners"] == ["alone"]


async def test_partition_that_is_free__was_noted_as_given_back_before(
    open_session: OpenSession, books: BooksAsTheyStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes it in the moment between sees no takeover."""
    session: Session = await open_session(session_timeout_seconds=60)
    await session.take([3])
    assert await session.mark_taken([3]) == {}
    noted_when_unlocked: list[int] = []
    fetch = session._connection.fetch

    async def look_first(statement: str, *args: Any) -> Any:
        if "pg_advisory_unlock" in statement:
            noted_when_unlocked.append(await books.connection.fetchval("SELECT count(*) FROM taken_partitions"))
        return await fetch(statement, *args)

    monkeypatch.setattr(session, "_connection", _Watching(session._connection, look_first))
    await session.release([3])

    assert noted_when_unlocked == [0]


class _Watching:
    """A connection that is watched in one of its methods."""

    def __init__(self, connection: Any, fetch: Any) -> None:
        self._watched = connection
        self.fetch = fetch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watched, name)
