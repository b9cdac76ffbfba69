"""Trips to one Redis server: each gets its own answers, whatever became of the one before it on that connection."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis as Client
from redis.exceptions import ConnectionError as Broken
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as ConnectTimeout

from devstack.redis import Redis
from shared.node import Node, Silent, _error_of
from tests.waiting import until

PING = ("PING",)
FOR_EVER = ("XREAD", "BLOCK", 60_000, "STREAMS", "nothing", "0-0")


@pytest.fixture
async def node(own_redis: Redis) -> AsyncIterator[Node]:
    node = Node(own_redis.url)
    yield node
    await node.close()


@pytest.fixture
async def client(own_redis: Redis) -> AsyncIterator[Client]:
    client: Client = Client.from_url(own_redis.url)
    yield client
    await client.aclose()


async def connections(client: Client) -> int:
    """Count the connections that Redis has, but for the one that asks."""
    return len(await client.client_list()) - 1


async def test_trip__answers_stand_in_the_order_of_the_commands_and_an_error_is_one_of_them(node: Node) -> None:
    answers = await node.trip([("SET", "a", "1"), ("LPUSH", "a", "x"), ("GET", "a"), PING])

    assert (answers[0], answers[2], answers[3]) == (True, b"1", True)
    assert isinstance(answers[1], ResponseError)
    assert await node.trip([("GET", "a")]) == [b"1"]


async def test_trip_with_nothing_to_ask__is_over_at_once(node: Node, client: Client) -> None:
    assert await node.trip([]) == []
    assert await connections(client) == 0


async def test_trip_over_a_unix_socket__is_a_trip_like_any_other(tmp_path: Path) -> None:
    server = Redis(tmp_path / "redis", arguments=["--unixsocket", str(tmp_path / "redis.sock")])
    server.start()
    node = Node(f"unix://{tmp_path}/redis.sock?db=1")
    try:
        assert await node.trip([("SET", "a", "1"), ("GET", "a")]) == [True, b"1"]
        assert node.name == f"{tmp_path}/redis.sock"
    finally:
        await node.close()
        server.stop()


async def test_answers_of_megabytes__are_all_there(node: Node) -> None:
    sent = [str(n).encode() * 100_000 for n in range(10, 30)]
    await node.trip([("SET", f"large-{n}", value) for n, value in enumerate(sent)])

    assert await node.trip([("GET", f"large-{n}") for n in range(len(sent))]) == sent


async def test_trips_one_after_another__share_a_connection(node: Node, client: Client) -> None:
    for _ in range(10):
        await node.trip([PING])

    assert await connections(client) == 1


async def test_trips_at_the_same_time__each_gets_its_own_answers(node: Node) -> None:
    answers = await asyncio.gather(*(node.trip([("ECHO", str(n)), PING]) for n in range(50)))

    assert answers == [[str(n).encode(), True] for n in range(50)]


async def test_trip_that_is_cancelled__its_answer_is_nobodys(node: Node, client: Client) -> None:
    trip = asyncio.create_task(node.trip([FOR_EVER]))
    await until(lambda: is_blocked(client))
    trip.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trip

    # On the same connection it would wait behind what Redis is still busy with.
    assert await asyncio.wait_for(node.trip([("ECHO", "mine")]), 2) == [b"mine"]
    assert await connections(client) == 1


async def test_connection_closed_between_two_trips__the_next_trip_opens_another(node: Node, client: Client) -> None:
    await node.trip([PING])
    await client.client_kill_filter(_type="normal", skipme=True)

    await until(lambda: is_alone(client))
    assert await node.trip([("ECHO", "mine")]) == [b"mine"]


async def test_connection_that_breaks_under_a_trip__is_the_answer_to_each_command(node: Node, client: Client) -> None:
    trip = asyncio.create_task(node.trip([PING, FOR_EVER]))
    await until(lambda: is_blocked(client))
    await client.client_kill_filter(_type="normal", skipme=True)

    answers = await trip

    assert len(answers) == 2
    assert all(isinstance(answer, Broken) for answer in answers)
    assert await node.trip([PING]) == [True]


async def test_redis_that_does_not_answer__a_late_answer_is_nobodys(
    node: Node, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.node.SOCKET_TIMEOUT_SECONDS", 0.2)
    await node.trip([PING])

    assert [type(answer) for answer in await node.trip([FOR_EVER])] == [TimeoutError]

    assert await node.trip([("ECHO", "mine")]) == [b"mine"]


async def test_answer_that_nobody_asked_for__its_connection_is_not_used_again(node: Node, client: Client) -> None:
    assert await node.trip([("MONITOR",)]) == [b"OK"]  # from now on Redis tells there what others do
    await client.set("a", "1")
    await until(lambda: told(node))

    assert await node.trip([("ECHO", "mine")]) == [b"mine"]


async def test_node_that_lets_nobody_connect__others_wait_for_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.node.CONNECT_TIMEOUT_SECONDS", 0.3)
    with unreachable() as port:
        node = Node(f"redis://127.0.0.1:{port}/0", avoids_silence=True)
        [late] = await node.trip([PING])
        [at_once] = await node.trip([PING])
        assert node.is_silent
        await node.close()

    assert isinstance(late, ConnectTimeout)
    assert isinstance(at_once, Silent)


async def test_node_closed_under_a_trip__keeps_no_connection(node: Node, client: Client) -> None:
    trip = asyncio.create_task(node.trip([FOR_EVER]))
    await until(lambda: is_blocked(client))

    await node.close()
    await client.xadd("nothing", {"a": "1"})

    assert await trip == [[[b"nothing", [(b"%s" % message_id, {b"a": b"1"})]]] for message_id in await ids(client)]
    await until(lambda: is_alone(client))


@pytest.mark.parametrize("text", ["MOVED", "MOVED x", "ASK", "ASK 1 nowhere", ""])
def test_error_that_says_less_than_it_should__is_an_error_all_the_same(text: str) -> None:
    assert isinstance(_error_of(text), ResponseError)


@contextmanager
def unreachable() -> Iterator[int]:
    """Return a port where whoever connects waits: as many as the kernel lets wait are connected already."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def ids(client: Client) -> list[bytes]:
    return [message_id for message_id, _ in await client.xrange("nothing")]


async def is_blocked(client: Client) -> bool:
    """Someone waits for a message."""
    return bool((await client.info("clients"))["blocked_clients"])


async def is_alone(client: Client) -> bool:
    """No other connection is left."""
    return await connections(client) == 0


async def told(node: Node) -> bool:
    """The connection has been told something."""
    return not node._idle[0].is_open
