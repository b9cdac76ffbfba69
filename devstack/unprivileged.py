"""Runs Postgres for root, which it refuses to run as.

Guarantees that no account is made and no permission of a folder above the data folder is changed. Preferred is a user
namespace in which this same root is called 65534; where those are forbidden, the user `nobody`, who is given the data
folder.
"""

import functools
import os
import pwd
import shutil
import subprocess
from pathlib import Path

from devstack.errors import StackError

_NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


def wrapper(data_dir: Path, program: Path) -> tuple[str, ...]:
    """Give the command to put before `program`, which will work in the existing `data_dir`; empty for an ordinary user.

    Raises StackError when neither way is open.
    """
    if os.geteuid() != 0:
        return ()
    return _NAMESPACE if _namespaces_allowed() else _as_nobody(data_dir, program)


@functools.cache
def _namespaces_allowed() -> bool:
    return _works(*_NAMESPACE, "true")


def _as_nobody(data_dir: Path, program: Path) -> tuple[str, ...]:
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        nobody = None
    if nobody is None or shutil.which("setpriv") is None:
        raise StackError(
            "Postgres refuses to run as root, and neither unshare nor setpriv works here: start as another user"
        )
    command = (
        "setpriv",
        f"--reuid={nobody.pw_uid}",
        f"--regid={nobody.pw_gid}",
        "--clear-groups",
        "--no-new-privs",
        "--",
    )
    for path in (data_dir, *data_dir.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    if not (_works(*command, "test", "-w", str(data_dir)) and _works(*command, str(program), "--version")):
        raise StackError(
            f"Postgres refuses to run as root, and the user nobody may not reach {data_dir} or {program}: "
            "start as another user, or put the project and DATA_DIR where others may enter"
        )
    return command


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
