"""Who may call, and for what: API keys, `Authorization: Bearer wk_<id>_<secret>`.

Guarantees that a secret is stored and compared only as its SHA-256, in constant time, that a revocation takes effect
within seconds, and that callers who were known go on being served while Postgres is away.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import structlog

from shared.database import DatabaseError
from shared.errors import CallerError, Forbidden, Unauthenticated, Unavailable
from shared.process import end_process_when_broken

REFRESH_SECONDS = 2.0  # a revocation takes effect this soon, everywhere
REFRESH_AGAIN_SECONDS = 0.5  # a key that nobody knows is looked for at most this often
SECRET_BYTES = 32
_PREFIX = "wk_"

log = structlog.get_logger(__name__)


class Scope(StrEnum):
    """What a key allows."""

    CREATE = "wallets:create"
    READ = "wallets:read"
    OPERATE = "wallets:operate"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the table has it."""

    id: UUID
    name: str
    secret_sha256: bytes
    scopes: frozenset[str]
    expires_at: datetime | None


def make_token(key_id: UUID) -> tuple[str, bytes]:
    """Return a new token, to be shown once, and the SHA-256 of its secret, to be stored."""
    secret = secrets.token_bytes(SECRET_BYTES)
    text = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    return f"{_PREFIX}{key_id.hex}_{text}", hashlib.sha256(secret).digest()


def read_token(token: str) -> tuple[UUID, bytes] | None:
    """Return the key id of a token and the SHA-256 of its secret, or None when it is no token."""
    key_id, _, text = token.removeprefix(_PREFIX).partition("_")
    if not token.startswith(_PREFIX) or not token.isascii():
        return None
    try:
        secret = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return UUID(key_id), hashlib.sha256(secret).digest()
    except (ValueError, binascii.Error):
        return None


def _token_in(authorization: str | None) -> tuple[UUID, bytes] | None:
    """Return what `read_token` reads in the header; raises Unauthenticated when there is no bearer token."""
    kind, _, token = (authorization or "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Unauthenticated("Send an API key: Authorization: Bearer <key>.")
    return read_token(token.strip())


Load = Callable[[], Awaitable[Sequence[ApiKey]]]


class Access:
    """The keys that may be used now, kept fresh in the background."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._keys: dict[UUID, ApiKey] = {}
        self._loaded_at = float("-inf")
        self._is_behind = True  # whether the last load failed, so that there may be keys that are not known here
        self._loading = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the keys fresh; leaving ends that."""
        task = asyncio.create_task(self._keep_fresh(), name="refresh of the API keys")
        task.add_done_callback(end_process_when_broken)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def caller(self, authorization: str | None, scope: Scope) -> str:
        """Return the id of the calling key.

        Raises Unauthenticated without a valid key, Forbidden when the key lacks the scope (`admin` has them all), and
        Unavailable when the key is not known here and the database cannot be asked.
        """
        read = _token_in(authorization)
        if read and read[0] not in self._keys:
            # It may have been made a moment ago. Guessers cannot make a load of this: they wait, and share one look.
            await self._refresh(asyncio.get_running_loop().time())
            if self._is_behind and read[0] not in self._keys:
                raise Unavailable("The API keys cannot be read at the moment, and this one was not seen before.")
        return self._check(read, scope)

    def known_caller(self, authorization: str | None, scope: Scope) -> str | None:
        """Return the same where no look into the database is needed; None otherwise, and when `caller` would raise."""
        try:
            return self._check(_token_in(authorization), scope)
        except CallerError:
            return None

    def _check(self, read: tuple[UUID, bytes] | None, scope: Scope) -> str:
        key = self._keys.get(read[0]) if read else None
        if read is None or key is None or not hmac.compare_digest(key.secret_sha256, read[1]):
            raise Unauthenticated("This API key is not valid: it is unknown, revoked, or expired.")
        if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
            raise Unauthenticated("This API key is not valid: it is unknown, revoked, or expired.")
        if scope not in key.scopes and Scope.ADMIN not in key.scopes:
            raise Forbidden(f"This API key lacks the scope {scope}.")
        return key.id.hex

    async def _keep_fresh(self) -> None:
        while True:
            await self._refresh(asyncio.get_running_loop().time())
            await asyncio.sleep(REFRESH_SECONDS)

    async def _refresh(self, asked_at: float) -> None:
        """Read the keys, unless that was begun after `asked_at`."""
        loop = asyncio.get_running_loop()
        async with self._loading:
            if self._loaded_at > asked_at:
                return
            await asyncio.sleep(self._loaded_at + REFRESH_AGAIN_SECONDS - loop.time())
            self._loaded_at = loop.time()
            try:
                self._keys = {key.id: key for key in await self._load()}
                self._is_behind = False
            except DatabaseError as error:
                # Whoever was let in before goes on being let in: commands are accepted while Postgres is away.
                self._is_behind = True
                log.warning("cannot read the API keys; going on with those known", error=repr(error))
