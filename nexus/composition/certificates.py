"""The certificate that the server shows, and whose clients it takes: files that are followed for changes."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import structlog

from nexus.config import Http
from nexus.domain.errors import ConfigError

__all__ = ["Certificates"]

_log = structlog.get_logger(__name__)

_PAUSE = 2.0
"""Seconds between two looks. A mounted Secret is changed by swapping links, of which few watchers hear."""


class Certificates:
    """`problem` is why what is in force is not what the files say; empty where it is."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        """Raises ConfigError for files that cannot be used."""
        self.certificate = certificate
        self.key = key
        self.client_ca = client_ca
        self.problem = ""
        self._content = _read(self._files)
        self._check()

    @classmethod
    def of(cls, http: Http) -> Certificates | None:
        """None where the server speaks no TLS. Raises ConfigError for files that cannot be used."""
        if http.tls_certificate_file is None or http.tls_key_file is None:
            return None
        return cls(http.tls_certificate_file, http.tls_key_file, http.tls_client_ca_file)

    async def changed(self) -> None:
        """Wait until the files say something else that can be used."""
        while True:
            await asyncio.sleep(_PAUSE)
            try:
                content = await asyncio.to_thread(_read, self._files)
                if content == self._content:
                    self.problem = ""
                    continue
                await asyncio.to_thread(self._check)
            except ConfigError as error:
                self._broken(str(error))
                continue
            self._content, self.problem = content, ""
            _log.info("certificate_read", file=str(self.certificate))
            return

    def not_served(self, problem: str) -> None:
        """What was in force before stays so, and is to be exchanged again at the next look."""
        self._content = []
        self._broken(problem)

    def _broken(self, problem: str) -> None:
        if problem != self.problem:
            _log.warning("certificate_not_taken", file=str(self.certificate), problem=problem)
        self.problem = problem

    @property
    def _files(self) -> list[Path]:
        return [each for each in (self.certificate, self.key, self.client_ca) if each]

    def _check(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without a password that is given, OpenSSL would ask the terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"http.tls_certificate_file {self.certificate} and http.tls_key_file {self.key} are no certificate "
                f"(PEM) and its key, without a password: {error}"
            ) from None
        if self.client_ca is None:
            return
        try:
            context.load_verify_locations(self.client_ca)
        except OSError as error:
            raise ConfigError(
                f"http.tls_client_ca_file {self.client_ca} has no certificate (PEM): {error}"
            ) from None


def _read(files: list[Path]) -> list[bytes]:
    content = []
    for file in files:
        try:
            content.append(file.read_bytes())
        except OSError as error:
            raise ConfigError(
                f"{file} cannot be read ({error}): correct its name or its permissions"
            ) from None
    return content
