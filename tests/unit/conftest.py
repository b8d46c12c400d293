from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that runs inside of a test sends the logs of the process to streams that end with it: no logger may keep
    them.
    """
    configure = structlog.configure
    monkeypatch.setattr(
        structlog,
        "configure",
        lambda **settings: configure(**settings | {"cache_logger_on_first_use": False}),
    )
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)
