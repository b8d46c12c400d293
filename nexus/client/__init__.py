"""A client of the HTTP API, for programs and for the command line."""

from __future__ import annotations

from nexus.client.http import Client
from nexus.views import RunEvent, RunView

__all__ = ["Client", "RunEvent", "RunView"]
