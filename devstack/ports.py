"""TCP ports on the loopback address: which are free, and which to give out."""

import errno
import random
import socket

from devstack import procfs
from devstack.errors import StackError

HOST = "127.0.0.1"

# Below Linux's ephemeral range (32768…), where a client that retries a stopped server could be given the server's own
# port as its source port, connect to itself, and so keep the server from coming back. A Redis Cluster node listens on a
# second port too, 10000 above its first: the range is no longer than that, so that none of them is given to another.
_FIRST_PORT = 10240
_LAST_PORT = 20239
_SECOND_PORT_OFFSET = 10000
_ATTEMPTS_MAX = 200


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port` now."""
    return not _why_not_free(port)


def require_free(port: int, remedy: str) -> None:
    """Raise StackError, with who holds the port and the `remedy`, when no server could listen on `port` now."""
    if reason := _why_not_free(port):
        holders = ", ".join(f"pid {pid}" for pid in sorted(procfs.listeners(port)))
        raise StackError(f"port {port} cannot be used ({reason}{f' by {holders}' if holders else ''}): {remedy}")


def _why_not_free(port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            return "already in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error)).lower()
    return ""


def pick_free() -> int:
    """Give a free port that no living process has been given here, and whose second port is free as well."""
    for _ in range(_ATTEMPTS_MAX):
        port = random.randint(_FIRST_PORT, _LAST_PORT)  # noqa: S311 (no secret: two test runs should not meet)
        if is_free(port) and is_free(port + _SECOND_PORT_OFFSET) and _claim(port):
            return port
    raise StackError(f"no free port found between {_FIRST_PORT} and {_LAST_PORT} on {HOST}: stop what occupies them")


def _claim(port: int) -> bool:
    """Make the port this process's own as long as it lives, unless a living one has it."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0wallet-devstack-port-{port}")  # an abstract name: no file is left behind
    except OSError:
        claim.close()
        return False
    claim.detach()  # never closed: the kernel forgets the name when the process ends
    return True
