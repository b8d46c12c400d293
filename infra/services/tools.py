"""Programs of this machine that install servers or prepare them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.services.errors import MissingTool, ServiceError

__all__ = ["copy_jars", "needed", "run"]

_LAST_WORDS = 4000
_COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def needed(tool: str, advice: str) -> str:
    """The path of a program; without it, MissingTool says `advice`."""
    path = shutil.which(tool)
    if path is None:
        raise MissingTool(advice)
    return path


def run(
    command: Sequence[str | Path], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Run to the end and return what was printed; raises ServiceError with it when the program fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        shown = " ".join(map(str, command))
        raise ServiceError(f"`{shown}` ended with {done.returncode}:\n{done.stdout[-_LAST_WORDS:]}")
    return done.stdout


def copy_jars(maven: str, pom: Path, folder: Path) -> None:
    """Put the jars that a POM asks for, and those which they need, into a folder."""
    run([maven, "-q", "-B", "-f", pom, _COPY_JARS, "-DincludeScope=runtime", f"-DoutputDirectory={folder}"])
