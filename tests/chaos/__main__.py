"""`python -m tests.chaos [--minutes M] [--seed S] [--rate R]`: prints what was hit, and at last what came of it."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.chaos.storm import storm
from tests.chaos.targets import plan
from tests.support.own_servers import OwnServers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long servers and roles are killed")
    parser.add_argument(
        "--seed", type=int, default=1, help="chooses what is killed when, and what is submitted"
    )
    parser.add_argument("--rate", type=float, default=12.0, help="runs submitted per second")
    given = parser.parse_args()
    end = time.monotonic() + given.minutes * 60
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nexus-chaos-") as folder, ExitStack() as stack:
        servers = OwnServers(Path(folder, "servers"))
        stack.callback(servers.stop)
        servers.start()
        came = asyncio.run(
            storm(
                Path(folder, "nexus"),
                servers,
                given.seed,
                plan(given.seed),
                given.rate,
                lambda: time.monotonic() < end,
                lambda said: print(f"{time.monotonic() - started:7.1f} s  {said}", flush=True),
            )
        )
    print(came)
    return 0 if came.clean else 1


if __name__ == "__main__":
    sys.exit(main())
