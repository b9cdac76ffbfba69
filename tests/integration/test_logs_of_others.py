"""Whoever writes in a process of the service writes JSON lines: libraries, warnings, threads, Python itself."""

import asyncio
import json
import os
import sys
from typing import Any

from devstack.process import PROJECT_DIR


async def lines_of_noise(log_format: str) -> tuple[list[str], str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.noisy_process"),
        cwd=PROJECT_DIR,
        env={**os.environ, "LOG_FORMAT": log_format},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode == 1
    return out.decode().splitlines(), err.decode()


async def test_everything_that_goes_wrong__is_a_line_of_json_without_the_values_of_rows() -> None:
    written, err = await lines_of_noise("json")

    lines: list[dict[str, Any]] = [json.loads(line) for line in written]
    assert err == ""
    assert all(line["process"] == "noisy" and line["timestamp"] and line["level"] for line in lines)
    assert [(line.get("logger"), line["level"]) for line in lines] == [
        ("asyncio", "error"),
        ("aiohttp.server", "error"),
        ("opentelemetry.sdk", "warning"),
        ("opentelemetry.sdk", "warning"),
        ("some.library", "error"),
        ("py.warnings", "warning"),
        (None, "error"),
        (None, "error"),
        (None, "critical"),
    ]
    assert lines[1]["event"] == "Error handling request\nfrom somewhere"
    assert "Refused" in lines[0]["exception"]
    assert lines[-1]["event"] == "the process ends by a defect"
    assert "a row violates a check" in lines[-1]["exception"]
    for secret in ("4711", "secret", "Failing row"):
        assert secret not in "".join(written)


async def test_for_people__the_same_is_told_in_lines_without_the_values_of_rows() -> None:
    written, err = await lines_of_noise("console")

    assert err == ""
    text = "\n".join(written)
    for said in ("Error handling request", "of a level of its own", "the process ends by a defect"):
        assert said in text
    assert "4711" not in text
