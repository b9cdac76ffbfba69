"""The usual request, read from its bytes: an operation, or a look at a wallet, as nearly every client spells them.

aiohttp's parser reads whatever HTTP allows; with the objects that it makes it was a quarter of what a gateway did in
Python for an operation. This reads next to nothing of what HTTP allows, so that no two readers can disagree about it:
RFC 9112 without its options, no field twice, a body as long as it says. Guarantees that aiohttp's parser would read the
same, and to the last byte. What it does not read is not wrong: it is aiohttp's, unread.
"""

import re

from aiohttp import hdrs
from msgspec import Struct
from multidict import CIMultiDict

HEAD_END = b"\r\n\r\n"
HEAD_BYTES_MAX = 4_096  # far below each of aiohttp's limits
FIELDS_MAX = 64

_FIELD = r"[A-Za-z0-9-]+: [\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?\r\n"
_HEAD = re.compile(
    r"(?P<method>GET|POST) "
    r"(?P<path>/api/v1/wallets/(?P<wallet_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?P<operation>/operation)?/?) "
    rf"HTTP/1\.1\r\n(?P<fields>(?:{_FIELD})+)\Z",
    re.ASCII,
)
_FIELDS = re.compile(r"(.+?): (.+)\r\n", re.ASCII)
# They say how the body travels or how the connection goes on, or aiohttp refuses them.
_LEFT_ALONE = frozenset(
    name.lower()
    for name in (
        hdrs.TRANSFER_ENCODING,
        hdrs.CONTENT_ENCODING,
        hdrs.EXPECT,
        hdrs.UPGRADE,
        "Proxy-Connection",
        hdrs.SEC_WEBSOCKET_KEY1,
    )
)


class Usual(Struct, gc=False):
    """A request whose target is usual: to operate on a wallet (POST), or to look at it (GET)."""

    is_operation: bool
    path: str
    wallet_id: str
    headers: CIMultiDict[str]
    body: bytes


def read(data: bytes) -> Usual | None:
    """Return the one usual request that these bytes are, or None."""
    end = data.find(HEAD_END, 0, HEAD_BYTES_MAX)
    if end < 0 or not (text := data[: end + 2]).isascii():
        return None
    head = _HEAD.match(text.decode("ascii"))
    if head is None:
        return None
    method, path, wallet_id, operation, fields = head.groups()
    pairs = _FIELDS.findall(fields)
    names = {name.lower() for name, _ in pairs}
    if len(names) < len(pairs) or len(pairs) > FIELDS_MAX or "host" not in names or not names.isdisjoint(_LEFT_ALONE):
        return None
    headers, body = CIMultiDict(pairs), data[end + len(HEAD_END) :]
    if (method == "POST") != (operation is not None) or headers.get(hdrs.CONTENT_LENGTH, "0") != str(len(body)):
        return None
    if headers.get(hdrs.CONNECTION, "keep-alive").lower() != "keep-alive":
        return None
    return Usual(operation is not None, path, wallet_id, headers, body)
