"""The OpenAPI document against the running service: schemathesis makes requests of it and checks every answer.

All of its checks are on: no 5xx, no undocumented status, header, media type or field, nothing accepted that the
document forbids, nothing refused that it allows. What it cannot know is in `schemathesis_hooks.py`.
"""

import asyncio
import os
import re
import sys
from pathlib import Path

from devstack.process import PROJECT_DIR
from tests.service import Client, Service

HERE = Path(__file__).parent
REQUESTS_MIN = 600  # a run that tested next to nothing must not pass


async def test_everything_the_document_allows_and_forbids__is_answered_as_it_says(
    client: Client, service: Service, tmp_path: Path
) -> None:
    known = [await history(client) for _ in range(5)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")),
        *("run", f"{service.url}/openapi.json", "--checks", "all", "--request-timeout", "20"),
        *("--continue-on-failure", "--no-color", "--output-truncate", "false"),
        cwd=tmp_path,
        env={
            **os.environ,
            "KNOWN": " ".join(known),
            "PYTHONPATH": str(PROJECT_DIR),
            "SCHEMATHESIS_HOOKS": "tests.acceptance.schemathesis_hooks",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    said = output.decode()
    assert process.returncode == 0, said
    generated = re.search(r"(\d+) generated", said)
    assert generated, said
    assert int(generated[1]) >= REQUESTS_MIN, said
    for gateway in service.gateways.values():
        assert '"event":"defect"' not in gateway.log_path.read_text()


async def history(client: Client) -> str:
    """Make a wallet with money and a history; returns its id, an operation of it, and a cursor."""
    wallet_id = await client.create_wallet()
    deposited = await client.deposit(wallet_id, "1000.00")
    await client.deposit(wallet_id, "1.00")
    await client.withdraw(wallet_id, "5000.00")
    page = await client.get(f"/api/v1/wallets/{wallet_id}/operations?limit=1")
    return f"{wallet_id}/{deposited.body['operation']['id']}/{page.body['next_cursor']}"
