"""Answers of a server: problem details and plain sentences become the errors that they stand for."""

from __future__ import annotations

from typing import TypeVar

import httpx
import msgspec

from nexus.domain.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NexusError,
    NotFound,
    Unauthenticated,
    Unavailable,
)

__all__ = ["checked", "decoded"]

T = TypeVar("T")

_LONGEST = 2000


class _Problem(msgspec.Struct):
    """RFC 9457, as much of it as a person wants to read."""

    detail: str


def checked(answer: httpx.Response) -> httpx.Response:
    """The answer, or the error that it tells of."""
    if answer.is_success:
        return answer
    sentence = _sentence(answer)
    match answer.status_code:
        case 400 | 413 | 422:
            raise InvalidInput("", sentence)
        case 401:
            raise Unauthenticated(sentence)
        case 403:
            raise Forbidden(sentence)
        case 404:
            raise NotFound(sentence)
        case 409:
            raise Conflict(sentence)
        case 429 | 502 | 503 | 504:
            raise Unavailable(sentence)
        case status:
            raise NexusError(f"the server answered {status}: {sentence}")


def decoded(answer: httpx.Response, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=shape)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise NexusError(
            f"what {answer.url.copy_with(query=None)} answered is not from a Nexus ({error}): name another server with --url"
        ) from None


def _sentence(answer: httpx.Response) -> str:
    try:
        return msgspec.json.decode(answer.content, type=_Problem).detail
    except (msgspec.DecodeError, msgspec.ValidationError):
        said = answer.text.strip()[:_LONGEST]
        return said or f"{answer.status_code} {answer.reason_phrase} for {answer.url.path}"
