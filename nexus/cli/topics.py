"""`nexus topics`: the topics of the log on Kafka."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Annotated

import typer

from nexus.cli.options import ConfigFile, Json
from nexus.domain.errors import ConfigError

if TYPE_CHECKING:
    from nexus.kafka.topics import Finding

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: nexus topics --config nexus.yaml", rich_help_panel="Prepare")(topics)


def topics(
    config: ConfigFile = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing, only show what differs.")] = False,
    development: Annotated[
        bool,
        typer.Option(
            "--development", help="Allow fewer replicas: as many as there are brokers, at least one."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Create the topics on Kafka, or compare those that exist with the configuration.

    Topics of requests get more partitions when more are configured. Nothing else that exists is changed. Exits with 1 when
    something differs.
    """
    from nexus.cli import render
    from nexus.composition.provision import make_topics
    from nexus.config import load

    settings = load(config, os.environ)
    if not settings.kafka.servers:
        raise ConfigError(
            "no event log is configured, and the embedded one makes its topics itself: "
            "set kafka.servers (NEXUS__KAFKA__SERVERS)"
        )
    findings = asyncio.run(make_topics(settings, only_check=check, development=development))
    if as_json:
        render.emit(findings)
    else:
        _show(findings)
    if any(finding.problems for finding in findings):
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    from nexus.cli import render

    shown = render.table("TOPIC", "PARTITIONS", "STATE", "PROBLEM", widest="PROBLEM")
    for finding in findings:
        for number, problem in enumerate(finding.problems or ("",)):
            first = (finding.topic, str(finding.partitions), finding.state) if number == 0 else ("", "", "")
            shown.add_row(*first, problem)
    render.show(shown)
