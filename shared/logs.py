"""Logs: one JSON object a line for machines, coloured lines for people. Never a secret, never a body."""

import logging
import sys

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
            structlog.processors.JSONRenderer(serializer=orjson.dumps, default=str),
        ]
        logger_factory = structlog.BytesLoggerFactory(sys.stdout.buffer)
    else:
        # Plain tracebacks: the default shows local variables, and with them amounts and passwords.
        plain = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain))
        logger_factory = structlog.PrintLoggerFactory(sys.stdout)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=logger_factory,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
