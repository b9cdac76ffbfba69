"""What is exported is what dashboard and alerts ask for, it is true, and it is no more than operators may see."""

import asyncio
import json
import re
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pytest
import yaml

from devstack import ports
from devstack.postgres import Postgres
from devstack.process import ChildProcess
from devstack.redis import Redis
from shared.database import connect
from shared.settings import Settings
from tests.conftest import _settings
from tests.scraping import MONITORING, Sample, expressions, grouping_labels, scrape, selectors, total
from tests.service import Client, Service
from tests.waiting import until

REQUESTS = "wallet_gateway_request_duration_seconds_count"
OPERATE = "POST /api/v1/wallets/{wallet_id}/operation"
DEPOSITS, REJECTIONS, UNREADABLE = 40, 3, 2


@dataclass
class Stack:
    """A service whose processes all serve metrics."""

    service: Service
    metrics_ports: dict[str, list[int]]
    folder: Path

    @property
    def ports_of_all(self) -> list[int]:
        return [port for numbers in self.metrics_ports.values() for port in numbers]

    async def scrape(self, job: str) -> list[Sample]:
        found = await asyncio.gather(*(scrape(port) for port in self.metrics_ports[job]))
        return [sample for samples in found for sample in samples]


@pytest.fixture(scope="module")
async def stack(
    postgres: Postgres, valkey: Redis, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """Two gateway processes, two workers and housekeeping, after some traffic of every kind."""
    settings = Settings(**await _settings(postgres, valkey.url, template))
    service = Service(settings, tmp_path_factory.mktemp("monitored"))
    folder = tmp_path_factory.mktemp("counted")
    metrics_ports = {"gateway": [ports.pick_free()], "worker": [], "maintenance": [ports.pick_free()]}
    service.start_gateway(
        GATEWAY_PROCESSES="2", METRICS_PORT=str(metrics_ports["gateway"][0]), TMPDIR=str(folder)
    ).death_signal = signal.SIGTERM
    for _ in range(2):
        metrics_ports["worker"].append(ports.pick_free())
        service.start_worker(METRICS_PORT=str(metrics_ports["worker"][-1]))
    connection = await connect(settings, "test")
    await connection.execute(
        "INSERT INTO daily_totals VALUES ((now() AT TIME ZONE 'UTC')::date, 'DEPOSIT', 'APPLIED', 1, 1)"
    )
    await connection.close()
    service.start_worker("maintenance", "worker.maintenance", METRICS_PORT=str(metrics_ports["maintenance"][0]))
    await service.wait_ready()
    await _make_traffic(service.url)
    yield Stack(service, metrics_ports, folder)
    assert service.stop() == [0, 0, 0, 0]
    assert list(folder.iterdir()) == []  # what was counted together is taken away


async def _make_traffic(url: str) -> None:
    client = Client(url)
    wallet = await client.create_wallet()
    await client.close()
    key = uuid4().hex
    for i in range(DEPOSITS):
        client = Client(url)  # a connection of its own: either process may take it
        assert (await client.deposit(wallet, "1.00", **({"Idempotency_Key": key} if i < 2 else {}))).status == 200
        await client.close()
    client = Client(url)
    for _ in range(REJECTIONS):
        assert (await client.withdraw(wallet, "1000.00")).status == 400
    assert (await client.get(f"/nothing/{wallet}")).status == 404
    await client.close()
    at = urlsplit(url)
    for _ in range(UNREADABLE):
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        writer.write(b"GET\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.transport.abort()


async def everything(stack: Stack) -> dict[str, list[Sample]]:
    """Return all samples by job, once all that is looked at every few seconds was looked at."""
    found: dict[str, list[Sample]] = {}

    async def is_complete() -> bool:
        for job in stack.metrics_ports:
            found[job] = await stack.scrape(job)
        tasks = {s.labels["task"] for s in found["maintenance"] if "task" in s.labels}
        partitions = {s.labels["partition"] for s in found["worker"] if s.name == "wallet_worker_backlog_commands"}
        return len(tasks) == 3 and len(partitions) == stack.service.settings.partition_count

    await until(is_complete, 15)
    return found


async def test_every_expression_of_dashboard_and_alerts__finds_its_metrics_and_labels(stack: Stack) -> None:
    by_job = await everything(stack)
    labels: dict[str, list[dict[str, str]]] = {"up": [{"job": job} for job in by_job]}
    for job, samples in by_job.items():
        for sample in samples:
            labels.setdefault(sample.name, []).append({**sample.labels, "job": job, "instance": "any"})

    missing = []
    for where, expression in expressions():
        asked = selectors(expression)
        assert asked, expression
        for name, matchers in asked:
            series = labels.get(name, [])
            for label, (operator, value) in matchers.items():
                if operator == "=":
                    series = [s for s in series if s.get(label) == value]
                elif operator == "=~" and label != "status":  # the statuses of errors come with the errors
                    series = [s for s in series if re.fullmatch(value, s.get(label, ""))]
                else:
                    series = [s for s in series if label in s]
            if not series:
                missing.append((where, name, matchers))
        known = {label for name, _ in asked for series in labels.get(name, []) for label in series}
        missing += [(where, label, {}) for label in grouping_labels(expression) - known]
    assert missing == []
    assert len(list(expressions())) > 50


async def test_requests__are_the_sum_of_all_gateway_processes(stack: Stack) -> None:
    samples = await stack.scrape("gateway")

    assert total(samples, REQUESTS, route=OPERATE, status="200") == DEPOSITS
    assert total(samples, REQUESTS, route=OPERATE, status="400") == REJECTIONS
    assert total(samples, REQUESTS, route="POST /api/v1/wallets", status="201") == 1
    assert total(samples, REQUESTS, route="unknown", status="404") == 1
    assert total(samples, REQUESTS, route="unreadable", status="400") == UNREADABLE
    counted = {path.stem.partition("_")[2] for path in stack.folder.glob("wallet-metrics-*/histogram_*.db")}
    assert len(counted) == 3  # both, and the supervisor, which counts nothing


async def test_operations__are_what_was_asked_for(stack: Stack) -> None:
    samples = await stack.scrape("worker")

    def operations(type_: str, outcome: str) -> float:
        return total(samples, "wallet_worker_operations_total", type=type_, outcome=outcome)

    assert operations("DEPOSIT", "applied") == DEPOSITS - 1  # one was a replay
    assert operations("WITHDRAW", "insufficient_funds") == REJECTIONS
    assert total(samples, "wallet_worker_repeats_total") == 1
    assert total(samples, "wallet_worker_batch_commands_sum") == DEPOSITS + REJECTIONS
    assert total(samples, "wallet_worker_partitions_owned") == stack.service.settings.partition_count
    for step in ("claim", "settle", "commit", "finish"):
        assert 0 < total(samples, "wallet_worker_step_duration_seconds_count", step=step) <= DEPOSITS + REJECTIONS + 2


async def test_no_label__names_a_wallet_or_an_operation(stack: Stack) -> None:
    by_job = await everything(stack)

    long = re.compile(r"[0-9a-f]{8}-|[0-9a-f]{16}")
    values = {value for samples in by_job.values() for s in samples for value in s.labels.values()}
    assert [value for value in values if long.search(value)] == []


async def test_api__does_not_show_metrics(stack: Stack) -> None:
    client = Client(stack.service.url)
    answer = await client.get("/metrics")
    await client.close()

    assert answer.status == 404


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_metrics_port_that_is_taken__is_named_in_one_line(
    own_service: Service, stack: Stack, processes: str
) -> None:
    taken = str(stack.metrics_ports["gateway"][0])
    gateway = own_service.start_gateway(METRICS_PORT=taken, GATEWAY_PROCESSES=processes)

    async def has_ended() -> bool:
        return not gateway.is_alive

    await until(has_ended, 20)
    assert gateway.exit_code == 1
    assert f"Cannot serve metrics on 127.0.0.1:{taken}" in gateway.log_path.read_text()


def lines_of(process: ChildProcess) -> list[dict[str, object]]:
    return [json.loads(line) for line in process.log_path.read_text().splitlines() if line.startswith("{")]


async def test_refusals__are_counted_one_by_one_and_told_in_one_line_a_second(own_service: Service) -> None:
    port = ports.pick_free()
    gateway = own_service.start_gateway(METRICS_PORT=str(port), WALLET_QUEUE_MAX="1")
    worker = own_service.start_worker()
    await own_service.wait_ready()
    client = Client(own_service.url)
    wallet = await client.create_wallet()
    worker.stop()
    assert (await client.deposit(wallet, "1.00", prefer="wait=1")).status == 202
    answers = await asyncio.gather(*(client.deposit(wallet, "1.00") for _ in range(200)))
    await client.close()
    assert Counter(answer.status for answer in answers) == {429: 200}

    async def all_are_told() -> bool:
        return sum(int(str(line["count"])) for line in lines_of(gateway) if line["event"] == "refused") == 200

    await until(all_are_told)
    told = [line for line in lines_of(gateway) if line["event"] == "refused"]
    assert len(told) <= 3
    assert {"request_id", "operation_id", "wallet_queue_full"} <= told[0].keys()
    samples = await scrape(port)
    assert total(samples, "wallet_gateway_refusals_total", reason="wallet_queue_full") == 200
    assert total(samples, REQUESTS, route=OPERATE, status="429") == 200


async def test_real_prometheus__evaluates_every_expression_and_raises_no_alarm(stack: Stack, tmp_path: Path) -> None:
    """Needs Prometheus itself: apt-get install prometheus."""
    if not (program := shutil.which("prometheus")):
        pytest.skip("Prometheus is not installed")
    await everything(stack)
    scraped = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in numbers]}]}
        for job, numbers in stack.metrics_ports.items()
    ]
    config = tmp_path / "prometheus.yml"
    times = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    rules = [str(MONITORING / "alerts.yml")]
    config.write_text(json.dumps({"global": times, "rule_files": rules, "scrape_configs": scraped}))
    port = ports.pick_free()
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    prometheus = ChildProcess("prometheus", [*command, f"--web.listen-address=127.0.0.1:{port}"], tmp_path / "log")
    prometheus.start()
    client = Client(f"http://127.0.0.1:{port}")

    async def result_of(expression: str) -> list[object]:
        answer = await client.get(f"/api/v1/query?query={quote(expression)}")
        assert answer.status == 200, (expression, answer.body)
        return list(answer.body["data"]["result"])

    async def has_scraped_twice() -> bool:
        try:
            if (await client.get("/-/ready")).status != 200:
                return False
            return len(await result_of("count_over_time(up[1m]) > 2 and up == 1")) == len(stack.ports_of_all)
        except OSError:
            return False

    try:
        await until(has_scraped_twice, 20)
        alerts = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
        conditions = {rule["expr"] for rule in alerts}
        empty = {expression for _, expression in expressions() if not await result_of(expression)}
        firing = {expression for expression in conditions if await result_of(expression)}
    finally:
        await client.close()
        prometheus.stop()
    # The condition of an alert is empty while all is well; no panel is.
    assert empty == conditions
    assert firing == set()
