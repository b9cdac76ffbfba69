"""Where the gateway listens, and the refusal to do that in public while nobody has to say who they are."""

import ipaddress
import resource
import socket

from shared.errors import Misconfigured
from shared.settings import GatewaySettings

BACKLOG = 1024  # connections that may wait to be accepted
DESCRIPTORS = 65_536  # files and connections one process may have open, as in docker-compose.yml


def refuse_open_door(settings: GatewaySettings) -> None:
    """Raise Misconfigured for AUTH=off on an address that others can reach, unless that was said twice."""
    try:
        is_loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        is_loopback = settings.host == "localhost"
    if settings.auth == "off" and not is_loopback and not settings.auth_off_in_public:
        raise Misconfigured(
            f"AUTH=off would let anybody who reaches {settings.host} move money. Set AUTH=required, or HOST=127.0.0.1, "
            "or say it twice with AUTH_OFF_IN_PUBLIC=true."
        )


def _ask_for_descriptors() -> None:
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if most == resource.RLIM_INFINITY else min(DESCRIPTORS, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def listen(settings: GatewaySettings) -> socket.socket:
    """Open the listening socket; raises Misconfigured when the address is taken or not to be had.

    Asks the system for a descriptor for each connection: 1024 is all that many give unless asked.
    """
    _ask_for_descriptors()
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Misconfigured(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "End what uses it, or choose another HOST or PORT."
        ) from None
