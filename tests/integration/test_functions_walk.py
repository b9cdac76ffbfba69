"""Any submits, claims, finishes and losses, in any order: the streams stay whole and no wallet is forgotten."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import keys
from shared.messages import Claim
from tests.commands import deposit, wallet_in
from tests.integration.stage import MANY, PARTITIONS, P, Stage, in_order

WALLETS = [wallet_in(P, PARTITIONS) for _ in range(3)]

steps = st.one_of(
    st.tuples(st.just("submit"), st.lists(st.integers(0, 2), min_size=1, max_size=6)),
    st.tuples(st.just("claim"), st.integers(0, 1), st.integers(1, 3), st.integers(1, 4)),
    st.tuples(st.just("finish"), st.integers(0, 1)),  # again and again, also long after another owner went on
    st.tuples(st.just("bury"), st.integers(0, 2)),
    st.tuples(st.just("lose a ready message"), st.integers(0, 2)),
    st.tuples(st.just("lose the library")),
)


class Walk:
    """What should be in Redis after any steps, kept as plain lists."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.waiting: dict[UUID, list[str]] = {wallet_id: [] for wallet_id in WALLETS}
        self.given_out: list[str] = []
        self.claims: dict[int, list[Claim]] = {0: [], 1: []}

    async def submit(self, indexes: list[int]) -> None:
        commands = [deposit(WALLETS[index]) for index in indexes]
        ids = await self.stage.submit(*commands)
        for command, message_id in zip(commands, ids, strict=True):
            self.waiting[command.wallet_id].append(message_id)
        self.given_out += ids

    async def claim(self, owner: int, wallets_max: int, messages_max: int) -> None:
        self.claims[owner] = await self.stage.claim(wallets_max=wallets_max, messages_max=messages_max)
        for claim in self.claims[owner]:
            ids = [message.id for message in claim.messages]
            assert ids == self.waiting[UUID(claim.wallet)][: len(ids)], "a claim is the head of the queue, in order"

    async def finish(self, owner: int) -> None:
        await self.stage.finish(*self.claims[owner])
        for claim in self.claims[owner]:
            claimed = {message.id for message in claim.messages}
            waiting = self.waiting[UUID(claim.wallet)]
            waiting[:] = [message_id for message_id in waiting if message_id not in claimed]

    async def bury(self, index: int) -> None:
        waiting = self.waiting[WALLETS[index]]
        if waiting:
            middle = waiting.pop(len(waiting) // 2)
            await self.stage.streams.bury(P, str(WALLETS[index]), middle, "the reason", MANY)

    async def lose_ready(self, index: int) -> None:
        if not self.waiting[WALLETS[index]]:
            return
        for ready_id, fields in await self.stage.client.xrange(keys.ready_stream(P)):
            if fields[b"wallet"] == str(WALLETS[index]).encode():
                await self.stage.client.xdel(keys.ready_stream(P), ready_id)
        await self.stage.restore(WALLETS[index])

    async def lose_library(self) -> None:
        await self.stage.client.execute_command("FUNCTION FLUSH")  # type: ignore[no-untyped-call]

    async def check(self) -> None:
        ready = await self.stage.ready()
        for wallet_id, waiting in self.waiting.items():
            assert await self.stage.messages(wallet_id) == waiting, "nothing lost, nothing twice, nothing out of order"
            assert str(wallet_id) in ready or not waiting, "a wallet stream that is not empty has a ready message"
        assert await self.stage.depth() == sum(map(len, self.waiting.values()))
        assert in_order(self.given_out)


@given(st.lists(steps, max_size=25))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_steps__nothing_is_lost_or_reordered_and_no_wallet_is_forgotten(
    stage: Stage, walk: list[tuple[Any, ...]]
) -> None:
    await stage.client.flushall()
    model = Walk(stage)
    does: dict[str, Callable[..., Awaitable[None]]] = {
        "submit": model.submit,
        "claim": model.claim,
        "finish": model.finish,
        "bury": model.bury,
        "lose a ready message": model.lose_ready,
        "lose the library": model.lose_library,
    }
    for name, *arguments in walk:
        await does[name](*arguments)
        await model.check()

    # Whatever happened: who claims and finishes on has everything settled, and leaves nothing behind.
    while await stage.ready():
        await model.claim(0, 3, 4)
        await model.finish(0)
        await model.check()
    assert await stage.keys() <= {keys.dead_stream(P)}
    assert await stage.depth() == 0
