"""What the operator set: the environment and, below it, `.env` in the project's folder.

Guarantees that `make up` understands that file as the service does: both read it with python-dotenv, which comes with
the service's settings.
"""

from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from devstack.errors import StackError
from devstack.process import PROJECT_DIR


def with_env_file(environment: Mapping[str, str], folder: Path = PROJECT_DIR) -> dict[str, str]:
    """Return the environment, with what only `.env` sets; ENV_FILE names another file, or none when it is empty."""
    name = environment.get("ENV_FILE", ".env")
    if not name:
        return dict(environment)
    try:
        values = dotenv_values(folder / name)
    except UnicodeDecodeError:
        raise StackError(f"{folder / name} is not text in UTF-8: correct it or move it away") from None
    return {name.upper(): value for name, value in values.items() if value is not None} | dict(environment)
