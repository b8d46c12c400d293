"""Learns to read handwritten digits: a support vector machine on scikit-learn's own 1,797 images."""

from __future__ import annotations

import json
import os
import time
import traceback
from argparse import ArgumentParser
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC


def train(payload: dict[str, Any]) -> dict[str, Any]:
    digits = load_digits()
    images, held_out, labels, truth = train_test_split(
        digits.data,
        digits.target,
        test_size=payload["testShare"],
        random_state=payload["seed"],
        stratify=digits.target,
    )
    model = SVC(**payload["model"]).fit(images, labels)
    guesses = model.predict(held_out)
    return {
        "accuracy": accuracy_score(truth, guesses),
        "confusionMatrix": confusion_matrix(truth, guesses).tolist(),
        "parameters": model.get_params(),
    }


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
        outcome = {"resultUri": save(train(json.loads(payload)), run.request_id)}
    except (LookupError, TypeError, ValueError) as error:
        # Trying again cannot mend a payload: report it. Any other error ends the process, and is tried again.
        outcome = {"resultUri": "", "errorCause": repr(error), "errorDetails": traceback.format_exc()}
    http(f"{receiver}/algorithm/v1/complete/{algorithm}/requests/{run.request_id}", outcome)


if __name__ == "__main__":
    main()
