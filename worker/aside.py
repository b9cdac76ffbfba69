"""Wallets that are passed by for a while, since somebody else has locked their rows. Pure but for the clock.

Guarantees that what waits for them stays where it is, and that they do not stand in front of others: passed by, a
wallet goes to the end of its line.
"""

import time
from collections.abc import Iterable
from uuid import UUID

from msgspec.structs import replace

from shared.messages import Claim

ASIDE_SECONDS = 5.0  # then it is looked at again


class Aside:
    """The wallets that one shift passes by."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def __bool__(self) -> bool:
        """Whether some are aside, or were until recently: those may be locked still."""
        return bool(self._until)

    def put(self, wallet_ids: Iterable[UUID]) -> None:
        """Pass these by for a while."""
        self._until.update(dict.fromkeys(map(str, wallet_ids), time.monotonic() + ASIDE_SECONDS))

    def pass_by(self, claims: list[Claim]) -> list[Claim]:
        """Return claims, those of wallets that are aside without a message: to finish them moves them to the end."""
        if not self._until:
            return claims
        now = time.monotonic()
        self._until = {wallet: until for wallet, until in self._until.items() if until + ASIDE_SECONDS > now}
        return [replace(claim, messages=[]) if self._until.get(claim.wallet, now) > now else claim for claim in claims]
