"""Finds the stores for the tools beside the service: those of the settings, else of the `make up` in this folder.

Guarantees that what the operator set wins. Knows the note that `make up` leaves, `stack.json`, by its form alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from shared.errors import Misconfigured
from shared.settings import Settings, ToolSettings

SettingsOfTool = TypeVar("SettingsOfTool", bound=Settings)


@dataclass(frozen=True, slots=True)
class Where(Generic[SettingsOfTool]):
    """The settings to look with, and where they were found."""

    settings: SettingsOfTool
    source: str


def find(kind: type[SettingsOfTool], data_folder: Path | None = None) -> Where[SettingsOfTool]:
    """Return the settings by which the stores are reached; raises Misconfigured.

    `data_folder` is that of the `make up` to look for; without it, what DATA_DIR says.
    """
    settings = kind.load()
    note = (data_folder or ToolSettings.load().data_dir) / "stack.json"
    try:
        environment: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))["environment"]
        given = settings.model_dump(include=settings.model_fields_set)
        noted = kind(**given | {name.lower(): value for name, value in environment.items()})
    except FileNotFoundError:
        return Where(settings, "settings" if names_stores(settings) else "defaults")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        if names_stores(settings):
            return Where(settings, "settings")
        raise Misconfigured(f"{note} cannot be read ({type(error).__name__}): is it the note of a make up?") from None
    return Where(settings, "settings") if _names_others(settings, noted) else Where(noted, str(note))


def names_stores(settings: Settings) -> bool:
    """Tell whether somebody named a store: a setting, or the note."""
    return bool(settings.model_fields_set & {"postgres_host", "redis_url"})


def _names_others(settings: Settings, noted: Settings) -> bool:
    """Whether the settings name a store other than that of the note: `make up` runs on those that they name."""
    given = settings.model_fields_set
    named = [of for of, host in (("postgres_", "postgres_host"), ("redis_", "redis_url")) if host in given]
    return any(getattr(settings, name) != getattr(noted, name) for name in given if name.startswith(tuple(named)))
