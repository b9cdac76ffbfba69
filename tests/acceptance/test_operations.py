"""The promises of the operation endpoint, over real HTTP against real processes."""

import asyncio

from tests.service import Client


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


async def test_thousand_parallel_deposits_on_a_new_wallet__exact_and_gapless(client: Client) -> None:
    wallet_id = await client.create_wallet()

    answers = await asyncio.gather(*(client.deposit(wallet_id, "0.01") for _ in range(1000)))

    assert {answer.status for answer in answers} == {200}
    assert await client.balance(wallet_id) == "10.00"
    assert [item["seq"] for item in await client.history(wallet_id)] == list(range(1000, 0, -1))
