"""What the kernel knows about processes: who is alive, whose child it is, where it works, what it listens on.

A process that ends while it is looked at counts as gone, never as an error.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from signal import Signals

_PROC = Path("/proc")
_TCP_LISTEN = "0A"
_POLL_S = 0.005


def _stat_fields(pid: int) -> list[str]:
    """Give the fields of `/proc/<pid>/stat` after the name: state, parent, group, …; empty when the process is gone."""
    try:
        # The name stands in brackets and may hold spaces and brackets itself: cut after the last one.
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def is_alive(pid: int) -> bool:
    """Say whether `pid` runs; a zombie does not."""
    fields = _stat_fields(pid)
    return bool(fields) and fields[0] not in "ZX"


def started_at_ticks(pid: int) -> int | None:
    """Give the start time in clock ticks since boot: a pid is given again, a pid with its start time is not."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else None


def descendants(pid: int) -> list[int]:
    """List every living process below `pid`, parents before their children."""
    children: dict[int, list[int]] = {}
    for candidate in _all_pids():
        fields = _stat_fields(candidate)
        if fields and fields[0] not in "ZX":
            children.setdefault(int(fields[1]), []).append(candidate)
    found = list(children.get(pid, ()))
    for child in found:  # grows while it is walked: breadth first
        found.extend(children.get(child, ()))
    return found


def group(leader: int) -> list[int]:
    """List the living processes of this session in the process group that `leader` leads or led, without the leader."""
    wanted = [str(leader), str(os.getsid(0))]
    return [pid for pid in _all_pids() if pid != leader and _stat_fields(pid)[2:4] == wanted and is_alive(pid)]


def working_in(directory: Path, names: Iterable[str]) -> list[int]:
    """List the living processes called one of `names` that work in `directory`, as servers do in their data."""
    wanted = {name[:15] for name in names}  # the kernel keeps 15 characters of a name
    found = []
    for pid in _all_pids():
        try:
            name = (_PROC / str(pid) / "comm").read_text().rstrip("\n")
            if name in wanted and (_PROC / str(pid) / "cwd").samefile(directory) and is_alive(pid):
                found.append(pid)
        except OSError:
            continue
    return found


def listeners(port: int) -> set[int]:
    """Give the pids that listen on TCP `port` at any address, as far as this user may see them."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        try:
            rows = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            _, local, _, state, *_, inode = row.split()[:10]
            if state == _TCP_LISTEN and int(local.rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{inode}]")
    return {pid for pid in _all_pids() if _holds(pid, sockets)} if sockets else set()


def send(pid: int, number: Signals) -> None:
    """Send a signal to a process that may have ended in between, which then is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _holds(pid: int, sockets: set[str]) -> bool:
    try:
        return any(str(descriptor.readlink()) in sockets for descriptor in (_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll `condition` until it holds or the time is over; give what it said last."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
