"""Files that are followed: rules and tokens change without a restart, and one that is broken changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog
import yaml

from nexus.domain.errors import ConfigError, InvalidInput

__all__ = ["FollowedFile", "document"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_PAUSE = 2.0
"""Seconds between two looks. A mounted ConfigMap or Secret is changed by swapping links, of which few watchers hear."""


class FollowedFile(Generic[T]):
    """What a file says now, or said when it was last whole. `problem` is why the two differ, empty where they do not."""

    def __init__(self, path: Path, read: Callable[[bytes, str], T]) -> None:
        """`read` decodes the content; its second argument names the file in errors. Raises ConfigError."""
        self.path = path
        self.problem = ""
        self._read = read
        try:
            self._content = path.read_bytes()
            self.value = read(self._content, str(path))
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read ({error}): correct its name or its permissions"
            ) from None
        except InvalidInput as error:
            raise ConfigError(f"{error}. Correct it and start again.") from None

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_PAUSE)
            await self.look()

    async def look(self) -> None:
        """Take over what has changed."""
        try:
            content = await asyncio.to_thread(self.path.read_bytes)
            if content == self._content and not self.problem:
                return
            self.value = self._read(content, str(self.path))
        except (OSError, InvalidInput) as error:
            if str(error) != self.problem:
                self.problem = str(error)
                _log.warning("access_file_not_read", file=str(self.path), problem=self.problem)
            return
        self._content, self.problem = content, ""
        _log.info("access_file_read", file=str(self.path))


def document(content: bytes, field: str) -> Any:
    """The plain data of a YAML file, `{}` where it is empty. Raises InvalidInput for `field`."""
    try:
        return yaml.safe_load(content) or {}
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InvalidInput(field, f"is not YAML: {error}") from None
