"""What is counted: named by the conventions of Prometheus, by outcome, and with no label that a caller chooses."""

import json
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from msgspec.structs import replace
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

import gateway.metrics
import worker.metrics
from gateway import handlers
from gateway.middleware import edge
from gateway.room import Room
from shared.commands import Command, Reason
from shared.logs import _without_details
from tests.commands import EPOCH, deposit, empty_wallet, withdraw
from worker import ledger

ROOT = Path(__file__).parents[2]
# What Prometheus itself adds to what it scrapes: a label of that name would be taken for something else.
TARGET_LABELS = {"job", "instance"}
UNITS = ("seconds", "commands")


def own_metrics() -> list[MetricWrapperBase]:
    modules = (gateway.metrics, worker.metrics)
    return [m for module in modules for m in vars(module).values() if isinstance(m, MetricWrapperBase)]


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_names__have_prefix_and_unit() -> None:
    names = {metric._name: metric._type for metric in own_metrics()}

    assert len(names) > 15
    for name, type_ in names.items():
        assert re.fullmatch(r"wallet_(gateway|worker)_[a-z_]+", name)
        assert not name.endswith("_total")  # the library adds it to counters
        if type_ == "histogram":
            assert name.endswith(UNITS), name


def test_labels__are_none_that_prometheus_adds_itself() -> None:
    for metric in own_metrics():
        assert TARGET_LABELS.isdisjoint(metric._labelnames), metric._name


def test_batch__is_counted_by_type_and_outcome() -> None:
    wallet_id = uuid4()
    commands: list[Command] = [deposit(wallet_id), deposit(wallet_id), withdraw(wallet_id, 1_000)]
    settlement = ledger.settle(commands, {wallet_id: empty_wallet(wallet_id)}, {}, EPOCH)
    name = "wallet_worker_operations_total"
    applied = value(name, type="DEPOSIT", outcome="applied")
    rejected = value(name, type="WITHDRAW", outcome=Reason.INSUFFICIENT_FUNDS)
    repeats = value("wallet_worker_repeats_total")

    worker.metrics.note_settled(settlement.operations, 2)

    assert value(name, type="DEPOSIT", outcome="applied") == applied + 2
    assert value(name, type="WITHDRAW", outcome=Reason.INSUFFICIENT_FUNDS) == rejected + 1
    assert value("wallet_worker_repeats_total") == repeats + 2


@pytest.mark.parametrize("reason", [*sorted(set(Reason) - {Reason.WALLET_NOT_FOUND, Reason.UNREADABLE}), None])
def test_every_outcome_that_is_recorded__can_be_counted(reason: Reason | None) -> None:
    rejected = ledger.reject(deposit(uuid4()), Reason.INSUFFICIENT_FUNDS, 0, EPOCH)

    worker.metrics.note_settled([replace(rejected, reason=reason)], 0)


def test_dashboard_and_alerts__are_well_formed() -> None:
    dashboard = json.loads((ROOT / "monitoring/grafana/dashboards/wallet.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    datasource = yaml.safe_load((ROOT / "monitoring/grafana/provisioning/datasources/prometheus.yml").read_text())
    uid = datasource["datasources"][0]["uid"]

    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert {panel["datasource"]["uid"] for panel in panels} == {uid}
    assert all(panel["targets"] for panel in panels)


def test_every_alert__is_in_the_operators_manual() -> None:
    rules = yaml.safe_load((ROOT / "monitoring/alerts.yml").read_text())["groups"][0]["rules"]
    manual = (ROOT / "docs/operations.md").read_text()

    told = set(re.findall(r"^### (Wallet\w+)$", manual, re.MULTILINE))
    assert told == {rule["alert"] for rule in rules}


def test_every_metric_and_every_reason_of_a_refusal__is_in_the_operators_manual() -> None:
    manual = (ROOT / "docs/operations.md").read_text()
    told = set(re.findall(r"(?:`|…)((?:wallet)?_[a-z_]+)", manual))
    sources = [ROOT / "gateway/metrics.py", ROOT / "worker/metrics.py", ROOT / "worker/housekeeping/watch.py"]
    named = {name for path in sources for name in re.findall(r'"(wallet_[a-z_]+)",? ', _one_line(path))}
    families = {name for name in named if name not in gateway.metrics.REFUSAL_REASONS}

    assert len(families) > 25
    silent = {name for name in families if not any(f"{name}_total".endswith(t) or name.endswith(t) for t in told)}
    assert silent == set()
    assert {reason for reason in gateway.metrics.REFUSAL_REASONS if f"`{reason}`" not in manual} == set()


def _one_line(path: Path) -> str:
    return " ".join(path.read_text().split())


@pytest.mark.filterwarnings("ignore::aiohttp.web_exceptions.NotAppKeyWarning")  # told once per key and process
async def test_routes_that_do_not_exist__are_one_and_are_not_remembered() -> None:
    app = web.Application(middlewares=[edge(Room(10))])
    app.router.add_get("/known/{name}", handlers.healthz)
    before = len(gateway.metrics._observers)
    name = "wallet_gateway_request_duration_seconds_count"
    unknown = value(name, route="unknown", status="404")
    async with TestClient(TestServer(app)) as client:
        for i in range(5):
            assert (await client.get(f"/known/{i}")).status == 200
            assert (await client.get(f"/unknown/{i}")).status == 404

    assert value(name, route="GET /known/{name}", status="200") == 5
    assert value(name, route="unknown", status="404") == unknown + 5
    assert len(gateway.metrics._observers) == before + 1


def test_rows_that_postgres_repeats_in_an_error__are_left_out_of_the_log() -> None:
    traceback = "Traceback\nasyncpg.CheckViolationError: violates\nDETAIL:  Failing row contains (4711.00)."

    assert "4711" not in _without_details(traceback)
    assert "violates" in _without_details(traceback)


def test_processes_that_make_no_traces__do_not_load_opentelemetry() -> None:
    look = "import sys, gateway.serve, worker.serve; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    looked = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)

    assert looked.stdout.strip() == "[]"
