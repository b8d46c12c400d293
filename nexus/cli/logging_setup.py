"""Logging of a serving process: structured lines on stderr, each with the id of the request that it belongs to."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from nexus.config import Logging

__all__ = ["configure"]


def configure(settings: Logging) -> None:
    """For the whole process; what libraries say through the standard library comes out in the same form."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty()):
        render: list[Processor] = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    else:
        render = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
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
