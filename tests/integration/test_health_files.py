"""Health files of real workers: they come with the session, and those of killed workers do not gather."""

import os
import time
from pathlib import Path

from tests.service import Service
from tests.waiting import until

DAYS_2 = 2 * 86_400


def is_there(file: Path) -> bool:
    return file.exists()


async def until_alive(file: Path) -> None:
    async def beats() -> bool:
        """the worker beats"""
        return is_there(file)

    await until(beats, 20)


async def test_file_of_a_killed_worker__is_taken_away_by_one_that_starts_later_and_no_other(
    own_service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    killed, living, late, strange = (
        folder / name
        for name in ("wallet-worker-killed.health", "wallet-worker-living.health", "wallet-worker-late.health", "other")
    )
    strange.touch()
    own_service.start_worker("killed", TMPDIR=str(folder))
    own_service.start_worker("living", TMPDIR=str(folder))
    await until_alive(killed)
    await until_alive(living)
    own_service.workers["killed"].kill()
    long_ago = time.time() - DAYS_2
    for file in (killed, strange):
        os.utime(file, (long_ago, long_ago))

    own_service.start_worker("late", TMPDIR=str(folder))
    await until_alive(late)

    assert {file.name for file in folder.iterdir()} == {living.name, late.name, strange.name}


async def test_file_of_a_worker_killed_just_now__stays_so_that_its_check_says_since_when(
    own_service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    killed, late = folder / "wallet-worker-killed.health", folder / "wallet-worker-late.health"
    own_service.start_worker("killed", TMPDIR=str(folder))
    await until_alive(killed)
    own_service.workers["killed"].kill()

    own_service.start_worker("late", TMPDIR=str(folder))
    await until_alive(late)

    assert killed.exists()
