"""The API that nobody can do without: it decodes the body, appends the same record, and answers once the brokers have it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec
import uuid_utils
from aiokafka import AIOKafkaProducer
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, Request, post

TOPIC = "bare"


async def serve(servers: str, record: Path, port: int) -> None:
    value, headers = msgspec.json.decode(record.read_bytes(), type=tuple[bytes, dict[str, str]])
    encoded = [(name, text.encode()) for name, text in headers.items()]
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", enable_idempotence=True, linger_ms=2, compression_type="lz4"
    )
    await producer.start()

    @post("/run/{algorithm:str}", status_code=202)
    async def run(algorithm: str, request: Request[Any, Any, Any]) -> dict[str, str]:
        msgspec.json.decode(await request.body())
        key = str(uuid_utils.uuid7())
        await producer.send_and_wait(TOPIC, value, key.encode(), headers=encoded)
        return {"requestId": key}

    app = Litestar([run], logging_config=None)
    await Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False).serve()


if __name__ == "__main__":
    at, record, port = sys.argv[1:]
    asyncio.run(serve(at, Path(record), int(port)))
