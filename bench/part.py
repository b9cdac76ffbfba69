"""What a part about costs comes to: a table, a sentence, and perhaps a plot."""

from collections.abc import Sequence
from dataclasses import dataclass, field

Cell = str | int | float | None


@dataclass(frozen=True)
class Part:
    """A named table. `said` sums it up in a line; `notes` say how the figures came about."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    said: str
    notes: Sequence[str] = field(default=())
