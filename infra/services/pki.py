"""A certificate authority in a folder, made with openssl."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra.services.tools import needed, run

__all__ = ["Authority"]

_DAYS = "3650"
_P256 = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]


class Authority:
    """`ca.crt`, `ca.key`, and a `.crt` and `.key` in PEM for every certificate that was asked for.

    Without `key_usage` its certificate does not say what its key is for: Python 3.13 refuses that, others take it.
    """

    def __init__(self, folder: Path, *, key_usage: bool = True) -> None:
        self._folder = folder
        self._openssl = needed("openssl", "Certificates: install openssl")
        self.certificate = folder / "ca.crt"
        if not self.certificate.exists():
            folder.mkdir(parents=True, exist_ok=True)
            key = self.key("ca", _P256)
            self._run(
                "req",
                "-x509",
                "-new",
                "-key",
                key,
                "-days",
                _DAYS,
                "-subj",
                "/CN=nexus-test",
                *(["-addext", "keyUsage=critical,keyCertSign,cRLSign"] if key_usage else []),
                "-out",
                self.certificate,
            )

    def key(self, name: str, kind: Sequence[str] = _P256) -> Path:
        """The file of a private key (PKCS 8), which is made when it is missing."""
        file = self._folder / f"{name}.key"
        if not file.exists():
            self._run("genpkey", *kind, "-out", file)
        return file

    def rsa_pair(self, name: str) -> tuple[Path, Path]:
        """The files of a private and of its public key, for signing tokens."""
        private, public = (
            self.key(name, ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
            self._folder / f"{name}.pub",
        )
        if not public.exists():
            self._run("pkey", "-in", private, "-pubout", "-out", public)
        return private, public

    def issue(self, name: str, subject: str, usage: str, names: str = "") -> tuple[Path, Path]:
        """The files of a certificate and its key. `usage`: serverAuth, clientAuth; `names`: `DNS:...,IP:...`."""
        certificate, key = self._folder / f"{name}.crt", self.key(name)
        if not certificate.exists():
            with tempfile.TemporaryDirectory() as scratch:
                request, extensions = Path(scratch, "request"), Path(scratch, "extensions")
                extensions.write_text(
                    "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid,issuer\n"
                    f"extendedKeyUsage={usage}\n" + (f"subjectAltName={names}\n" if names else "")
                )
                self._run("req", "-new", "-key", key, "-subj", subject, "-out", request)
                self._run(
                    "x509", "-req", "-in", request, "-days", _DAYS, "-extfile", extensions, "-out", certificate,
                    "-CA", self.certificate, "-CAkey", self._folder / "ca.key", "-CAcreateserial",
                )  # fmt: skip
        return certificate, key

    def _run(self, *words: str | Path) -> None:
        run([self._openssl, *words])
