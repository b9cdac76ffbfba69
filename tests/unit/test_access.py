"""The keys that a gateway knows: what it answers while it cannot read them, and that they never go stale unseen."""

import asyncio
import signal
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from gateway import access
from gateway.access import Access, ApiKey, Scope, make_token
from shared.errors import Unauthenticated, Unavailable
from shared.ids import new_id


class Table:
    """What is in the table of keys, as far as it can be read."""

    def __init__(self) -> None:
        self.keys: list[ApiKey] = []
        self.error: Exception | None = None

    async def load(self) -> Sequence[ApiKey]:
        if self.error:
            raise self.error
        return self.keys

    def add(self, expires_in_seconds: float | None = None) -> str:
        """Add a key; returns the header that carries it."""
        key_id = new_id()
        token, digest = make_token(key_id)
        expires_at = expires_in_seconds and datetime.now(UTC) + timedelta(seconds=expires_in_seconds)
        self.keys = [*self.keys, ApiKey(key_id, "a shop", digest, frozenset({Scope.READ}), expires_at or None)]
        return f"Bearer {token}"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "REFRESH_AGAIN_SECONDS", 0.0)


async def test_key_that_was_never_seen_while_the_table_cannot_be_read__is_asked_to_come_again() -> None:
    table = Table()
    seen = table.add()
    keys = Access(table.load)
    assert await keys.caller(seen, Scope.READ)
    new, table.error = table.add(), OSError("away")

    for _ in range(2):
        with pytest.raises(Unavailable):
            await keys.caller(new, Scope.READ)
    assert keys.known_caller(new, Scope.READ) is None
    assert await keys.caller(seen, Scope.READ) == keys.known_caller(seen, Scope.READ)
    for wrong in ("Bearer x", f"{seen}x"):  # no table is needed to know that
        with pytest.raises(Unauthenticated):
            await keys.caller(wrong, Scope.READ)

    table.error = None
    assert await keys.caller(new, Scope.READ)
    table.keys = []
    assert keys.known_caller(new, Scope.READ)
    with pytest.raises(Unauthenticated):
        await keys.caller(f"Bearer {make_token(new_id())[0]}", Scope.READ)


async def test_key_that_expires_after_it_was_read__is_refused_on_both_ways() -> None:
    table = Table()
    header = table.add(expires_in_seconds=-0.001)
    keys = Access(table.load)

    with pytest.raises(Unauthenticated):
        await keys.caller(header, Scope.READ)
    assert keys.known_caller(header, Scope.READ) is None


async def test_refresh_that_breaks__ends_the_process_in_order() -> None:
    table, told_to_stop = Table(), asyncio.Event()
    table.error = RuntimeError("a defect")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_stop.set)
    try:
        async with asyncio.timeout(5), Access(table.load).running():
            await told_to_stop.wait()
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
