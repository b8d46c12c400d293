"""What the adapter tells an owner: all that is needed to run one Job, as a line of JSON."""

from __future__ import annotations

from typing import TypedDict

__all__ = ["Order", "Rule"]


class Rule(TypedDict):
    """A rule of podFailurePolicy: it asks for exit codes (with an operator) or for conditions of the pod."""

    action: str
    operator: str
    values: list[int]
    conditions: list[str]


class Order(TypedDict):
    """Times are in seconds, `deadline` since the epoch; `memory` is in bytes.

    `again`: there may have been an owner before, even if it left no word.
    """

    name: str
    uid: str
    namespace: str
    created: str
    container: str
    labels: dict[str, str]
    annotations: dict[str, str]
    command: list[str]
    environment: dict[str, str]
    unresolved: str
    directory: str
    memory: int | None
    backoff_limit: int
    deadline: float | None
    rules: list[Rule]
    again: bool
    retry_delay: float
    grace: float
