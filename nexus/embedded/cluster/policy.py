"""What a failed pod means for its Job: the rules of podFailurePolicy, the back-off and its limit."""

from __future__ import annotations

from typing import Literal, NamedTuple

from nexus.embedded.cluster.work_order import Order, Rule

__all__ = ["BACKOFF_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED", "Verdict", "delay_before", "judge"]

BACKOFF_LIMIT_EXCEEDED = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
DEADLINE_EXCEEDED = ("DeadlineExceeded", "Job was active longer than specified deadline")
_LONGEST_DELAY = 5.0


class Verdict(NamedTuple):
    """`message` says which rule failed the Job."""

    action: Literal["FailJob", "Ignore", "Count"]
    message: str = ""


def judge(order: Order, pod: str, exit_code: int | None, conditions: list[str]) -> Verdict:
    """The first rule that matches decides. `exit_code` is None when the container was never seen to end."""
    for index, rule in enumerate(order["rules"]):
        condition = next((c for c in conditions if c in rule["conditions"]), None)
        if condition is not None:
            why = f"Pod {order['namespace']}/{pod} has condition {condition}"
        elif _matches(rule, exit_code):
            why = f"Container {order['container']} for pod {order['namespace']}/{pod} failed with exit code {exit_code}"
        else:
            continue
        if rule["action"] == "FailJob":
            return Verdict("FailJob", f"{why} matching FailJob rule at index {index}")
        return Verdict("Ignore" if rule["action"] == "Ignore" else "Count")
    return Verdict("Count")


def _matches(rule: Rule, exit_code: int | None) -> bool:
    if not rule["operator"] or not exit_code:
        return False
    return (exit_code in rule["values"]) == (rule["operator"] == "In")


def delay_before(attempt: int, first: float) -> float:
    """Doubles with every failed attempt, as the Job controller's back-off does, but is counted in moments."""
    return min(first * 2.0 ** min(attempt - 1, 30), max(first, _LONGEST_DELAY))
