"""A worker process from start to end."""

from shared import logs
from shared.process import open_streams, prepare_database, relax_garbage_collector, stop_event
from shared.settings import WorkerSettings
from worker.health import Health
from worker.worker import Worker

STOP_SECONDS_MAX = 25.0  # the batch under way, its replies and its finish, each with a time-out of its own


async def serve() -> None:
    """Work until SIGTERM, then drain."""
    settings = WorkerSettings.load()
    logs.configure(settings, settings.worker_name)
    stop = stop_event(STOP_SECONDS_MAX)
    await prepare_database(settings)
    async with open_streams(settings) as streams:
        relax_garbage_collector()
        health = Health(settings)
        await Worker(settings, streams, health).run(stop)
        health.end()
