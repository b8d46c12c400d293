"""Submits a child by the address that its Job is told, with the requests of upstream's client, and says what it was answered."""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

SCHEDULER = os.environ["NEXUS__CLIENT__SCHEDULER"] + "/algorithm/v1"
RECEIVER = os.environ["NEXUS__CLIENT__RECEIVER"] + "/algorithm/v1"


def ask(url: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    # Upstream's client writes the header also where it has no token.
    headers = {"Authorization": "Bearer", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data, headers), timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, None


def main() -> None:
    payload_uri, run = (argument.partition("=")[2] for argument in sys.argv[1:3])
    _, payload = ask(payload_uri)
    said: dict[str, Any] = {}
    if depth := payload["depth"]:
        submission = {"algorithmParameters": {"depth": depth - 1}, "requestApiVersion": "1.2"}
        me = {"parentRequest": {"algorithmName": "tree", "requestId": run}}
        status, child = ask(f"{SCHEDULER}/run/tree?dryRun=false", submission | me)
        said = {"child": child and child["requestId"], "submitted": status}
        said["alone"], _ = ask(f"{SCHEDULER}/run/tree?dryRun=false", submission)
        said["cancel"], _ = ask(f"{SCHEDULER}/cancel/tree/requests/{said['child']}", {})
        said["own"], _ = ask(f"{SCHEDULER}/results/tree/requests/{run}")
    report = {"errorCause": "", "errorDetails": "", "resultUri": "data:," + json.dumps(said)}
    ask(f"{RECEIVER}/complete/tree/requests/{run}", report)


main()
