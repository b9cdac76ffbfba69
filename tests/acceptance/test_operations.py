"""The promises of the operation endpoint, over real HTTP against real processes."""

import asyncio
import resource
import subprocess
import sys

from devstack.process import PROJECT_DIR
from tests.service import Client, Service


def allow_descriptors(least: int) -> None:
    """Let this process open so many files and connections: some systems allow 1024 unless asked."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now != resource.RLIM_INFINITY and now < least:
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))


async def test_deposit_and_withdraw__answer_is_the_wallet_right_after(client: Client) -> None:
    wallet_id = await client.create_wallet()

    deposited = await client.deposit(wallet_id, 1000.50)
    assert deposited.status == 200
    assert deposited.body["balance"] == "1000.50"
    assert deposited.body["operation"]["seq"] == 1
    withdrawn = await client.withdraw(wallet_id, "0.50")
    assert (withdrawn.status, withdrawn.body["balance"]) == (200, "1000.00")

    assert await client.balance(wallet_id) == "1000.00"


async def test_forty_parallel_withdrawals__ten_are_covered_and_ten_are_paid(client: Client) -> None:
    wallet_id = await client.create_wallet()
    await client.deposit(wallet_id, 1000)

    answers = await asyncio.gather(*(client.withdraw(wallet_id, 100) for _ in range(40)))

    assert sorted(answer.status for answer in answers) == [200] * 10 + [400] * 30
    assert {answer.code for answer in answers if answer.status == 400} == {"insufficient_funds"}
    assert await client.balance(wallet_id) == "0.00"


async def test_thousand_parallel_deposits_on_a_new_wallet__exact_and_gapless(client: Client, service: Service) -> None:
    wallet_id = await client.create_wallet()
    allow_descriptors(4096)
    many = Client(service.url, connections_max=1000)

    answers = await asyncio.gather(*(many.deposit(wallet_id, "0.01") for _ in range(1000)))

    assert {answer.status for answer in answers} == {200}
    assert many.connections == 1000  # each had one of its own: none waited for another's
    await many.close()
    assert await client.balance(wallet_id) == "10.00"
    assert [item["seq"] for item in await client.history(wallet_id)] == list(range(1000, 0, -1))


def test_system_that_allows_few_descriptors_unless_asked__is_asked() -> None:
    script = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from gateway.listener import listen
from shared.settings import GatewaySettings
listen(GatewaySettings(port=0)).close()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    allowed = subprocess.check_output([sys.executable, "-c", script], cwd=PROJECT_DIR, text=True)

    assert int(allowed) >= 4096
