"""`devstack/environment.sh`, which makes .venv on a machine that has uv or has not, with programs that only take notes.

PATH holds nothing but the stand-ins and the system's small tools, so that this machine's own Pythons stay out.
"""

import os
import pty
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devstack import procfs
from devstack.process import PROJECT_DIR

TOOLS = (
    "sh",
    "dirname",
    "grep",
    "tail",
    "cut",
    "sleep",
    "find",
    "touch",
    "rm",
    "mkdir",
    "cp",
    "chmod",
    "flock",
    "pkill",
)
NOBODY = 65_534
WAIT_SECONDS_MAX = 10.0
# Notes its name and arguments; makes an environment whose python is itself; else ends as its name's file says.
STAND_IN = """#!/bin/sh
name=${0##*/}
echo "$name $*" >>"$NOTES/calls"
case "$name $*" in
    *--version) echo "Python 3.12.1"; exit 0 ;;
    *'version_info'*) [ ! -e "$NOTES/old" ] && [ ! -e "$NOTES/$name-old" ]; exit ;;
    *'import ensurepip, venv') [ ! -e "$NOTES/no-venv" ]; exit ;;
    *' venv '*) [ ! -e "$NOTES/$name-venv-fails" ] || exit 1
        mkdir -p .venv/bin && cp "$0" .venv/bin/python && chmod +x .venv/bin/python; exit ;;
    *'pip install '*) echo $$ >"$NOTES/pid"; echo "Collecting everything"
        if [ -p "$NOTES/gate" ]; then read -r _ <"$NOTES/gate"; fi
        if [ -e "$NOTES/$name-fails" ]; then echo "ERROR: no network"; exit 1; fi ;;
esac
"""


@dataclass
class Clone:
    """A fresh clone of the project, as far as the script looks at it."""

    folder: Path
    user: int | None = None

    def __post_init__(self) -> None:
        (self.folder / "devstack").mkdir(parents=True)
        (self.folder / "notes").mkdir()
        for name in ("devstack/environment.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(PROJECT_DIR / name, self.folder / name)
        self.programs.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.programs / tool).symlink_to(found)
        script = self.folder / "devstack" / "environment.sh"
        script.write_text(script.read_text().replace("/usr/bin/python3", str(self.programs / "system-python")))

    @property
    def programs(self) -> Path:
        return self.folder / "programs"

    def have(self, *names: str) -> None:
        """Put stand-ins on PATH."""
        for name in names:
            (self.programs / name).write_text(STAND_IN)
            (self.programs / name).chmod(0o755)

    def note(self, name: str) -> None:
        """Let a stand-in behave in another way."""
        (self.folder / "notes" / name).touch()

    def command(self) -> tuple[list[str], dict[str, str]]:
        environment = {"PATH": str(self.programs), "NOTES": str(self.folder / "notes")}
        return ["/bin/sh", str(self.folder / "devstack" / "environment.sh")], environment

    def make(self) -> "subprocess.CompletedProcess[str]":
        """Run the script to its end."""
        command, environment = self.command()
        return subprocess.run(
            command, env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=30, user=self.user
        )

    def calls(self) -> list[str]:
        """Return what was called, but for the questions about versions."""
        lines = (self.folder / "notes" / "calls").read_text().splitlines()
        return [line for line in lines if "import" not in line and not line.endswith("--version")]

    @property
    def is_installed(self) -> bool:
        return (self.folder / ".venv" / ".installed").exists()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


@pytest.fixture
def clone_of_nobody() -> Iterator[Clone]:
    """A clone that belongs to an ordinary user, who may enter nothing of ours."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(Path(folder) / "clone", NOBODY if os.geteuid() == 0 else None)
        yield clone


def assert_failed(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """Check that it ended with one line that says what to do, whatever the log's end before it."""
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("make: ")
    assert all(word in line for word in words), line


def test_uv_is_there__it_makes_the_environment_and_installs_the_pinned_versions(clone: Clone) -> None:
    clone.have("python3", "uv")

    done = clone.make()

    assert (done.returncode, done.stderr) == (0, "")
    made, installed = clone.calls()
    assert made.startswith("uv venv ")
    assert made.endswith("/python3 .venv")
    assert installed == "uv pip install --python .venv/bin/python -c constraints.txt -e .[dev]"
    assert clone.is_installed
    assert done.stdout.splitlines()[-1] == "  ✓ installed"


