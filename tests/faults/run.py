"""`python -m tests.faults.run [ID …]`: every fault under load in its long form, and what came of it.

Each fault has stores of its own, set up as in production (fsync on). Shows its progress, prints a table, and after a
complete run writes `docs/reliability.md`. Exit code 1 when a promise was broken.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from devstack.binaries import find_postgres, find_redis
from shared import logs
from shared.settings import Settings
from tests.faults.checker import SENTENCES_MAX
from tests.faults.scenario import Scenario
from tests.faults.scenarios import SCENARIOS
from tests.faults.trial import LONG, Result, open_ground, run_trial

REPORT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
STATUSES = ("200", "400", "202", "429", "503", "202 at once", "503 at once", "broken", "unreached", "left")


async def run_all(scenarios: Sequence[Scenario], folder: Path) -> list[Result]:
    """Run one after another; a fault that cannot even be made counts as a violation."""
    results = []
    for number, scenario in enumerate(scenarios, 1):
        print(f"[{number}/{len(scenarios)}] {scenario.title} … ", end="", flush=True)
        began = time.monotonic()
        async with open_ground(folder / scenario.id, LONG, on_cluster=scenario.on_cluster) as ground:
            result = await run_trial(ground, scenario, LONG)
        results.append(result)
        print(f"{time.monotonic() - began:.0f} s: {_summary(result)}", flush=True)
        for sentence in result.violations[:SENTENCES_MAX]:
            print(f"    {sentence}", flush=True)
    return results


def _summary(result: Result) -> str:
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(result.statuses.items()))
    slow = f" (more than {result.scenario.stall_seconds_max:g} s)" if result.is_too_slow else ""
    return (
        f"{result.sent} sent ({statuses}), longest stall {result.stall_seconds:.2f} s{slow}, "
        f"{len(result.violations)} violations"
    )


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| fault under load | sent | " + " | ".join(STATUSES) + " | longest stall | violations |",
        "|---|" + "--:|" * (len(STATUSES) + 3),
    ]
    for result in results:
        limit = result.scenario.stall_seconds_max
        allowed = "" if limit is None else f" (≤ {limit:g} s{': missed' if result.is_too_slow else ''})"
        counts = " | ".join(str(result.statuses[status] or "") for status in STATUSES)
        others = {status: count for status, count in result.statuses.items() if status not in STATUSES}
        title = f"{result.scenario.title} {others or ''}".strip()
        stall = f"{result.stall_seconds:.2f} s{allowed}"
        lines.append(f"| {title} | {result.sent} | {counts} | {stall} | {len(result.violations)} |")
    return "\n".join(lines)


def machine() -> str:
    """Return when and on what this run was made."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory_bytes / 2**30:.0f} GiB, Linux "
        f"{platform.release()}, Python {platform.python_version()}, Postgres {find_postgres().version} (fsync on), "
        f"{find_redis().flavour.capitalize()} {find_redis().version}"
    )


def write_report(results: Sequence[Result]) -> None:
    """Put the table between its two marks in the report; what people wrote around it stays."""
    shape = LONG.shape
    text = (
        f"{BEGIN}\n{machine()}; {shape.clients} clients, {shape.hot_wallets} hot and "
        f"{shape.cold_wallets} cold wallets; clients, service and stores share the machine.\n\n{table(results)}\n{END}"
    )
    old = REPORT.read_text(encoding="utf-8")
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    REPORT.write_text(before + text + after, encoding="utf-8")


def main() -> None:
    """Run what the command line names, or everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.run", description="Faults under load, long form.")
    by_id = {scenario.id: scenario for scenario in SCENARIOS}
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"of {', '.join(by_id)}; default: all, with the report")
    names = parser.parse_args().ids
    if unknown := set(names) - set(by_id):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    logs.configure(Settings.load().model_copy(update={"log_format": "console"}), "faults")
    scenarios = [by_id[name] for name in names] or list(SCENARIOS)
    with tempfile.TemporaryDirectory(prefix="wallet-faults-", ignore_cleanup_errors=True) as folder:
        results = asyncio.run(run_all(scenarios, Path(folder)))
    print(f"\n{table(results)}")
    if not names:
        write_report(results)
        print(f"\nwritten to {REPORT}")
    sys.exit(any(result.violations or result.is_too_slow for result in results))


if __name__ == "__main__":
    main()
