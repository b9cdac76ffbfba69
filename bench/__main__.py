"""`python -m bench`: measure the service beside what people would use instead, and say which goals are met."""

import argparse
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench import batch, cluster, cost, fairness, memory, overload, redis_bytes, report, scenarios
from bench import plan as plans
from bench.measures import MEASURES, Bench, with_seconds
from bench.part import Part
from bench.screen import Screen
from bench.stack import Stack
from devstack.errors import StackError
from shared import logs
from shared.settings import Settings

PARTS: dict[str, Callable[[Bench], Part]] = {
    "cost": cost.measure,
    "redis-bytes": redis_bytes.measure,
    "batch": batch.measure,
    "memory": memory.measure,
    "overload": overload.measure,
    "fairness": fairness.measure,
    "cluster": cluster.measure,
}
NAMES = (*(scenario.name for scenario in scenarios.SCENARIOS), *PARTS)


def arguments_of(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of the first three, under a minute")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=NAMES, default=[], help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, help="rounds of each scenario")
    parser.add_argument("--seconds", type=float, help="length of one measurement")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    parser.add_argument("--save", action="store_true", help="keep the results, though not everything is measured")
    arguments = parser.parse_args(argv)
    if arguments.quick and arguments.save:
        parser.error("--quick is for the eye: its rounds are too short to be kept")
    return arguments


def plan_of(arguments: argparse.Namespace) -> plans.Plan:
    """Return how long and how often."""
    plan = plans.QUICK if arguments.quick else plans.FULL
    if arguments.seconds:
        plan = with_seconds(plan, arguments.seconds)
    return replace(plan, rounds=arguments.rounds) if arguments.rounds else plan


def measure(names: list[str], plan: plans.Plan, screen: Screen) -> dict[str, Any]:
    """Run the scenarios of these names over a stack of their own and return the report."""
    measured: dict[str, Any] = {"scenarios": [], "parts": []}
    chosen = [scenario for scenario in scenarios.SCENARIOS if scenario.name in names]
    parts = [name for name in PARTS if name in names]
    with screen.running():
        if chosen:
            with Stack() as stack:
                measured["conditions"] = report.conditions(stack, plan)
                screen.conditions(measured["conditions"])
                for scenario in chosen:
                    screen.begin(scenario.name)
                    result = MEASURES[scenario.kind](Bench(stack, plan, screen.tell), scenario)
                    measured["scenarios"].append(report.judged(scenario, result))
                    screen.scenario(measured["scenarios"][-1])
        if parts:
            with Stack(with_statements=True) as stack:
                if not chosen:
                    measured["conditions"] = report.conditions(stack, plan)
                    screen.conditions(measured["conditions"])
                for name in parts:
                    screen.begin(name)
                    part = PARTS[name](Bench(stack, plan, screen.tell))
                    measured["parts"].append(report.told(part))
                    screen.part(part.name, part.said)
    return measured


def main(argv: list[str]) -> int:
    """Run, and return 0 whether or not the goals are met: that is for the reader to judge."""
    arguments = arguments_of(argv)
    names = arguments.only or (scenarios.QUICK if arguments.quick else NAMES)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logs.configure(Settings.load().model_copy(update={"log_level": "warning"}), "bench")
    try:
        measured = measure(list(names), plan_of(arguments), screen := Screen())
    except StackError as error:
        sys.stderr.write("\n".join([str(error), *error.log_tail, ""]))
        return 1
    except KeyboardInterrupt:
        return 130
    if arguments.save or (set(names) == set(NAMES) and not arguments.quick):
        report.save(measured)
    else:
        report.keep(measured)
    if arguments.json:
        print(json.dumps(measured, indent=1))
    else:
        screen.table(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
