"""Asks whether a version in constraints.txt is known to be vulnerable, with pip-audit in an environment of its own.

Exit code 1 for a finding and for nothing else. What could not be asked about is said in one line, and never taken for
clean. PIP_AUDIT names the program where it is installed already.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SECONDS_MAX = float(os.environ.get("AUDIT_SECONDS_MAX", "60"))
PROJECT = Path(__file__).resolve().parent.parent
ENVIRONMENT = PROJECT / "build" / "audit"
OPTIONS = ("-r", "constraints.txt", "--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off")


def say(line: str) -> None:
    sys.stdout.write(f"ci: pip-audit {line}\n")


def run(command: Sequence[str | Path], ends: float) -> "subprocess.CompletedProcess[str]":
    """Run a command of the project until it, or the time, ends; raises TimeoutExpired."""
    left = max(ends - time.monotonic(), 0.1)
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=left)  # noqa: S603


def program(ends: float) -> Path:
    """Return where pip-audit is, installed if need be; raises OSError with the reason why it cannot be."""
    if named := os.environ.get("PIP_AUDIT"):
        return Path(named)
    found = ENVIRONMENT / "bin" / "pip-audit"
    steps = (
        (sys.executable, "-m", "venv", ENVIRONMENT),
        (found.with_name("python"), "-m", "pip", "install", "pip-audit"),
    )
    for command in () if found.exists() else steps:
        done = run(command, ends)
        if done.returncode:
            raise OSError(last_line(done.stderr or done.stdout))
    return found


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1][:200]


def judge(report: dict[str, Any]) -> int:
    """Say what is known of the packages of a report; returns the exit code."""
    asked = [package for package in report["dependencies"] if "skip_reason" not in package]
    skipped = [package for package in report["dependencies"] if "skip_reason" in package]
    found = [(package, flaw) for package in asked for flaw in package["vulns"]]
    for package, flaw in found:
        fixed = ", ".join(flaw["fix_versions"]) or "no version yet"
        say(f"FOUND {flaw['id']} in {package['name']} {package['version']}; fixed in {fixed}")
    if asked and not found:
        say(f"knows nothing against {len(asked)} packages")
    if skipped:
        why = skipped[0]["skip_reason"]
        say(
            f"could not audit {len(skipped)} of {len(asked) + len(skipped)} packages, {skipped[0]['name']} first: {why}"
        )
    return 1 if found else 0


def main() -> int:
    """Audit within the time that there is."""
    ends = time.monotonic() + SECONDS_MAX
    try:
        done = run((program(ends), *OPTIONS), ends)
        report = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        say(f"could not audit anything: it took longer than {SECONDS_MAX:g} s")
    except OSError as error:
        say(f"could not audit anything, it cannot be run: {error}")
    except ValueError:
        say(f"could not audit anything: {last_line(done.stderr)}")
    else:
        return judge(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
