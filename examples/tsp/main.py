"""Finds a short round trip through points in the plane: the travelling salesman problem, solved by PyVRP."""

from __future__ import annotations

import json
import math
import os
import time
import traceback
from argparse import ArgumentParser
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from pyvrp import Client, Depot, Location, ProblemData, VehicleType, solve
from pyvrp.stop import MaxIterations


def short_tour(payload: dict[str, Any]) -> dict[str, Any]:
    points, optimum = payload["coordinates"], payload.get("optimum")
    if len(points) < 2:
        raise ValueError("coordinates: a round trip needs at least two points")
    # TSPLIB's EUC_2D: distances are rounded to whole numbers.
    distances = np.array([[int(math.dist(a, b) + 0.5) for b in points] for a in points])
    problem = ProblemData(
        locations=[Location(x, y) for x, y in points],
        clients=[Client(location) for location in range(1, len(points))],
        depots=[Depot(0)],
        vehicle_types=[VehicleType()],
        distance_matrices=[distances],
        duration_matrices=[np.zeros_like(distances)],
    )
    found = solve(problem, MaxIterations(payload["iterations"]), seed=payload["seed"], collect_stats=False)
    (route,) = found.best.routes()
    tour = [0, *(visit.idx + 1 for visit in route if visit.is_client())]
    gap = found.cost() / optimum - 1 if optimum else None
    return {"name": payload["name"], "length": found.cost(), "optimum": optimum, "gap": gap, "tour": tour}


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


def save(result: dict[str, Any], name: str) -> str:
    """The URL of the file that holds the result from now on."""
    path = Path(os.environ.get("NEXUS__RESULT__OUTPUT_PATH", "results"), f"{name}.json").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))
    return path.as_uri()


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--sas-uri", required=True)
    parser.add_argument("--request-id", required=True)
    run = parser.parse_args()
    receiver, algorithm = os.environ["NEXUS__CLIENT__RECEIVER"], os.environ["NEXUS__ALGORITHM_NAME"]

    payload = http(run.sas_uri)
    try:
        outcome = {"resultUri": save(short_tour(json.loads(payload)), run.request_id)}
    except (LookupError, TypeError, ValueError) as error:
        # Trying again cannot mend a payload: report it. Any other error ends the process, and is tried again.
        outcome = {"resultUri": "", "errorCause": repr(error), "errorDetails": traceback.format_exc()}
    http(f"{receiver}/algorithm/v1/complete/{algorithm}/requests/{run.request_id}", outcome)


if __name__ == "__main__":
    main()
