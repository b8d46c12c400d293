"""How bodies come in: whatever a client does, it takes no more than was configured, and hears what was wrong."""

from __future__ import annotations

import asyncio
import gzip
import mmap
import os
import zlib

import pytest
from litestar import Litestar, Response, post
from litestar.exceptions import HTTPException
from litestar.params import RawBody

from api.bodies.gunzip import Gunzip
from api.bodies.intake import BodyLimits, Intake
from api.bodies.spool import SpooledBody, spooled_body
from api.problems import handle_http_error, handle_nexus_error
from nexus.domain.errors import NexusError

BIG = os.urandom(100_000) * 10
LIMITS = BodyLimits(timeout=30, memory=2_000_000, disk=3_000_000)


class Served:
    """The two ways in which handlers take a body, and what was taken while they did."""

    def __init__(self, limits: BodyLimits = LIMITS) -> None:
        self.intake = Intake(limits)
        self.content: object = None
        self.taken: list[tuple[int, int]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

        async def take(content: object) -> Response[bytes]:
            self.content = content
            self.taken.append((self.intake.memory.taken, self.intake.disk.taken))
            await self.go_on.wait()
            return Response(bytes(memoryview(content)), media_type="application/octet-stream")

        @post("/small")
        async def small(body: RawBody) -> Response[bytes]:
            return await take(body)

        @post("/large", dependencies=spooled_body)
        async def large(spooled: SpooledBody) -> Response[bytes]:
            return await take(spooled.content)

        self._app = Litestar(
            [small, large],
            middleware=[self.intake.around],
            request_max_body_size=3_000_000,
            exception_handlers={HTTPException: handle_http_error, NexusError: handle_nexus_error},
            openapi_config=None,
            logging_config=None,
        )

    async def post(self, path: str, pieces: list[bytes], *, ends: str = "whole", **headers: str) -> Response:
        coming = iter(pieces)
        left = len(pieces)

        async def receive():
            nonlocal left
            if left:
                left -= 1
                return {
                    "type": "http.request",
                    "body": next(coming),
                    "more_body": bool(left) or ends != "whole",
                }
            if ends == "stalls":
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        sent = []

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("nexus.test", 80),
            "state": {},
        }
        await self._app(scope, receive, send)
        self.unread = left
        return Response(
            b"".join(message.get("body", b"") for message in sent[1:]),
            status_code=sent[0]["status"],
            headers={name.decode(): value.decode() for name, value in sent[0]["headers"]},
        )

    def nothing_is_held(self) -> bool:
        return self.intake.memory.taken == self.intake.disk.taken == 0


@pytest.fixture(params=["/small", "/large"])
def path(request):
    return request.param


def cut(body: bytes, size: int = 50_000) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)] or [b""]


@pytest.mark.parametrize("body", [b"", b"{}", BIG], ids=len)
@pytest.mark.parametrize("encoding", ["", "gzip", "x-gzip", "identity"])
async def test_a_body_is_what_was_sent(path, body, encoding):
    served = Served()
    sent = gzip.compress(body) if "gzip" in encoding else body
    answer = await served.post(path, cut(sent), **({"content_encoding": encoding} if encoding else {}))
    assert (answer.status_code, answer.content) == (201, body)
    assert served.nothing_is_held()


async def test_a_large_body_is_in_a_file_and_takes_no_memory():
    served = Served()
    await served.post("/large", cut(BIG))
    assert isinstance(served.content, mmap.mmap)
    assert served.taken == [(0, len(BIG))]
    await served.post("/small", cut(BIG))
    assert served.taken[1:] == [(len(BIG), 0)]


async def test_the_file_has_no_name(tmp_path):
    served = Served(BodyLimits(folder=tmp_path))
    await served.post("/large", cut(BIG))
    assert isinstance(served.content, mmap.mmap)
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    answer = await Served(BodyLimits(folder=tmp_path / "none")).post("/large", cut(BIG))
    assert (answer.status_code, "none" in str(answer.content)) == (503, True)


@pytest.mark.parametrize(("path", "key"), [("/small", "http.body_memory"), ("/large", "http.body_disk")])
async def test_bodies_at_the_same_time_are_bounded_together(path, key):
    served = Served()
    served.go_on.clear()
    async with asyncio.TaskGroup() as tasks:
        first = [tasks.create_task(served.post(path, cut(BIG))) for _ in range(3)]
        done, _ = (
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED) if path == "/small" else ([], [])
        )
        if path == "/large":
            while len(served.taken) < 3:
                await asyncio.sleep(0)
            done = [tasks.create_task(served.post(path, cut(BIG)))]
            await asyncio.wait(done)
        refused = next(iter(done)).result()
        assert (refused.status_code, key in str(refused.content)) == (503, True)
        assert refused.headers["retry-after"] == "1"
        # What is small goes through meanwhile.
        served.go_on.set()
    assert (await served.post(path, cut(BIG))).status_code == 201
    assert served.nothing_is_held()


async def test_a_body_that_stops_is_cut_off(path):
    served = Served(BodyLimits(timeout=0.01))
    answer = await served.post(path, [b"{"], ends="stalls")
    assert answer.status_code == 408
    assert answer.headers["connection"] == "close"
    assert served.nothing_is_held()


async def test_a_body_that_ends_early_or_is_badly_framed_is_a_bad_request(path):
    served = Served()
    answer = await served.post(path, [b"{"], ends="early")
    assert (answer.status_code, b"badly framed" in answer.content) == (400, True)
    assert served.nothing_is_held()


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "\xff"])
async def test_an_encoding_that_is_not_understood_is_said(path, encoding):
    served = Served()
    answer = await served.post(path, [b"{", b"}"], content_encoding=encoding)
    assert served.unread == 0  # a client that is still sending may not hear what it is told
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip")


@pytest.mark.parametrize(
    "sent",
    [b"", b"{}", gzip.compress(b"{}")[:-1], gzip.compress(b"{}") + b"x", zlib.compress(b"{}")],
    ids=[
        "nothing",
        "no gzip",
        "cut",
        "more behind it",
        "zlib",
    ],  # gzip writes the time, and ids must not change
)
async def test_what_is_no_gzip_is_a_bad_request(path, sent):
    answer = await Served().post(path, [sent], content_encoding="gzip")
    assert (answer.status_code, b"gzip" in answer.content) == (400, True)


async def test_several_gzip_members_are_one_body(path):
    answer = await Served().post(path, [gzip.compress(b"{"), gzip.compress(b"}")], content_encoding="gzip")
    assert answer.content == b"{}"


async def test_a_bomb_is_found_out_before_it_goes_off(path):
    served = Served(BodyLimits(memory=10_000_000))
    bomb = gzip.compress(b" " * 500_000_000, 9)
    answer = await served.post(path, cut(bomb), content_encoding="gzip")
    assert answer.status_code in {400, 413}
    assert served.nothing_is_held()


async def test_a_body_is_bounded_after_inflation(path):
    body = BIG.hex().encode() * 2
    sent = gzip.compress(body)
    assert len(sent) < 3_000_000 < len(body)
    served = Served(BodyLimits())
    answer = await served.post(path, cut(sent), content_encoding="gzip")
    assert answer.status_code == 413
    assert served.unread == 0


def test_of_a_bomb_little_is_inflated():
    gunzip = Gunzip()
    gunzip.feed(gzip.compress(b" " * 200_000_000, 9))
    pieces = []
    with pytest.raises(HTTPException, match="inflates to more than"):
        pieces.extend(iter(gunzip.next_piece, b""))
    assert max(map(len, pieces)) <= 64 * 1024
    assert sum(map(len, pieces)) < 60_000_000
