"""What goes wrong with servers of this machine."""

from __future__ import annotations

__all__ = ["MissingTool", "ServiceError"]


class ServiceError(Exception):
    """A server could not be installed, started or stopped; the message says why."""


class MissingTool(ServiceError):
    """A server cannot be installed or started here: the message says what to install."""