def test_no_uv__pip_installs_the_same(clone: Clone) -> None:
    clone.have("python3")

    assert clone.make().returncode == 0

    made, installed = clone.calls()
    assert made == "python3 -m venv .venv"
    assert installed.startswith("python -m pip install ")
    assert installed.endswith(" -c constraints.txt -e .[dev]")
    assert clone.is_installed


@pytest.mark.parametrize("note", ["", "system-python-old"])
def test_distribution_has_a_python__is_taken_if_it_is_new_enough(clone: Clone, note: str) -> None:
    clone.have("python3", "system-python")
    if note:
        clone.note(note)

    assert clone.make().returncode == 0

    assert clone.calls()[0] == f"{'python3' if note else 'system-python'} -m venv .venv"
    assert clone.is_installed


def test_ordinary_user__needs_no_right_outside_the_folder(clone_of_nobody: Clone) -> None:
    clone_of_nobody.have("python3")
    if clone_of_nobody.user is not None:
        root = clone_of_nobody.folder.parent
        for path in (root, *root.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

    done = clone_of_nobody.make()

    assert (done.returncode, done.stderr) == (0, "")
    assert clone_of_nobody.is_installed


def test_uv_fails__pip_is_tried(clone: Clone) -> None:
    clone.have("python3", "uv")
    clone.note("uv-fails")

    assert clone.make().returncode == 0

    assert [call.split()[0] for call in clone.calls()] == ["uv", "uv", "python"]
    assert clone.is_installed


def test_nothing_can_be_installed__the_log_and_one_line_say_so_and_the_next_try_begins_anew(clone: Clone) -> None:
    clone.have("python3")
    clone.note("python-fails")

    done = clone.make()

    assert_failed(done, "installing failed", ".venv/install.log")
    assert "ERROR: no network" in done.stderr
    assert not clone.is_installed
    (clone.folder / "notes" / "python-fails").unlink()
    assert clone.make().returncode == 0
    assert clone.is_installed


@pytest.mark.parametrize(
    ("programs", "note", "words"),
    [
        ((), "", ("Python 3.11 or newer is needed",)),
        (("python3",), "old", ("Python 3.11 or newer is needed",)),
        (("python3",), "no-venv", ("apt install python3-venv", "uv")),
        (("python3",), "python3-venv-fails", (".venv", "could not be made")),
    ],
)
def test_machine_that_lacks_something__is_told_what(
    clone: Clone, programs: tuple[str, ...], note: str, words: tuple[str, ...]
) -> None:
    clone.have(*programs)
    if note:
        clone.note(note)

    done = clone.make()

    assert_failed(done, *words)
    assert len(done.stderr.splitlines()) == 1
    assert not clone.is_installed


def test_everything_is_installed_already__nothing_is_done_until_an_input_changes(clone: Clone) -> None:
    clone.have("python3", "uv")
    assert clone.make().returncode == 0
    before = clone.calls()

    assert clone.make().returncode == 0
    assert clone.calls() == before

    installed_at = (clone.folder / ".venv" / ".installed").stat().st_mtime
    os.utime(clone.folder / "constraints.txt", (installed_at + 1, installed_at + 1))
    assert clone.make().returncode == 0
    assert clone.calls()[len(before) :] == before[1:]  # into the environment that is there


def test_terminal__shows_what_is_under_way_and_an_interrupt_leaves_nothing_running(clone: Clone) -> None:
    clone.have("python3")
    os.mkfifo(clone.folder / "notes" / "gate")  # the installation goes on when somebody writes into it: nobody does
    command, environment = clone.command()
    ours, theirs = pty.openpty()
    script = subprocess.Popen(command, env=environment, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        shown = ""
        while "Collecting everything" not in shown:
            shown += os.read(ours, 4096).decode()
        pid = int((clone.folder / "notes" / "pid").read_text())
        script.send_signal(signal.SIGTERM)

        assert script.wait(WAIT_SECONDS_MAX) == 130
        assert procfs.wait_until(lambda: not procfs.is_alive(pid), WAIT_SECONDS_MAX)
        assert not clone.is_installed
    finally:
        script.kill()
        os.close(ours)
