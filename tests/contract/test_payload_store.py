"""The contract of the payload store: every adapter passes these."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest
from aiobotocore.session import get_session

from nexus.config import S3, Secret
from nexus.domain.errors import ConfigError, Unavailable
from nexus.domain.payload import PayloadSigner, payload_key
from nexus.embedded.payload_store import FolderPayloadStore
from nexus.payload_urls import SignedUrls
from nexus.ports import PIECE, StoredPayload
from nexus.s3 import PresignedUrls, S3PayloadStore
from tests.contract.at_once import AtOnce
from tests.simulation.stores import SimulatedPayloads
from tests.support.factories import after, run_requested
from tests.support.servers import on_server

BUCKET = "contract"


@pytest.fixture
def key():
    return payload_key("alg", str(uuid.uuid4()))


@pytest.fixture
def settings(s3_server):
    return S3(
        bucket=BUCKET,
        endpoint=s3_server.endpoint,
        access_key=s3_server.access_key,
        secret_key=Secret(s3_server.secret_key),
        prefix="some/where",
    )


@pytest.fixture
async def s3(settings):
    opening = get_session().create_client(
        "s3",
        region_name=settings.region,
        endpoint_url=settings.endpoint,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=str(settings.secret_key),
    )
    async with opening as client:
        if BUCKET not in [bucket["Name"] for bucket in (await client.list_buckets())["Buckets"]]:
            await client.create_bucket(Bucket=BUCKET)
    store = S3PayloadStore(settings)
    await store.start()
    yield store
    await store.close()


@pytest.fixture(params=["embedded", "simulated", *on_server("s3_server", "s3")])
def payloads(request, tmp_path):
    match request.param:
        case "embedded":
            return FolderPayloadStore(tmp_path / "p")
        case "simulated":
            return SimulatedPayloads({}, lambda: datetime.now(UTC), AtOnce())
    return request.getfixturevalue("s3")


async def test_bytes_come_back_as_they_were(payloads, key):
    body = bytes(range(256)) * 1000
    assert "://" in await payloads.put(key, body)
    assert await payloads.get(key) == body


async def test_a_part_is_read_by_itself(payloads, key):
    await payloads.put(key, b"0123456789")
    assert await payloads.part(key, 0, 4) == b"0123"
    assert await payloads.part(key, 4, 3) == b"456"
    assert await payloads.part(key, 8, 100) == b"89"
    assert await payloads.part(key, 10, 1) == b""
    assert await payloads.part(key + "x", 0, 1) is None


async def test_a_body_of_many_parts_comes_back_as_it_was(payloads, key):
    body = bytes(range(251)) * 100_000
    await payloads.put(key, body)
    assert await payloads.get(key) == body


async def in_pieces(body: bytes, *, broken: bool = False):
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]
    if broken:
        raise OSError("the body cannot be read")


async def test_pieces_become_one_payload(payloads, key):
    body = bytes(range(251)) * 100_000
    assert len(body) > 2 * PIECE
    address = await payloads.put_pieces(key, in_pieces(body))
    assert await payloads.get(key) == body
    assert await payloads.put(key, b"{}") == address


async def test_of_pieces_that_end_in_an_error_nothing_is_kept(payloads, key):
    with pytest.raises((OSError, Unavailable)):
        await payloads.put_pieces(key, in_pieces(b"x" * (PIECE + 1), broken=True))
    assert await payloads.get(key) is None
    assert key not in [stored.key for stored in await everything(payloads)]


async def test_what_is_not_there_is_none(payloads, key):
    assert await payloads.get(key) is None


async def test_the_last_put_stands(payloads, key):
    await payloads.put(key, b"one")
    await payloads.put(key, b"two")
    assert await payloads.get(key) == b"two"


async def test_deleting_twice_is_deleting_once(payloads, key):
    await payloads.put(key, b"one")
    await payloads.delete(key)
    await payloads.delete(key)
    assert await payloads.get(key) is None


async def everything(payloads, after: str = "", limit: int = 1000) -> list[StoredPayload]:
    found: list[StoredPayload] = []
    while page := await payloads.stored(found[-1].key if found else after, limit):
        assert len(page) <= limit
        found += page
    return found


async def test_what_is_stored_is_listed_algorithm_by_algorithm_in_the_order_of_ids(payloads):
    """Stores do not agree which of two algorithms comes first where the one's name begins like the other's."""
    name = f"a{uuid.uuid4().hex[:8]}"
    ids = [f"019b7c9e-6c2e-7000-8000-{number:012x}" for number in range(5)]
    expected = {family: [payload_key(family, run) for run in ids] for family in (name, f"{name}-b")}
    for key in (*reversed(expected[name]), *expected[f"{name}-b"]):
        await payloads.put(key, b"{}")
    found = [stored for stored in await everything(payloads) if stored.key.startswith(f"algorithm={name}")]
    first, second = found[:5], found[5:]
    assert sorted([[each.key for each in first], [each.key for each in second]]) == sorted(expected.values())
    assert all(abs(datetime.now(UTC) - stored.at) < timedelta(minutes=5) for stored in found)
    assert await payloads.stored(first[1].key, 2) == first[2:4]
    assert await everything(payloads, first[2].key, 3) == await everything(payloads, first[2].key)
    # Beyond all of an algorithm:
    beyond = await everything(payloads, first[0].key.partition("/")[0] + "/~")
    assert [stored for stored in beyond if stored in found] == second


async def test_what_was_deleted_is_not_listed(payloads, key):
    await payloads.put(key, b"{}")
    await payloads.delete(key)
    assert key not in [stored.key for stored in await everything(payloads)]


async def test_nothing_is_listed_beyond_the_last(payloads, key):
    await payloads.put(key, b"{}")
    assert await payloads.stored("\U0010ffff", 10) == []


async def test_a_folder_that_was_never_used_is_empty(tmp_path):
    assert await FolderPayloadStore(tmp_path / "never").stored("", 10) == []


async def test_it_lies_where_upstream_puts_it(s3):
    assert await s3.put(payload_key("alg", "id"), b"{}") == "s3a://contract/some/where/algorithm=alg/id"


async def test_who_holds_a_presigned_address_may_read_and_nobody_else(s3, key):
    await s3.put(key, b"{}")
    address = httpx.URL(await s3.presigned(key, timedelta(minutes=5)))
    parameters = dict(address.params)
    async with httpx.AsyncClient() as client:
        assert (await client.get(address)).content == b"{}"
        assert (await client.get(address.copy_with(params={}))).status_code == 403
        longer = address.copy_with(params=parameters | {"X-Amz-Expires": "301"})
        assert (await client.get(longer)).status_code == 403
        other = str(address).replace("algorithm", "algorithms")
        assert (await client.get(other)).status_code in {403, 404}


async def test_a_presigned_address_expires(s3, key):
    await s3.put(key, b"{}")
    address = await s3.presigned(key, timedelta(seconds=1))
    async with httpx.AsyncClient() as client:
        while (answer := await client.get(address)).status_code == 200:
            pass
    assert answer.status_code == 403


async def test_a_presigned_address_lasts_for_a_week_at_most(s3, key):
    address = httpx.URL(await s3.presigned(key, timedelta(days=30)))
    assert address.params["X-Amz-Expires"] == str(7 * 24 * 3600)


async def test_a_payload_that_lies_elsewhere_is_served_by_the_api(s3):
    signer = PayloadSigner("http://nexus.test", "tenant", b"secret")
    urls = PresignedUrls(s3, SignedUrls(signer))
    inline = run_requested()
    assert (await urls.url(inline, after(0), timedelta(0))).startswith("http://nexus.test/data/")
    there = run_requested(payload_uri=s3.address(payload_key(inline.algorithm, inline.request_id)))
    assert "X-Amz-Signature" in await urls.url(there, after(0), timedelta(0))


async def test_a_bucket_that_is_not_there(settings):
    store = S3PayloadStore(msgspec.structs.replace(settings, bucket="nowhere"))
    with pytest.raises(ConfigError, match=r"s3\.bucket 'nowhere'"):
        await store.start()


async def test_a_server_that_is_away(settings):
    store = S3PayloadStore(msgspec.structs.replace(settings, endpoint="http://127.0.0.1:1"))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await store.start()
