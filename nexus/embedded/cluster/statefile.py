"""A Job's state on disk: a line of JSON for each step, the last one counts.

Appending is far cheaper than replacing a file: a rename makes the file system write at once what came before it.
"""

from __future__ import annotations

import errno
import json
import os

from nexus.embedded.cluster.status import State

__all__ = ["last_line", "read_state", "write_state"]

_LONGEST = 1 << 18  # bytes; then the file starts again with the present state


def last_line(folder: str) -> bytes:
    """The last line that is whole; empty before the first."""
    try:
        with open(f"{folder}/state", "rb") as file:  # noqa: PTH123 - the owner must start without pathlib
            content = file.read()
    except FileNotFoundError:
        return b""
    whole = content[: content.rfind(b"\n") + 1].rstrip()
    return whole[whole.rfind(b"\n") + 1 :]


def read_state(folder: str) -> State | None:
    """None before the first write; also for what a power cut left."""
    try:
        state: State = json.loads(last_line(folder))
    except ValueError:
        return None
    return state


def write_state(folder: str, state: State) -> None:
    """Raises FileNotFoundError when the folder is gone: the Job was deleted. After another OSError the state before counts."""
    path = f"{folder}/state"
    line = b"\n" + json.dumps(state).encode() + b"\n"  # the first ends what a killed writer left
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if os.fstat(file).st_size < _LONGEST:
            _write(file, line)
            return
    finally:
        os.close(file)
    whole = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write(whole, line)
        os.fsync(whole)
    finally:
        os.close(whole)
    os.replace(f"{path}.new", path)  # noqa: PTH105


def _write(file: int, line: bytes) -> None:
    """The rest of a full disk takes only a part of the line, and does not call that an error."""
    if os.write(file, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
