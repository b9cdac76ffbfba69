"""What a worker knows of the partitions it owns: how far each was claimed, and what is under way. Pure.

Guarantees that a wallet is in one batch at a time, and that a partition is given back only when nothing of it is under
way. Knows neither Redis nor Postgres.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil

from shared.messages import START, Claim


def fair_share(
    partition_count: int, workers: int, own: Collection[int], held: Collection[int], *, is_drained: bool = False
) -> tuple[list[int], list[int]]:
    """Return the partitions one worker should take and those it should give back.

    Everybody in service wants an equal share, and who is drained wants none.
    """
    share = ceil(partition_count / workers) if workers and not is_drained else 0
    free = sorted(set(range(partition_count)) - set(held))
    return free[: max(0, share - len(own))], sorted(own)[share:]


@dataclass(slots=True)
class _Partition:
    cursor: str = START
    under_way: set[str] = field(default_factory=set)
    # Wallets that a claim brought while they were under way: their ready message is behind the cursor.
    passed_over: set[str] = field(default_factory=set)
    # Whether the cursor was set back since the claim that is being made now: it must not be moved on by that one.
    is_rewound: bool = False
    retiring: bool = False

    def rewind(self) -> None:
        self.cursor, self.is_rewound = START, True
        self.passed_over.clear()


class Partitions:
    """The owned partitions. A cursor is the last ready id claimed; while nothing is under way it is the start again."""

    def __init__(self) -> None:
        self._owned: dict[int, _Partition] = {}

    def __len__(self) -> int:
        return len(self._owned)

    def __contains__(self, partition: int) -> bool:
        return partition in self._owned

    def __iter__(self) -> Iterator[int]:
        return iter(self._owned)

    def add(self, partitions: Iterable[int]) -> None:
        """Own more partitions; they are claimed from the start: what an earlier owner left comes first."""
        for partition in partitions:
            self._owned[partition] = _Partition()

    def retire(self, partitions: Iterable[int]) -> None:
        """Claim nothing more of these."""
        for partition in partitions:
            self._owned[partition].retiring = True

    def pop_retired(self) -> list[int]:
        """Forget, and return, the retiring partitions of which nothing is under way: they may be given back now."""
        retired = [number for number, p in self._owned.items() if p.retiring and not p.under_way]
        for number in retired:
            del self._owned[number]
        return retired

    @property
    def retiring(self) -> bool:
        """Whether some partition waits to be given back."""
        return any(partition.retiring for partition in self._owned.values())

    @property
    def has_passed_over(self) -> bool:
        """Whether a wallet is ready that is still under way: no new message will announce it again."""
        return any(partition.passed_over for partition in self._owned.values())

    def cursors(self) -> Mapping[int, str]:
        """Return where the next claim begins in each partition; `admit` what it brings."""
        cursors = {number: p.cursor for number, p in self._owned.items() if not p.retiring}
        for number in cursors:
            self._owned[number].is_rewound = False
        return cursors

    def admit(self, claims: Iterable[Claim]) -> list[Claim]:
        """Mark claims as under way and return them, less those of wallets that already are, or of partitions let go."""
        admitted = []
        for claim in claims:
            partition = self._owned.get(claim.partition)
            if partition is None or partition.retiring:
                continue
            if not partition.is_rewound:
                partition.cursor = claim.ready_id
            if claim.wallet in partition.under_way:
                partition.passed_over.add(claim.wallet)
            else:
                partition.under_way.add(claim.wallet)
                admitted.append(claim)
        return admitted

    def done(self, claims: Iterable[Claim], *, finished: bool) -> None:
        """Take claims off; when they could not be finished, their partitions are claimed again from the start."""
        for claim in claims:
            partition = self._owned[claim.partition]
            partition.under_way.discard(claim.wallet)
            if not finished or claim.wallet in partition.passed_over:
                partition.rewind()
            elif not partition.under_way:
                # Idle: from the start, because a Redis that came back empty, with a clock that is behind, gives out ids
                # below the old cursor. A claim that is being made may move on from here: there is nothing behind it.
                partition.cursor = START

    def rewind(self) -> None:
        """Claim every partition from the start: Redis may have come back with other contents."""
        for partition in self._owned.values():
            partition.rewind()
