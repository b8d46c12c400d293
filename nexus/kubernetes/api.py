"""Reading from the API: its paths, and lists in pages."""

from __future__ import annotations

from typing import Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from nexus.domain.errors import Unavailable
from nexus.kubernetes.connection import Connection, refusal
from nexus.kubernetes.decoding import decode

__all__ = ["Items", "Page", "path", "read", "read_all"]

T = TypeVar("T")

_PAGE = 500


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    next: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list, as the API server answers it."""

    metadata: _ListMeta
    items: list[T]


class Items(msgspec.Struct, Generic[T], frozen=True):
    """A whole list, and the version that a watch goes on from."""

    version: str
    items: list[T]


def path(base: str, *names: str, **query: str) -> str:
    """`path("/api/v1", "namespaces", "kube-system", limit="5")`, with the names and the query escaped."""
    at = "/".join([base, *(quote(name, safe="") for name in names)])
    return f"{at}?{urlencode(query)}" if query else at


async def read(connection: Connection, at: str) -> bytes | None:
    """What is at a path; None for 404. Any other status than 200 raises Unavailable: it may be granted or mended."""
    answer = await connection.request("GET", at)
    if answer.status == 404:
        return None
    if answer.status != 200:
        where = f"{at.partition('?')[0]} of the cluster {connection.name}"
        raise Unavailable(f"{where} cannot be read: {refusal(answer)}")
    return answer.body


async def read_all(
    connection: Connection, decoder: msgspec.json.Decoder[Page[T]], collection: str, **query: str
) -> Items[T]:
    """A list, some hundreds of things at a time. Raises Unavailable, also where it grew too old on the way."""
    version, items, following = "", list[T](), {"limit": str(_PAGE)}
    while True:
        body = await read(connection, path(collection, **query, **following))
        if body is None:
            raise Unavailable(f"the cluster {connection.name} has no {collection}: does it serve that API?")
        page = decode(decoder, body, f"{collection} of the cluster {connection.name}")
        items += page.items
        version = page.metadata.resource_version
        if not page.metadata.next:
            return Items(version, items)
        following["continue"] = page.metadata.next
