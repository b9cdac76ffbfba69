"""Which stores a tool looks at: what the operator set wins, and a `make up` that runs on just that is found."""

import json
from pathlib import Path

import pytest

from shared.settings import Settings
from shared.where import find

NOTED = {
    "POSTGRES_HOST": "127.0.0.1",
    "POSTGRES_PORT": "5555",
    "POSTGRES_USER": "noted",
    "REDIS_URL": "redis://127.0.0.1:6666/0",
}
OWN_REDIS = {"REDIS_URL": NOTED["REDIS_URL"]}


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The note of a `make up`, and nothing of this machine's environment or `.env`."""
    for name in (*NOTED, "DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENV_FILE", "")
    file = tmp_path / "stack.json"
    file.write_text(json.dumps({"environment": NOTED}))
    return file


@pytest.mark.parametrize(
    "given",
    [
        {},
        OWN_REDIS,
        {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "5555"},
        {**NOTED},
        {"POSTGRES_PORT": "1", "POSTGRES_USER": "of a host that is not named"},
        {**OWN_REDIS, "POSTGRES_USER": "of a host that is not named"},
    ],
)
def test_make_up_on_what_the_settings_name__is_found(
    note: Path, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    where = find(Settings, note.parent)

    assert (where.settings.postgres_port, where.settings.postgres_user) == (5555, "noted")
    assert where.settings.redis_address == "127.0.0.1:6666"
    assert where.source == str(note)


@pytest.mark.parametrize(
    "given",
    [
        {"POSTGRES_HOST": "db"},
        {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1"},
        {"REDIS_URL": "redis://127.0.0.1:1/0"},
        {**OWN_REDIS, "POSTGRES_HOST": "db"},
    ],
)
def test_make_up_on_other_stores_than_the_settings_name__is_passed_over(
    note: Path, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    where = find(Settings, note.parent)

    assert (where.settings, where.source) == (Settings.load(), "settings")


def test_broken_note__counts_only_where_nothing_is_named(note: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note.write_text("{")
    monkeypatch.setenv("POSTGRES_HOST", "db")

    assert find(Settings, note.parent).source == "settings"


def test_no_note__means_what_the_settings_name_or_the_defaults(
    note: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note.unlink()
    monkeypatch.setenv("DATA_DIR", "")

    assert find(Settings, tmp_path).source == "defaults"
    monkeypatch.setenv("POSTGRES_HOST", "db")
    assert find(Settings, tmp_path).source == "settings"


def test_data_folder_that_is_empty_in_the_environment__is_the_usual_one(
    note: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".data").mkdir()
    note.rename(tmp_path / ".data" / "stack.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", "")

    assert find(Settings).source == ".data/stack.json"
