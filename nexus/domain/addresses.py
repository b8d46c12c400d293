"""Addresses as they may be shown: without what somebody wrote into them to log in."""

from __future__ import annotations

import re

__all__ = ["without_credentials"]

_USERINFO = re.compile(r"(\w[\w+.-]*://)\S*@|[\w.~%+-]*:(?!//)[^\s,]*@")


def without_credentials(text: str) -> str:
    """User and password of each address in it are `***`: `https://me:secret@host` is `https://***@host`."""
    return _USERINFO.sub(lambda found: f"{found[1] or ''}***@", text)
