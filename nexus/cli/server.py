"""The server that a command asks, with the caller's token."""

from __future__ import annotations

import os
from pathlib import Path

from nexus.client import Client
from nexus.domain.errors import ConfigError

__all__ = ["connect"]


def connect(url: str) -> Client:
    """With the token in NEXUS_TOKEN, or in the file that NEXUS_TOKEN_FILE names.

    A token has no option of its own: everybody on a machine sees what its commands were called with.
    """
    token = os.environ.get("NEXUS_TOKEN", "")
    if not token and (file := os.environ.get("NEXUS_TOKEN_FILE")):
        try:
            token = Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"NEXUS_TOKEN_FILE: {file} cannot be read ({error})") from None
    return Client(url, token.strip())
