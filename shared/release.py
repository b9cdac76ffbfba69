"""Which release a process is of, and how a worker shows it: by a lock, which ends with the worker's session.

A number, because that is what an advisory lock can carry: 1.2.3 is 1002003. Pure but for the package's own metadata.
"""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

# The class of the lock: pg_locks.classid, with the number as the objid beside it; shared, many have the same.
RELEASE_LOCKS = 7_004
_PART = 1_000
UNKNOWN = 0  # run from a folder that was never installed


@cache
def own_release() -> int:
    """Return this installation's release as a number."""
    try:
        return release_number(version("wallet-streams"))
    except PackageNotFoundError:
        return UNKNOWN


def release_number(text: str) -> int:
    """Return "1.2.3" as 1002003; UNKNOWN for what is not three plain numbers."""
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and int(part) < _PART for part in parts):
        return UNKNOWN
    major, minor, patch = map(int, parts)
    return (major * _PART + minor) * _PART + patch


def release_text(number: int | None) -> str | None:
    """Return 1002003 as "1.2.3"; None for UNKNOWN and for a worker that showed none."""
    if not number:
        return None
    rest, patch = divmod(number, _PART)
    return f"{rest // _PART}.{rest % _PART}.{patch}"
