"""A wrong setting stops the process with a sentence that names it, and a secret is never shown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.process import PROJECT_DIR
from shared.errors import Misconfigured
from shared.settings import GatewaySettings, MaintenanceSettings, Settings, WorkerSettings

AS_TESTS_RUN = dict(os.environ)
SECRET = "correct-horse-battery-staple"


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this machine's environment and `.env` out."""
    monkeypatch.delenv("ENV_FILE")
    for model in (Settings, GatewaySettings, MaintenanceSettings):
        for name in model.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


WRONG = [
    (Settings, "POSTGRES_PORT", ("0", "65536", "five", "", "1.5")),
    (
        Settings,
        "REDIS_URL",
        ("", "127.0.0.1", "http://redis:6379/0", f"redis://:{SECRET}/{SECRET}@redis:6379/0", "redis://[::1"),
    ),
    (Settings, "REDIS_CLUSTER", ("some",)),
    (Settings, "PARTITION_COUNT", ("0", "-1", "4097", "many")),
    (Settings, "LOG_LEVEL", ("loud", "INFO", "")),
    (Settings, "LOG_FORMAT", ("xml",)),
    (Settings, "START_TIMEOUT_SECONDS", ("0", "-1", "soon")),
    (Settings, "METRICS_PORT", ("-1", "65536", "http")),
    (Settings, "OTEL_TRACES_SAMPLER_ARG", ("-0.1", "1.1", "all")),
    (GatewaySettings, "AUTH", ("none", "")),
    (GatewaySettings, "AUTH_OFF_IN_PUBLIC", ("perhaps",)),
    (GatewaySettings, "PORT", ("-1", "65536", "http")),
    (GatewaySettings, "GATEWAY_PROCESSES", ("0", "65")),
    (GatewaySettings, "WAIT_SECONDS", ("0", "-0.1", "long")),
    (GatewaySettings, "WALLET_QUEUE_MAX", ("0", "x")),
    (GatewaySettings, "PARTITION_QUEUE_MAX", ("0",)),
    (GatewaySettings, "HELD_COMMANDS_MAX", ("0",)),
    (GatewaySettings, "FLUSH_COMMANDS_MAX", ("-5",)),
    (GatewaySettings, "WALLET_REQUESTS_MAX", ("0",)),
    (GatewaySettings, "BODY_BYTES_MAX", ("0",)),
    (GatewaySettings, "HEADER_SECONDS", ("0", "-1")),
    (GatewaySettings, "BODY_SECONDS", ("0", "never")),
    (GatewaySettings, "ANSWER_SECONDS", ("0",)),
    (GatewaySettings, "REQUESTS_MAX", ("0", "-1")),
    (GatewaySettings, "POSTGRES_POOL_MAX", ("0",)),
    (GatewaySettings, "DRAIN_SECONDS", ("0",)),
    (WorkerSettings, "WORKER_NAME", ("", "w" * 41)),
    (WorkerSettings, "HEARTBEAT_SECONDS", ("0",)),
    (WorkerSettings, "SESSION_TIMEOUT_SECONDS", ("0",)),
    (WorkerSettings, "BATCH_COMMANDS_MAX", ("0", "1e3")),
    (WorkerSettings, "BATCH_WALLETS_MAX", ("0",)),
    (WorkerSettings, "REPLY_TTL_SECONDS", ("0", "1.5")),
    (WorkerSettings, "REPLY_MESSAGES_MAX", ("0",)),
    (WorkerSettings, "DEAD_LETTERS_MAX", ("0",)),
    (MaintenanceSettings, "MAINTENANCE_REDIS_URL", ("127.0.0.1:6380", "redis://redis:port/0")),
    (MaintenanceSettings, "RECONCILE_CHUNK_OPERATIONS", ("0",)),
    (MaintenanceSettings, "RECONCILE_PAUSE_SECONDS", ("0",)),
    (MaintenanceSettings, "RECONCILE_RUN_SECONDS", ("0",)),
    (MaintenanceSettings, "STATISTICS_RUN_SECONDS", ("0",)),
]


@pytest.mark.parametrize(
    ("model", "name", "value"), [(model, name, value) for model, name, values in WRONG for value in values]
)
def test_wrong_value__is_named_in_one_line_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, model: type[Settings], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(Misconfigured) as refused:
        model.load()

    said = refused.value.detail
    assert name in said
    assert "\n" not in said
    if len(value) > 3 and value != "INFO":  # short ones are in the limits that are named
        assert value not in said


