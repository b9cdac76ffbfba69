"""A real Redis Cluster of three nodes, put together as its own tools do, over the plain protocol."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from devstack.redis import Redis

SLOTS = 16_384
NODES = 3
TOGETHER_SECONDS_MAX = 15.0


class Cluster:
    """Three primaries, each with a third of the slots."""

    def __init__(self, folder: Path) -> None:
        # A node that is away is no reason for the others to stop.
        goes_on = ("--cluster-require-full-coverage", "no")
        arguments = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", *goes_on)
        self.nodes = [Redis(folder / f"node-{number}", arguments=arguments) for number in range(NODES)]

    @property
    def url(self) -> str:
        return self.nodes[0].url

    def start(self) -> None:
        """Start the nodes, introduce them to each other, share out the slots, and wait until all agree."""
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes):
            first, last = number * SLOTS // NODES, (number + 1) * SLOTS // NODES - 1
            self.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            self.ask(node, "CLUSTER", "ADDSLOTSRANGE", first, last)
            self.ask(node, "CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        self.wait_until(lambda: all(self.is_whole(node) for node in self.nodes))

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def is_whole(self, node: Redis) -> bool:
        """Whether this node knows all the others and who has which slot."""
        try:
            info = dict(line.split(":", 1) for line in self.ask(node, "CLUSTER", "INFO").decode().split("\r\n") if line)
        except redis.ConnectionError:
            return False
        return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", str(NODES))

    def node_id(self, node: Redis) -> str:
        return str(self.ask(node, "CLUSTER", "MYID").decode())

    def move_slot(self, slot: int, source: Redis, target: Redis) -> None:
        """Move a slot with all its keys, as `redis-cli --cluster reshard` does."""
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.node_id(source))
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.node_id(target))
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            self.ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source, *self.nodes):
            self.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", self.node_id(target))

    def ask(self, node: Redis, *command: Any) -> Any:
        with redis.Redis(port=node.port) as client:
            connection = client.connection_pool.get_connection()
            try:
                # Past the client's own reading of the answers: here they are wanted as they are.
                connection.send_command(*command)
                return connection.read_response()
            finally:
                client.connection_pool.release(connection)

    @staticmethod
    def wait_until(condition: Callable[[], bool]) -> None:
        ends = time.monotonic() + TOGETHER_SECONDS_MAX
        while not condition():
            assert time.monotonic() < ends, "the cluster did not come together"
            time.sleep(0.05)
