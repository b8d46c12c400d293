"""Where a cluster is and how to be let in: kubeconfig files and service accounts, read by the Kubernetes client."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from nexus.domain.errors import ConfigError, Unavailable

# The client takes two seconds and 34 MB to import, and is imported by who has a cluster.
if TYPE_CHECKING:
    from kubernetes.aio.client import Configuration

__all__ = ["Access", "Load", "from_kubeconfig", "from_service_account"]

_TOKEN = "BearerToken"  # noqa: S105 - the client's name for it


class Access(msgspec.Struct, frozen=True):
    """One reading of the credentials."""

    host: str
    """Scheme, host and port."""
    ssl: ssl.SSLContext
    server_name: str | None
    proxy: str | None
    configuration: Configuration

    async def authorization(self) -> str | None:
        """The header's value. The client reads the token of a service account again each minute. Raises Unavailable."""
        from kubernetes.aio.config import ConfigException

        try:
            return await self.configuration.get_api_key_with_prefix(_TOKEN)
        except (ConfigException, OSError) as error:
            raise Unavailable(
                f"the token of this pod's service account cannot be read ({error}): is it mounted?"
            ) from error


class Load(Protocol):
    """How to be let in. Two of the same source are equal."""

    async def __call__(self) -> Access:
        """Read the credentials anew. Raises ConfigError."""
        ...

    def version(self) -> object:
        """Tell one version of what is read from another; None where nothing tells, or nothing is there."""
        ...


class _Kubeconfig(msgspec.Struct, frozen=True):
    file: Path
    context: str | None

    async def __call__(self) -> Access:
        from kubernetes.aio.client import Configuration
        from kubernetes.aio.config import load_kube_config

        configuration = Configuration()
        try:
            self.file.open().close()  # the loader only warns
            await load_kube_config(str(self.file), self.context, configuration, persist_config=False)  # type: ignore[no-untyped-call]
            return _access(configuration)
        # The loader trips over malformed files in as many ways as there are.
        except Exception as error:
            raise ConfigError(
                f"the kubeconfig {self.file} cannot be used ({type(error).__name__}: {error}): correct it"
            ) from error

    def version(self) -> object:
        """Of a mounted Secret the file is a link, and another file lies behind it after each change."""
        try:
            found = self.file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


class _ServiceAccount(msgspec.Struct, frozen=True):
    async def __call__(self) -> Access:
        from kubernetes.aio.client import Configuration
        from kubernetes.aio.config import ConfigException, load_incluster_config

        configuration = Configuration()
        try:
            load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            return _access(configuration)
        except (ConfigException, OSError) as error:
            raise ConfigError(
                f"the service account of this pod cannot be used ({error}): "
                "run in a cluster, or set kubernetes.kubeconfig"
            ) from error

    def version(self) -> object:
        """The client reads its token again by itself."""
        return None


def from_kubeconfig(file: Path, context: str | None = None) -> Load:
    """The cluster of a context, by default the current one, of a kubeconfig file; exec plugins are run."""
    return _Kubeconfig(file, context)


def from_service_account() -> Load:
    """The cluster that this process runs in."""
    return _ServiceAccount()


def _access(configuration: Configuration) -> Access:
    from kubernetes.aio.client.rest import RESTClientObject

    # From Python 3.13 on, certificates are refused that kubectl takes, and that clusters have: EKS's authority says no key usage.
    configuration.disable_strict_ssl_verification = True
    rest = RESTClientObject(configuration)
    host = str(configuration.host).rstrip("/")
    return Access(
        host=host,
        ssl=rest.ssl_context,
        server_name=configuration.tls_server_name or None,
        proxy=configuration.proxy or _proxy_to(host),
        configuration=configuration,
    )


def _proxy_to(host: str) -> str | None:
    """That of the environment (HTTPS_PROXY, NO_PROXY), looked up once: aiohttp would at each request, and read .netrc too."""
    url = urlsplit(host)
    return None if proxy_bypass(url.netloc) else getproxies().get(url.scheme)
