"""Dead letters: listed, shown, put back as the same operation, dropped; nothing without `--yes`."""

from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis as Client

from inspector.changing.dead_letters import Letter, one_by_one
from inspector.reading.sampling import Entry
from inspector.stores import Unanswered
from shared import keys
from shared.commands import Command, Reason
from shared.settings import Settings
from shared.streams import Streams
from tests.books import BooksAsTheyStand
from tests.commands import deposit, said_in, saying, wallet_in
from tests.integration.inspector_stage import Inspector
from tests.integration.stage import claim_of
from tests.service import Service
from tests.waiting import until

COUNT = Settings.model_fields["partition_count"].default
P = 7


@pytest.fixture
def inspect(stores: dict[str, Any]) -> Inspector:
    return Inspector(Settings(**stores))


async def buried(streams: Streams, wallet_id: UUID, reason: str = "for the test") -> Command:
    """Bury a deposit of 1.00; returns it."""
    partition = keys.partition_of(wallet_id, COUNT)
    command = deposit(wallet_id)
    [message_id] = await streams.submit([command], 10, 10)
    await streams.bury(partition, str(wallet_id), str(message_id), reason, 10)
    for claim in await claim_of(streams, [partition], 10, 10):
        await streams.finish([claim], {}, 1, 1)
    return command


async def letters(inspect: Inspector) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await inspect.read("dead", "list"))["letters"]
    return listed


async def test_dead_letters__are_listed_newest_first_and_shown_whole(inspect: Inspector, streams: Streams) -> None:
    assert (await inspect("dead", "list")).code == 0
    first = await buried(streams, wallet_in(P, COUNT), "one")
    second = await buried(streams, wallet_in(P, COUNT), "two")

    said = await inspect("dead", "list", "--json")
    shown = await inspect("dead", "show", said.json["letters"][0]["letter"])

    assert (said.code, said.json["dead_letters"]) == (1, 2)
    assert [one["operation_id"] for one in said.json["letters"]] == [str(second.id), str(first.id)]
    assert [one["reason"] for one in said.json["letters"]] == ["two", "one"]
    fields = said.json["letters"][0]["fields"]
    assert fields["amount"] == "100"
    assert fields.keys().isdisjoint({"command", "wallet", "message_id", "reason"})  # each is said once
    assert shown.code == 0
    assert str(second.id) in shown.out
    assert (await inspect("dead", "list", "--limit", "1")).lines[-1] == "1 of 2 dead letters"


async def test_letter_put_back__waits_again_as_the_same_operation(inspect: Inspector, streams: Streams) -> None:
    command = await buried(streams, wallet_in(P, COUNT))
    [letter] = await letters(inspect)

    would = await inspect("dead", "requeue", letter["letter"])
    assert await streams.find_waiting(command.wallet_id, command.id) is None
    did = await inspect("dead", "requeue", letter["letter"], "--yes")

    assert would.code == 1
    assert f"would put {letter['letter']} back as operation {command.id}" in would.out
    assert did.code == 0
    assert await streams.find_waiting(command.wallet_id, command.id) == command
    assert await letters(inspect) == []


