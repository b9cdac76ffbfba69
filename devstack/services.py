"""The processes of the service that `make up` runs, and how to see that they are ready.

Knows their command lines and settings and the readiness address; nothing of what they do.
"""

import http.client
import json
from collections.abc import Mapping
from signal import SIGTERM

from devstack import ports
from devstack.folder import DataFolder
from devstack.process import ChildProcess, python_module

_ASK_TIMEOUT_S = 5.0
_ANSWER_SHOWN_CHARACTERS_MAX = 300
_NO_METRICS = {"METRICS_PORT": "0"}  # one port, from .env, cannot be that of several processes


def gateway(folder: DataFolder, settings: Mapping[str, str], port: int, auth: str) -> ChildProcess:
    """Describe the gateway on `port`, of the loopback address whatever HOST says: what is tried out stays at home."""
    own = {"HOST": ports.HOST, "PORT": str(port), "AUTH": auth, **_NO_METRICS}
    # Not SIGKILL: with GATEWAY_PROCESSES above 1 (from the environment or .env) it has children, and passes SIGTERM on.
    return python_module("gateway", folder.log_path("gateway"), {**settings, **own}, death_signal=SIGTERM)


def behind_the_gateway(folder: DataFolder, settings: Mapping[str, str], workers: int) -> list[ChildProcess]:
    """Describe everything that runs behind the gateway: the workers and the housekeeping."""
    names = [f"worker-{number}" for number in range(1, workers + 1)]
    settings = {**settings, **_NO_METRICS}
    return [
        *(python_module("worker", folder.log_path(name), {**settings, "WORKER_NAME": name}, name) for name in names),
        python_module("worker.maintenance", folder.log_path("maintenance"), settings, "maintenance"),
    ]


def not_ready_because(port: int) -> str:
    """Ask the gateway whether the service is ready; empty when it is, else what it said or why it did not answer."""
    connection = http.client.HTTPConnection(ports.HOST, port, timeout=_ASK_TIMEOUT_S)  # no proxy, whatever is set
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        said = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"the gateway does not answer ({error})"
    finally:
        connection.close()
    return "" if answer.status == 200 else f"/readyz says {answer.status}: {_detail(said)}"


def _detail(said: str) -> str:
    """Give the sentence of a problem document, or the text itself, short."""
    try:
        document = json.loads(said)
    except ValueError:
        document = None
    sentence = document.get("detail") if isinstance(document, dict) else None
    return str(sentence or said)[:_ANSWER_SHOWN_CHARACTERS_MAX]
