"""The stack that is measured: durable stores in a temporary folder, and services and direct baselines over them.

Guarantees that everything started here dies with this process, that `close()` leaves nothing behind, and that the
Postgres server itself says that it syncs before anything is measured.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGQUIT, SIGTERM
from typing import Any, Self

import asyncpg
import redis

from devstack import ports, procfs
from devstack.binaries import find_postgres
from devstack.errors import StackError
from devstack.postgres import Postgres
from devstack.process import ChildProcess, python_module
from devstack.redis import Redis
from devstack.services import not_ready_because
from shared.migrations import migrate

READY_SECONDS_MAX = 60.0
TEMPLATE = "template_wallet"
REDIS_DATABASES = 16
SQL = Path(__file__).parent / "sql"

# Nothing of this loosens durability. Enough memory and log that a checkpoint does not fall into every other round.
POSTGRES_OPTIONS = {
    "max_connections": "300",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
}
# Loaded for the parts about costs only, and idle until a database asks for it.
STATEMENT_COUNTER = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "none"}
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")


class Server:
    """One measured HTTP server and the processes behind it."""

    def __init__(self, port: int, database: str, processes: Sequence[ChildProcess]) -> None:
        """Describe it; nothing runs before `start()`."""
        self.port = port
        self.database = database
        self.processes = list(processes)

    def start(self) -> None:
        """Start every process and return when the server says that it is ready."""
        for process in self.processes:
            process.start()

        reason = ""

        def settled() -> bool:
            # Asked once: a moment after they are ready, workers that come one after another still share out anew.
            nonlocal reason
            reason = not_ready_because(self.port)
            return not reason or not all(process.is_alive for process in self.processes)

        procfs.wait_until(settled, READY_SECONDS_MAX)
        if reason:
            tails = [line for process in self.processes for line in process.log_tail()]
            raise StackError(f"{self.processes[0].name} does not get ready: {reason}", tails)

    def stop(self) -> None:
        """Stop every process; they are told at once, for each takes its time."""
        for process in self.processes:
            process.signal(SIGTERM)
        for process in self.processes:
            process.stop()

    def pids(self, name: str) -> list[int]:
        """List the processes whose name begins so, with everything below them."""
        own = [process.pid for process in self.processes if process.name.startswith(name)]
        return [pid for parent in own for pid in (parent, *procfs.descendants(parent))]


class Service(Server):
    """Gateways and workers over a database and a Redis database of their own."""

    def __init__(
        self,
        stack: "Stack",
        database: str,
        redis_number: int,
        gateways: int,
        workers: int,
        environment: Mapping[str, str],
    ) -> None:
        """Describe the service."""
        port = ports.pick_free()
        self.redis_number = redis_number
        settings = {**stack.settings(database, redis_number), **environment}
        own = {"HOST": ports.HOST, "PORT": str(port), "AUTH": "off", "GATEWAY_PROCESSES": str(gateways)}
        log = stack.folder / "logs"
        processes = [
            python_module(
                "gateway", log / f"gateway-{database}.log", {**settings, **own}, "gateway", death_signal=SIGTERM
            )
        ]
        for number in range(1, workers + 1):
            name = f"worker-{number}"
            named = {**settings, "WORKER_NAME": f"{name}-{database}"[:40]}
            processes.append(python_module("worker", log / f"{name}-{database}.log", named, name))
        super().__init__(port, database, processes)


class Stack:
    """Postgres and Valkey, and what is started over them; a context that ends all of it."""

    def __init__(self, *, with_statements: bool = False) -> None:
        """Make the folder and describe the stores; `with_statements` lets Postgres count statements when asked to."""
        self.folder = Path(tempfile.mkdtemp(prefix="wallet-bench-"))
        self.counts_statements = with_statements and _has_statement_counter()
        extras = STATEMENT_COUNTER if self.counts_statements else {}
        self.postgres = Postgres(self.folder / "postgres", options={**POSTGRES_OPTIONS, **extras})
        self.redis = Redis(self.folder / "redis")
        self.durability: dict[str, str] = {}
        self._servers: dict[tuple[object, ...], Server] = {}
        self._redis_numbers = list(range(REDIS_DATABASES))

    def __enter__(self) -> Self:
        """Start the stores, check that they are durable, and make the template of all databases."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything and remove the folder."""
        self.close()

    def _start(self) -> None:
        self.postgres.start()
        self.redis.start()
        self.durability = {name: str(self.value("postgres", f"SHOW {name}")) for name in DURABLE}
        if set(self.durability.values()) != {"on"}:
            raise StackError(f"this Postgres would lose what it acknowledged: {self.durability}")
        self.execute("postgres", f"CREATE DATABASE {TEMPLATE}")
        asyncio.run(self._migrate())

    async def _migrate(self) -> None:
        connection = await asyncpg.connect(self._url(TEMPLATE))
        await migrate(connection)
        await connection.close()

    def close(self) -> None:
        """Stop everything, the stores last, and remove the folder."""
        try:
            servers = self._servers.values()
            for process in (process for server in servers for process in server.processes):
                process.signal(SIGTERM)
            for server in servers:
                server.stop()
        finally:
            self.redis.stop()
            self.postgres.process.stop_signal = SIGQUIT  # without writing gigabytes that are removed in the next line
            self.postgres.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---- what is measured ---------------------------------------------------------------------------------------

    def service(
        self,
        database: str = "service",
        gateways: int = 1,
        workers: int = 1,
        redis_number: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Service:
        """Return the running service over this database, which is made when it is not there."""
        key = ("service", database)
        known = self._servers.get(key)
        if not isinstance(known, Service):
            self.ensure_database(database)
            number = self.take_redis_number() if redis_number is None else redis_number
            known = Service(self, database, number, gateways, workers, environment or {})
            self._servers[key] = known
            known.start()
        return known

    def direct(self, pool_size: int, processes: int = 1) -> Server:
        """Return the running direct baseline with this pool, over the one database of all of them."""
        return self.directs([pool_size], processes)[pool_size]

    def directs(self, pool_sizes: Sequence[int], processes: int = 1) -> dict[int, Server]:
        """Return the running direct baselines with these pools, started at the same time."""
        self.ensure_database("direct")
        servers: dict[int, Server] = {}
        for size in pool_sizes:
            key = ("direct", size, processes)
            if key not in self._servers:
                port = ports.pick_free()
                module = f"bench.direct --port {port} --pool {size} --processes {processes}"
                log = self.folder / "logs" / f"direct-{size}-{processes}.log"
                process = python_module(module, log, self.settings("direct"), "direct", death_signal=SIGTERM)
                self._servers[key] = Server(port, "direct", [process])
                process.start()
            servers[size] = self._servers[key]
        for server in servers.values():
            server.start()
        return servers

    def discard(self, service: Service) -> None:
        """Stop a service for good and empty its Redis database; its tables stay: dropping them forces a checkpoint."""
        service.stop()
        self._servers = {key: server for key, server in self._servers.items() if server is not service}
        with self.redis_client(service.redis_number) as client:
            client.flushdb()
        self._redis_numbers.append(service.redis_number)

    def take_redis_number(self) -> int:
        """Take a Redis database that nobody uses."""
        return self._redis_numbers.pop(0)

    def settings(self, database: str, redis_number: int = 0) -> dict[str, str]:
        """Return the environment by which a process reaches these stores."""
        return {
            "POSTGRES_HOST": self.postgres.host,
            "POSTGRES_PORT": str(self.postgres.port),
            "POSTGRES_USER": self.postgres.user,
            "POSTGRES_PASSWORD": "",
            "POSTGRES_DB": database,
            "REDIS_URL": self.redis.url.rsplit("/", 1)[0] + f"/{redis_number}",
        }

    def count_statements(self, database: str) -> None:
        """Let Postgres count the statements of this database, in the sessions that are opened from now on."""
        self.ensure_database(database)
        if self.counts_statements:
            self.execute(database, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            self.execute(database, f"ALTER DATABASE {database} SET pg_stat_statements.track = 'top'")

    # ---- the stores ---------------------------------------------------------------------------------------------

    def ensure_database(self, name: str) -> None:
        """Make a database with the schema, unless it is there."""
        if not self.has_database(name):
            self.execute("postgres", f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")

    def has_database(self, name: str) -> bool:
        """Say whether a database was made."""
        return bool(self.value("postgres", "SELECT count(*) FROM pg_database WHERE datname = $1", name))

    def execute(self, database: str, statement: str, *values: object) -> None:
        """Run one statement, however long it takes."""
        asyncio.run(self._ask(database, statement, values))

    def value(self, database: str, statement: str, *values: object) -> Any:
        """Run one statement and return the first value of its first row."""
        rows = asyncio.run(self._ask(database, statement, values))
        return rows[0][0] if rows else None

    def row(self, database: str, statement: str, *values: object) -> Any:
        """Run one statement and return its first row."""
        return asyncio.run(self._ask(database, statement, values))[0]

    async def _ask(self, database: str, statement: str, values: Sequence[object]) -> list[Any]:
        connection = await asyncpg.connect(self._url(database), timeout=10)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    def _url(self, database: str) -> str:
        return self.postgres.url.rsplit("/", 1)[0] + f"/{database}"

    def redis_client(self, number: int = 0) -> "redis.Redis":
        """Open a client of one Redis database."""
        return redis.Redis(host=self.redis.host, port=self.redis.port, db=number)

    def query(self, name: str) -> str:
        """Read a statement of `bench/sql/`; before Postgres 18 ids are random instead of ascending."""
        text = (SQL / f"{name}.sql").read_text(encoding="utf-8")
        return text if int(self.postgres.version.partition(".")[0]) >= 18 else text.replace("uuidv7", "gen_random_uuid")

    def fill_wallets(self, database: str, last: int, first: int = 1) -> None:
        """Make the wallets of these numbers that are not there yet, all of them empty."""
        self.ensure_database(database)
        self.execute(database, self.query("fill_wallets"), first, last)

    def fill_large(self, wallets: int, operations_each: int) -> None:
        """Make the database `large`: so many wallets, each with a history; analysed and written to the disk."""
        self.fill_wallets("large", wallets)
        asyncio.run(self._fill_operations(wallets, operations_each))
        self.execute("large", "VACUUM ANALYZE")
        self.execute("large", "CHECKPOINT")

    async def _fill_operations(self, wallets: int, each: int) -> None:
        connection = await asyncpg.connect(self._url("large"), server_settings={"session_replication_role": "replica"})
        await connection.execute(self.query("fill_operations"), wallets, each)
        await connection.close()


def _has_statement_counter() -> bool:
    return (find_postgres().path.parents[1] / "lib").is_dir() and any(
        (find_postgres().path.parents[1] / "lib").rglob("pg_stat_statements.so")
    )
