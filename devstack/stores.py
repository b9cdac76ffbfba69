"""The two stores of `make up`: started here, or those that POSTGRES_HOST and REDIS_URL name."""

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from devstack import screen
from devstack.errors import StackError
from devstack.folder import DataFolder
from devstack.postgres import Postgres
from devstack.process import ChildProcess
from devstack.redis import Redis

_REACH_TIMEOUT_S = 3.0
_POSTGRES_NAMES = ("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB")
_REDIS_NAMES = ("REDIS_URL", "REDIS_CLUSTER")


class Stores:
    """Postgres and Redis, and the settings by which the service reaches them."""

    def __init__(self, folder: DataFolder, environment: Mapping[str, str]) -> None:
        """Describe the stores that `environment` asks for; nothing is started before `start()`."""
        self._folder = folder
        self._named = environment
        self._postgres: Postgres | None = None
        self._redis: Redis | None = None
        self.settings: dict[str, str] = {}

    @property
    def processes(self) -> dict[str, ChildProcess]:
        """The children that were started here, by name."""
        own = {"postgres": self._postgres, "redis": self._redis}
        return {name: store.process for name, store in own.items() if store is not None}

    def start(self) -> None:
        """Start what is not named, reach for what is; raises StackError with nothing but its line."""
        try:
            self._start()
        except StackError as error:
            raise StackError(str(error)) from error

    def _start(self) -> None:
        if host := self._named.get("POSTGRES_HOST"):
            _reach("Postgres", host, self._named.get("POSTGRES_PORT") or "5432", "POSTGRES_HOST")
            self.settings |= {name: self._named[name] for name in _POSTGRES_NAMES if name in self._named}
        else:
            self._start_postgres()
        if url := self._named.get("REDIS_URL"):
            _reach("Redis", *_place_of(url), "REDIS_URL")
            self.settings |= {name: self._named[name] for name in _REDIS_NAMES if name in self._named}
        else:
            self._start_redis()

    def _start_postgres(self) -> None:
        with screen.step("Postgres") as step:
            postgres = Postgres(self._folder.path / "postgres", log_path=self._folder.log_path("postgres"))
            self._postgres = postgres  # before the start: what was begun is stopped, too
            postgres.start()
            step.remark = f"{postgres.version} at {postgres.host}:{postgres.port}"
        values = (postgres.host, str(postgres.port), postgres.user, postgres.password, postgres.database)
        self.settings |= dict(zip(_POSTGRES_NAMES, values, strict=True))

    def _start_redis(self) -> None:
        with screen.step("Redis") as step:
            redis = Redis(self._folder.path / "redis", log_path=self._folder.log_path("redis"))
            self._redis = redis
            redis.start()
            step.remark = f"{redis.flavour.capitalize()} {redis.version} at {redis.host}:{redis.port}"
        self.settings |= {"REDIS_URL": redis.url, "REDIS_CLUSTER": "false"}

    def stop(self) -> None:
        """Stop what was started here, the carrier before the source of truth."""
        for store in (self._redis, self._postgres):
            if store is not None:
                store.stop()


def _place_of(url: str) -> tuple[str, str]:
    """Read host and port; raises StackError, which does not show the URL: it may hold a password."""
    try:
        at = urlsplit(url)
        return at.hostname or "", str(at.port or 6379)
    except ValueError:
        raise StackError("REDIS_URL is not an address such as redis://host:6379/0: correct or unset it") from None


def _reach(what: str, host: str, port: str, variable: str) -> None:
    """Check that something accepts connections there; a path (a Unix socket) is left to the service to judge."""
    if not host or host.startswith("/"):
        return
    with screen.step(what) as step:
        try:
            socket.create_connection((host, int(port)), _REACH_TIMEOUT_S).close()
        except (OSError, ValueError) as error:
            raise StackError(
                f"{what} at {host}:{port} cannot be reached ({error}): "
                f"start it, or unset {variable} to have one started here"
            ) from error
        step.remark = f"yours, at {host}:{port}"
