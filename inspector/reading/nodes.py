"""Looks at the Redis nodes: memory, the settings that decide what may be lost, and the function library's version."""

from collections.abc import Mapping
from typing import Any

from inspector.seen import NodeSeen
from inspector.stores import Stores

_LOOKS = (
    ("INFO", "server"),
    ("INFO", "memory"),
    ("CONFIG GET", "maxmemory-policy"),
    ("CONFIG GET", "appendonly"),
    ("CONFIG GET", "appendfsync"),
    ("FCALL", "wallet_version", 0),
)


async def read_nodes(stores: Stores) -> list[NodeSeen]:
    """Look at every node; what one would not say (a managed Redis hides its settings) is None."""
    seen = []
    for node, answers in sorted((await stores.each(*_LOOKS)).items()):
        server, memory, eviction, append_only, append_fsync, version = answers
        seen.append(
            NodeSeen(
                node=node,
                version=_of(server, "valkey_version") or _of(server, "redis_version"),
                memory_bytes=_of(memory, "used_memory"),
                memory_max_bytes=_of(memory, "maxmemory"),
                eviction=_of(eviction, "maxmemory-policy"),
                append_only=_of(append_only, "appendonly"),
                append_fsync=_of(append_fsync, "appendfsync"),
                library_version=version if isinstance(version, int) else None,
            )
        )
    return seen


def _of(answer: Any, name: str) -> Any:
    return answer.get(name) if isinstance(answer, Mapping) else None