def test_cluster__needs_a_plain_redis_for_the_schedule_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_CLUSTER", "true")

    with pytest.raises(Misconfigured, match=r"MAINTENANCE_REDIS_URL: .*plain Redis"):
        MaintenanceSettings.load()

    monkeypatch.setenv("MAINTENANCE_REDIS_URL", "redis://127.0.0.1:6380/0")
    assert MaintenanceSettings.load().redis_cluster
    assert WorkerSettings.load().redis_cluster


@pytest.mark.parametrize(("name", "value"), [("WAIT_SECONDS", "15.5"), ("DRAIN_SECONDS", "9.5")])
def test_stop_that_would_cut_requests_off__is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(Misconfigured, match=r"^Settings are wrong: DRAIN_SECONDS: .*not be less than WAIT_SECONDS"):
        GatewaySettings.load()


def test_every_setting_that_can_be_wrong__is_tried_here() -> None:
    tried = {name for _, name, _ in WRONG}
    free = {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "POSTGRES_HOST", "HOST"}
    free |= {"METRICS_HOST", "OTEL_EXPORTER_OTLP_ENDPOINT"}

    settings = {name.upper() for model in (GatewaySettings, MaintenanceSettings) for name in model.model_fields}
    assert settings - free == tried


def test_two_wrong_values__are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "x")
    monkeypatch.setenv("PARTITION_COUNT", "y")

    with pytest.raises(Misconfigured, match=r"POSTGRES_PORT.*PARTITION_COUNT"):
        Settings.load()


def test_secret__is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", SECRET)
    monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET}@redis:6379/0")
    settings = GatewaySettings.load()

    assert SECRET not in repr(settings) + str(settings) + str(settings.model_dump()) + settings.model_dump_json()
    assert settings.postgres_password.get_secret_value() == SECRET
    assert SECRET in settings.redis_url.get_secret_value()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (f"redis://:{SECRET}@redis:6380/0", "redis:6380"),
        (f"redis://user:{SECRET}@redis", "redis:6379"),
        (f"rediss://redis/0?password={SECRET}&username=user", "redis:6379"),
        (f"redis://[::1]:6380/{SECRET}#{SECRET}", "::1:6380"),
        (f"redis:///0?password={SECRET}", "localhost:6379"),
        (f"unix:///run/redis.sock?password={SECRET}", "/run/redis.sock"),
    ],
)
def test_address_of_redis__has_no_part_in_which_a_secret_may_be(
    monkeypatch: pytest.MonkeyPatch, url: str, address: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)

    assert Settings.load().redis_address == address


def test_secret__is_not_shown_when_another_value_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", SECRET)
    monkeypatch.setenv("PORT", SECRET)

    with pytest.raises(Misconfigured) as refused:
        GatewaySettings.load()

    assert SECRET not in str(refused.value)
    assert refused.value.__suppress_context__  # nor in a trace


@pytest.mark.parametrize("model", [Settings, GatewaySettings, WorkerSettings, MaintenanceSettings])
def test_nothing_set__every_setting_has_a_default(model: type[Settings]) -> None:
    assert model.load() == model.load()


def test_environment__goes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_DB=from_file\nPOSTGRES_USER=from_file\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("POSTGRES_DB", "from_environment")

    settings = Settings.load()

    assert (settings.postgres_db, settings.postgres_user) == ("from_environment", "from_file")


def test_file__is_another_or_none_when_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_DB=usual\n")
    (tmp_path / "other").write_text("POSTGRES_DB=other\n")

    monkeypatch.setenv("ENV_FILE", "other")
    assert Settings.load().postgres_db == "other"
    monkeypatch.setenv("ENV_FILE", "")
    assert Settings.load().postgres_db == "postgres"


def test_tests_and_their_processes__read_no_file_of_whoever_runs_them(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_DB=somebodys_own\n")
    environment = {**AS_TESTS_RUN, "PYTHONPATH": str(PROJECT_DIR)}
    script = "from shared.settings import Settings; print(Settings.load().postgres_db)"

    for file, seen in ((environment["ENV_FILE"], "postgres"), (".env", "somebodys_own")):
        command = [sys.executable, "-c", script]
        said = subprocess.check_output(command, cwd=tmp_path, env={**environment, "ENV_FILE": file}, text=True)
        assert said == f"{seen}\n"


def test_settings__do_not_change_while_a_process_runs() -> None:
    settings = Settings.load()

    with pytest.raises(ValueError, match="frozen"):
        settings.partition_count = 1


@pytest.mark.parametrize("model", [GatewaySettings, MaintenanceSettings])
def test_every_limit__says_why(model: type[Settings]) -> None:
    plain = {"postgres_user", "postgres_password", "postgres_db", "postgres_host", "postgres_port", "host", "port"}
    plain |= {"log_level", "log_format"}

    silent = {name for name, field in model.model_fields.items() if not field.description}
    assert silent <= plain
