"""Panels of the dashboard, drawn from a real Prometheus beside a real service: `python -m tests.dashboard_plot FOLDER`.

Load for some seconds, with a worker killed in its middle. The expressions are the dashboard's own, over 5 s instead of
1 min, because the whole takes no longer than that. Needs Prometheus: apt-get install prometheus.
"""

import asyncio
import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pygal  # type: ignore[import-untyped]

from bench import plots
from devstack import ports
from devstack.process import ChildProcess
from shared.settings import Settings
from tests.scraping import MONITORING
from tests.service import Client, Service, stores_in

PANELS = (
    "Answers by status",
    "Latency of an operation",
    "Commands in a batch",
    "Partitions by worker",
    "Takeovers",
    "Share of rejections",
    "Backlog by partition, the ten fullest",
)
LOAD_SECONDS = 15.0
KILL_AFTER_SECONDS = 8.0
CLIENTS = 48
WALLETS = 24
STEP_SECONDS = 0.5
_SCRIPT = re.compile(rb"<script.*?</script>", re.DOTALL)


async def load(url: str) -> None:
    """Let clients deposit and withdraw, one request after another each, until the time is over."""
    client = Client(url, connections_max=CLIENTS)
    wallets = [await client.create_wallet() for _ in range(WALLETS)]
    ends = time.monotonic() + LOAD_SECONDS

    async def act(number: int) -> None:
        wallet = wallets[number % WALLETS]
        while time.monotonic() < ends:
            await client.deposit(wallet, "10.00")
            await client.withdraw(wallet, "15.00")

    await asyncio.gather(*(act(number) for number in range(CLIENTS)))
    await client.close()


async def record(service: Service, folder: Path, program: str) -> dict[str, Any]:
    """Run the service under load beside Prometheus; returns the panels' series."""
    numbers = {"gateway": [ports.pick_free()], "worker": [ports.pick_free() for _ in range(3)]}
    service.start_gateway(METRICS_PORT=str(numbers["gateway"][0]))
    workers = [service.start_worker(METRICS_PORT=str(number)) for number in numbers["worker"]]
    await service.wait_ready()
    scraped = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{n}" for n in found]}]}
        for job, found in numbers.items()
    ]
    config = folder / "prometheus.yml"
    config.write_text(
        json.dumps({"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}, "scrape_configs": scraped})
    )
    port = ports.pick_free()
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    prometheus = ChildProcess(
        "prometheus", [*command, f"--web.listen-address=127.0.0.1:{port}"], folder / "prometheus.log"
    )
    prometheus.start()
    await asyncio.sleep(6)  # Prometheus takes its time to begin; what is drawn begins later
    began = time.time()
    loading = asyncio.create_task(load(service.url))
    await asyncio.sleep(KILL_AFTER_SECONDS)
    workers[0].kill()
    await loading
    client = Client(f"http://127.0.0.1:{port}")
    dashboard = json.loads((MONITORING / "grafana/dashboards/wallet.json").read_text())
    series: dict[str, Any] = {}
    for panel in dashboard["panels"]:
        if panel["title"] in PANELS and panel["type"] == "timeseries":
            series[panel["title"]] = [await ask(client, target, began, time.time()) for target in panel["targets"]]
    await client.close()
    prometheus.stop()
    return series


async def ask(client: Client, target: dict[str, str], begin: float, end: float) -> dict[str, list[tuple[float, float]]]:
    """Return the series of one target of a panel, by legend."""
    expression = re.sub(r"\[[15]m\]", "[5s]", target["expr"])
    answer = await client.get(
        f"/api/v1/query_range?query={quote(expression)}&start={begin}&end={end}&step={STEP_SECONDS}"
    )
    assert answer.status == 200, (expression, answer.body)
    found = {}
    for result in answer.body["data"]["result"]:
        legend = target["legendFormat"]
        for label, value in result["metric"].items():
            legend = legend.replace(f"{{{{{label}}}}}", value)
        points = [(float(at) - begin, float(value)) for at, value in result["values"] if value != "NaN"]
        found[legend] = points
    return found


def draw(series: dict[str, Any], folder: Path) -> None:
    """Write one file per panel."""
    folder.mkdir(parents=True, exist_ok=True)
    for title, targets in series.items():
        x_title = f"seconds; a worker is killed at {KILL_AFTER_SECONDS:.0f}"
        chart = pygal.XY(title=title, x_title=x_title, show_dots=False, include_x_axis=True, **plots._OPTIONS)
        for target in targets:
            for legend, points in sorted(target.items()):
                chart.add(legend, points)
        name = f"{'-'.join(title.lower().replace(',', '').split())}.svg"
        (folder / name).write_bytes(_SCRIPT.sub(b"", chart.render()) + b"\n")


def main() -> None:
    program = shutil.which("prometheus")
    if not program:
        sys.exit("Prometheus is not installed: apt-get install prometheus")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with stores_in(folder) as stores:
            service = Service(Settings(**stores), folder)
            try:
                series = asyncio.run(record(service, folder, program))
            finally:
                service.stop()
    draw(series, Path(sys.argv[1] if len(sys.argv) > 1 else "docs/dashboard"))


if __name__ == "__main__":
    main()
