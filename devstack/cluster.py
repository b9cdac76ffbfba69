"""A real Redis Cluster of three nodes, put together as its own tools do; for tests and measurements.

Guarantees that after `start()` every node serves and all agree on who has which slot, whatever became of the nodes
before. Moves a slot in one go, or step by step, so that somebody may look at it while it is half moved.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from devstack import procfs
from devstack.errors import StackError
from devstack.redis import Redis

SLOTS = 16_384
NODES = 3
TOGETHER_SECONDS_MAX = 20.0
KEYS_AT_ONCE = 100  # in one trip from node to node
MIGRATE_MS_MAX = 5_000
# A node that is away is no reason for the others to stop.
ARGUMENTS = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "2000"),
    *("--cluster-require-full-coverage", "no"),
)


class Cluster:
    """Three primaries, each with a third of the slots."""

    def __init__(self, folder: Path) -> None:
        """Describe the nodes; nothing is touched before `start()`."""
        self.nodes = [Redis(folder / f"node-{number}", arguments=ARGUMENTS) for number in range(NODES)]
        self._has_met = False

    @property
    def url(self) -> str:
        """The first node's address."""
        return self.nodes[0].url

    @property
    def urls(self) -> str:
        """All nodes' addresses, as `REDIS_URL` takes them."""
        return ",".join(node.url for node in self.nodes)

    def start(self) -> None:
        """Start what does not run and return when all serve; the first time, introduce them and share out the slots."""
        for node in self.nodes:
            node.resume()
            node.start()
        if not self._has_met:
            for number, node in enumerate(self.nodes):
                first, last = number * SLOTS // NODES, (number + 1) * SLOTS // NODES - 1
                self.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                self.ask(node, "CLUSTER", "ADDSLOTSRANGE", first, last)
                self.ask(node, "CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
            self._has_met = True
        self.wait_until(lambda: all(self.is_whole(node) for node in self.nodes))

    def stop(self) -> None:
        """Stop all nodes."""
        for node in self.nodes:
            node.resume()
            node.stop()

    def kill(self) -> None:
        """SIGKILL all nodes."""
        for node in self.nodes:
            node.kill()

    def is_whole(self, node: Redis) -> bool:
        """Whether this node knows all the others, has lost sight of none, and knows who has which slot."""
        try:
            info = dict(line.split(":", 1) for line in self.ask(node, "CLUSTER", "INFO").decode().split("\r\n") if line)
        except redis.ConnectionError:
            return False
        seen = (info["cluster_state"], info["cluster_known_nodes"], info["cluster_slots_ok"])
        return seen == ("ok", str(NODES), str(SLOTS))

    def node_id(self, node: Redis) -> str:
        """Return the id by which the nodes know each other."""
        return str(self.ask(node, "CLUSTER", "MYID").decode())

    @staticmethod
    def slot(key: str) -> int:
        """Return the slot of a key."""
        return int(key_slot(key.encode()))

    def owner(self, slot: int, seen_by: Redis | None = None) -> Redis:
        """Return the node that has a slot, as one of them knows it, the first by default."""
        for first, last, (_, port, *_), *_ in self.ask(seen_by or self.nodes[0], "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise StackError(f"no node has slot {slot}")

    def unsettled(self, slots: Iterable[int]) -> list[str]:
        """Return what is left of moves that are over: slots that are open on a node, or have several owners."""
        found = []
        for node in self.nodes:
            [own] = [line for line in self.ask(node, "CLUSTER", "NODES").decode().splitlines() if "myself" in line]
            found += [f"{node.port}: {word}" for word in own.split() if word.startswith("[")]
        for slot in sorted(set(slots)):
            owners = {node.port: self.owner(slot, seen_by=node).port for node in self.nodes}
            if len(set(owners.values())) > 1:
                found.append(f"slot {slot}: {owners}")
        return found

    # ---- moving a slot, as `redis-cli --cluster reshard` does ------------------------------------------------------

    def move_slot(self, slot: int, source: Redis, target: Redis) -> None:
        """Move a slot with all its keys."""
        self.begin_move(slot, source, target)
        self.end_move(slot, source, target)

    def begin_move(self, slot: int, source: Redis, target: Redis) -> None:
        """Open a slot on both sides: from now on its keys may be on either."""
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.node_id(source))
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.node_id(target))

    def move_keys(self, source: Redis, target: Redis, keys: Iterable[str | bytes]) -> None:
        """Move some keys of a slot that is open on both sides."""
        self.ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, MIGRATE_MS_MAX, "KEYS", *keys)

    def move_all_keys(self, slot: int, source: Redis, target: Redis) -> None:
        """Move what is left of a slot that is open on both sides."""
        while keys := self.keys_in(slot, source):
            self.move_keys(source, target, keys)

    def end_move(self, slot: int, source: Redis, target: Redis) -> None:
        """Move what is left of a slot that is open on both sides, and tell every node who has it now."""
        self.move_all_keys(slot, source, target)
        for node in (target, source, *self.nodes):
            self.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", self.node_id(target))

    def unlearn_move(self, slot: int, source: Redis, witness: Redis) -> None:
        """Have a third node take a moved slot's former owner for its owner again, as long as nobody tells it better.

        The former owner gets the highest epoch, so that the new owner's word alone counts for less.
        """
        epoch = str(self.ask(source, "CLUSTER", "BUMPEPOCH").decode()).split()[1]
        source_id = self.node_id(source)

        def has_heard() -> bool:
            lines = [line.split() for line in self.ask(witness, "CLUSTER", "NODES").decode().splitlines()]
            return any(line[0] == source_id and line[6] == epoch for line in lines)

        self.wait_until(has_heard)
        self.ask(witness, "CLUSTER", "SETSLOT", slot, "NODE", source_id)

    def keys_in(self, slot: int, node: Redis) -> list[bytes]:
        """Return some keys of a slot that this node holds."""
        return list(self.ask(node, "CLUSTER", "GETKEYSINSLOT", slot, KEYS_AT_ONCE))

    def errors(self, word: str) -> int:
        """Return how often clients were answered with this error, by all nodes since each was started."""
        infos = [self.ask(node, "INFO", "errorstats").decode() for node in self.nodes]
        lines = [line for info in infos for line in info.split("\r\n") if line.startswith(f"errorstat_{word}:count=")]
        return sum(int(line.partition("=")[2]) for line in lines)

    def ask(self, node: Redis, *command: Any) -> Any:
        """Run one command on one node; returns its answer as it is."""
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
        """Wait until the nodes have come to agree on something; raises StackError."""
        if not procfs.wait_until(condition, TOGETHER_SECONDS_MAX):
            raise StackError("the cluster did not come together")
