"""What service accounts asked of an API server, and what it answered, from its audit log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.helm.accounts import Asked

__all__ = ["Heard", "heard"]

_ACCOUNT = "system:serviceaccount:"


class Heard(NamedTuple):
    """One request; `account` is `namespace:name`."""

    account: str
    asked: Asked
    allowed: bool


class _User(msgspec.Struct):
    username: str


class _Object(msgspec.Struct, rename="camel"):
    resource: str = ""
    subresource: str = ""
    api_group: str = ""
    name: str = ""


class _Status(msgspec.Struct):
    code: int = 0


class _Event(msgspec.Struct, rename="camel"):
    verb: str
    user: _User
    object_ref: _Object | None = None
    response_status: _Status | None = None
    annotations: Mapping[str, str] = {}


_DECODER = msgspec.json.Decoder(_Event)


def heard(log: Path) -> Iterator[Heard]:
    """Everything about resources, in order. What has no resource, such as `/version`, is for everybody."""
    for line in log.read_bytes().splitlines():
        try:
            event = _DECODER.decode(line)
        except msgspec.DecodeError:  # the last one is being written
            continue
        about = event.object_ref
        if about is None or not event.user.username.startswith(_ACCOUNT):
            continue
        resource = about.resource + (f"/{about.subresource}" if about.subresource else "")
        asked = Asked(event.verb, about.api_group, resource, about.name)
        account = event.user.username.removeprefix(_ACCOUNT)
        allowed = event.annotations.get("authorization.k8s.io/decision") == "allow"
        yield Heard(account, asked, allowed)
        if event.verb == "patch" and event.response_status and event.response_status.code == 201:
            yield Heard(account, asked._replace(verb="create"), allowed)  # an apply makes what is not there
