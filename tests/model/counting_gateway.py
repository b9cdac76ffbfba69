"""`python -m tests.model.counting_gateway`: the gateway, which tells at its end how its requests went.

There are two ways to the same answers, the express lane and aiohttp's own: a model that asks on one of them proves
nothing of the other. Writes to `WAYS_FILE` how many operations were accepted, and looks at wallets answered, on each;
changes nothing of what is answered.
"""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from prometheus_client import REGISTRY

from gateway.__main__ import main
from gateway.express import OPERATION_ROUTE, WALLET_ROUTE, Express

ACCEPTED = ("200", "202")
ROUTES = {"operations": OPERATION_ROUTE, "looks": WALLET_ROUTE}
SHARE_MIN = 0.1  # of either kind, on either way: far less than any run had


@dataclass(frozen=True, slots=True)
class Ways:
    """How many requests were answered by the express lane, and how many in all, by kind."""

    express: dict[str, int]
    total: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what a gateway wrote at its end."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    @property
    def are_both_used(self) -> bool:
        """Whether each way had its share of each kind."""
        return all(
            SHARE_MIN * self.total[kind] <= self.express[kind] <= (1 - SHARE_MIN) * self.total[kind] > 0
            for kind in ROUTES
        )

    def __str__(self) -> str:
        return ", ".join(f"{self.express[kind]} of {self.total[kind]} {kind} by the express lane" for kind in ROUTES)


def counting(express: "Counter[str]") -> None:
    """Count what the express lane answers."""
    take = Express.take

    def wrapped(self: Express, data: bytes, write: Callable[[bytes], None]) -> bool:
        def written(text: bytes) -> None:
            if text.split(b" ", 2)[1].decode() in ACCEPTED:
                express["operations" if data.startswith(b"POST") else "looks"] += 1
            write(text)

        return take(self, data, written)

    Express.take = wrapped  # type: ignore[method-assign]


def total() -> "Counter[str]":
    """Return what was answered on either way, as the gateway itself counts it."""
    name = "wallet_gateway_request_duration_seconds_count"
    return Counter(
        {
            kind: sum(int(REGISTRY.get_sample_value(name, {"route": route, "status": s}) or 0) for s in ACCEPTED)
            for kind, route in ROUTES.items()
        }
    )


if __name__ == "__main__":
    by_express: Counter[str] = Counter(dict.fromkeys(ROUTES, 0))
    counting(by_express)
    try:
        main()
    finally:
        told = json.dumps({"express": by_express, "total": total()})
        Path(os.environ["WAYS_FILE"]).write_text(told, encoding="utf-8")
