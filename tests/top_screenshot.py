"""`top` as it looks, over a real service under load: `python -m tests.top_screenshot [FILE]`.

A gateway, three workers and many clients, a third of which want the same wallet; textual draws what a terminal shows.
"""

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from inspector.top import Board, Top
from shared import logs
from shared.settings import Settings, WorkerSettings
from tests.service import Client, Service, stores_in
from tests.waiting import until

CLIENTS = 120
WALLETS = 40
SIZE = (124, 38)
LOOKS = 3  # the first may have been before the load
# Fonts that a viewer would fetch from elsewhere: it has one of its own.
_FONT_FACE = re.compile(r"@font-face\s*\{[^}]*\}\s*")


async def screenshot(service: Service, stores: dict[str, Any]) -> str:
    """Return the picture, an SVG."""
    service.start_gateway()
    for number in range(1, 4):
        service.start_worker(f"worker-{number}")
    await service.wait_ready()
    client = Client(service.url, connections_max=CLIENTS)
    wallets = [await client.create_wallet() for _ in range(WALLETS)]

    async def act(number: int) -> None:
        wallet = wallets[0 if number % 3 == 0 else number % WALLETS]
        while True:
            await client.deposit(wallet, "1.00")

    acting = [asyncio.create_task(act(number)) for number in range(CLIENTS)]
    app = Top(WorkerSettings(**stores))
    async with app.run_test(size=SIZE) as pilot:

        async def has_seen() -> bool:
            return app.has_seen and app.query_one("#wallets", Board).row_count > 0

        for _ in range(LOOKS):
            app.has_seen = False
            await until(has_seen, 60)
        await pilot.pause()
        drawn = app.export_screenshot(title="wallet-streams top")
    for task in acting:
        task.cancel()
    await asyncio.gather(*acting, return_exceptions=True)
    await client.close()
    return _FONT_FACE.sub("", drawn)


def main() -> None:
    logs.configure(Settings.load().model_copy(update={"log_level": "error", "log_format": "console"}), "screenshot")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with stores_in(folder) as stores:
            service = Service(Settings(**stores), folder)
            try:
                drawn = asyncio.run(screenshot(service, stores))
            finally:
                service.stop()
    (Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/top.svg")).write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
