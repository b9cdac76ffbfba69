"""API keys while a gateway cannot read them: who is known is served, and nobody's valid key is called invalid."""

import json

from devstack import ports
from tests.faults.ground import Ground
from tests.faults.proxy import Proxy
from tests.service import Answer
from tests.waiting import until


async def test_valid_key_that_a_gateway_without_postgres_never_saw__503_until_it_can_be_read(
    ground: Ground, postgres_proxy: Proxy
) -> None:
    client = await ground.ready_with(gateway={"AUTH": "required", "POSTGRES_PORT": str(postgres_proxy.port)}, worker={})

    def make() -> str:
        made = ground.service.keys("create", "--name", "a shop", "--scope", "admin", "--json")
        return f"Bearer {json.loads(made.stdout)['key']}"

    async def deposit(key: str) -> Answer:
        return await client.deposit(wallet_id, 1, Authorization=key)

    known = make()
    wallet_id = (await client.request("POST", "/api/v1/wallets", Authorization=known)).body["id"]
    postgres_proxy.target_port = ports.pick_free()  # nobody is there
    postgres_proxy.cut()
    new = make()

    refused = await deposit(new)
    assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "unavailable", "1")
    assert "WWW-Authenticate" not in refused.headers
    assert (await deposit(known)).status == 200
    assert (await deposit("Bearer nonsense")).status == 401

    postgres_proxy.target_port = ground.postgres.port

    async def is_let_in() -> bool:
        answer = await deposit(new)
        assert answer.status in {200, 503}, answer
        return answer.status == 200

    await until(is_let_in)
