"""Who is late, by the settings that say what is late: workers with their heartbeat, housekeeping with its jobs."""

import asyncio
import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from inspector.reading.workers import late_seconds
from shared.settings import Settings, WorkerSettings
from tests.books import BooksAsTheyStand
from tests.integration.conftest import OpenSession
from tests.integration.inspector_stage import Inspector
from tests.waiting import until
from worker.health import Health

SLOW = {"HEARTBEAT_SECONDS": "60", "SESSION_TIMEOUT_SECONDS": "120"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.reading.partitions.SAMPLE_SECONDS", 0.1)


@pytest.fixture
def inspect(stores: dict[str, Any]) -> Inspector:
    return Inspector(Settings(**stores))


async def silent(inspect: Inspector, seconds: float) -> None:
    async def is_silent() -> bool:
        [worker] = (await inspect.read("workers"))["workers"]
        return float(worker["silent_seconds"]) > seconds

    await until(is_silent, 10)


async def test_worker_whose_heartbeats_are_far_apart__is_not_late_between_two(
    inspect: Inspector, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_session(session_timeout_seconds=120)
    await silent(inspect, late_seconds(WorkerSettings.load()))
    assert (await inspect.read("workers"))["workers"][0]["is_late"] is True
    for name, value in SLOW.items():
        monkeypatch.setenv(name, value)

    assert (await inspect.read("workers"))["workers"][0]["is_late"] is False
    assert not [line for line in (await inspect.read())["problems"] if "was last heard" in line]
    assert (await inspect.check("heartbeats"))["verdict"] == "ok"


async def test_worker_that_is_heard_again_in_a_moment__is_not_called_late(
    inspect: Inspector, open_session: OpenSession, books: BooksAsTheyStand
) -> None:
    worker = await open_session(session_timeout_seconds=120)
    await silent(inspect, late_seconds(WorkerSettings.load()))
    looked = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'wallet-streams' AND state = 'idle'"
        " AND datname = current_database() AND query LIKE '%drained_workers%')"
    )

    async def has_looked_once() -> bool:
        return bool(await books.connection.fetchval(looked))

    looking = asyncio.create_task(inspect.check("heartbeats"))
    await until(has_looked_once, 10)
    await worker.survey()

    assert (await looking)["verdict"] == "ok"


async def test_worker_that_stays_silent__is_called_late(inspect: Inspector, open_session: OpenSession) -> None:
    await open_session(session_timeout_seconds=120)
    await silent(inspect, late_seconds(WorkerSettings.load()))

    assert (await inspect.check("heartbeats"))["verdict"] == "fault"


@pytest.mark.parametrize(("beat", "end", "late"), [(0.5, 2.0, 1.5), (0.5, 30.0, 1.5), (60, 120, 100), (1.8, 2.0, 1.93)])
def test_late__is_after_heartbeats_that_did_not_come_and_before_the_session_ends(
    beat: float, end: float, late: float
) -> None:
    settings = WorkerSettings.load().model_copy(update={"heartbeat_seconds": beat, "session_timeout_seconds": end})

    assert beat < late_seconds(settings) < end
    assert late_seconds(settings) == pytest.approx(late, abs=0.01)


async def test_health_check__gives_a_worker_the_time_that_its_settings_give_it(
    worker_settings: WorkerSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = worker_settings.model_copy(update={"heartbeat_seconds": 60.0, "session_timeout_seconds": 120.0})
    verdicts = []
    for settings, age in ((worker_settings, 3), (worker_settings, 10), (slow, 10), (slow, 400)):
        health = Health(settings)
        health.beat()
        then = time.time() - age
        os.utime(Path(tempfile.gettempdir()) / f"wallet-worker-{settings.worker_name}.health", (then, then))
        verdicts.append(health.check())
        health.end()

    assert verdicts == [0, 1, 0, 1]
    assert "last heartbeat" in capsys.readouterr().out


async def test_job_that_has_not_ended_well_for_long__is_a_problem(inspect: Inspector, books: BooksAsTheyStand) -> None:
    """Housekeeping that is dead writes no error: it writes nothing."""
    for job, ago, succeeded in (("sweep", timedelta(days=3), True), ("reconcile", timedelta(0), True)):
        await books.connection.execute(
            "INSERT INTO maintenance_runs (job, started_at, finished_at, seconds, succeeded_at)"
            " VALUES ($1, now() - $2::interval, now() - $2::interval, 1, CASE WHEN $3 THEN now() - $2::interval END)",
            job,
            ago,
            succeeded,
        )
    await books.connection.execute(  # killed in its first run
        "INSERT INTO maintenance_runs (job, started_at) VALUES ('statistics', now() - interval '20 minutes')"
    )

    problems = [line for line in (await inspect.read())["problems"] if line.startswith("housekeeping")]
    found = await inspect.check("housekeeping")

    assert len(problems) == 2
    assert any(line.startswith("housekeeping: sweep has not ended well since ") for line in problems)
    assert any(line.startswith("housekeeping: statistics has never ended well") for line in problems)
    assert found["verdict"] == "fault"
    assert "0 jobs failed, 2 overdue" in found["line"]
    jobs = {job["job"]: job for job in (await inspect.read())["jobs"]}
    assert jobs["sweep"]["overdue_seconds"] > 3 * 86_400 - 60
    assert jobs["reconcile"]["overdue_seconds"] is None
