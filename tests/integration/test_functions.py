"""The functions in Redis and their typed door, on Valkey and on Redis itself: nothing lost, nothing twice, in order."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from datetime import datetime
from uuid import uuid4

import pytest
import redis.exceptions

from devstack.redis import Redis
from shared import keys
from shared.codec import encode_command
from shared.commands import Operation, OperationType, Reply, Status
from shared.messages import START, Message
from shared.ready import ALONE_CLAIMS
from shared.streams import LIBRARY, LIBRARY_VERSION, Full, Submission
from tests.commands import EPOCH, deposit, said_in, wallet_in
from tests.integration.stage import MANY, PARTITIONS, P, Stage, in_order, streams_over
from tests.waiting import until


def test_functions__have_a_version_of_their_own() -> None:
    lines = [line.partition("--")[0].rstrip() for line in LIBRARY.splitlines()[1:]]
    code = "\n".join(line for line in lines if line and not line.startswith("local VERSION"))
    # Fails when the code has changed: raise VERSION, or no Redis that has the former one will ever load it.
    assert (LIBRARY_VERSION, hashlib.sha256(code.encode()).hexdigest()[:12]) == (9, "7ded2d8a4d56")


async def test_submit__messages_stand_in_the_order_given_as_they_were_written(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    commands = [deposit(wallet_id, amount, reply_to="{gw-a}:replies") for amount in (1, 2, 3)]

    ids = await stage.submit(*commands)

    entries = await stage.client.xrange(keys.wallet_stream(P, wallet_id))
    assert [message_id.decode() for message_id, _ in entries] == ids
    assert [fields for _, fields in entries] == [{b"command": encode_command(command)} for command in commands]


async def test_submit_to_many_partitions__answers_stand_in_the_order_of_the_commands(stage: Stage) -> None:
    wallets = [wallet_in(partition, PARTITIONS) for partition in (3, 0, 2, 1)]
    commands = [deposit(wallet_id) for wallet_id in wallets for _ in range(2)]
    commands = commands[::2] + commands[1::2]

    ids = await stage.submit(*commands)

    for command, message_id in zip(commands, ids, strict=True):
        stream = keys.wallet_stream(keys.partition_of(command.wallet_id, PARTITIONS), command.wallet_id)
        [(_, fields)] = await stage.client.xrange(stream, message_id, message_id)
        assert said_in(fields)["id"] == str(command.id)


async def test_key_that_is_no_stream__refuses_its_own_wallet_and_holds_up_nobody(stage: Stage) -> None:
    spoilt, other = wallet_in(P, PARTITIONS), wallet_in(P, PARTITIONS)
    await stage.client.set(keys.wallet_stream(P, spoilt), "made by hand")

    answers = await stage.streams.submit([deposit(spoilt), deposit(other)], MANY, MANY)
    assert answers[0] is Submission.NOT_A_STREAM
    assert isinstance(answers[1], str)

    # As if it had been a stream when it became ready.
    await stage.client.xadd(keys.ready_stream(P), {"wallet": str(spoilt)})
    claims = await stage.claim()
    assert [(claim.wallet, len(claim.messages)) for claim in claims] == [(str(other), 1), (str(spoilt), 0)]
    await stage.finish(*claims)
    assert await stage.ready() == []
    assert await stage.depth() == 0
    assert await stage.client.get(keys.wallet_stream(P, spoilt)) == b"made by hand"


@pytest.mark.parametrize("key", [keys.ready_stream(P), keys.meta(P)])
async def test_key_that_is_no_part_of_a_partition__refuses_that_partition_and_holds_up_no_other(
    stage: Stage, key: str
) -> None:
    spoilt, *others = [wallet_in(partition, PARTITIONS) for partition in (P, P - 1, P + 1)]
    await stage.client.set(key, "made by hand")

    answers = await stage.streams.submit([deposit(each) for each in (others[0], spoilt, others[1])], MANY, MANY)

    assert answers[1] is Submission.NOT_A_STREAM
    assert isinstance(answers[0], str)
    assert isinstance(answers[2], str)
    assert await stage.messages(spoilt) == []
    assert await stage.client.get(key) == b"made by hand"


async def test_ready_that_is_no_stream__nothing_joins_what_waits(stage: Stage) -> None:
    waiting, new = wallet_in(P, PARTITIONS), wallet_in(P, PARTITIONS)
    first = await stage.submit(deposit(waiting))
    await stage.client.set(keys.ready_stream(P), "made by hand")

    answers = await stage.streams.submit([deposit(waiting), deposit(new)], MANY, 1)

    assert answers == [Submission.NOT_A_STREAM, Submission.NOT_A_STREAM]
    assert (await stage.messages(waiting), await stage.messages(new)) == (first, [])


async def test_many_wallets_finished_at_once__no_stream_is_left(stage: Stage) -> None:
    wallets = [wallet_in(P, PARTITIONS) for _ in range(2_100)]
    await stage.submit(*map(deposit, wallets), partition_max=3_000)

    await stage.finish(*await stage.claim(wallets_max=3_000, messages_max=3_000))

    assert (await stage.keys(), await stage.ready(), await stage.depth()) == (set(), [], 0)


async def test_meta_that_is_no_hash__keeps_nothing_from_being_finished(stage: Stage) -> None:
    spoilt, other = wallet_in(P, PARTITIONS), wallet_in(P + 1, PARTITIONS)
    await stage.submit(deposit(spoilt), deposit(spoilt), deposit(other))
    claims = await stage.claim(P, P + 1, messages_max=2)
    await stage.client.set(keys.meta(P), "made by hand")

    await stage.finish(*claims)

    assert (len(await stage.messages(spoilt)), len(await stage.ready())) == (1, 1)
    assert (await stage.messages(other), await stage.ready(P + 1)) == ([], [])


@pytest.mark.parametrize("field", ["last_id", "depth", "submitted"])
async def test_field_of_meta_that_is_no_number__is_made_one_again(stage: Stage, field: str) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    await stage.client.hset(keys.meta(P), field, "made by hand")  # type: ignore[misc]

    first, second = await stage.submit(deposit(wallet_id), deposit(wallet_id))

    assert await stage.messages(wallet_id) == [first, second]
    assert await stage.client.hget(keys.meta(P), field) != b"made by hand"  # type: ignore[misc]
    await stage.finish(*await stage.claim())
    assert await stage.messages(wallet_id) == []


async def test_submit__counts_what_was_ever_accepted(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    await stage.submit(deposit(wallet_id), deposit(wallet_id))
    await stage.finish(*await stage.claim())
    await stage.submit(deposit(wallet_id))
    await stage.streams.submit([deposit(wallet_id)], 1, MANY)  # refused

    assert await stage.client.hget(keys.meta(P), "submitted") == b"3"  # type: ignore[misc] # its stubs
    assert await stage.depth() == 1


async def test_submit__a_wallet_is_ready_once_however_much_waits(stage: Stage) -> None:
    first, second = wallet_in(P, PARTITIONS), wallet_in(P, PARTITIONS)

    await stage.submit(deposit(first), deposit(second), deposit(first))
    await stage.submit(deposit(second))

    assert await stage.ready() == [str(first), str(second)]
    assert await stage.depth() == 4


async def test_submit_to_a_full_wallet__refused_and_nothing_appended(stage: Stage) -> None:
    full, other = wallet_in(P, PARTITIONS), wallet_in(P, PARTITIONS)
    await stage.submit(deposit(full), deposit(full), wallet_max=2)
    before = await stage.messages(full)

    answers = await stage.streams.submit([deposit(full), deposit(other)], 2, MANY)

    assert isinstance(answers[0], Full)
    assert answers[0].queue is Submission.WALLET_FULL
    assert isinstance(answers[1], str)
    assert await stage.messages(full) == before
    assert await stage.ready() == [str(full), str(other)]
    assert await stage.depth() == 3


async def test_submit_to_a_full_queue__is_told_how_long_the_oldest_has_waited(stage: Stage) -> None:
    wallet_id, other = wallet_in(P, PARTITIONS), wallet_in(P, PARTITIONS)
    seconds, micros = await stage.client.time()
    a_minute_ago = f"{seconds * 1000 + micros // 1000 - 60_000}-0"
    # Ready again a moment ago, as after each finish: what waits is older than that.
    await stage.client.xadd(keys.ready_stream(P), {"wallet": str(wallet_id)})
    await stage.client.xadd(keys.wallet_stream(P, wallet_id), {"id": "old"}, id=a_minute_ago)
    await stage.submit(deposit(other))

    for_wallet, for_partition = [
        (await stage.streams.submit([deposit(wallet)], wallet_max, partition_max))[0]
        for wallet, wallet_max, partition_max in ((wallet_id, 1, MANY), (other, MANY, 1))
    ]

    for answer, queue in ((for_wallet, Submission.WALLET_FULL), (for_partition, Submission.PARTITION_FULL)):
        assert isinstance(answer, Full)
        assert answer.queue is queue
        assert 60_000 <= answer.oldest_ms < 90_000


async def test_submit_to_a_full_partition__refused_and_nothing_appended(stage: Stage) -> None:
    wallet_id, elsewhere = wallet_in(P, PARTITIONS), wallet_in(P + 1, PARTITIONS)
    await stage.submit(deposit(wallet_in(P, PARTITIONS)))
    before = await stage.keys()

    answers = await stage.streams.submit([deposit(wallet_id), deposit(elsewhere)], MANY, 1)

    assert isinstance(answers[0], Full)
    assert answers[0].queue is Submission.PARTITION_FULL
    assert isinstance(answers[1], str)
    assert await stage.keys() - before == {keys.wallet_stream(P + 1, elsewhere)}
    assert len(await stage.ready()) == 1
    assert await stage.depth() == 1


async def test_partition_that_fills_within_one_call__takes_what_fits(stage: Stage) -> None:
    commands = [deposit(wallet_in(P, PARTITIONS)) for _ in range(5)]

    answers = await stage.streams.submit(commands, MANY, 3)

    assert [isinstance(answer, str) for answer in answers] == [True, True, True, False, False]
    assert await stage.depth() == 3


async def test_wallet_that_fills_within_one_call__takes_what_fits(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)

    answers = await stage.streams.submit([deposit(wallet_id) for _ in range(5)], 3, MANY)

    assert [answer.queue for answer in answers[3:] if isinstance(answer, Full)] == [Submission.WALLET_FULL] * 2
    assert await stage.messages(wallet_id) == answers[:3]


async def test_stream_deleted_and_made_again__no_id_is_given_out_twice(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    ids = []
    for _ in range(100):  # several of these fall into one millisecond
        ids += await stage.submit(deposit(wallet_id))
        await stage.finish(*await stage.claim())
        assert await stage.keys() == set()

    assert in_order(ids)


async def test_message_appended_by_hand__later_ids_are_above_it(stage: Stage) -> None:
    wallet_id, other = wallet_in(P, PARTITIONS), wallet_in(P, PARTITIONS)
    first = await stage.submit(deposit(wallet_id))
    ahead = await stage.client.time()
    by_hand = f"{(ahead[0] + 3600) * 1000}-7"
    await stage.client.xadd(keys.wallet_stream(P, wallet_id), {"id": "by hand"}, by_hand)

    later = await stage.submit(deposit(wallet_id), deposit(other), deposit(wallet_id))

    assert in_order([*first, by_hand, *later])
    assert await stage.messages(wallet_id) == [*first, by_hand, later[0], later[2]]


async def test_message_with_the_largest_id__spoils_its_own_wallet_only_and_is_gone_with_it(stage: Stage) -> None:
    spoilt, other = wallet_in(P, PARTITIONS), wallet_in(P, PARTITIONS)
    largest = f"{2**64 - 1}-{2**64 - 1}"
    await stage.client.xadd(keys.wallet_stream(P, spoilt), {"a": "b"}, largest)
    await stage.client.xadd(keys.ready_stream(P), {"wallet": str(spoilt)}, "1-1")

    answers = await stage.streams.submit([deposit(spoilt), deposit(other)], MANY, MANY)
    assert answers[0] is Submission.NOT_A_STREAM
    assert isinstance(answers[1], str)

    claims = await stage.claim()
    for claim in claims:
        for message in claim.messages if claim.wallet == str(spoilt) else ():
            await stage.streams.bury(P, claim.wallet, message.id, "unreadable", 10)
    await stage.finish(*claims)
    assert await stage.keys() == {keys.dead_stream(P)}
    assert isinstance((await stage.streams.submit([deposit(spoilt)], MANY, MANY))[0], str)


async def test_ready_message_appended_by_hand__later_ids_are_above_it(stage: Stage) -> None:
    by_hand = await stage.client.xadd(keys.ready_stream(P), {"wallet": str(uuid4())}, f"{2**42}-0")

    wallet_id = wallet_in(P, PARTITIONS)
    await stage.submit(deposit(wallet_id))

    first, second = await stage.claim()
    assert (first.ready_id, second.wallet) == (by_hand.decode(), str(wallet_id))
    assert in_order([first.ready_id, second.ready_id])


async def test_clock_that_went_back__ids_still_ascend(stage: Stage) -> None:
    ahead = (await stage.client.time())[0] * 1000 + 3_600_000
    await stage.client.hset(keys.meta(P), "last_id", f"{ahead}-4")  # type: ignore[misc] # its stubs

    ids = await stage.submit(deposit(wallet_in(P, PARTITIONS)), deposit(wallet_in(P, PARTITIONS)))

    assert in_order([f"{ahead}-4", *ids])


async def test_message_id__tells_when_it_was_appended(stage: Stage) -> None:
    before = await stage.client.time()
    [message_id] = await stage.submit(deposit(wallet_in(P, PARTITIONS)))
    after = await stage.client.time()

    ms = int(message_id.partition("-")[0])
    assert before[0] * 1000 + before[1] // 1000 <= ms <= after[0] * 1000 + after[1] // 1000


async def test_claim__takes_nothing_away(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    ids = await stage.submit(deposit(wallet_id), deposit(wallet_id))

    first = await stage.claim()

    assert [[message.id for message in claim.messages] for claim in first] == [ids]
    assert await stage.claim() == first
    assert await stage.messages(wallet_id) == ids


async def test_claim__brings_the_wallets_in_their_order(stage: Stage) -> None:
    wallets = [wallet_in(P, PARTITIONS) for _ in range(3)]
    await stage.submit(*map(deposit, wallets))

    first, second, third = await stage.claim()
    assert [claim.wallet for claim in (first, second, third)] == [str(wallet_id) for wallet_id in wallets]

    await stage.finish(first)
    assert await stage.claim() == [second, third]


async def test_claim__brings_at_most_so_many_wallets_and_messages(stage: Stage) -> None:
    wallets = [wallet_in(P, PARTITIONS) for _ in range(3)]
    await stage.submit(*(deposit(wallet_id) for wallet_id in wallets for _ in range(4)))

    assert [len(claim.messages) for claim in await stage.claim(wallets_max=2)] == [4, 4]
    assert [len(claim.messages) for claim in await stage.claim(messages_max=32)] == [4, 4, 4]
    assert [len(claim.messages) for claim in await stage.claim(messages_max=10)] == [1, 1, 1]
    assert [len(claim.messages) for claim in await stage.claim(messages_max=1)] == [1]


async def test_claim_of_a_hot_wallet__an_eighth_beside_others_and_everything_alone(stage: Stage) -> None:
    hot, other, elsewhere = wallet_in(P, PARTITIONS), wallet_in(P, PARTITIONS), wallet_in(P + 1, PARTITIONS)
    await stage.submit(*(deposit(hot) for _ in range(100)))
    assert [len(claim.messages) for claim in await stage.claim(messages_max=80)] == [80]

    for beside in (other, elsewhere):
        await stage.submit(deposit(beside))
        claims = await stage.claim(P, P + 1, messages_max=80)
        assert {claim.wallet: len(claim.messages) for claim in claims}[str(hot)] == 10
        await stage.finish(*(claim for claim in claims if claim.wallet != str(hot)))


async def test_hot_wallet_that_others_have_just_left__has_an_eighth_until_they_had_time_to_come_back(
    stage: Stage,
) -> None:
    # Who waits for an answer before the next command is not ready at this moment, and would then wait for a full batch.
    hot, other = wallet_in(P, PARTITIONS), wallet_in(P, PARTITIONS)
    await stage.submit(*(deposit(hot) for _ in range(100)), deposit(other))
    await stage.finish(*(claim for claim in await stage.claim(messages_max=80) if claim.wallet != str(hot)))

    sizes = [len(claim.messages) for _ in range(ALONE_CLAIMS + 2) for claim in await stage.claim(messages_max=80)]

    assert sizes == [10] * ALONE_CLAIMS + [80, 80]


async def test_hot_wallet_with_a_full_queue__others_are_in_the_very_next_batches(stage: Stage) -> None:
    # Fairness without a clock: however much waits for one wallet, another's command is claimed by the second claim at
    # the latest, wherever its wallet is.
    hot = wallet_in(P, PARTITIONS)
    await stage.submit(*(deposit(hot) for _ in range(MANY)), partition_max=2 * MANY)
    for partition in (P, P + 1):
        claims = await stage.claim(P, P + 1, messages_max=100)
        other = wallet_in(partition, PARTITIONS)
        await stage.submit(deposit(other), partition_max=2 * MANY)
        await stage.finish(*claims)

        following = await stage.claim(P, P + 1, messages_max=100)

        assert str(other) in {claim.wallet for claim in following}
        await stage.finish(*following)


async def test_claim_of_many_partitions__they_share_the_limits(stage: Stage) -> None:
    await stage.submit(*(deposit(wallet_in(p, PARTITIONS)) for p in range(PARTITIONS) for _ in range(5)))

    claims = await stage.claim(*range(PARTITIONS), messages_max=8)

    by_partition = [sum(len(c.messages) for c in claims if c.partition == p) for p in range(PARTITIONS)]
    assert by_partition == [2] * PARTITIONS


async def test_claim__messages_are_read_back_as_they_were_sent(stage: Stage) -> None:
    command = deposit(wallet_in(P, PARTITIONS), reply_to="{gw-ü}:replies")
    [message_id] = await stage.submit(command)

    [claim] = await stage.claim()

    assert claim.messages == [Message(message_id, {b"command": encode_command(command)})]


async def test_wait_ready__brings_the_wallets_whose_turn_is_next(stage: Stage) -> None:
    first, second, third = wallet_in(0, PARTITIONS), wallet_in(2, PARTITIONS), wallet_in(2, PARTITIONS)
    await stage.submit(*map(deposit, (first, second, third)))

    ready = await stage.streams.wait_ready(range(PARTITIONS), MANY, 50)

    assert [(r.partition, r.wallet) for r in ready] == [(0, str(first)), (2, str(second)), (2, str(third))]
    assert await stage.streams.wait_ready([2], MANY, 50) == ready[1:]
    assert await stage.streams.wait_ready([2], 1, 50) == ready[1:2]
    assert await stage.streams.wait_ready([1], MANY, 50) == []


async def test_wait_ready__wakes_when_a_command_comes(stage: Stage) -> None:
    waiting = asyncio.create_task(stage.streams.wait_ready([P], MANY, 4_000))

    async def is_blocked() -> bool:
        return int((await stage.client.info("clients"))["blocked_clients"]) > 0

    await until(is_blocked)

    wallet_id = wallet_in(P, PARTITIONS)
    await stage.submit(deposit(wallet_id))

    assert [ready.wallet for ready in await asyncio.wait_for(waiting, 2)] == [str(wallet_id)]


async def test_finish__an_idle_wallet_costs_no_key(stage: Stage) -> None:
    wallets = [wallet_in(P, PARTITIONS) for _ in range(3)]
    await stage.submit(*(deposit(wallet_id) for wallet_id in wallets for _ in range(2)))

    await stage.finish(*await stage.claim())

    assert await stage.keys() == set()
    assert await stage.ready() == []
    assert await stage.depth() == 0


async def test_finish_twice__changes_nothing_more(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    await stage.submit(*(deposit(wallet_id) for _ in range(5)))
    claims = await stage.claim(messages_max=2)
    await stage.finish(*claims)
    messages, ready, depth = await stage.messages(wallet_id), await stage.ready(), await stage.depth()
    assert (len(messages), ready, depth) == (3, [str(wallet_id)], 3)

    await stage.finish(*claims)

    assert (await stage.messages(wallet_id), await stage.ready(), await stage.depth()) == (messages, ready, depth)


async def test_finish_of_a_late_worker__leaves_what_came_after_it(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    await stage.submit(deposit(wallet_id), deposit(wallet_id))
    late = await stage.claim()
    await stage.finish(*await stage.claim())  # by the new owner
    newer = await stage.submit(deposit(wallet_id), deposit(wallet_id))

    await stage.finish(*late)

    assert await stage.messages(wallet_id) == newer
    assert await stage.ready() == [str(wallet_id)]
    assert await stage.depth() == 2


async def test_finish_of_a_late_worker__leaves_the_new_owners_ready_message(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    await stage.submit(*(deposit(wallet_id) for _ in range(4)))
    late = await stage.claim(messages_max=2)
    await stage.finish(*await stage.claim(messages_max=3))  # by the new owner
    [claim] = await stage.claim()

    await stage.finish(*late)

    assert await stage.claim() == [claim]
    assert len(claim.messages) == await stage.depth() == 1


async def test_finish_of_a_hot_wallet__it_goes_to_the_end_of_the_line(stage: Stage) -> None:
    hot, *others = (wallet_in(P, PARTITIONS) for _ in range(3))
    await stage.submit(*(deposit(hot) for _ in range(5)), *map(deposit, others))
    [claim] = await stage.claim(wallets_max=1, messages_max=2)
    assert claim.wallet == str(hot)

    await stage.finish(claim)

    assert await stage.ready() == [*map(str, others), str(hot)]


async def test_finish__keeps_what_was_appended_after_the_claim(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    await stage.submit(deposit(wallet_id))
    claims = await stage.claim()
    later = await stage.submit(deposit(wallet_id))

    await stage.finish(*claims)

    assert await stage.messages(wallet_id) == later
    assert [claim.wallet for claim in await stage.claim()] == [str(wallet_id)]


async def test_ready_message_of_a_wallet_with_nothing_waiting__is_claimed_and_finished_away(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    await stage.client.xadd(keys.ready_stream(P), {"wallet": str(wallet_id)})

    claims = await stage.claim()
    assert [claim.messages for claim in claims] == [[]]
    await stage.finish(*claims)

    assert await stage.ready() == []


def _reply(amount: int = 100) -> Reply:
    moment = datetime.fromisoformat("2026-02-03T04:05:06.789012+00:00")
    operation = Operation(
        uuid4(), uuid4(), OperationType.DEPOSIT, amount, Status.APPLIED, None, 1, amount, EPOCH, moment, amount
    )
    return Reply(operation, EPOCH)


async def test_replies__come_to_their_gateway_and_stay_until_read(stage: Stage) -> None:
    first, second, other = _reply(1), _reply(2), _reply(3)
    await stage.streams.finish([], {"{gw-a}:replies": [first], "{gw-b}:replies": [other]}, 60, 256)
    await stage.streams.finish([], {"{gw-a}:replies": [second]}, 60, 256)

    after, replies = await stage.streams.read_replies("{gw-a}:replies", START, 1_000)
    assert replies == [first, second]
    assert await stage.streams.read_replies("{gw-a}:replies", after, 20) == (after, [])
    # A reader that lost its connection begins again, and misses none.
    assert await stage.streams.read_replies("{gw-a}:replies", START, 1_000) == (after, replies)


async def test_reply_key__lives_for_a_while_after_its_last_reply(stage: Stage) -> None:
    await stage.streams.finish([], {"{gw-a}:replies": [_reply()]}, 60, 256)
    await stage.client.pexpire("{gw-a}:replies", 5_000)

    await stage.streams.finish([], {"{gw-a}:replies": [_reply()]}, 60, 256)

    assert 5_000 < await stage.client.pttl("{gw-a}:replies") <= 60_000


async def test_reply_key_that_nobody_reads__is_trimmed(stage: Stage) -> None:
    for _ in range(300):
        await stage.streams.finish([], {"{gw-a}:replies": [_reply()]}, 60, 2)

    # Trimmed by whole nodes of the stream: that is cheap, and enough.
    assert await stage.client.xlen("{gw-a}:replies") < 150


async def test_redis_restarted__commands_are_there_and_replies_are_not(stage: Stage, server: Redis) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    message_ids = await stage.submit(deposit(wallet_id))
    await stage.streams.finish([], {"{gw-a}:replies": [_reply()]}, 60, 256)
    assert await stage.client.exists("{gw-a}:replies")

    await asyncio.to_thread(server.restart)

    assert await stage.messages(wallet_id) == message_ids
    assert not await stage.client.exists("{gw-a}:replies")


async def test_bury__moves_one_message_with_its_reason_and_leaves_the_others(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    first, second, third = await stage.submit(*(deposit(wallet_id, amount) for amount in (1, 2, 3)))

    await stage.streams.bury(P, str(wallet_id), second, "the reason", 10)

    assert await stage.messages(wallet_id) == [first, third]
    [(_, letter)] = await stage.client.xrange(keys.dead_stream(P))
    assert letter[b"wallet"] == str(wallet_id).encode()
    assert (letter[b"message_id"], letter[b"reason"]) == (second.encode(), b"the reason")
    assert said_in(letter)["amount"] == 2
    assert await stage.depth() == 2


async def test_bury_twice__is_one_dead_letter(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    first, _ = await stage.submit(deposit(wallet_id), deposit(wallet_id))

    for _ in range(2):
        await stage.streams.bury(P, str(wallet_id), first, "the reason", 10)

    assert await stage.client.xlen(keys.dead_stream(P)) == 1
    assert await stage.depth() == 1


async def test_dead_letters__the_oldest_go_first(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    ids = await stage.submit(*(deposit(wallet_id) for _ in range(4)))

    for message_id in ids:
        await stage.streams.bury(P, str(wallet_id), message_id, "the reason", 2)

    letters = await stage.client.xrange(keys.dead_stream(P))
    assert [letter[b"message_id"].decode() for _, letter in letters] == ids[2:]


async def test_wallet_whose_only_message_was_buried__leaves_no_key(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    [message_id] = await stage.submit(deposit(wallet_id))
    claims = await stage.claim()
    await stage.streams.bury(P, str(wallet_id), message_id, "the reason", 10)

    await stage.finish(*claims)

    assert await stage.keys() == {keys.dead_stream(P)}
    assert await stage.depth() == 0


async def test_restore__a_wallet_without_its_ready_message_is_ready_again(stage: Stage) -> None:
    lost, kept = wallet_in(P, PARTITIONS), wallet_in(P, PARTITIONS)
    await stage.submit(deposit(lost), deposit(kept))
    claim, _ = await stage.claim()
    await stage.client.xdel(keys.ready_stream(P), claim.ready_id)

    assert await stage.restore(lost) == 1

    assert await stage.ready() == [str(kept), str(lost)]
    assert await stage.restore(wallet_in(P, PARTITIONS)) == 0


async def test_find_waiting__finds_a_command_anywhere_in_a_long_queue(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    commands = [deposit(wallet_id, amount) for amount in range(1, 1_202)]
    await stage.submit(*commands, wallet_max=5_000, partition_max=5_000)

    for command in (commands[0], commands[499], commands[500], commands[-1]):
        assert await stage.streams.find_waiting(wallet_id, command.id) == command
    assert await stage.streams.find_waiting(wallet_id, uuid4()) is None
    assert await stage.streams.find_waiting(uuid4(), commands[0].id) is None


async def test_missing__names_the_commands_whose_message_is_gone(stage: Stage) -> None:
    gone, waiting = deposit(wallet_in(P, PARTITIONS)), deposit(wallet_in(0, PARTITIONS))
    ids = await stage.submit(gone, waiting)
    await stage.finish(*await stage.claim(P))

    assert await stage.streams.missing(list(zip((gone, waiting), ids, strict=True))) == [gone]


async def _version(stage: Stage) -> int:
    return int(await stage.client.execute_command("FCALL", "wallet_version", 0))  # type: ignore[no-untyped-call]


def _library_of_version(version: int) -> str:
    return re.sub(r"(?m)^local VERSION = \d+$", f"local VERSION = {version}", LIBRARY)


async def test_library_lost__the_next_call_brings_it_back_and_is_done_once(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    await stage.client.execute_command("FUNCTION FLUSH")  # type: ignore[no-untyped-call]

    ids = await stage.submit(deposit(wallet_id), deposit(wallet_in(0, PARTITIONS)), deposit(wallet_id))

    assert await stage.messages(wallet_id) == [ids[0], ids[2]]
    await stage.client.execute_command("FUNCTION FLUSH")  # type: ignore[no-untyped-call]
    claims = await stage.claim()
    assert [len(claim.messages) for claim in claims] == [2]
    await stage.client.execute_command("FUNCTION FLUSH")  # type: ignore[no-untyped-call]
    await stage.finish(*claims)
    assert await stage.messages(wallet_id) == []


async def test_library_missing_for_many_at_once__all_are_accepted_once(stage: Stage) -> None:
    wallet_id = wallet_in(P, PARTITIONS)
    commands = [deposit(wallet_id) for _ in range(20)]
    await stage.client.execute_command("FUNCTION FLUSH")  # type: ignore[no-untyped-call]

    await asyncio.gather(*(stage.submit(command) for command in commands))

    assert sorted(await stage.waiting(wallet_id)) == sorted(str(command.id) for command in commands)


async def test_older_library__is_replaced_at_start(stage: Stage) -> None:
    await stage.client.execute_command("FUNCTION LOAD", "REPLACE", _library_of_version(0))  # type: ignore[no-untyped-call]

    await stage.streams.load_library()

    assert await _version(stage) == LIBRARY_VERSION


async def test_newer_library__is_kept_by_an_older_process(stage: Stage) -> None:
    newer = _library_of_version(LIBRARY_VERSION + 1)
    await stage.client.execute_command("FUNCTION LOAD", "REPLACE", newer)  # type: ignore[no-untyped-call]

    await stage.streams.load_library()

    assert await _version(stage) == LIBRARY_VERSION + 1


@pytest.fixture
async def full(stage: Stage) -> AsyncIterator[Stage]:
    """A Redis without memory for anything more, in which one command waits."""
    await stage.submit(deposit(wallet_in(P, PARTITIONS)))
    await stage.client.config_set("maxmemory", "1")
    yield stage
    await stage.client.config_set("maxmemory", "0")


async def test_redis_out_of_memory__a_submit_says_that_it_was_not_run(full: Stage) -> None:
    assert await full.streams.submit([deposit(wallet_in(P, PARTITIONS))], MANY, MANY) == [Submission.NOT_RUN]
    assert await full.depth() == 1


async def test_redis_out_of_memory__what_was_settled_can_still_be_finished(full: Stage) -> None:
    # Else nothing would ever be removed, and the memory would stay full for good.
    claims = await full.claim()
    assert [len(claim.messages) for claim in claims] == [1]

    await full.streams.finish(claims, {"{gw-a}:replies": [_reply()]}, 60, 256)

    assert await full.depth() == 0
    assert (await full.streams.read_replies("{gw-a}:replies", START, 20))[1] != []


async def test_redis_out_of_memory__what_cannot_be_read_can_still_be_buried(full: Stage) -> None:
    [claim] = await full.claim()

    await full.streams.bury(P, claim.wallet, claim.messages[0].id, "the reason", 10)

    assert await full.depth() == 0


async def test_read_only_replica__a_submit_says_that_it_was_not_run(stage: Stage) -> None:
    await stage.client.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
    try:
        answers = await stage.streams.submit([deposit(wallet_in(P, PARTITIONS))], MANY, MANY)
    finally:
        await stage.client.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]

    assert answers == [Submission.NOT_RUN]
    assert await stage.keys() == set()


async def test_connection_refused__a_submit_says_that_it_does_not_know() -> None:
    nobody = streams_over("redis://127.0.0.1:1/0")

    assert await nobody.submit([deposit(uuid4()), deposit(uuid4())], MANY, MANY) == [Submission.UNKNOWN] * 2
    with pytest.raises(redis.exceptions.ConnectionError):
        await nobody.ping()
    await nobody.close()
