"""Housekeeping on a schedule, run by arq beside the workers: `arq worker.maintenance.WorkerSettings`.

Each job is idempotent, and none is needed while nothing goes wrong. Guarantees that a wallet whose ready message was
lost (a Redis restored in part) does not wait for ever. Keeps no state of its own.
"""

from typing import Any

import structlog
from arq import cron
from arq.connections import RedisSettings

from shared import logs
from shared.settings import Settings
from shared.streams import Streams

JOB_SECONDS_MAX = 300  # far above any job; a job that hangs must not hold up the next for ever
DRAIN_SECONDS = 10  # how long SIGTERM waits for the job under way
HEALTH_SECONDS = 10  # arq's own default is an hour

log = structlog.get_logger(__name__)


async def sweep(context: dict[str, Any]) -> int:
    """Make ready again every wallet that has waiting messages and no ready message; returns how many there were."""
    streams: Streams = context["streams"]
    restored = 0
    for partition in range(context["partition_count"]):
        wallets = await streams.restore_ready(partition)
        if wallets:
            log.warning("restored ready messages", partition=partition, wallets=wallets[:10], count=len(wallets))
        restored += len(wallets)
    return restored


async def start(context: dict[str, Any]) -> None:
    """Open what the jobs use."""
    settings = Settings.load()
    logs.configure(settings, "maintenance")
    context["streams"] = Streams(settings)
    context["partition_count"] = settings.partition_count
    await context["streams"].load_library()
    log.info("housekeeping")


async def end(context: dict[str, Any]) -> None:
    """Close what the jobs used."""
    await context["streams"].close()


class WorkerSettings:
    """What arq reads."""

    redis_settings = RedisSettings.from_dsn(Settings.load().redis_url.get_secret_value())
    # arq types a job as taking any arguments; a cron job is given none but the context.
    cron_jobs = (cron(sweep, second={0, 30}, run_at_startup=True, timeout=JOB_SECONDS_MAX),)  # type: ignore[arg-type]
    on_startup = start
    on_shutdown = end
    max_jobs = 1
    job_completion_wait = DRAIN_SECONDS
    health_check_interval = HEALTH_SECONDS
