"""What a worker knows of the partitions it owns: which it is to give back, and of which a batch is under way. Pure.

Guarantees that a partition is given back only when nothing of it is under way. Knows neither Redis nor Postgres.
"""

from collections.abc import Collection, Iterable, Iterator
from math import ceil

from shared.messages import Claim


def fair_share(
    partition_count: int, workers: int, own: Collection[int], held: Collection[int], *, is_drained: bool = False
) -> tuple[list[int], list[int]]:
    """Return the partitions one worker should take and those it should give back.

    Everybody in service wants an equal share, and who is drained wants none.
    """
    share = ceil(partition_count / workers) if workers and not is_drained else 0
    free = sorted(set(range(partition_count)) - set(held))
    return free[: max(0, share - len(own))], sorted(own)[share:]


class Partitions:
    """The owned partitions."""

    def __init__(self) -> None:
        self._owned: set[int] = set()
        self._retiring: set[int] = set()  # to be given back: nothing more is claimed of them
        self._under_way: set[int] = set()

    def __len__(self) -> int:
        return len(self._owned)

    def __contains__(self, partition: int) -> bool:
        return partition in self._owned

    def __iter__(self) -> Iterator[int]:
        return iter(self._owned)

    def add(self, partitions: Iterable[int]) -> None:
        """Own more partitions."""
        self._owned.update(partitions)

    def retire(self, partitions: Iterable[int]) -> None:
        """Claim nothing more of these."""
        self._retiring.update(partitions)

    def pop_retired(self) -> list[int]:
        """Forget, and return, the retiring partitions of which nothing is under way: they may be given back now."""
        retired = self._retiring - self._under_way
        self._retiring -= retired
        self._owned -= retired
        return sorted(retired)

    @property
    def is_retiring(self) -> bool:
        """Whether some partition waits to be given back."""
        return bool(self._retiring)

    def claimable(self) -> list[int]:
        """Return the partitions to claim from."""
        return list(self._owned - self._retiring)

    def begin(self, claims: Iterable[Claim]) -> list[Claim]:
        """Return the claims to make a batch of, which is under way from now on.

        One of each wallet, and none of a partition that was let go while it was claimed.
        """
        claimable = self._owned - self._retiring
        begun: dict[tuple[int, str], Claim] = {}
        for claim in claims:
            if claim.partition in claimable:
                begun.setdefault((claim.partition, claim.wallet), claim)
        self._under_way = {partition for partition, _ in begun}
        return list(begun.values())

    def end(self) -> None:
        """Note that the batch is not under way any more."""
        self._under_way = set()
