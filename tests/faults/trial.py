"""One trial: a service under load, one fault, and what the checker finds afterwards."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from devstack.cluster import Cluster
from devstack.postgres import Postgres
from devstack.redis import Redis
from tests.faults.checker import Lost, Witness, find_violations, unseen_statuses, wrong_statuses
from tests.faults.ground import Ground, ground_over
from tests.faults.load import Load, Shape
from tests.faults.scenario import Pace, Scenario

IMPATIENT = "wait=1"  # who waits long sends little, and fills nothing; nor is it told a 202


@dataclass(frozen=True, slots=True)
class Form:
    """How long and how hard: the long form is `python -m tests.faults.run`, the short one a test."""

    pace: Pace
    shape: Shape
    seconds_before: float  # of load, before the fault
    seconds_after: float
    prefer_where_202: str | None = None  # shortens the wait where a 202 is allowed
    environment: Mapping[str, str] = field(default_factory=dict)
    small_queues: Mapping[str, str] = field(default_factory=dict)  # the environment of a scenario that has them


LONG = Form(
    Pace(),
    Shape(),
    seconds_before=3.0,
    seconds_after=5.0,
    small_queues={"WALLET_QUEUE_MAX": "20", "PARTITION_QUEUE_MAX": "22", "HELD_COMMANDS_MAX": "300"},
)
SHORT = Form(
    Pace(factor=0.1, rounds=1, statements=5),
    Shape(clients=24, cold_wallets=60, unwaiting_share=0.15, pause_seconds=0.02),
    seconds_before=0.3,
    seconds_after=0.4,
    prefer_where_202="wait=1",
    # A frozen worker is frozen for a second only.
    environment={"SESSION_TIMEOUT_SECONDS": "0.6", "HEARTBEAT_SECONDS": "0.2"},
    small_queues={"WALLET_QUEUE_MAX": "2", "PARTITION_QUEUE_MAX": "5", "HELD_COMMANDS_MAX": "30"},
)


@dataclass(frozen=True, slots=True)
class Result:
    """What clients were told during one fault, and every promise that was broken."""

    scenario: Scenario
    sent: int
    statuses: Counter[str]
    stall_seconds: float
    violations: list[str]

    @property
    def is_too_slow(self) -> bool:
        """Whether somebody waited longer than the fault may make them wait."""
        limit = self.scenario.stall_seconds_max
        return limit is not None and self.stall_seconds > limit


@asynccontextmanager
async def open_ground(folder: Path, form: Form, *, on_cluster: bool = False) -> AsyncIterator[Ground]:
    """Start stores of one's own, as in production; what is started here ends here."""
    postgres = Postgres(folder / "postgres")
    redis = Cluster(folder / "cluster") if on_cluster else Redis(folder / "redis")
    try:
        await asyncio.gather(asyncio.to_thread(postgres.start), asyncio.to_thread(redis.start))
        async with ground_over(postgres, redis, postgres.database, folder / "logs", form.environment) as ground:
            yield ground
    finally:
        redis.kill()
        postgres.kill()


async def run_trial(ground: Ground, scenario: Scenario, form: Form) -> Result:
    """Break one thing under load, let the load end, heal what is still broken, and check the books."""
    small = form.small_queues if scenario.has_small_queues else {}
    await ground.configure({**form.environment, **small})
    await ground.heal(scenario.gateways, scenario.workers)
    witness = Witness()
    prefer = (
        IMPATIENT if small or scenario.follows_202s else form.prefer_where_202 if 202 in scenario.statuses else None
    )
    unwaiting_share = form.shape.unwaiting_share if scenario.keeps_order_of_202s else 0.0
    shape = replace(form.shape, unwaiting_share=unwaiting_share, follows_202s=scenario.follows_202s)
    load = Load(witness, list(ground.service.urls.values()), shape, scenario.id, prefer)
    async with load.running():
        await asyncio.sleep(form.seconds_before)
        await scenario.act(ground, form.pace)
        await asyncio.sleep(form.seconds_after)
    await ground.heal(scenario.gateways, scenario.workers)
    found = wrong_statuses(
        witness.told, scenario.statuses, is_queue_away=scenario.is_queue_away
    ) + await find_violations(witness, ground.settings)
    found += unseen_statuses(witness.told, scenario.seen)
    waits = [told.answered_at - told.sent_at for told in witness.told if told.answer]
    return Result(scenario, len(witness.told), _statuses(witness), max(waits, default=0.0), found)


def _statuses(witness: Witness) -> Counter[str]:
    words = {Lost.BROKEN: "broken", Lost.LEFT: "left", Lost.UNREACHED: "unreached"}
    statuses: Counter[str] = Counter()
    for told in witness.told:
        if told.answer is None:
            statuses[words[told.lost]] += 1
        else:
            is_asked_for = not told.waits and told.answer.status in {202, 503}
            statuses[f"{told.answer.status} at once" if is_asked_for else str(told.answer.status)] += 1
    return statuses
