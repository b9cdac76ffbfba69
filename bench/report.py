"""The figures of a run as one JSON document: what was measured, on what, and which goals were met."""

import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench import markdown, plots
from bench.load import wrk_version
from bench.measures import Result
from bench.part import Part
from bench.plan import Plan
from bench.scenarios import SCENARIOS, Scenario
from bench.stack import POSTGRES_OPTIONS, Stack

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PART_NAMES = ("cost", "batch", "redis-bytes", "memory", "overload", "fairness", "cluster")
PACKAGES = {
    "aiohttp": "aiohttp",
    "asyncpg": "asyncpg",
    "redis-py": "redis",
    "hiredis": "hiredis",
    "uvloop": "uvloop",
    "msgspec": "msgspec",
}
_SYNCS = 200


def judged(scenario: Scenario, result: Result) -> dict[str, Any]:
    """Take the medians of a scenario's rounds and hold them against its goals."""
    medians = {name: statistics.median(figures[name] for figures in result.rounds) for name in result.rounds[0]}
    goals = [
        {"text": goal.text, "figure": goal.figure, "value": value, "met": goal.is_met(value)}
        for goal in scenario.goals
        for value in (medians[goal.figure],)
    ]
    return {
        "name": scenario.name,
        "measured_at": now(),
        "machine": _processor(),
        "what": scenario.what,
        "goals": goals,
        "medians": medians,
        "rounds": result.rounds,
        "pool_size": result.pool_size,
        "sweep": {str(size): rate for size, rate in result.sweep.items()},
    }


def told(part: Part) -> dict[str, Any]:
    """Return a part as the report holds it."""
    return {**asdict(part), "measured_at": now()}


def conditions(stack: Stack, plan: Plan) -> dict[str, Any]:
    """Say on what and how it is measured."""
    load = os.getloadavg()
    return {
        "date": now(),
        "machine": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(load[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "sync_ms": round(_sync_ms(stack.folder), 3),
        "versions": {
            "python": platform.python_version(),
            **{name: version(package) for name, package in PACKAGES.items()},
            "postgres": stack.postgres.version,
            stack.redis.flavour: stack.redis.version,
            "wrk": wrk_version() or "not there",
        },
        "generator": "wrk" if plan.use_wrk and wrk_version() else "closed_loop",
        "postgres_options": POSTGRES_OPTIONS,
        "durability": stack.durability,
        "plan": asdict(plan),
    }


def now() -> str:
    """Return the time, to the minute."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _sync_ms(folder: Path) -> float:
    """Measure what one written and synced page costs on the disk under the stores."""
    path = folder / "sync"
    with path.open("wb") as file:
        file.write(b"x" * 8192)
        os.fsync(file.fileno())
        begun = time.perf_counter()
        for _ in range(_SYNCS):
            file.seek(0)
            file.write(b"y" * 8192)
            file.flush()
            os.fdatasync(file.fileno())
        return (time.perf_counter() - begun) / _SYNCS * 1000


def write(report: Mapping[str, Any], path: Path) -> None:
    """Write the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Read a report."""
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def merged(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """Put new figures in the place of old ones of the same name; each says when it was measured.

    The conditions are those of the last run that measured every scenario.
    """
    is_whole = len(new["scenarios"]) == len(SCENARIOS)
    return {
        "conditions": new["conditions"] if is_whole else old.get("conditions", new["conditions"]),
        "scenarios": _merged(new["scenarios"], old.get("scenarios", []), [each.name for each in SCENARIOS]),
        "parts": _merged(new["parts"], old.get("parts", []), PART_NAMES),
    }


def _merged(new: Sequence[Any], old: Sequence[Any], order: Sequence[str]) -> list[Any]:
    by_name = {each["name"]: each for each in (*old, *new)}
    return [by_name[name] for name in order if name in by_name]


def save(measured: Mapping[str, Any], folder: Path = RESULTS, page_path: Path = PAGE) -> None:
    """Write the committed results, their plots and the page, over what is there."""
    path = folder / "latest.json"
    whole = merged(measured, read(path) if path.exists() else {})
    write(whole, path)
    page_path.write_text(markdown.page(whole, plots.draw(whole, folder)), encoding="utf-8")


def keep(measured: Mapping[str, Any], folder: Path = RESULTS / "tmp") -> None:
    """Write the results of a run that is for the eye only."""
    write(measured, folder / "latest.json")
    plots.draw(measured, folder)
