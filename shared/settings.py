"""Every setting, read from the environment and `.env`, with its unit, its default and the reason for it.

The only module that reads the environment. Guarantees that a wrong value stops the process at start with a sentence
that names the setting.
"""

import os
import socket
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from shared.errors import Misconfigured

REDIS_PORT = 6379  # where a URL names none
PARTITIONS_MAX = 4_096  # a lock in Postgres each

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """What every process of the service needs."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    postgres_user: str = "postgres"
    postgres_password: SecretStr = SecretStr("")
    postgres_db: str = "postgres"
    postgres_host: str = "127.0.0.1"
    postgres_port: Annotated[int, Field(ge=1, le=65535)] = 5432
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="may hold a password")
    redis_cluster: bool = Field(False, description="whether REDIS_URL names a node of a Redis Cluster")
    partition_count: Annotated[int, Field(ge=1, le=PARTITIONS_MAX)] = Field(
        64, description="fixed by the first start: it decides where a wallet's stream is, so all processes must agree"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    start_timeout_seconds: Seconds = Field(60.0, description="how long a start waits for Postgres and Redis")
    metrics_host: str = Field("127.0.0.1", description="where Prometheus may ask: metrics know no API key")
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        0, description="a port of the process's own, not that of the API; 0: no metrics are served"
    )
    otel_exporter_otlp_endpoint: str = Field("", description="where traces go, by OTLP over HTTP; empty: none are made")
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = Field(1.0, description="the share that is traced")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment before `.env`, or the file that ENV_FILE names; none when that is empty."""
        del dotenv_settings, file_secret_settings
        file = os.environ.get("ENV_FILE", ".env")
        return init_settings, env_settings, DotEnvSettingsSource(settings_cls, env_file=file or None)

    @field_validator("redis_url", "maintenance_redis_url", check_fields=False)
    @classmethod
    def _name_a_redis(cls, url: SecretStr, others: ValidationInfo) -> SecretStr:
        may_be_empty = others.field_name != "redis_url"
        if not (_is_redis_url(url.get_secret_value()) or (may_be_empty and not url)):
            raise ValueError("is not an address such as redis://host:6379/0 (a password in it is percent-encoded)")
        return url

    @property
    def redis_address(self) -> str:
        """Where Redis is, to be shown: wherever in the URL a secret may stand, it is not in here."""
        at = urlsplit(self.redis_url.get_secret_value())
        return at.path if at.scheme == "unix" else f"{at.hostname or 'localhost'}:{at.port or REDIS_PORT}"

    @classmethod
    def load(cls) -> Self:
        """Read the settings; raises Misconfigured with one line per wrong value, never with the value itself."""
        try:
            return cls()  # type: ignore[call-arg] # every field has a default, some behind Field(…)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
            raise Misconfigured(f"Settings are wrong: {wrong}") from None


class ToolSettings(Settings):
    """What the tools beside the service need to find a `make up`."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    data_dir: Path = Field(Path(".data"), description="the data folder of a make up")


class GatewaySettings(Settings):
    """What the gateway needs beside them."""

    auth: Literal["required", "off"] = Field("required", description="off: nobody has to say who they are")
    auth_off_in_public: bool = Field(False, description="AUTH=off on an address that others can reach needs this too")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    gateway_processes: Annotated[int, Field(ge=1, le=64)] = Field(1, description="processes that share the port")
    wait_seconds: Seconds = Field(10.0, description="how long a request waits for its outcome before it gets a 202")
    wallet_queue_max: Positive = Field(10_000, description="commands that may wait for one wallet; beyond: 429")
    partition_queue_max: Positive = Field(100_000, description="commands that may wait in one partition; beyond: 503")
    held_commands_max: Positive = Field(
        50_000, description="undecided commands one process keeps, answered with 202 or not; beyond: 503"
    )
    flush_commands_max: Positive = Field(1_000, description="commands in one trip to Redis: some 10 ms of its time")
    body_bytes_max: Positive = Field(65_536, description="longest request body; beyond: 413")
    header_seconds: Seconds = Field(10.0, description="a header has arrived this long after it began; else: 408")
    body_seconds: Seconds = Field(30.0, description="a body has arrived this long after its header; else: 408")
    answer_seconds: Seconds = Field(30.0, description="how long a client may leave an answer unread; then it is cut")
    requests_max: Positive = Field(
        4_000, description="requests under way in one process, somewhat below a second of work; beyond: 503 at once"
    )
    wallet_requests_max: Positive = Field(
        1_000, description="requests that wait for one wallet in one process; beyond: 429, so that others find room"
    )
    postgres_pool_max: Positive = Field(8, description="connections for reads and wallet creation, per process")
    drain_seconds: Seconds = Field(
        15.0,
        validate_default=True,
        description="how long SIGTERM waits for requests under way, and for Redis to take what was accepted",
    )

    @field_validator("drain_seconds")
    @classmethod
    def _let_requests_end(cls, seconds: float, others: ValidationInfo) -> float:
        if seconds < others.data.get("wait_seconds", 0):
            raise ValueError("must not be less than WAIT_SECONDS: requests under way at SIGTERM would be cut off")
        return seconds


class WorkerSettings(Settings):
    """What the worker needs beside them."""

    worker_name: Annotated[str, Field(min_length=1, max_length=40)] = Field(
        default_factory=socket.gethostname, description="unique; shown in pg_stat_activity. Default: the host name"
    )
    heartbeat_seconds: Seconds = Field(0.5, description="how often a session shows that it lives and looks at shares")
    session_timeout_seconds: Seconds = Field(
        2.0, description="Postgres ends the session of a worker that is silent for this long; others take over then"
    )
    batch_commands_max: Positive = Field(
        256, description="commands in one transaction: some 10 ms, so that others wait little"
    )
    batch_wallets_max: Positive = Field(256, description="wallets in one transaction")
    reply_ttl_seconds: Positive = Field(60, description="how long a reply key lives after its last reply")
    reply_messages_max: Positive = Field(256, description="messages kept in a reply key; each holds a batch's outcomes")
    dead_letters_max: Positive = Field(10_000, description="dead letters kept per partition, oldest dropped first")


class MaintenanceSettings(WorkerSettings):
    """What housekeeping needs beside them and the worker's."""

    maintenance_redis_url: SecretStr = Field(
        SecretStr(""),
        validate_default=True,
        description="a plain Redis for the schedule of the jobs; needed beside a Cluster. Empty: REDIS_URL",
    )
    reconcile_chunk_operations: Positive = Field(
        5_000, description="operations, and wallets, in one look at the books: a snapshot of tens of ms"
    )
    reconcile_pause_seconds: Seconds = Field(0.1, description="between two looks: the stores belong to the workers")
    reconcile_run_seconds: Seconds = Field(20.0, description="a run ends after so long and the next one goes on there")
    statistics_run_seconds: Seconds = Field(20.0, description="the same for counting what is new in the books")

    @field_validator("maintenance_redis_url")
    @classmethod
    def _schedule_on_a_plain_redis(cls, url: SecretStr, others: ValidationInfo) -> SecretStr:
        if others.data.get("redis_cluster") and not url.get_secret_value():
            raise ValueError("name a plain Redis here: REDIS_URL names a Cluster")
        return url


def _is_redis_url(url: str) -> bool:
    try:
        at, port = urlsplit(url), urlsplit(url).port
    except ValueError:  # the client would show the part that is no port, which may be a piece of the password
        return False
    return at.scheme == "unix" or (at.scheme in {"redis", "rediss"} and port != 0)


def count_metrics_in(folder: str) -> None:
    """Let all processes count into one folder; prometheus-client reads this when it is first imported."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
