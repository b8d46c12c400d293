"""Subjects: who asks, in a form that says who vouches for it, so that no source can speak for another's subjects."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

__all__ = [
    "ALGORITHMS",
    "ANYBODY",
    "Proof",
    "Subject",
    "algorithm_of",
    "group",
    "matches",
    "service_account",
    "token_holder",
    "user",
]


ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA",
)  # fmt: skip
"""What a proof may be signed with, those of key pairs: with a shared secret, whoever can check one can make one."""


class Subject(msgspec.Struct, frozen=True):
    """`name` and `groups` each begin with their kind, such as `user:alice@example.com` and `group:routing`."""

    name: str
    groups: tuple[str, ...] = ()


ANYBODY = Subject("")
"""Who asks where nobody has to say who it is."""


class Proof(msgspec.Struct, frozen=True):
    """Whose a token is, and until when, in seconds since 1970; None: it does not expire."""

    subject: Subject
    expires: float | None = None


def user(name: str, groups: Iterable[str] = ()) -> Subject:
    """Name a user whom an OIDC issuer vouches for. `groups` are names without a kind."""
    return Subject(f"user:{name}", tuple(map(group, groups)))


def service_account(namespace: str, name: str, groups: Iterable[str] = ()) -> Subject:
    """Name a service account of Kubernetes, for which its API server vouches."""
    return Subject(f"serviceaccount:{namespace}/{name}", tuple(map(group, groups)))


def token_holder(name: str, groups: Iterable[str] = ()) -> Subject:
    """Name the holder of a static token, for which the file of tokens vouches."""
    return Subject(f"token:{name}", tuple(map(group, groups)))


def algorithm_of(name: str) -> str:
    """Name those who are runs of this algorithm, for which their capabilities vouch: as rules name a group."""
    return f"algorithm:{name}"


def group(name: str) -> str:
    return f"group:{name}"


def matches(patterns: Iterable[str], subject: Subject) -> bool:
    """Whether one of the names or globs is the subject's, or one of its groups'."""
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in (subject.name, *subject.groups))
