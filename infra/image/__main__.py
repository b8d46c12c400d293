"""`python -m infra.image [--tests]`: build the image of Nexus; with --tests, run in it the suites that need no server."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.image.builders import Build, Builder, BuilderError, Run, builder

_FOREIGN = 12345
"""A user that the image does not know."""
_TESTS = "nexus-tests"
_SUITES = ("tests/unit", "tests/contract", "tests/e2e")
_REACHED = ("index-url", "extra-index-url", "proxy", "timeout", "trusted-host")
"""What of pip's configuration says how packages are reached; `cert` is a file, and becomes a secret of its own."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.image", description=__doc__)
    parser.add_argument("--tests", action="store_true")
    tests = parser.parse_args().tests
    try:
        build = builder()
        tag = build_image(build)
        return run_tests(build, tag) if tests else 0
    except (BuilderError, subprocess.CalledProcessError) as error:
        print(f"image: {error}", file=sys.stderr)
        return 1


def build_image(builds: Builder) -> str:
    """Build infra/Dockerfile, and answer the tag. Raises BuilderError and subprocess.CalledProcessError."""
    version = tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]
    arguments = {"VERSION": version, "REVISION": _revision()}
    tags = [f"nexus:{version}", "nexus:latest"]
    with _packages_here() as secrets:
        builds.build(Build(Path("infra/Dockerfile"), tags, arguments, secrets))
    return tags[0]


def run_tests(builds: Builder, tag: str) -> int:
    """Run the suites in the image, as a user that it does not know, and answer the exit code of pytest."""
    file = Path("infra/image/tests.Dockerfile")
    with _packages_here() as secrets:
        builds.build(Build(file, [_TESTS], {"IMAGE": tag}, secrets))
    with builds.command(Run(_TESTS, [*_SUITES, "-n", "2", "-m", "not servers"], _FOREIGN)) as command:
        return subprocess.run(command, check=False).returncode


def _revision() -> str:
    """Of this checkout, where it is one."""
    git = shutil.which("git")
    said = (
        git and subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout
    )
    return said.strip() if said else "unknown"


@contextmanager
def _packages_here() -> Iterator[dict[str, Path]]:
    """How pip reaches packages on this machine: secrets of a build, which leave no trace in what is built."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    settings = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"")
    lines = ["[global]", *(f"{name} = {settings[name]}" for name in _REACHED if name in settings)]
    with tempfile.TemporaryDirectory() as folder:
        secrets = {"pip.conf": Path(folder) / "pip.conf"}
        if "cert" in settings:
            secrets["ca.crt"] = Path(settings["cert"])
            lines.append("cert = /etc/pip.crt")
        secrets["pip.conf"].write_text("\n".join(lines) + "\n")
        yield secrets


if __name__ == "__main__":
    sys.exit(main())
