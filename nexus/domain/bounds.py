"""How long each text may be that a client sends, in characters where nothing else is said.

All of them together, each character escaped, are small beside the 1 MB that a broker takes for a record.
"""

from __future__ import annotations

from nexus.domain.errors import InvalidInput

__all__ = [
    "ALGORITHM",
    "API_VERSION",
    "CONFIGURATION",
    "DEAD_LETTER",
    "DURATION",
    "ERROR_CAUSE",
    "ERROR_DETAILS",
    "IDEMPOTENCY_KEY",
    "INITIATOR",
    "REASON",
    "REQUEST_ID",
    "RESULT_URI",
    "SUBJECT",
    "TAG",
    "check_bound",
    "cut",
]

# Of a submission, of a change: what is longer is refused, with the name of its field.
TAG = 1024
API_VERSION = 128
ALGORITHM = 253
REQUEST_ID = 64
DURATION = 64
IDEMPOTENCY_KEY = 255
CONFIGURATION = 64 * 1024
"""Bytes of JSON."""
SUBJECT = 256
REASON = 4096
INITIATOR = 1024

# Of a report, which must not be lost: what is longer is cut, and marked as cut.
RESULT_URI = 8192
ERROR_CAUSE = 8192
ERROR_DETAILS = 48 * 1024
DEAD_LETTER = 512 * 1024
"""Bytes."""


def check_bound(field: str, text: str, most: int) -> None:
    """Raises InvalidInput for a text of more characters than that."""
    if len(text) > most:
        raise InvalidInput(field, f"has {len(text)} characters, at most {most} are allowed")


def cut(text: str, most: int) -> str:
    """At most so many characters: of a longer text its beginning and its end, where a traceback has what matters."""
    if len(text) <= most:
        return text
    mark = f"\n[... cut by Nexus: {len(text)} characters, at most {most} are kept ...]\n"
    kept = most - len(mark)
    return text[: kept - kept // 2] + mark + text[len(text) - kept // 2 :]
