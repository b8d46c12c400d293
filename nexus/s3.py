"""Payloads in a bucket of S3 or of what speaks its protocol (contract §5.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, NoReturn, Protocol, cast

from aiobotocore.config import AioConfig  # type: ignore[import-untyped]  # no py.typed
from aiobotocore.session import get_session  # type: ignore[import-untyped]  # no py.typed
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # no py.typed

from nexus.config import S3
from nexus.domain.addresses import without_credentials
from nexus.domain.duration import whole_seconds
from nexus.domain.errors import ConfigError, Unavailable
from nexus.domain.events import RunRequested
from nexus.domain.payload import payload_key
from nexus.payload_urls import SignedUrls, valid_for
from nexus.ports import StoredPayload

__all__ = ["PresignedUrls", "S3PayloadStore"]

_CONNECTIONS = 64
_LONGEST = timedelta(days=7)
"""What version 4 of the signature allows."""
_ABSENT = {"404", "NoSuchKey"}
_BEYOND = {"416", "InvalidRange"}


class _Body(Protocol):
    async def read(self) -> bytes: ...


class _Client(Protocol):
    """What is used of aiobotocore's client, which is made at run time and has no types."""

    async def head_bucket(self, *, Bucket: str) -> object: ...  # noqa: N803 - S3's own names
    async def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> object: ...  # noqa: N803
    async def get_object(self, **given: str) -> dict[str, Any]: ...
    async def delete_object(self, *, Bucket: str, Key: str) -> object: ...  # noqa: N803
    async def list_objects_v2(self, **given: Any) -> dict[str, Any]: ...
    async def create_multipart_upload(self, *, Bucket: str, Key: str) -> dict[str, Any]: ...  # noqa: N803
    async def upload_part(self, **given: Any) -> dict[str, Any]: ...
    async def complete_multipart_upload(self, **given: Any) -> object: ...
    async def abort_multipart_upload(self, **given: Any) -> object: ...
    async def generate_presigned_url(self, method: str, *, Params: dict[str, str], ExpiresIn: int) -> str: ...  # noqa: N803


class S3PayloadStore:
    """Open with `start`, close with `close`. A payload is written under a key of its own, so that a put may be repeated."""

    def __init__(self, settings: S3) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Raises ConfigError where the bucket is not there or not ours to use, Unavailable where nothing answers."""
        settings = self._settings
        opening = get_session().create_client(
            "s3",
            region_name=settings.region,
            endpoint_url=settings.endpoint or None,
            aws_access_key_id=settings.access_key or None,
            aws_secret_access_key=str(settings.secret_key) or None,
            config=AioConfig(
                connect_timeout=3,
                read_timeout=20,
                max_pool_connections=_CONNECTIONS,
                retries={"mode": "standard", "max_attempts": 3},
                s3={"addressing_style": "path"},
                signature_version="s3v4",
                # Other servers than AWS's do not know the newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        self._client = cast("_Client", await self._stack.enter_async_context(opening))
        try:
            async with self._asked("bucket"):
                await self._client.head_bucket(Bucket=settings.bucket)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._stack.aclose()

    async def put(self, key: str, body: bytes) -> str:
        async with self._asked(key):
            await self._client.put_object(Bucket=self._settings.bucket, Key=self._path(key), Body=body)
        return self.address(key)

    async def put_pieces(self, key: str, pieces: AsyncIterator[bytes]) -> str:
        async with self._asked(key):
            place = {"Bucket": self._settings.bucket, "Key": self._path(key)}
            upload = place | {"UploadId": (await self._client.create_multipart_upload(**place))["UploadId"]}
            done: list[dict[str, Any]] = []
            try:
                async for piece in pieces:
                    part = await self._client.upload_part(**upload, PartNumber=len(done) + 1, Body=piece)
                    done.append({"PartNumber": len(done) + 1, "ETag": part["ETag"]})
                await self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
            except BaseException:
                # What is left of an upload costs as much as what is complete.
                await self._client.abort_multipart_upload(**upload)
                raise
        return self.address(key)

    async def get(self, key: str) -> bytes | None:
        return await self._get(key)

    async def part(self, key: str, start: int, size: int) -> bytes | None:
        return await self._get(key, Range=f"bytes={start}-{start + size - 1}")

    async def _get(self, key: str, **asked: str) -> bytes | None:
        place = {"Bucket": self._settings.bucket, "Key": self._path(key)}
        async with self._asked(key):
            try:
                found = await self._client.get_object(**place | asked)
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                if _code(error) in _BEYOND:
                    return b""
                raise
            async with found["Body"] as body:
                return await cast("_Body", body).read()

    async def delete(self, key: str) -> None:
        async with self._asked(key):
            await self._client.delete_object(Bucket=self._settings.bucket, Key=self._path(key))

    async def stored(self, after: str, limit: int) -> list[StoredPayload]:
        root = self._path("")
        async with self._asked("its list"):
            page = await self._client.list_objects_v2(
                Bucket=self._settings.bucket, Prefix=root, StartAfter=root + after, MaxKeys=limit
            )
        return [
            StoredPayload(found["Key"].removeprefix(root), found["LastModified"])
            for found in page.get("Contents", [])
        ]

    def address(self, key: str) -> str:
        return f"s3a://{self._settings.bucket}/{self._path(key)}"

    async def presigned(self, key: str, lifetime: timedelta) -> str:
        """An address under which anybody may read the payload for that long, at most seven days."""
        seconds = whole_seconds(min(lifetime, _LONGEST))
        place = {"Bucket": self._settings.bucket, "Key": self._path(key)}
        async with self._asked(key):
            return await self._client.generate_presigned_url("get_object", Params=place, ExpiresIn=seconds)

    def _path(self, key: str) -> str:
        prefix = self._settings.prefix.strip("/")
        return f"{prefix}/{key}" if prefix else key

    @asynccontextmanager
    async def _asked(self, what: str) -> AsyncIterator[None]:
        try:
            yield
        except ClientError as error:
            self._refused(what, error)
        except (BotoCoreError, OSError) as error:
            raise Unavailable(
                f"S3 at {self._where()} did not answer for {what} ({without_credentials(str(error))})"
            ) from error

    def _refused(self, what: str, error: ClientError) -> NoReturn:
        code = _code(error)
        if what == "bucket" and code in {"404", "NoSuchBucket", "403", "AccessDenied"}:
            raise ConfigError(
                f"s3.bucket {self._settings.bucket!r} at {self._where()} cannot be used ({code}): "
                "make it, or correct its name and s3.access_key"
            ) from error
        raise Unavailable(f"S3 at {self._where()} refused {what} ({code}: {error})") from error

    def _where(self) -> str:
        return without_credentials(self._settings.endpoint) or f"AWS {self._settings.region}"


class PresignedUrls:
    """The port `PayloadUrls` where algorithms read from S3 itself. A payload that is not there is served by the API."""

    def __init__(self, store: S3PayloadStore, others: SignedUrls) -> None:
        self._store = store
        self._others = others

    async def url(self, request: RunRequested, now: datetime, beyond: timedelta) -> str:
        key = payload_key(request.algorithm, request.request_id)
        if request.payload_uri != self._store.address(key):
            return await self._others.url(request, now, beyond)
        return await self._store.presigned(key, valid_for(request, beyond))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
