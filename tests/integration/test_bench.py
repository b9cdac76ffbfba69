"""The bench's own code, with a handful of requests: no time is judged, but every count must agree with the books."""

import asyncio
import gc
import http.client
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bench import batch, cluster, cost, counters, fairness, markdown, memory, overload, pgbench, redis_bytes, report
from bench.http_connection import read_requests
from bench.load import Load, Sample, deposit, send, wallet_id, withdrawal, write_requests
from bench.measures import MEASURES, Bench
from bench.open_loop import OpenLoop
from bench.part import Cell, Part
from bench.plan import Plan
from bench.scenarios import SCENARIOS, Scenario
from bench.screen import Screen
from bench.stack import Server, Stack

TINY = Plan(
    rounds=1,
    seconds=0.15,
    warm_seconds=0.0,
    sweep_seconds=0.05,
    open_loop_seconds=0.2,
    pool_sizes=(8,),
    large_wallets=50,
    large_operations_each=2,
    memory_operations=(50,),
    waiting_commands=50,
    batch_seconds=0.2,
    batch_rates=(100, 400),
    overload_seconds=0.3,
    use_wrk=False,
)
NOBODYS = 900_000  # a wallet that no scenario has anything to do with
BY_KIND = {scenario.kind: scenario for scenario in reversed(SCENARIOS)}


@dataclass(frozen=True)
class CountingBench(Bench):
    """A bench that remembers what was counted, by database."""

    samples: list[tuple[str, Sample]] = field(default_factory=list)
    connections_max: int = 4

    def send(self, load: Load, server: Server, seconds: float) -> Sample:
        few = replace(load, connections=min(self.connections_max, load.connections), requests=load.requests[:300])
        sample = super().send(few, server, seconds)
        self.samples.append((server.database, sample))
        return sample

    def recorded(self, database: str) -> int:
        """Return how many operations the answers say there are: the direct baseline records no refusal."""
        of_it = [sample for name, sample in self.samples if name == database]
        return sum(s.requests - (s.refused if database == "direct" else 0) for s in of_it)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(with_statements=True) as opened:
        yield opened
    assert not opened.folder.exists()


@pytest.fixture
def bench(stack: Stack) -> CountingBench:
    return CountingBench(stack, TINY, lambda _: None)


def books(stack: Stack, database: str) -> int:
    stack.ensure_database(database)
    return counters.books(stack, database).operations


def ask(server: Server, line: str) -> tuple[int, dict[str, Any]]:
    """Send one line of a load as any client would."""
    method, path, body = line.split(" ", 2)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said


