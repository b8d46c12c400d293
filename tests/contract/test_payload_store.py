"""The contract of the payload store: every adapter passes these."""

from __future__ import annotations

import pytest

from nexus.domain.payload import payload_key
from nexus.embedded.payload_store import FolderPayloadStore

KEY = payload_key("alg", "5a3c4f9b-fd94-48d4-99cd-d9d7cbf6cfd1")


@pytest.fixture(params=["embedded"])
def payloads(request, tmp_path):
    return FolderPayloadStore(tmp_path / "payloads")


async def test_bytes_come_back_as_they_were(payloads):
    body = bytes(range(256)) * 1000
    assert "://" in await payloads.put(KEY, body)
    assert await payloads.get(KEY) == body


async def test_what_is_not_there_is_none(payloads):
    assert await payloads.get(KEY) is None


async def test_the_last_put_stands(payloads):
    await payloads.put(KEY, b"one")
    await payloads.put(KEY, b"two")
    assert await payloads.get(KEY) == b"two"


async def test_deleting_twice_is_deleting_once(payloads):
    await payloads.put(KEY, b"one")
    await payloads.delete(KEY)
    await payloads.delete(KEY)
    assert await payloads.get(KEY) is None
