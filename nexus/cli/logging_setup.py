"""Logging of a serving process: structured lines on stderr, each with the id of the request that it belongs to."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO, cast

import structlog
from structlog.typing import ExcInfo, Processor

from nexus.cli.plain import plain
from nexus.config import Logging

__all__ = ["configure"]


class _Lenient:
    """Standard error. A log on a disk that is full loses lines; it does not end the role that wanted to write them."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def _plain(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """For a terminal; JSON escapes by itself."""
    return {plain(key): plain(value) if isinstance(value, str) else value for key, value in event.items()}


def _plain_traceback(output: TextIO, error: ExcInfo) -> None:
    told = io.StringIO()
    structlog.dev.plain_traceback(told, error)
    output.write(plain(told.getvalue()))


def configure(settings: Logging) -> None:
    """For the whole process; what libraries say through the standard library comes out in the same form."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty()):
        render: list[Processor] = [
            _plain,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain_traceback),
        ]
    else:
        render = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Lenient())),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    # Libraries tell us of every step at lower levels.
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
