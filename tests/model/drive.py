"""Drives the state machine against a service at an address: how many examples, how long each, and which seed."""

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import get_state_machine_test

from tests.model.asking import Target
from tests.model.document import Document
from tests.model.machine import Machine
from tests.model.settling import AT_ONCE_MAX
from tests.model.wire import Request, Wire

STEPS = 50  # in one example, whose wallets are its own


@contextlib.contextmanager
def target_at(url: str) -> Iterator[Target]:
    """Open connections to a service and read its OpenAPI document."""
    address = urlsplit(url)
    wires = [Wire(address.hostname or "", address.port or 80) for _ in range(AT_ONCE_MAX)]
    try:
        yield Target(Document(wires[0].ask(Request("GET", "/openapi.json")).body), wires)
    finally:
        for wire in wires:
            wire.close()


def drive(target: Target, examples: int, number: int, *, shortens: bool) -> None:
    """Run so many examples of seed `number`; raises what a disagreement raised.

    `shortens` looks for the least steps that bring it, which may take minutes.
    """
    machine = type("Machine", (Machine,), {"target": target})
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink) if shortens else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.normal,
        print_blob=False,
    )
    seed(number)(get_state_machine_test(machine, settings=chosen))()