def test_stack__is_durable_because_postgres_says_so(stack: Stack) -> None:
    assert stack.durability == {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@pytest.mark.parametrize("name", ["hundred-wallets", "zipf", "one-connection", "open-loop", "refusals"])
def test_scenario__counts_what_the_books_have(bench: CountingBench, name: str) -> None:
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    before = {database: books(bench.stack, database) for database in ("service", "direct")}

    measured = report.judged(scenario, MEASURES[scenario.kind](bench, scenario))

    assert all(sample.requests > 0 and sample.failed == 0 for _, sample in bench.samples)
    assert {goal["text"] for goal in measured["goals"]} == {goal.text for goal in scenario.goals}
    for database in ("service", "direct"):
        assert books(bench.stack, database) - before[database] == bench.recorded(database)
    if name == "zipf":
        assert any(0 < sample.refused < sample.requests for _, sample in bench.samples)


@pytest.mark.parametrize("kind", ["empty", "large", "two_of_each"])
def test_kind_of_scenario__gives_the_figures_of_its_goals(bench: CountingBench, kind: str) -> None:
    scenario: Scenario = BY_KIND[kind]

    measured = report.judged(scenario, MEASURES[kind](bench, scenario))

    assert all(goal["value"] > 0 for goal in measured["goals"])
    assert all(sample.requests > 0 and sample.refused == sample.failed == 0 for _, sample in bench.samples)
    if kind == "large":
        assert books(bench.stack, "large") == 50 * 2 + bench.recorded("large")


def test_every_kind_of_scenario__is_run_by_these_tests() -> None:
    assert set(BY_KIND) == set(MEASURES) == {"versus", "open_loop", "refusals", "empty", "large", "two_of_each"}


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk__counts_answers_by_status_and_loses_none(bench: CountingBench) -> None:
    bench.stack.fill_wallets("direct", 3)
    before = books(bench.stack, "direct")
    load = Load([deposit(1), deposit(2), withdrawal(3)], 4, counts_statuses=True)

    sample = send(load, bench.stack.direct(8).port, 1, bench.stack.folder)

    assert set(sample.by_status) == {"200", "400"}
    assert sum(sample.by_status.values()) == sample.requests
    assert sample.refused == sample.by_status["400"] > 0
    assert sample.stolen_share >= 0
    # What is under way when the time is over is applied, and wrk does not wait for it.
    applied = books(bench.stack, "direct") - before
    assert sample.by_status["200"] <= applied <= sample.by_status["200"] + load.connections


def test_pgbench__records_what_it_counts(bench: CountingBench) -> None:
    bench.stack.fill_wallets("direct", 1)
    before = books(bench.stack, "direct")

    assert pgbench.run(bench.stack, 1, clients=2) > 0

    assert books(bench.stack, "direct") > before
    sql = (
        "SELECT w.seq - max(o.seq) FROM wallets w JOIN operations o ON o.wallet_id = w.id WHERE w.id = $1 GROUP BY w.id"
    )
    assert bench.stack.value("direct", sql, wallet_id(1)) == 0


def test_open_loop__charges_a_stalled_server_for_what_would_have_arrived(bench: CountingBench) -> None:
    server = bench.stack.direct(8)
    bench.stack.fill_wallets("direct", 1)
    [process] = server.processes
    requests = read_requests(write_requests([deposit(1)], bench.stack.folder), server.port)
    process.pause()
    timer = threading.Timer(0.5, process.resume)
    timer.start()
    try:
        counted = asyncio.run(OpenLoop(requests, rate=100, seconds=0.6).run(server.port, connections=4))
    finally:
        gc.enable()
        gc.unfreeze()
        timer.join()

    assert counted["by_status"] == {"200": 60}
    # A closed loop of four would have had four slow answers. Here half of all arrivals fell into the stall.
    assert float(str(counted["p50_ms"])) > 50


def test_direct_baseline__answers_and_refuses_like_the_service(bench: CountingBench) -> None:
    sides = [bench.stack.service(), bench.stack.direct(8)]
    for server in sides:
        bench.stack.fill_wallets(server.database, NOBODYS, first=NOBODYS)

    applied = [ask(server, deposit(NOBODYS, 5)) for server in sides]
    refused = [ask(server, withdrawal(NOBODYS, 5.01)) for server in sides]
    unknown = [ask(server, deposit(1_000_000)) for server in sides]

    assert [status for status, _ in applied] == [200, 200]
    assert applied[0][1].keys() == applied[1][1].keys()
    assert applied[0][1]["operation"].keys() == applied[1][1]["operation"].keys()
    assert [said["balance"] for _, said in applied] == ["5.00", "5.00"]
    assert [status for status, _ in refused] == [400, 400]
    assert [status for status, _ in unknown] == [404, 404]


def test_parts_about_costs__agree_with_the_books(bench: CountingBench) -> None:
    parts = {part.name: part for part in (cost.measure(bench), redis_bytes.measure(bench), batch.measure(bench))}
    parts["memory"] = memory.measure(bench)
    parts |= {"overload": overload.measure(bench), "fairness": fairness.measure(bench)}

    assert {*parts, "cluster"} == set(report.PART_NAMES)  # which has a test of its own
    calm, overloaded = parts["overload"].rows
    assert figure(calm[1]) > 0 == figure(calm[2])
    assert min(figure(overloaded[1]), figure(overloaded[2])) > 0
    alone, beside = parts["fairness"].rows
    assert alone[-1] is None
    assert figure(beside[-1]) > 0
    assert min(figure(row[-1]) for row in parts["cost"].rows) > 0
    waiting, *_, idle = (figure(row[1]) for row in parts["redis-bytes"].rows)
    assert waiting > 100
    assert idle == 0
    sizes = [figure(row[parts["batch"].columns.index("batch")]) for row in parts["batch"].rows]
    assert min(sizes) >= 1
    if bench.stack.counts_statements:
        # The one that writes.
        assert min(figure(row[parts["batch"].columns.index("statements/batch")]) for row in parts["batch"].rows) >= 1
    assert min(figure(row[1]) for row in parts["memory"].rows) > 10


def test_part_about_a_cluster__counts_what_the_books_have_on_both_sides(bench: CountingBench) -> None:
    # Each connection gets an answer however slow the machine is: so many wallets lie on all nodes.
    bench = replace(bench, connections_max=32)

    part = cluster.measure(bench)

    assert [row[1] for row in part.rows] == ["one", "3 nodes"]
    assert min(figure(cell) for row in part.rows for cell in row[2:5]) > 0
    assert all(sample.requests > 0 and sample.refused == sample.failed == 0 for _, sample in bench.samples)
    for database in (cluster.ONE, cluster.THREE):
        assert books(bench.stack, database) == bench.recorded(database) > 0


def figure(cell: Cell) -> float:
    """Return a cell that has to hold a figure."""
    assert isinstance(cell, int | float), cell
    return cell


def small_report() -> dict[str, Any]:
    figures = {f"{side}_{name}": 10.0 for side in ("service", "direct") for name in ("rate", "p50_ms", "p99_ms")}
    scenario = SCENARIOS[0]
    goals = [{"text": goal.text, "figure": goal.figure, "value": 2.5, "met": False} for goal in scenario.goals]
    medians = {**figures, "pgbench_rate": 3.0, "throughput_ratio": 2.5, "pgbench_ratio": 2.5, "p99_ratio": 2.5}
    measured: dict[str, Any] = {
        "name": scenario.name,
        "what": scenario.what,
        "goals": goals,
        "medians": medians,
        "rounds": [medians],
    }
    columns = ["offered/s", "served/s", "batch", "p50 ms", "p99 ms"]
    part = Part(
        "batch", "Batches", columns, [[10, 10.0, 1.0, 2.0, 3.0], [1000, 990.0, 7.0, 8.0, 9.0]], "said", ["A note."]
    )
    conditions = {
        "date": "2001-02-03 04:05 UTC",
        "machine": "an abacus",
        "cores": 2,
        "memory_gb": 1,
        "load_before": 0.1,
        "system": "wood",
        "sync_ms": 0.5,
        "versions": {"python": "3.11"},
        "generator": "wrk",
        "postgres_options": {"fsync": "on"},
        "plan": {"rounds": 3, "seconds": 10.0, "warm_seconds": 2.0},
    }
    measured |= {"pool_size": 4, "sweep": {"4": 10.0}, "measured_at": "2001-02-03 04:05 UTC"}
    return {"conditions": conditions, "scenarios": [measured], "parts": [report.told(part)]}


def test_page__says_every_goal_and_whether_it_was_met() -> None:
    measured = small_report()
    measured["scenarios"][0]["goals"][0]["met"] = True

    page = markdown.page(measured, ["throughput.svg", "batch.svg"])

    for goal, verdict in zip(SCENARIOS[0].goals, ("met", "**not met**", "**not met**"), strict=True):
        assert f"| {goal.text} | 2.50 | {verdict} |" in page
    assert "an abacus, 2 cores" in page
    assert "0.50 ms for a page written and synced" in page
    assert "![throughput.svg](../bench/results/throughput.svg)" in page
    assert "| 1,000 | 990 | 7.00 | 8.00 | 9.00 |" in page
    assert "| 2.50 |  | 4: 10 | 2001-02-03 04:05 UTC |" in page  # nobody noted what the host took


def test_round_of_which_the_host_took_much__is_said_to_mean_less(capsys: pytest.CaptureFixture[str]) -> None:
    measured = small_report()
    [scenario] = measured["scenarios"]
    took = [{"service_stolen_share": 0.0, "direct_stolen_share": 0.01}, {"service_stolen_share": 0.12}]
    scenario["rounds"] = [{**scenario["medians"], **shares} for shares in took]

    Screen().scenario(scenario)

    assert "| 2.50, 2.50 | 1%, 12% | 4: 10 |" in markdown.page(measured, [])
    assert "one-wallet: this machine's host took up to 12% of the cores' time" in capsys.readouterr().err
    scenario["rounds"].pop()
    Screen().scenario(scenario)
    assert "host" not in capsys.readouterr().err


def test_saving__keeps_what_was_not_measured_again_and_draws_what_stands_alone(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    report.save(small_report(), tmp_path, page)
    report.save({**small_report(), "scenarios": []}, tmp_path, page)

    other = {**small_report()["conditions"], "machine": "another"}
    two = {**small_report()["scenarios"][0], "name": "two-of-each", "machine": "another"}
    report.save({**small_report(), "conditions": other, "scenarios": [two]}, tmp_path, page)
    assert "an abacus, 2 cores" in page.read_text()  # that of the others
    assert "2001-02-03 04:05 UTC, on another |" in page.read_text()
    assert "| two-of-each (on another machine, see *Every round*) | service |" in page.read_text()

    kept = report.read(tmp_path / "latest.json")
    assert [measured["name"] for measured in kept["scenarios"]] == ["one-wallet", "two-of-each"]
    assert page.read_text().startswith("# Benchmarks")
    for name in ("throughput.svg", "batch.svg", "latency.svg"):
        drawn = (tmp_path / name).read_text()
        assert "<script" not in drawn
        assert 'href="http' not in drawn.replace('xlink:href="http', 'href="http')


def test_interrupted_run__leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--only", "empty"]
    started = subprocess.Popen(
        command, env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE, text=True
    )
    assert started.stderr is not None
    for line in started.stderr:
        if "measuring" in line:
            break
    assert list(tmp_path.iterdir())

    started.send_signal(signal.SIGINT)

    assert started.wait(30) == 130
    started.stderr.close()
    assert list(tmp_path.iterdir()) == []
