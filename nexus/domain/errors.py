"""The one hierarchy of errors. A message names what was wrong, where, and what to do about it."""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "Conflict",
    "Damaged",
    "Forbidden",
    "InvalidInput",
    "LimitReached",
    "NexusError",
    "NotFound",
    "OutcomeUnknown",
    "Refused",
    "Unauthenticated",
    "Unavailable",
]


class NexusError(Exception):
    """Everything that Nexus raises on purpose."""


class InvalidInput(NexusError):
    """What the caller sent cannot be accepted; sending it again will not help."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"{field}: {problem}" if field else problem)


class NotFound(NexusError):
    """The run is not there, and nothing that was accepted so far can still make it appear."""


class Conflict(NexusError):
    """An `Idempotency-Key` was used before, with another body."""


class Unauthenticated(NexusError):
    """Nobody knows who asks: there is no token, or none that proves it. `given` is whether there was one."""

    def __init__(self, problem: str, *, given: bool = True) -> None:
        self.given = given
        super().__init__(problem)


class Forbidden(NexusError):
    """No rule lets the subject do this; the message names what decided."""


class LimitReached(NexusError):
    """The caller's tenant has done what it may for now; `retry_after` is in seconds. The message names the limit."""

    def __init__(self, problem: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(problem)


class Damaged(NexusError):
    """A file that was kept cannot be read any more; the message says what it held, and how to go on."""


class Unavailable(NexusError):
    """A server behind a port did not answer; nothing was changed, and trying again later may help."""


class OutcomeUnknown(Unavailable):
    """The server may have done what was asked before the answer was lost."""


class Refused(NexusError):
    """A cluster said no to a Job.

    `status` is the HTTP status of the Kubernetes API, `final` tells a refusal for good from one to try again,
    `retry_after` is in seconds where the server named one.
    """

    def __init__(self, status: int, reason: str, *, retry_after: float | None = None) -> None:
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(f"the cluster answered {status}: {reason}")

    @property
    def final(self) -> bool:
        """4xx is for good, but for time-outs, conflicts, throttling and credentials that may yet be granted."""
        return 400 <= self.status < 500 and self.status not in {401, 403, 408, 409, 429}

    @property
    def denied(self) -> bool:
        """Whether it is for want of credentials or of a permission. A quota is answered 403 too, and empties by itself."""
        return self.status in {401, 403} and "exceeded quota" not in self.reason


class ConfigError(NexusError):
    """The configuration cannot be used; the message names the key and where its value came from."""
