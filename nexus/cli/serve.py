"""`nexus dev`, the roles that it holds together, and the configuration that both go by."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nexus.cli.options import DEFAULT_URL, ConfigFile, Json, State
from nexus.domain.errors import ConfigError

if TYPE_CHECKING:
    from api.context import ApiContext
    from nexus.config import Config
    from nexus.ports import Templates

__all__ = ["register"]

_ROLES = {
    "api": "Serve the HTTP API",
    "receiver": "Take the reports of algorithms",
    "scheduler": "Create the Jobs of requests",
    "ledger": "Fold events into the projections, and announce the ends of runs",
    "watcher": "Observe Jobs and pods, and publish what changes",
    "supervisor": "Turn observations into facts, and delete the Jobs of ended runs",
    "controller": "Copy templates, workgroups and what they name to all clusters",
}


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: nexus dev --templates examples --port 8080", rich_help_panel="Serve")(dev)
    app.command(epilog="Example: nexus config --config nexus.yaml", rich_help_panel="Serve")(config)
    for role, does in _ROLES.items():
        app.command(
            role,
            help=f"{does}.\n\nRuns this role in a process of its own, on the servers that the configuration names.",
            epilog=f"Example: nexus {role} --config nexus.yaml",
            rich_help_panel="Serve",
        )(_role(role))


def dev(
    state: State = Path(".nexus"),
    config: ConfigFile = None,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on. Default: this machine only.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on. Default: 8080.")] = None,
    templates: Annotated[Path | None, typer.Option(help="The folder with the manifests.")] = None,
    slots: Annotated[int | None, typer.Option(help="Pods that run at a time, at most.")] = None,
    rate: Annotated[float | None, typer.Option(help="Jobs created per second, at most.")] = None,
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Keep the log on Kafka instead of in the folder.")
    ] = None,
    cassandra: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Keep the projections on Cassandra instead of in the folder."),
    ] = None,
    s3: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Keep large payloads in a bucket: s3://NAME or http://HOST:PORT/NAME."
        ),
    ] = None,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="Run the algorithms on Kubernetes instead of on this machine."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run every role in one process, with all state in one folder.

    Nothing else is needed: algorithms run as processes of this machine. Ctrl-C stops Nexus, and the next start continues
    with everything that was accepted.

    Each engine can be a real one instead. The start then creates what `nexus topics` and `nexus schema` create elsewhere.
    """
    from nexus.cli import logging_setup, render
    from nexus.config import load

    flags = {
        "http.host": host,
        "http.port": port,
        "templates.folder": templates and str(templates),
        "cluster.slots": slots,
        "throttle.rate": rate,
        "kafka.servers": kafka,
        "cassandra.hosts": cassandra,
        **_bucket(s3),
        "kubernetes.kubeconfig": kubeconfig and str(kubeconfig),
    }
    settings = load(config, os.environ, flags)
    if not settings.templates.folder.is_dir():
        raise ConfigError(
            f"there is no folder {settings.templates.folder}: name the one with your manifests with --templates"
        )
    logging_setup.configure(settings.logging)

    from nexus.composition.provision import for_development
    from nexus.composition.serving import ROLES, serve
    from nexus.embedded.state import StateFolder

    folder = StateFolder(state)

    def announce(url: str, served: ApiContext | None) -> None:
        assert served is not None
        _announce(url, served.templates, settings, folder.root, as_json)

    async def everything() -> None:
        await for_development(settings)
        await serve(settings, folder, ROLES, announce)

    asyncio.run(everything())
    render.err().print(f"stopped; everything accepted is kept in {folder.root}")


def _bucket(url: str | None) -> dict[str, str]:
    if url is None:
        return {}
    scheme, _, rest = url.partition("://")
    host, _, path = rest.strip("/").partition("/")
    if scheme == "s3" and host and not path:
        return {"s3.bucket": host}
    if scheme in {"http", "https"} and host and path and "/" not in path:
        return {"s3.endpoint": f"{scheme}://{host}", "s3.bucket": path}
    raise ConfigError(f"--s3 {url}: write s3://NAME for a bucket of AWS, or http://HOST:PORT/NAME")


def config(file: ConfigFile = None, as_json: Json = False) -> None:
    """Show the effective configuration, secrets hidden.

    Defaults come first, then the file, then variables NEXUS__SECTION__KEY: the later one wins.
    """
    import yaml

    from nexus.cli import render
    from nexus.config import load, shown

    tree = shown(load(file, os.environ))
    if as_json:
        render.emit(tree)
    else:
        sys.stdout.write(yaml.safe_dump(tree, sort_keys=False))


def _announce(url: str, templates: Templates, settings: Config, state: Path, as_json: bool) -> None:
    from nexus import __version__
    from nexus.cli import render

    algorithms = templates.names()
    if as_json:
        found = {
            "url": url,
            "docs": f"{url}/docs",
            "state": str(state),
            "algorithms": algorithms,
        }
        render.emit(found)
        return
    out = render.out()
    out.print(render.styled(f"Nexus {__version__}", "bold"), f"listens on {url}")
    out.print(f"  docs        {url}/docs")
    out.print(f"  state       {state}")
    if algorithms:
        out.print(f"  algorithms  {', '.join(algorithms)}")
        out.print(f"  try         {_example(url, templates, algorithms)}", soft_wrap=True)
    else:
        out.print(
            f"  algorithms  none yet: put a NexusAlgorithmTemplate and its workgroup in {settings.templates.folder}",
            soft_wrap=True,
        )


def _example(url: str, templates: Templates, algorithms: list[str]) -> str:
    """A command that works as it is, where a payload lies beside a manifest."""
    from nexus.embedded.templates import FolderTemplates

    server = [] if url == DEFAULT_URL else ["--url", url]
    if isinstance(templates, FolderTemplates):
        for name in algorithms:
            folder = templates.directory_of(name)
            if folder and (payload := next(iter(sorted(folder.glob("*.json"))), None)):
                return shlex.join(["nexus", "run", name, "--payload", str(payload), *server])
    return shlex.join(["nexus", "run", algorithms[0], "--payload", "{}", *server])


def _role(role: str) -> Callable[..., None]:
    def command(
        config: ConfigFile = None,
        host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
        port: Annotated[int | None, typer.Option(help="The port to listen on. Default: 8080.")] = None,
    ) -> None:
        from nexus.cli import logging_setup, render
        from nexus.config import load

        settings = load(config, os.environ, {"http.host": host, "http.port": port})
        logging_setup.configure(settings.logging)

        from nexus.composition.serving import serve

        def announce(*_: object) -> None:
            # Not the external address, which all instances of a role share.
            render.err().print(f"nexus {role} runs; its health is at {settings.http.address}/livez")

        asyncio.run(serve(settings, None, [role], announce))

    return command