async def test_letter_for_a_wallet_whose_queue_is_full__is_kept(
    inspect: Inspector, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = await buried(streams, wallet_in(P, COUNT))
    await streams.submit([deposit(command.wallet_id)], 10, 10)
    [letter] = await letters(inspect)
    monkeypatch.setenv("WALLET_QUEUE_MAX", "1")

    said = await inspect("dead", "requeue", letter["letter"], "--yes")

    assert said.code == 1
    assert "too many commands wait for this wallet" in said.out
    assert len(await letters(inspect)) == 1


async def test_letter_whose_operation_is_in_the_books__is_not_put_back(
    inspect: Inspector, streams: Streams, books: BooksAsTheyStand
) -> None:
    command = await buried(streams, await books.create_wallet())
    await books.connection.execute(
        "INSERT INTO operations (id, wallet_id, type, amount, status, reason, balance, submitted_at, decided_at) "
        "VALUES ($1, $2, 'DEPOSIT', 100, 'REJECTED', 'operation_refused', 0, now(), now())",
        command.id,
        command.wallet_id,
    )
    [letter] = await letters(inspect)

    said = await inspect("dead", "requeue", letter["letter"], "--yes")

    assert said.code == 1
    assert "is in the books as REJECTED operation_refused" in said.out
    assert await streams.find_waiting(command.wallet_id, command.id) is None
    assert len(await letters(inspect)) == 1


async def test_letter_whose_caller_was_told_that_it_failed__is_never_applied_behind_its_back(
    own_service: Service, streams: Streams, books: BooksAsTheyStand, inspect: Inspector, stores: dict[str, Any]
) -> None:
    """What a worker cannot read is answered 422: its caller sends it again, and twice would be once too often."""
    client: Client = Client.from_url(stores["redis_url"])
    wallet_id = await books.create_wallet()
    partition = keys.partition_of(wallet_id, COUNT)
    command = deposit(wallet_id, reply_to=keys.reply_stream("of-the-caller"))
    await streams.submit([command], 10, 10)
    stream = keys.wallet_stream(partition, wallet_id)
    [(message_id, fields)] = await client.xrange(stream)
    await client.xtrim(stream, maxlen=0, approximate=False)
    later_ms = int(message_id.partition(b"-")[0]) + 1
    later = saying({**said_in(fields), "type": "TRANSFER"})  # of a gateway of a later release
    await client.xadd(stream, later, id=f"{later_ms}-0")
    own_service.start_worker()

    async def is_dead() -> bool:
        return len(await letters(inspect)) == 1 and await client.exists(command.reply_to) == 1

    await until(is_dead, 15)
    told = await client.xrange(command.reply_to)
    assert Reason.UNREADABLE.value.encode() in told[0][1][b"outcomes"]
    # The release that understands it is there now.
    [(dead_id, dead)] = await client.xrange(keys.dead_stream(partition))
    await client.xdel(keys.dead_stream(partition), dead_id)
    await client.xadd(keys.dead_stream(partition), {**dead, **fields})
    await client.aclose()
    [letter] = await letters(inspect)

    said = await inspect("dead", "requeue", letter["letter"], "--yes")

    assert said.code == 1
    assert "its caller was told that it failed" in said.out
    assert len(await letters(inspect)) == 1
    assert await books.operations(wallet_id) == []


async def test_letter_with_something_in_its_way__is_kept_and_the_others_are_put_back(
    inspect: Inspector, streams: Streams, stores: dict[str, Any]
) -> None:
    wallets = [wallet_in(P, COUNT) for _ in range(3)]
    commands = [await buried(streams, wallet_id) for wallet_id in wallets]
    client: Client = Client.from_url(stores["redis_url"])
    await client.set(keys.wallet_stream(P, wallets[1]), "in the way")
    await client.aclose()
    names = [one["letter"] for one in reversed(await letters(inspect))]

    said = await inspect("dead", "requeue", *names, "--yes")

    assert said.code == 1
    assert [line.split()[1] for line in said.lines if line.startswith("put ")] == [names[0], names[2]]
    assert f"{names[1]} was not taken: something that is no stream has the key" in said.out
    assert [one["operation_id"] for one in await letters(inspect)] == [str(commands[1].id)]


async def test_letter_that_is_not_there_among_others__nothing_is_done(inspect: Inspector, streams: Streams) -> None:
    await buried(streams, wallet_in(P, COUNT))
    [letter] = await letters(inspect)

    for action in ("requeue", "drop"):
        said = await inspect("dead", action, letter["letter"], "07/1-0", "--yes")

        assert (said.code, said.out) == (2, "")
        assert "07/1-0" in said.err
        assert await letters(inspect) == [letter]


async def test_store_that_goes_away_between_two_letters__does_not_hide_what_was_done() -> None:
    letters_found: list[Letter] = [(f"07/{n}-0", P, (b"1-0", {})) for n in range(4)]

    def acting(fails_at: int) -> Any:
        async def act(letter: str, _: int, __: Entry) -> tuple[str, str]:
            if letter == f"07/{fails_at}-0":
                raise Unanswered("Redis did not answer")
            return f"did {letter}", ""

        return act

    done = await one_by_one(letters_found, acting(2))

    assert (done.changed, done.is_fine, done.lines) == (True, False, ["did 07/0-0", "did 07/1-0"])
    assert done.refused == ["07/2-0 and all after it, 2 in all: Redis did not answer"]
    with pytest.raises(Unanswered):
        await one_by_one(letters_found, acting(0))  # nothing was done: it could not look


async def test_letter_that_is_no_command__is_not_put_back(
    inspect: Inspector, streams: Streams, stores: dict[str, Any]
) -> None:
    client: Client = Client.from_url(stores["redis_url"])
    await client.xadd(keys.dead_stream(P), {"wallet": str(wallet_in(P, COUNT)), "reason": "strange", "command": "x"})
    await client.aclose()
    [letter] = await letters(inspect)

    said = await inspect("dead", "requeue", letter["letter"], "--yes")

    assert said.code == 1
    assert "still cannot be understood" in said.out
    assert len(await letters(inspect)) == 1


async def test_letter__is_dropped_only_when_it_is_meant(inspect: Inspector, streams: Streams) -> None:
    await buried(streams, wallet_in(P, COUNT))
    await buried(streams, wallet_in(P, COUNT))
    first, second = await letters(inspect)

    would = await inspect("dead", "drop", first["letter"])
    assert len(await letters(inspect)) == 2
    did = await inspect("dead", "drop", first["letter"], "--yes")

    assert (would.code, did.code) == (1, 0)
    assert await letters(inspect) == [second]


async def test_letter_that_is_not_there__is_said_in_one_line(inspect: Inspector) -> None:
    for letter in ("07/1-0", "99/1-0", "nonsense", "07/x-y"):
        said = await inspect("dead", "show", letter)

        assert said.code == 2
        assert letter in said.err
        assert len(said.err.splitlines()) == 1
