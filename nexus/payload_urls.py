"""Addresses of payloads that the API serves, each signed for who gets it."""

from __future__ import annotations

from datetime import datetime, timedelta

from nexus.domain.duration import parse_duration
from nexus.domain.errors import InvalidInput
from nexus.domain.events import RunRequested
from nexus.domain.payload import PayloadSigner
from nexus.domain.submission import DEFAULT_PAYLOAD_VALID_FOR

__all__ = ["SignedUrls", "valid_for"]


class SignedUrls:
    """The port `PayloadUrls` by contract §5.4."""

    def __init__(self, signer: PayloadSigner) -> None:
        self._signer = signer

    async def url(self, request: RunRequested, now: datetime, beyond: timedelta) -> str:
        return self._signer.url(
            request.algorithm, request.request_id, request.content_hash, now, valid_for(request, beyond)
        )


def valid_for(request: RunRequested, beyond: timedelta) -> timedelta:
    """What the request asked for, from `beyond` on. What is in the log as no duration counts as the default: a run that
    was accepted must not become unreadable for it.
    """
    try:
        asked = parse_duration("payloadValidFor", request.payload_valid_for)
    except InvalidInput:
        asked = DEFAULT_PAYLOAD_VALID_FOR
    return beyond + asked
