"""Logs: one JSON object a line for machines, coloured lines for people. Never a secret, never a body."""

import io
import logging
import sys
from typing import Any

import orjson
import structlog

from shared.settings import Settings


def configure(settings: Settings, process: str) -> None:
    """Set up structlog for this process; `process` names it in every line."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    logger_factory: structlog.BytesLoggerFactory | structlog.PrintLoggerFactory
    if settings.log_format == "json":
        processors += [
            structlog.processors.format_exc_info,
            _without_rows,
            structlog.processors.JSONRenderer(serializer=orjson.dumps, default=str),
        ]
        logger_factory = structlog.BytesLoggerFactory(sys.stdout.buffer)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=_plain_traceback)
        processors.append(renderer)
        logger_factory = structlog.PrintLoggerFactory(sys.stdout)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=logger_factory,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


def _without_rows(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if "exception" in event:
        event["exception"] = _without_details(event["exception"])
    return event


def _plain_traceback(out: Any, exc_info: structlog.typing.ExcInfo) -> None:
    """Write a plain traceback: structlog's default shows local variables, and with them amounts and passwords."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(_without_details(text.getvalue()))


def _without_details(traceback: str) -> str:
    """Leave out where Postgres, to explain an error, repeats the row it is about."""
    return "\n".join(line for line in traceback.split("\n") if not line.startswith("DETAIL:"))
