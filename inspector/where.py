"""Finds the stores to look at: those that the settings name, else those of the `make up` that runs in this folder.

Guarantees that what the operator set wins. Knows the note that `make up` leaves, `stack.json`, by its form alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared.errors import Misconfigured
from shared.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class Where:
    """The settings to look with, and where they were found."""

    settings: WorkerSettings
    source: str


def find(data_folder: Path) -> Where:
    """Return the settings by which the stores are reached; raises Misconfigured."""
    settings = WorkerSettings.load()
    if settings.model_fields_set & {"postgres_host", "redis_url"}:
        return Where(settings, "settings")
    note = data_folder / "stack.json"
    try:
        environment: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))["environment"]
        given = settings.model_dump(include=settings.model_fields_set)
        return Where(WorkerSettings(**given | {name.lower(): value for name, value in environment.items()}), str(note))
    except FileNotFoundError:
        return Where(settings, "defaults")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise Misconfigured(f"{note} cannot be read ({type(error).__name__}): is it the note of a make up?") from None
