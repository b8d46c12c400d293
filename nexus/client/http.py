"""The client: submit and cancel on upstream's paths, runs and their history on ours."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from nexus.client.answers import checked, decoded
from nexus.domain.access import Override, Verb
from nexus.domain.errors import ConfigError, InvalidInput, OutcomeUnknown, Unavailable
from nexus.domain.events import DeletionPolicy, Parent
from nexus.domain.ids import parse_request_id
from nexus.ports import RunFilter
from nexus.views import (
    Accepted,
    AccessView,
    Clusters,
    ClusterView,
    CordonView,
    GarbageReport,
    RunEvent,
    RunEvents,
    RunPage,
    RunView,
)

__all__ = ["Client"]

_TIMEOUT = 30.0
"""Seconds. A server that is behind answers 503 long before."""
_PAGE = 1000

T = TypeVar("T")


class Client:
    """One server, such as `http://127.0.0.1:8080`. Close with `close`, or use it in a `with`.

    `token` is the bearer token of each request; empty: none. `trust` is whose certificates are believed, and which is
    shown; None: what is usual. Every call raises Unavailable when nobody answers, and what
    the server refused as InvalidInput, NotFound, Conflict, Unauthenticated or Forbidden.
    """

    def __init__(self, url: str, token: str = "", trust: ssl.SSLContext | None = None) -> None:
        headers = {"Authorization": f"Bearer {_header('the token', token)}"} if token else {}
        try:
            self._http = httpx.Client(base_url=url, timeout=_TIMEOUT, headers=headers, verify=trust or True)
        except httpx.InvalidURL:
            raise _no_address(url) from None
        if self._http.base_url.scheme not in {"http", "https"} or not self._http.base_url.host:
            raise _no_address(url)
        self._url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(
        self,
        algorithm: str,
        payload: bytes,
        *,
        configuration: Mapping[str, Any] | None = None,
        tag: str | None = None,
        parent: Parent | None = None,
        dry_run: bool = False,
        key: str | None = None,
        warn: Callable[[str], object] = lambda _: None,
    ) -> str:
        """The id of the new run, or of the one that `key` stands for. `payload` is a JSON object, kept byte for byte.

        `warn` is called with each sentence about what was sent and has no effect.

        Raises OutcomeUnknown when the answer is lost: sending it again is safe only with a `key`.
        """
        body = {
            "algorithmParameters": msgspec.Raw(payload),
            "customConfiguration": configuration,
            "tag": tag,
            "parentRequest": parent,
        }
        answer = self._request(
            "POST",
            f"/algorithm/v1/run/{_part(algorithm)}",
            params={"dryRun": "true"} if dry_run else {},
            headers={} if key is None else {"Idempotency-Key": _header("Idempotency-Key", key)},
            content=msgspec.json.encode(body),
        )
        accepted = decoded(answer, Accepted)
        for warning in accepted.warnings:
            warn(warning)
        return accepted.request_id

    def run(self, request_id: str) -> RunView:
        """As it is after everything that was accepted before this call."""
        return decoded(self._request("GET", _run(request_id)), RunView)

    def runs(self, where: RunFilter, limit: int) -> list[RunView]:
        """The newest `limit` runs, newest first."""
        found: list[RunView] = []
        cursor: str | None = None
        while len(found) < limit:
            given = {**msgspec.to_builtins(where), "cursor": cursor, "limit": min(limit - len(found), _PAGE)}
            params = {name: str(value) for name, value in given.items() if value is not None}
            page = decoded(self._request("GET", "/api/v1/runs", params=params), RunPage)
            found += page.runs
            cursor = page.cursor
            if cursor is None:
                break
        return found

    def events(self, request_id: str) -> list[RunEvent]:
        """The history of a run, in its order."""
        return decoded(self._request("GET", f"{_run(request_id)}/events"), RunEvents).events

    def garbage(self, limit: int) -> GarbageReport:
        """What would be swept up now."""
        return decoded(self._request("GET", "/api/v1/garbage", params={"limit": str(limit)}), GarbageReport)

    def access(self, verb: Verb, algorithm: str | None, overrides: Sequence[Override] = ()) -> AccessView:
        """Whether this may be done with the token that is sent, and by which rule."""
        params = [("verb", str(verb)), *(("override", str(each)) for each in overrides)]
        if algorithm is not None:
            params.append(("algorithm", algorithm))
        return decoded(self._request("GET", "/api/v1/access", params=params), AccessView)

    def clusters(self) -> list[ClusterView]:
        """What is so of each cluster."""
        return decoded(self._request("GET", "/api/v1/clusters"), Clusters).clusters

    def cordon(self, cluster: str, reason: str = "") -> CordonView:
        """Give a cluster no more Jobs; what it has goes on."""
        path = f"/api/v1/clusters/{_part(cluster)}/cordon"
        return decoded(
            self._request("POST", path, content=msgspec.json.encode({"reason": reason})), CordonView
        )

    def uncordon(self, cluster: str, reason: str = "") -> None:
        """Give a cluster Jobs again."""
        path = f"/api/v1/clusters/{_part(cluster)}/uncordon"
        self._request("POST", path, content=msgspec.json.encode({"reason": reason}))

    def cancel(
        self,
        algorithm: str,
        request_id: str,
        *,
        reason: str = "",
        initiator: str = "",
        policy: DeletionPolicy = DeletionPolicy.BACKGROUND,
    ) -> None:
        """Cancel a run. One that has ended stays as it is, and the cancel is recorded."""
        body = {"reason": reason, "initiator": initiator, "cancellationPolicy": policy}
        self._request(
            "POST",
            f"/algorithm/v1/cancel/{_part(algorithm)}/requests/{parse_request_id(request_id)}",
            content=msgspec.json.encode(body),
        )

    def _request(self, method: Literal["GET", "POST"], path: str, **rest: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **rest)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise Unavailable(
                f"no Nexus answers at {self._url} ({error}): start `nexus dev`, or name another with --url"
            ) from None
        except httpx.TransportError as error:
            lost = f"the answer of {self._url} was lost ({error or type(error).__name__})"
            if method == "GET":
                raise Unavailable(f"{lost}: try again") from None
            raise OutcomeUnknown(
                f"{lost}, so it is unknown whether the request was accepted: look for it with `nexus list`; "
                "with an Idempotency-Key (--key) sending it again is safe"
            ) from None
        return checked(answer)


def _run(request_id: str) -> str:
    return f"/api/v1/runs/{parse_request_id(request_id)}"


def _part(name: str) -> str:
    """One segment of a path: dots alone would be taken for steps up the path."""
    if not name.strip("."):
        raise InvalidInput("algorithm", f"{name!r} is no name of an algorithm")
    return quote(name, safe="")


def _header(field: str, text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise InvalidInput(field, "must have printable ASCII characters only")
    return text


def _no_address(url: str) -> ConfigError:
    return ConfigError(
        f"{url!r} is not the address of a server: give --url one such as http://127.0.0.1:8080"
    )
