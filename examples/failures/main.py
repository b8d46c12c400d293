"""Ends in every way in which a run can end, as its payload says: to see what Nexus makes of each."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def misbehave(payload: dict[str, Any], report: Callable[..., None]) -> None:
    mode = payload["mode"]
    print(f"mode {mode}", flush=True)
    match mode:
        case "success":
            report(resultUri="data:,ok")
        case "late":  # the first report counts, for ever
            report(resultUri="data:,first")
            report(resultUri="data:,second")
        case "report":  # what the algorithm knows best about itself
            report(
                errorCause="InfeasibleModel: no plan fits", errorDetails="demand 120 is above capacity 100"
            )
        case "silent":
            pass
        case "exit":
            sys.exit(payload["code"])
        case "transient":  # listed in transientExitCodes: tried again, and never counted
            sys.exit(75)
        case "fatal":  # listed in fatalExitCodes: never tried again
            sys.exit(42)
        case "raise":
            raise RuntimeError("nobody caught this")
        case "memory":
            hoard = b"\xff" * (payload["mebibytes"] << 20)
            time.sleep(payload.get("seconds", 10))
            raise RuntimeError(f"nobody minded {len(hoard)} bytes")
        case "sleep":
            time.sleep(payload["seconds"])
            report(resultUri="data:,rested")
        case "signal":
            os.kill(os.getpid(), signal.SIGSEGV)
        case _:
            report(errorCause=f"mode {mode!r} is none that this algorithm knows")


def http(url: str, body: object = None, pauses: tuple[float, ...] = (0.5, 1, 2, 4)) -> bytes:
    """GET, or POST the body as JSON. Tries again while the network or the server is at fault, then raises."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=30) as answer:
            return answer.read()
    except (OSError, HTTPException) as error:
        if not pauses or (isinstance(error, HTTPError) and error.code < 500):
            raise
    time.sleep(pauses[0])
    return http(url, body, pauses[1:])


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--sas-uri", required=True)
    parser.add_argument("--request-id", required=True)
    run = parser.parse_args()
    receiver, algorithm = os.environ["NEXUS__CLIENT__RECEIVER"], os.environ["NEXUS__ALGORITHM_NAME"]
    url = f"{receiver}/algorithm/v1/complete/{algorithm}/requests/{run.request_id}"

    def report(**outcome: str) -> None:
        http(url, {"resultUri": "", **outcome})

    misbehave(json.loads(http(run.sas_uri)), report)


if __name__ == "__main__":
    main()
