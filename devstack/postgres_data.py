"""The data folder of a Postgres: made whole or not at all, of the right version, and worked on by one server only.

Says in one line what is wrong with a folder that cannot be used, and never deletes anything from one that holds data.
"""

import os
import shutil
import subprocess
from pathlib import Path
from signal import SIGKILL

from devstack import procfs, unprivileged
from devstack.binaries import Binary
from devstack.errors import StackError

_LEFTOVERS_TIMEOUT_S = 5.0  # the processes of a killed server notice within milliseconds


def prepare(data_dir: Path, binary: Binary, *, user: str, synced: bool) -> None:
    """Make `data_dir` when it is empty or missing, with superuser `user`; check that it fits `binary` otherwise.

    `synced` False skips writing it through to the disk, which only a test may want.
    """
    if _is_made(data_dir, binary):
        return
    # Under another name first: killed half-way, it is never mistaken for a whole one.
    unfinished = data_dir.with_name(f"{data_dir.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, mode=0o700)
        _run_initdb(unfinished, binary, user, synced=synced)
        unfinished.rename(data_dir)
    except OSError as error:
        raise StackError(
            f"the Postgres data folder {data_dir} cannot be made ({error.strerror}): "
            "choose a data folder that this user may write to"
        ) from error


def _is_made(data_dir: Path, binary: Binary) -> bool:
    try:
        made_by = (data_dir / "PG_VERSION").read_text().strip()
        empty = False
    except FileNotFoundError:
        made_by = ""
        empty = not data_dir.is_dir() or not any(data_dir.iterdir())
    except OSError as error:
        raise StackError(
            f"the Postgres data folder {data_dir} cannot be read ({error.strerror}): "
            "give it to this user or choose another data folder"
        ) from error
    if empty:
        return False
    if not made_by:
        raise StackError(
            f"{data_dir} is neither empty nor a whole Postgres data folder (no PG_VERSION): "
            "move it away or choose another data folder"
        )
    if made_by.partition(".")[0] != binary.major:
        raise StackError(
            f"{data_dir} was made by Postgres {made_by}, but the one found here is {binary.version} ({binary.path}): "
            "move it away or choose another data folder"
        )
    return True


def _run_initdb(target: Path, binary: Binary, user: str, *, synced: bool) -> None:
    command = [*unprivileged.wrapper(target, binary.path), str(binary.path.with_name("initdb")), "-D", str(target)]
    # Locale C is on every system; the service compares no texts that it would order otherwise.
    command += ["-U", user, "--auth=trust", "-E", "UTF8", "--locale=C"]
    if not synced:
        command.append("--no-sync")
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        lines = done.stderr.splitlines() or [f"exit code {done.returncode}"]
        reason = next((line for line in lines if "error:" in line or "FATAL:" in line), lines[-1])
        raise StackError(f"initdb could not make {target}: {reason}", lines)


def clear_leftovers(data_dir: Path) -> None:
    """Wait for what an earlier server left on this folder, end what does not go, and drop a pid file that lies.

    Raises StackError when another server is at work on it.
    """
    pid_file = data_dir / "postmaster.pid"
    old_postmaster = _first_number(pid_file)

    def leftovers() -> list[int]:
        return procfs.working_in(data_dir, ["postgres", "postmaster"])

    if not procfs.wait_until(lambda: not leftovers(), _LEFTOVERS_TIMEOUT_S):
        if old_postmaster in leftovers():
            raise StackError(
                f"another Postgres (pid {old_postmaster}) is running on {data_dir}: "
                f"stop it (kill -INT {old_postmaster}) or choose another data folder"
            )
        for pid in leftovers():  # backends whose postmaster is dead: frozen, or stuck in a long computation
            procfs.send(pid, SIGKILL)
        procfs.wait_until(lambda: not leftovers(), _LEFTOVERS_TIMEOUT_S)
    # The pid of a killed server may be an unrelated process by now (it usually is in a restarted container), and
    # Postgres would refuse to start for it. Nothing works in this folder any more, so the file is stale.
    pid_file.unlink(missing_ok=True)


def _first_number(path: Path) -> int:
    try:
        return int(path.read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return 0
