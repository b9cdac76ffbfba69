"""Writes `docs/benchmarks.md` from a report: the page holds no figure that is not in the JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.screen import sides_of, stolen_shares, written

_INTRODUCTION = """\
# Benchmarks

Written by `make bench` from [`bench/results/latest.json`](../bench/results/latest.json); not edited by hand. The
service is measured beside a **direct baseline** in the same run and in turn: aiohttp, uvloop and an asyncpg pool, one
statement per request that updates the wallet, refuses overdrafts and inserts the history row
([`bench/direct.py`](../bench/direct.py), [`bench/sql/operate.sql`](../bench/sql/operate.sql)), over the same tables on
the same Postgres, with the pool size that was best for the scenario. The second baseline is raw `pgbench`:
`SELECT … FOR UPDATE`, `UPDATE`, `INSERT` on one wallet ([`bench/sql/pgbench.sql`](../bench/sql/pgbench.sql)). Ratios
are formed within a round, then their median is taken.
"""
_CAVEATS = """\
## What to keep in mind

- Everything runs on one machine. The load generator, the stores and both sides share its cores, so absolute figures say
  little; ratios within a run say more. While one side is measured the other one is idle, not gone.
- The machine is shared: *taken by the host* is the most of its cores' time that went to others in each round,
  where it was noted. Service and direct baseline do not suffer alike: the one hands on between five processes, the
  other between two.
- The direct baseline promises less: it knows no idempotency and records no refusals. Both are in its favour. It is run
  with every pool size of the sweep, and the best one is taken for the measured rounds. No side asks for an API key.
- A closed loop (wrk) sends less when the server is slow; its latencies are those of a server that is always busy. wrk
  4.1 adds the samples that it thinks a stall has hidden, for both sides alike. The open loop has no such doubt: its
  latency counts from the time at which a request was to arrive.
- What a sync costs on this disk is given above, because commits per second hang on it: a disk whose sync is slow
  favours whoever commits less often.
- Postgres runs with full durability, checked by asking the server; {options}.
"""


def page(report: Mapping[str, Any], plots: Sequence[str]) -> str:
    """Return the page; `plots` are the names of the SVG files beside the JSON."""
    pieces = [_INTRODUCTION, _conditions(report["conditions"])]
    if report["scenarios"]:
        machine = report["conditions"]["machine"]
        scenarios = report["scenarios"]
        pieces += [_goals(scenarios, machine), _figures(scenarios, machine), _rounds(scenarios, machine)]
    pieces += [f"![{name}](../bench/results/{name})\n" for name in plots if name == "throughput.svg"]
    if report["parts"]:
        pieces.append("## Cost, and how it grows\n")
    for part in report["parts"]:
        pieces.append(_part(part))
        if part["name"] == "batch":
            pieces += [f"![{name}](../bench/results/{name})\n" for name in plots if name != "throughput.svg"]
    options = ", ".join(f"`{name}={value}`" for name, value in report["conditions"]["postgres_options"].items())
    pieces.append(_CAVEATS.format(options=options))
    return "\n".join(pieces)


def _conditions(conditions: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in conditions["versions"].items())
    plan = conditions["plan"]
    return (
        "| | |\n|---|---|\n"
        f"| date | {conditions['date']} |\n"
        f"| machine | {conditions['machine']}, {conditions['cores']} cores, {conditions['memory_gb']} GiB, "
        f"{conditions['system']}; load average before the run {conditions['load_before']} |\n"
        f"| disk | {conditions['sync_ms']:.2f} ms for a page written and synced |\n"
        f"| versions | {versions} |\n"
        f"| load | {conditions['generator']}, one thread; the open loop is `bench/open_loop.py` |\n"
        f"| rounds | {plan['rounds']} of {plan['seconds']:g} s, each after {plan['warm_seconds']:g} s of warming up |\n"
    )


def _elsewhere(measured: Mapping[str, Any], machine: str) -> str:
    return "" if measured.get("machine", machine) == machine else " (on another machine, see *Every round*)"


def _goals(scenarios: Sequence[Mapping[str, Any]], machine: str) -> str:
    rows = [
        [
            measured["what"] + _elsewhere(measured, machine),
            goal["text"],
            f"{goal['value']:.2f}",
            "met" if goal["met"] else "**not met**",
        ]
        for measured in scenarios
        for goal in measured["goals"]
    ]
    return "## Goals\n\n" + _table(["scenario", "goal", "measured", ""], rows)


def _figures(scenarios: Sequence[Mapping[str, Any]], machine: str) -> str:
    rows = []
    for measured in scenarios:
        medians = measured["medians"]
        for side in sides_of(medians):
            named = f"direct, pool of {measured['pool_size']}" if side == "direct" else side
            figures = [medians.get(f"{side}_{name}") for name in ("rate", "p50_ms", "p90_ms", "p99_ms", "max_ms")]
            share = medians.get(f"{side}_refused_share")
            refused = "" if not share else f"{share:.0%}"
            name = measured["name"] + _elsewhere(measured, machine)
            rows.append([name, named, *(written(figure) for figure in figures), refused])
    headings = ["scenario", "side", "answers/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "refused"]
    return "## Figures\n\nMedians of the rounds.\n\n" + _table(headings, rows)


def _rounds(scenarios: Sequence[Mapping[str, Any]], machine: str) -> str:
    rows = []
    for measured in scenarios:
        goal = measured["goals"][0]
        values = ", ".join(f"{figures[goal['figure']]:.2f}" for figures in measured["rounds"])
        sweep = ", ".join(f"{size}: {rate:,.0f}" for size, rate in measured["sweep"].items())
        stolen = ", ".join(f"{share:.0%}" for share in stolen_shares(measured["rounds"]))
        at = measured["measured_at"] + (f", on {measured['machine']}" if _elsewhere(measured, machine) else "")
        rows.append([measured["name"], goal["text"], values, stolen, sweep, at])
    sweeps = "direct by pool size, short runs, answers/s"
    headings = ["scenario", "first goal", "each round", "taken by the host", sweeps, "measured"]
    return "### Every round\n\n" + _table(headings, rows)


def _part(part: Mapping[str, Any]) -> str:
    rows = [[written(cell) for cell in row] for row in part["rows"]]
    notes = "\n".join(part["notes"])
    return f"### {part['title']}\n\n{_table(part['columns'], rows)}\n{notes} Measured {part['measured_at']}.\n"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"
