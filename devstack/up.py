"""`make up`: runs the whole service until Ctrl-C.

Guarantees that it either runs whole or says in one line why not, and that nothing stays behind when it ends.
"""

import shlex
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self

from devstack import screen
from devstack.env_file import with_env_file
from devstack.errors import StackError
from devstack.folder import DataFolder
from devstack.stack import Stack

_WATCH_INTERVAL_S = 0.2
_WORKERS_MAX = 64  # of one machine
# One Ctrl-C or `kill` may arrive twice, because make passes SIGTERM on; only a later one means impatience.
_SAME_SIGNAL_S = 1.0

_WELCOME = r"""
  Wallet service   {url}
  API docs         {url}/docs
  Who may call     {callers}
  Data and logs    {folder}

  Try it:

{key}id=$(curl -s -X POST {url}/api/v1/wallets{header} | sed 's/.*"id": *"\([^"]*\)".*/\1/')
curl -sw "\n" {url}/api/v1/wallets/$id/operation{header} -H 'Content-Type: application/json' \
  -d '{{"operation_type": "DEPOSIT", "amount": "1000.50"}}'

  Ctrl-C stops everything; the data is kept.
"""


@dataclass(frozen=True)
class Wishes:
    """What the operator asked for."""

    data_dir: Path
    port: int
    workers: int
    auth: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read DATA_DIR, PORT, WORKERS and AUTH; raises StackError for a number that is none."""
        return cls(
            Path(environment.get("DATA_DIR") or ".data"),
            _number(environment, "PORT", default=8000, largest=65535),
            _number(environment, "WORKERS", default=1, largest=_WORKERS_MAX),
            environment.get("AUTH") or "off",  # in plain sight: nobody but this machine reaches it
        )


def _number(environment: Mapping[str, str], name: str, *, default: int, largest: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= largest):
        raise StackError(f"{name}={text} is not a number from 1 to {largest}: correct it or leave it out")
    return int(text)


class _Signals:
    """Lets the first signal end the waiting by a KeyboardInterrupt, and a later one make haste."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._first_at: float | None = None
        self.stopping = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # ignored: started by nohup
                signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        first = self._first_at is None
        self._first_at = self._first_at or time.monotonic()
        if first and not self.stopping:
            raise KeyboardInterrupt
        if time.monotonic() - self._first_at > _SAME_SIGNAL_S:
            self._stack.hurry()


def up(environment: Mapping[str, str]) -> int:
    """Run the stack until a signal; give the exit code: 0 when it was asked to stop, 1 when it could not go on."""
    try:
        environment = with_env_file(environment)
        wishes = Wishes.read(environment)
        with DataFolder(wishes.data_dir) as folder:
            stack = Stack(folder, environment, port=wishes.port, workers=wishes.workers, auth=wishes.auth)
            return _run(stack, folder, wishes.auth)
    except StackError as error:
        screen.fail(str(error))
    except OSError as error:
        screen.fail(f"{error.filename or 'the system'} cannot be used: {error.strerror or error}")
    return 1


def _run(stack: Stack, folder: DataFolder, auth: str) -> int:
    signals = _Signals(stack)
    exit_code = 0
    try:
        stack.start()
        screen.say(_WELCOME.format(url=stack.url, folder=folder.path, **_access(auth, folder.path)))
        while True:
            stack.start_killed_ones_again()
            stack.require_all_alive()
            time.sleep(_WATCH_INTERVAL_S)
    except KeyboardInterrupt:
        screen.say()  # the terminal wrote ^C
    except StackError as error:
        screen.fail(str(error), error.log_tail)
        exit_code = 1
    finally:
        signals.stopping = True
        unwell = _stop(stack)
    return 1 if unwell else exit_code


def _access(auth: str, folder: Path) -> dict[str, str]:
    """Give what the welcome says of who may call, and what to paste for a key where one is needed."""
    if auth == "off":
        return {"callers": "anybody on this machine (AUTH=off)", "key": "", "header": ""}
    # It finds the stores, and their password, by the note in the data folder.
    command = f"{shlex.quote(sys.executable)} -m gateway keys create --name me --scope admin"
    make = f"DATA_DIR={shlex.quote(str(folder.resolve()))} {command}"
    return {
        "callers": f"whoever has an API key (AUTH={auth})",
        "key": f"key=$({make})\n",
        "header": ' -H "Authorization: Bearer $key"',
    }


def _stop(stack: Stack) -> bool:
    """Stop the stack; say and give whether something of it did not end well."""
    if not stack.is_running:
        return False
    with screen.step("Stopped"):
        unwell = stack.stop()
    if unwell:
        screen.fail(f"these did not stop in order: {', '.join(unwell)}; nothing accepted is lost, the logs say why")
    return bool(unwell)
