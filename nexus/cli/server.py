"""The server that a command asks, with the caller's token."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from nexus.client import Client
from nexus.domain.errors import ConfigError

__all__ = ["connect"]


def connect(url: str) -> Client:
    """With the token in NEXUS_TOKEN, or in the file that NEXUS_TOKEN_FILE names. A server with TLS is believed that the
    authorities of NEXUS_CA_FILE vouch for (those that are usual, without one), and shown the certificate and key of
    NEXUS_CLIENT_CERTIFICATE_FILE and NEXUS_CLIENT_KEY_FILE where these are set.

    A token has no option of its own: everybody on a machine sees what its commands were called with.
    """
    token = os.environ.get("NEXUS_TOKEN", "")
    if not token and (file := os.environ.get("NEXUS_TOKEN_FILE")):
        try:
            token = Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"NEXUS_TOKEN_FILE: {file} cannot be read ({error})") from None
    return Client(url, token.strip(), _trust(os.environ))


def _trust(environment: Mapping[str, str]) -> ssl.SSLContext | None:
    """None for what is usual. Raises ConfigError for files that cannot be used."""
    authorities, certificate, key = (
        environment.get(f"NEXUS_{name}_FILE") or None for name in ("CA", "CLIENT_CERTIFICATE", "CLIENT_KEY")
    )
    if not (authorities or certificate or key):
        return None
    try:
        context = ssl.create_default_context(cafile=authorities)
        if certificate or key:
            context.load_cert_chain(certificate or "", key, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"NEXUS_CA_FILE ({authorities}), NEXUS_CLIENT_CERTIFICATE_FILE ({certificate}), NEXUS_CLIENT_KEY_FILE "
            f"({key}): one of them cannot be used ({error})"
        ) from None
    return context
