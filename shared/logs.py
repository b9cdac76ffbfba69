"""Logs: one JSON object a line for machines, coloured lines for people. Never a secret, never a body.

What libraries say through `logging`, warnings, and what ends a process or a thread come out as lines of the same form.
"""

import io
import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec
import structlog

from shared.settings import Settings

_to_json = msgspec.json.Encoder(enc_hook=str).encode

log = structlog.get_logger(__name__)


def configure(settings: Settings, process: str) -> None:
    """Set up structlog for this process; `process` names it in every line."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]

    def named(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["process"] = process  # in every thread, which has a context of its own
        return event

    processors: list[structlog.typing.Processor] = [
        named,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    logger_factory: structlog.BytesLoggerFactory | structlog.PrintLoggerFactory
    if settings.log_format == "json":
        processors += [
            structlog.processors.format_exc_info,
            _without_rows,
            _in_json,
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
    _route_others()


def _route_others() -> None:
    """Let what is not logged by structlog come out as if it were: libraries from WARNING on, and what nobody caught."""
    root = logging.getLogger()
    root.handlers = [*(handler for handler in root.handlers if not isinstance(handler, _Lines)), _Lines()]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _tell_uncaught
    sys.unraisablehook = _tell_unraisable
    threading.excepthook = _tell_ended_thread


def divert(*names: str, configure_first: Callable[[], object]) -> None:
    """Let these loggers of `logging` write our lines, whatever handlers their library's own program sets up for them.

    `configure_first` is called by the first line where nothing was configured yet: that program runs before ours.
    """
    for name in names:
        logging.getLogger(name).addFilter(_Diverted(configure_first))


class _Diverted(logging.Filter):
    """Writes a record, and keeps it from every handler: filters stay where `dictConfig` takes handlers away."""

    def __init__(self, configure_first: Callable[[], object]) -> None:
        super().__init__()
        self._configure_first = configure_first

    def filter(self, record: logging.LogRecord) -> bool:
        if not structlog.is_configured():
            self._configure_first()
        _Lines().emit(record)
        return False


class _Lines(logging.Handler):
    """Turns a record of `logging` into a line like all others."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            said = record.getMessage()
        except (TypeError, ValueError):  # its arguments do not fit: what it meant is still to be seen
            said = str(record.msg)
        # A library may have levels of its own.
        level = max(known for known in _LEVELS if known <= max(record.levelno, logging.DEBUG))
        log.log(level, _without_details(said), logger=record.name, exc_info=record.exc_info)


_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def _tell_uncaught(type_: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(type_, KeyboardInterrupt):
        sys.__excepthook__(type_, error, traceback)
    else:
        log.critical("the process ends by a defect", exc_info=(type_, error, traceback))


def _tell_ended_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        log.error("a thread ended by a defect", exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback))


def _tell_unraisable(seen: "sys.UnraisableHookArgs") -> None:
    if seen.exc_value is not None:
        error = (seen.exc_type, seen.exc_value, seen.exc_traceback)
        log.error(seen.err_msg or "an exception that nobody could be told", exc_info=error)


def _in_json(_: Any, __: str, event: structlog.typing.EventDict) -> bytes:
    return _to_json(event)


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
