"""The inspector as an operator calls it: a command line in, an exit code and what was written out."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from inspector.__main__ import app
from inspector.options import fill_in_watch
from shared.settings import Settings


def note(folder: Path, stores: dict[str, Any]) -> None:
    """Leave the note that a running `make up` leaves."""
    environment = {name.upper(): str(value) for name, value in stores.items()}
    folder.mkdir()
    (folder / "stack.json").write_text(json.dumps({"gateway_url": "http://127.0.0.1:1", "environment": environment}))


@dataclass(frozen=True, slots=True)
class Said:
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> Sequence[str]:
        return self.out.splitlines()


@dataclass(frozen=True, slots=True)
class Inspector:
    """Runs commands against given stores, in this process but on a loop of their own."""

    settings: Settings

    async def __call__(self, *arguments: str) -> Said:
        environment = {
            "POSTGRES_HOST": self.settings.postgres_host,
            "POSTGRES_PORT": str(self.settings.postgres_port),
            "POSTGRES_USER": self.settings.postgres_user,
            "POSTGRES_DB": self.settings.postgres_db,
            "REDIS_URL": self.settings.redis_url.get_secret_value(),
            "REDIS_CLUSTER": str(self.settings.redis_cluster).lower(),
        }
        words = fill_in_watch(arguments)
        result = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    async def read(self, *arguments: str) -> Any:
        """Return what a command says with `--json`, whatever its exit code."""
        return (await self(*arguments, "--json")).json

    async def check(self, name: str) -> dict[str, Any]:
        """Return what the doctor says of one invariant."""
        checks = {one["name"]: one for one in (await self.read("doctor"))["checks"]}
        found: dict[str, Any] = checks[name]
        return found
