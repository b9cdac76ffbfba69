"""`python -m tests.model.run [--requests N]`: the long form, against a service and stores of its own.

Several processes ask the same service at once, each about wallets of its own and with a seed of its own. Shows its
progress, and a summary. Exit code 1 when the service and the model disagreed, the service logged a defect, or one
of the two ways through the gateway was hardly used.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

from shared import logs
from shared.settings import Settings
from tests.model.counting_gateway import Ways
from tests.model.drive import drive, target_at
from tests.model.wire import total
from tests.service import Service, stores_in

CLIENTS = 3  # processes that ask; more only wait for each other on two cores
EXAMPLES = 20  # per seed: some thousand requests, and then a line on the screen
SEEDS_APART = 1_000_000  # between two clients
STUCK_SECONDS = 400.0  # without a word from any client: to shorten a disagreement may take five minutes


@dataclass(slots=True)
class Summary:
    """What was asked and answered, and every disagreement in its least steps."""

    statuses: Counter[int] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)
    defects: int = 0
    ways: Ways | None = None  # known once the gateway has ended
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        return self.statuses.total()

    def __str__(self) -> str:
        statuses = ", ".join(f"{count} of {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"{self.requests} requests in {self.seconds:.0f} s ({statuses}), {len(self.disagreements)} disagreements, "
            f"{self.defects} defects in the logs; {self.ways}"
        )


def client(url: str, first_seed: int, requests: int, told: "multiprocessing.Queue[Any]") -> None:
    """Ask until so many requests are answered; tells of each seed its statuses and, if it failed, why."""
    number = first_seed
    while requests > 0:
        why = None
        with target_at(url) as target:
            try:
                drive(target, EXAMPLES, number, shortens=True)
            except Exception as error:  # noqa: BLE001 whatever it is, it is what was looked for
                why = f"seed {number}: " + "".join(traceback.format_exception_only(error))
                why += "first seen as: " + "".join(target.first_failure)
            statuses = total(target.wires)
        requests -= statuses.total()
        told.put((statuses, why))
        number += 1
    told.put(None)


WAYS = "ways.json"


@contextlib.asynccontextmanager
async def service(folder: Path) -> AsyncIterator[Service]:
    """Start a gateway, a worker and their stores; what is started here ends here."""
    # Nothing here outlives a power cut: to sync would only cost time.
    with stores_in(folder, fsync="off") as stores:
        running = Service(Settings(**stores), folder)
        running.start_gateway(module="tests.model.counting_gateway", WAYS_FILE=str(folder / WAYS))
        running.start_worker()
        try:
            await running.wait_ready()
            yield running
        finally:
            running.stop()


async def run(requests: int, first_seed: int, folder: Path) -> Summary:
    """Ask a service so much, and more by the rest of the last seeds."""
    summary = Summary()
    async with service(folder) as running:
        context = multiprocessing.get_context("spawn")
        told: multiprocessing.Queue[Any] = context.Queue()
        share = -(-requests // CLIENTS)
        clients = [
            context.Process(target=client, args=(running.url, first_seed + n * SEEDS_APART, share, told), daemon=True)
            for n in range(CLIENTS)
        ]
        began = time.monotonic()
        for process in clients:
            process.start()
        try:
            await asyncio.to_thread(listen, summary, told, began, requests)
        finally:
            for process in clients:
                process.terminate()
                process.join()
        for child in (*running.gateways.values(), *running.workers.values()):
            summary.defects += child.log_path.read_text().count('"event":"defect')
    summary.ways = Ways.read(folder / WAYS)
    return summary


def listen(summary: Summary, told: "multiprocessing.Queue[Any]", began: float, requests: int) -> None:
    """Add up what the clients tell until all have ended, and show it."""
    running = CLIENTS
    while running:
        try:
            news = told.get(timeout=STUCK_SECONDS)
        except Empty:
            summary.disagreements.append(f"no client said anything for {STUCK_SECONDS:g} s")
            return
        if news is None:
            running -= 1
            continue
        statuses, why = news
        summary.statuses += statuses
        summary.seconds = time.monotonic() - began
        if why is not None:
            summary.disagreements.append(why)
            print(f"\n{why}", flush=True)
        rate, disagreements = summary.requests / summary.seconds, len(summary.disagreements)
        print(
            f"\r{summary.requests:>8} of {requests}, {rate:.0f}/s, {disagreements} disagreements ", end="", flush=True
        )
    print()


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.model.run", description="The service against its model.")
    parser.add_argument("--requests", type=int, default=100_000, help="at least so many (default: 100000)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first client (default: the time)")
    chosen = parser.parse_args()
    logs.configure(Settings.load().model_copy(update={"log_format": "console"}), "model")
    print(f"seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="wallet-model-", ignore_cleanup_errors=True) as folder:
        summary = asyncio.run(run(chosen.requests, chosen.seed, Path(folder)))
    print(summary)
    is_lopsided = summary.ways is None or not summary.ways.are_both_used
    sys.exit(bool(summary.disagreements or summary.defects or is_lopsided))


if __name__ == "__main__":
    main()
