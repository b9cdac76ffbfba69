"""A worker process from start to end."""

import asyncio
import contextlib

from shared import logs, metrics, tracing
from shared.process import open_streams, prepare_database, relax_garbage_collector, stop_event, unless_stopped
from shared.settings import WorkerSettings
from worker import backlog
from worker.health import Health
from worker.worker import Worker

STOP_SECONDS_MAX = 25.0  # the batch under way, its replies and its finish, each with a time-out of its own


async def serve() -> None:
    """Work until SIGTERM, then drain."""
    settings = WorkerSettings.load()
    logs.configure(settings, settings.worker_name)
    stop = stop_event(STOP_SECONDS_MAX)
    settings = await unless_stopped(stop, prepare_database(settings))
    with metrics.served(settings), tracing.exporting(settings, "worker"):
        await _work(settings, stop)


async def _work(settings: WorkerSettings, stop: asyncio.Event) -> None:
    async with contextlib.AsyncExitStack() as opened:
        streams = await unless_stopped(stop, opened.enter_async_context(open_streams(settings)))
        await opened.enter_async_context(backlog.watched(settings))
        relax_garbage_collector()
        health = Health(settings)
        health.remove_left_behind()
        await Worker(settings, streams, health).run(stop)
        health.end()
