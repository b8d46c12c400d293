"""Durable accepts: our submission beside a bare Litestar route that does the same group commit, both on granian.

And with a token and rules beside none: what it costs to know who asks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import structlog
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, Request, post

from nexus.access.static import TokenEntry
from nexus.composition import heap
from nexus.config import Config
from nexus.embedded.group_commit import GroupCommit, connect
from nexus.embedded.state import StateFolder
from tests.bench.figures import Pair
from tests.bench.load import Load, listening
from tests.bench.load import post as request_to
from tests.bench.report import Result, paired
from tests.e2e.nexus_process import TEMPLATES, free_port

__all__ = ["measure"]

BODY = b'{"algorithmParameters": {"name": "bench", "pad": "' + b"x" * 200 + b'"}, "tag": "bench"}'
CONNECTIONS = 64
TOKEN = "nexus_" + "t" * 43
ENTRY = TokenEntry(name="bench", sha256=sha256(TOKEN.encode()).hexdigest(), groups=("bench",))


async def serve_ours(folder: Path, port: int, auth: Mapping[str, str]) -> None:
    """The API alone, as the role that it is: the streams would be in processes of their own where this matters."""
    from api.app import create_app
    from api.health import Health
    from nexus.composition.engines import Engines  # the bare side must not pay for our imports
    from nexus.composition.roles import Role, api_context

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO), cache_logger_on_first_use=True
    )
    config = msgspec.convert(
        {"templates": {"folder": str(TEMPLATES)}, "auth": auth},
        Config,
        dec_hook=lambda kind, value: kind(value),
    )
    async with AsyncExitStack() as stack:
        role = Role(Engines(config, StateFolder(folder), stack), asyncio.create_task)
        app = create_app(["api"], await api_context(role), Health(role.problems))
        heap.settle()
        await _serve(app, port)


def guarded(folder: Path) -> dict[str, str]:
    """The token is the last of many, and its rule the last of many more."""
    rules = [
        {
            "name": f"team {n}",
            "subjects": [f"group:{n}", f"user:*@{n}"],
            "algorithms": [f"{n}-*"],
            "verbs": ["*"],
        }
        for n in range(100)
    ]
    rules.append({"name": "bench", "subjects": ["group:bench"], "algorithms": ["qui*"], "verbs": ["submit"]})
    entries = [*(TokenEntry(name=str(n), sha256=f"{n:064x}") for n in range(100)), ENTRY]
    (folder / "rules.yaml").write_text(json.dumps({"rules": rules}))
    (folder / "tokens.yaml").write_text(json.dumps({"tokens": msgspec.to_builtins(entries)}))
    return {
        "mode": "bearer",
        "rules_file": str(folder / "rules.yaml"),
        "tokens_file": str(folder / "tokens.yaml"),
    }


async def serve_bare(folder: Path, port: int) -> None:
    """Decode the body, write one row in a shared transaction, answer: what nobody can do without."""
    setup = connect(folder / "bare.db")
    setup.execute(
        "CREATE TABLE records (id INTEGER PRIMARY KEY, key TEXT, headers BLOB, value BLOB, timestamp REAL)"
    )
    setup.close()

    def write(connection: sqlite3.Connection, rows: Sequence[bytes]) -> Sequence[None]:
        now = time.time()
        connection.executemany(
            "INSERT INTO records (key, headers, value, timestamp) VALUES (?, ?, ?, ?)",
            [("key", b"{}", row, now) for row in rows],
        )
        return [None] * len(rows)

    commits: GroupCommit[bytes, None] = GroupCommit(folder / "bare.db", write)

    @post("/run/{algorithm:str}", status_code=202)
    async def run(algorithm: str, request: Request[Any, Any, Any]) -> dict[str, str]:
        msgspec.json.decode(await request.body())
        await commits.submit(BODY + b" " * 600)
        return {"requestId": "01900000-0000-7000-8000-000000000000"}

    await _serve(Litestar([run], logging_config=None), port)


async def _serve(app: Any, port: int) -> None:
    await Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False).serve()


async def measure(rounds: int = 5, seconds: float = 4) -> Result:
    """Accepts per second of each in turn, and the last load of ours for its latencies."""
    figures, known = Pair(), Pair()
    for _ in range(rounds):
        figures.bare.append((await _load("bare", seconds)).rate)
        load = await _load("ours", seconds)
        figures.ours.append(load.rate)
        known.bare.append(load.rate)
        known.ours.append((await _load("guarded", seconds)).rate)
    return Result(
        [
            paired("durable accepts, the API alone", "/s", figures, "0.6"),
            paired("the same with a token and 100 rules, beside those without", "/s", known, "0.95"),
        ],
        f"Accepts: {CONNECTIONS} connections, p50 {load.quantile(0.5):.0f} ms, p99 {load.quantile(0.99):.0f} ms. Bare: a Litestar "
        "route on granian that decodes the body and puts a row of the same size into the same group commit.",
    )


async def _load(side: str, seconds: float) -> Load:
    port = free_port()
    path = "/run/quick" if side == "bare" else "/algorithm/v1/run/quick"
    headers = [f"Authorization: Bearer {TOKEN}"] if side == "guarded" else []
    request = request_to(path, BODY, *headers)
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.embedded.accepts", side, folder, str(port)]
        )
        try:
            await listening(port)
            warm_up = iter([request] * 500)
            await Load(lambda: next(warm_up, None)).run("127.0.0.1", port, 8)
            end = time.perf_counter() + seconds
            load = Load(lambda: request if time.perf_counter() < end else None)
            await load.run("127.0.0.1", port, CONNECTIONS)
            return load
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    which, where, at = sys.argv[1:]
    here, on = Path(where), int(at)
    sides = {
        "bare": lambda: serve_bare(here, on),
        "ours": lambda: serve_ours(here, on, {}),
        "guarded": lambda: serve_ours(here, on, guarded(here)),
    }
    asyncio.run(sides[which]())
