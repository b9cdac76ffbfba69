"""`make up` goes by `.env` as the service does, and by the environment before it."""

from pathlib import Path

import pytest

from devstack.env_file import with_env_file
from devstack.errors import StackError
from devstack.up import Wishes


def test_file_in_the_project__says_what_the_environment_does_not(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        '# a comment\nPORT=8100\nexport WORKERS="3"\nauth=required\nREDIS_URL=redis://file:6379/0 # there\nNAMELESS\n'
    )

    found = with_env_file({"PORT": "8200", "DATA_DIR": "here"}, tmp_path)

    assert found == {
        "PORT": "8200",
        "DATA_DIR": "here",
        "WORKERS": "3",
        "AUTH": "required",
        "REDIS_URL": "redis://file:6379/0",
    }
    assert Wishes.read(found) == Wishes(Path("here"), 8200, 3, "required")


def test_no_file__the_environment_alone_counts_and_nobody_is_asked_who_they_are(tmp_path: Path) -> None:
    assert with_env_file({"PORT": "1"}, tmp_path) == {"PORT": "1"}
    assert Wishes.read({}) == Wishes(Path(".data"), 8000, 1, "off")


def test_another_file_or_none__is_what_was_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\n")
    (tmp_path / "other").write_text("PORT=2\n")

    assert with_env_file({"ENV_FILE": "other"}, tmp_path)["PORT"] == "2"
    assert with_env_file({"ENV_FILE": str(tmp_path / "other")})["PORT"] == "2"
    assert "PORT" not in with_env_file({"ENV_FILE": ""}, tmp_path)


def test_file_that_is_no_text__is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=\xff\n")

    with pytest.raises(StackError, match=r"^.*/\.env is not text in UTF-8: [^\n]*$"):
        with_env_file({}, tmp_path)
