"""The order of one wallet's operations around a 202: promised through one gateway, and through several to who waits."""

import asyncio
from typing import Any
from uuid import UUID

from shared.commands import operation_id_of_key
from tests.faults.checker import until_decided
from tests.faults.ground import Ground, assert_applied, start
from tests.faults.proxy import Cut, Proxy
from tests.service import Answer, Client
from tests.waiting import until


async def accepted_by_the_first(ground: Ground, proxy: Proxy, wallet_id: str, client: Client) -> "asyncio.Task[Any]":
    """Have the first gateway answer 202 to a deposit of 1.00 whose fate it does not know: its way to Redis is cut.

    Returns the task of a client that waits until the deposit is decided.
    """
    proxy.cut_at(b"wallet_submit", Cut.BEFORE)
    first = ground.witness.deposit(client, wallet_id, "1.00", prefer="wait=0", follow=[client])
    following = start(first)
    await proxy.fired.wait()
    proxy.hold()

    async def is_accepted() -> bool:
        """The deposit was answered with a 202."""
        return any(told.answer is not None and told.answer.status == 202 for told in ground.witness.told)

    await until(is_accepted)
    return following


def seq(answer: Answer | None) -> int:
    assert answer is not None
    return int(answer.body["operation"]["seq"])


async def test_later_operation_through_the_same_gateway__stays_behind_one_that_got_a_202(
    ground: Ground, redis_proxy: Proxy
) -> None:
    client = await ground.ready_with(gateway={"REDIS_URL": redis_proxy.redis_url}, worker={})
    wallet_id = await client.create_wallet()

    following = await accepted_by_the_first(ground, redis_proxy, wallet_id, client)
    later = start(ground.witness.deposit(client, wallet_id, "2.00", key="later"))
    path = f"/api/v1/wallets/{wallet_id}/operations/{operation_id_of_key(UUID(wallet_id), '', 'later')}"

    async def is_held() -> bool:
        """The gateway has the later one, too."""
        return (await client.get(path)).status == 200

    await until(is_held)
    redis_proxy.flow()

    assert_applied(await later, "3.00")
    assert seq(await later) == 2
    await following
    await ground.check_books()


async def test_later_operation_through_another_gateway__may_pass_one_that_got_a_202_and_both_happen_once(
    ground: Ground, redis_proxy: Proxy
) -> None:
    client = await ground.ready_with(gateway={"REDIS_URL": redis_proxy.redis_url}, worker={})
    ground.service.start_gateway("second")
    await ground.service.wait_ready()
    wallet_id, second = await client.create_wallet(), ground.client("second")

    following = await accepted_by_the_first(ground, redis_proxy, wallet_id, client)
    later = await ground.witness.deposit(second, wallet_id, "2.00")
    redis_proxy.flow()

    assert_applied(later, "2.00")
    assert seq(later) == 1
    decided = await until_decided([client, second], await following)
    assert (decided.body["status"], decided.body["seq"], decided.body["balance"]) == ("APPLIED", 2, "3.00")
    # Who waited until it was decided comes after it, through whatever gateway.
    assert seq(await ground.witness.deposit(second, wallet_id, "4.00")) == 3
    await ground.check_books()
