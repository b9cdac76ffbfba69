"""Where the gateway listens, and the refusal to do that in public while nobody has to say who they are."""

import ipaddress
import socket

from shared.errors import Misconfigured
from shared.settings import GatewaySettings

BACKLOG = 1024  # connections that may wait to be accepted


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


def listen(settings: GatewaySettings) -> socket.socket:
    """Open the listening socket; raises Misconfigured when the address is taken or not to be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Misconfigured(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "End what uses it, or choose another HOST or PORT."
        ) from None
