"""The long form before a million waiting wallets, `make inspector-scale`, in small: that it runs, and is right."""

from pathlib import Path

import pytest

from devstack.postgres import Postgres
from devstack.redis import Redis
from tests import inspector_scale

WALLETS = 3_000
COMMANDS = ("overview", "partitions", "workers", "wallet", "oldest", "operation", "dead list", "doctor")


def test_every_listing_command__sees_all_that_waits_and_says_what_it_cost(
    own_redis: Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    postgres = Postgres(tmp_path / "own-postgres", options={"fsync": "off"})
    postgres.start()
    try:
        inspector_scale.measure(postgres, own_redis, WALLETS)
    finally:
        postgres.stop()

    told = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{WALLETS:,} wallets wait since") for line in told)
    assert [command for command in COMMANDS if not any(line.startswith(command) for line in told)] == []
