"""The audit of the pinned versions in CI: a finding is red, and what could not be asked about is never called clean."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devstack.process import PROJECT_DIR

CLEAN = {"name": "orjson", "version": "3.0", "vulns": []}
FLAWED = {"name": "redis", "version": "5.3", "vulns": [{"id": "PYSEC-1", "fix_versions": ["5.4", "6.0"]}]}
UNKNOWN = {"name": "uvloop", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A stand-in for pip-audit, to be written by the test."""
    return tmp_path / "pip-audit"


def audit(program: Path, *lines: str, seconds_max: float = 60) -> "subprocess.CompletedProcess[str]":
    """Run the audit with a pip-audit that is a shell script of these lines."""
    if lines:
        program.write_text("\n".join(("#!/bin/sh", *lines)))
        program.chmod(0o755)
    environment = {**os.environ, "PIP_AUDIT": str(program), "AUDIT_SECONDS_MAX": str(seconds_max)}
    command = [sys.executable, str(PROJECT_DIR / ".ci" / "audit.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)


def reporting(*packages: dict[str, Any], code: int = 0) -> tuple[str, ...]:
    return ("cat <<'END'", json.dumps({"dependencies": packages}), "END", f"exit {code}")


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ((CLEAN,), 0, ["ci: pip-audit knows nothing against 1 packages"]),
        ((CLEAN, FLAWED), 1, ["ci: pip-audit FOUND PYSEC-1 in redis 5.3; fixed in 5.4, 6.0"]),
        (
            (UNKNOWN, UNKNOWN),
            0,
            ["ci: pip-audit could not audit 2 of 2 packages, uvloop first: Dependency not found on PyPI"],
        ),
        (
            (CLEAN, UNKNOWN),
            0,
            [
                "ci: pip-audit knows nothing against 1 packages",
                "ci: pip-audit could not audit 1 of 2 packages, uvloop first: Dependency not found on PyPI",
            ],
        ),
    ],
)
def test_report__is_told_as_it_is(
    program: Path, packages: tuple[dict[str, Any], ...], code: int, said: list[str]
) -> None:
    done = audit(program, *reporting(*packages, code=code))

    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (code, said, "")


def test_sources_that_cannot_be_reached__are_said_and_fail_nothing(program: Path) -> None:
    done = audit(program, "echo 'ERROR: no connection to the feed' >&2", "exit 1")

    assert done.returncode == 0
    assert done.stdout == "ci: pip-audit could not audit anything: ERROR: no connection to the feed\n"


def test_program_that_is_not_there_or_does_not_end__is_said_and_fails_nothing(program: Path) -> None:
    missing = audit(program)
    assert missing.returncode == 0
    assert missing.stdout.startswith("ci: pip-audit could not audit anything, it cannot be run: ")
    assert len(missing.stdout.splitlines()) == 1

    slow = audit(program, "exec tail -f /dev/null", seconds_max=0.5)
    assert (slow.returncode, slow.stdout) == (0, "ci: pip-audit could not audit anything: it took longer than 0.5 s\n")
