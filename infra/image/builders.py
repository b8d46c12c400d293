"""What builds and runs an image here: Docker, Podman or Buildah."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple, Protocol

__all__ = ["Build", "Builder", "BuilderError", "Run", "builder"]


class BuilderError(Exception):
    """Nothing here can build, or run what was built."""


class Build(NamedTuple):
    """One Dockerfile, built from the folder that this process is in."""

    file: Path
    tags: Sequence[str]
    arguments: Mapping[str, str]
    secrets: Mapping[str, Path]

    @property
    def options(self) -> list[str]:
        """As all builders understand them."""
        options = ["--file", str(self.file)]
        for tag in self.tags:
            options += ["--tag", tag]
        for name, value in self.arguments.items():
            options += ["--build-arg", f"{name}={value}"]
        for name, secret in self.secrets.items():
            options += ["--secret", f"id={name},src={secret}"]
        return options


class Run(NamedTuple):
    """A container of an image. Its root is read-only but for `/tmp`; its network is that of this machine."""

    tag: str
    arguments: Sequence[str]
    user: int
    """Of the group 0, as OpenShift has it."""
    environment: Mapping[str, str] = {}
    files: Mapping[str, Path] = {}
    """What is mounted below `/tmp`, by its name there."""


class Builder(Protocol):
    def build(self, build: Build) -> None:
        """Raises subprocess.CalledProcessError, and BuilderError."""

    def command(self, run: Run) -> AbstractContextManager[list[str]]:
        """What to start as a process, which ends with the container and takes its signals. Raises BuilderError."""


class Engine(NamedTuple):
    """Docker, or Podman."""

    program: str

    def build(self, build: Build) -> None:
        # In its own format Podman leaves HEALTHCHECK out.
        form = ["--format", "docker"] if self.program == "podman" else []
        subprocess.run([self.program, "build", *form, *build.options, "."], check=True)

    def command(self, run: Run) -> AbstractContextManager[list[str]]:
        options = ["--rm", "--network", "host", "--user", f"{run.user}:0"]
        options += ["--read-only", "--tmpfs", "/tmp:exec"]
        for name, value in run.environment.items():
            options += ["--env", f"{name}={value}"]
        for name, file in run.files.items():
            options += ["--volume", f"{file}:/tmp/{name}:ro"]
        return nullcontext([self.program, "run", *options, run.tag, *run.arguments])


class Buildah:
    """Its own runtime has no root that is read-only, so that what it unpacks is run by `chroot`, as root."""

    def build(self, build: Build) -> None:
        ignored = build.file.with_name(f"{build.file.name}.dockerignore")
        ignoring = ["--ignorefile", str(ignored)] if ignored.exists() else []
        options = ["--format", "docker", "--isolation", "chroot", *ignoring, *build.options]
        subprocess.run(["buildah", "build", *options, "."], check=True)

    @contextmanager
    def command(self, run: Run) -> Iterator[list[str]]:
        if os.geteuid() != 0:
            raise BuilderError(
                "what Buildah has built is run by root alone: be root, or use Docker or Podman"
            )
        image = json.loads(_said("inspect", "--type", "image", run.tag))["Docker"]["config"]
        container = _said("from", run.tag)
        try:
            root = _said("mount", container)
            variables = ["HOME=/", *image["Env"], *map("=".join, run.environment.items())]
            user = f"setpriv --reuid={run.user} --regid=0 --clear-groups --no-new-privs --bounding-set=-all"
            inside = [
                *user.split(),
                "env",
                f"--chdir={image['WorkingDir']}",
                *image["Entrypoint"],
                *run.arguments,
            ]
            enter = [
                *_mounts(root, run.files),
                shlex.join(["exec", "env", "-i", *variables, "chroot", root, *inside]),
            ]
            yield ["unshare", "--mount", "/bin/sh", "-ec", "\n".join(enter)]
        finally:
            _said("umount", container)
            _said("rm", container)


def _mounts(root: str, files: Mapping[str, Path]) -> list[str]:
    """Commands that make the folder what Docker makes of it with `--read-only` and `--tmpfs /tmp`."""
    commands = [
        ["mount", "--bind", root, root],
        ["mount", "-o", "remount,bind,ro", root],
        ["mount", "--rbind", "/dev", f"{root}/dev"],
        ["mount", "-t", "proc", "proc", f"{root}/proc"],
        ["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", f"{root}/tmp"],
    ]
    for name, file in files.items():
        there = f"{root}/tmp/{name}"
        commands.append(["mkdir" if file.is_dir() else "touch", there])
        commands.append(["mount", "--bind", "-o", "ro", str(file), there])
    return [shlex.join(command) for command in commands]


def builder() -> Builder:
    """The first that answers. Raises BuilderError."""
    for program in ("docker", "podman", "buildah"):
        found = shutil.which(program)
        # Docker's command is there also where its engine is not.
        if found and subprocess.run([found, "info"], capture_output=True, check=False).returncode == 0:
            return Buildah() if program == "buildah" else Engine(program)
    raise BuilderError(
        "neither Docker, Podman nor Buildah answers `info` here: start one, or install one (Debian's package buildah "
        "needs no engine)"
    )


def _said(*arguments: str) -> str:
    done = subprocess.run(["buildah", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
