"""Reading the configuration: from a YAML file and `NEXUS__SECTION__KEY`, checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from nexus.config.kinds import Secret, Span, read, write
from nexus.config.sections import Config
from nexus.domain.access import ALGORITHMS
from nexus.domain.addresses import without_credentials
from nexus.domain.errors import ConfigError
from nexus.domain.payload import LONGEST_KEY, SHORTEST_KEY
from nexus.upstream_settings import translated

__all__ = ["load", "renamed", "shown"]

_PREFIX = "NEXUS__"
_HIDDEN = "***"
_MOST_SKEW = Span(minutes=5)

_Given = tuple[str, str, Any]
"""The source, the key and the value."""

_RENAMED = {
    "placement.park_after": ("placement.defer_after",),
    "supervision.sweep_interval": ("supervision.collect_interval",),
    "supervision.vanished_grace": ("supervision.check_after", "supervision.missed_after"),
    "supervision.unheard_after": ("supervision.unreachable_after",),
    "supervision.max_blind": ("supervision.max_unreachable",),
    "throttle.window_bytes": (),
}
"""Former names of keys, which go on working, and what they set (nothing any more, where that is empty). Where a source has both, the present name wins."""


def load(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object] | None = None
) -> Config:
    """File, then upstream's variables, then ours, then `flags` (`{"http.port": 9000}`): the later one wins.

    Raises ConfigError that names the key and its source. Sections that are not ours are ignored: algorithms read
    `NEXUS__*` variables too.
    """
    tree: dict[str, dict[str, Any]] = {}
    sources: dict[str, str] = {}
    sources_in_order = (
        _from_file(file),
        translated(environment),
        _from_environment(environment),
        _from_flags(flags or {}),
    )
    for given in sources_in_order:
        for source, key, value in _by_present_names(given):
            section, _, name = key.partition(".")
            tree.setdefault(section, {})[name] = value
            sources[key] = source
    try:
        config = msgspec.convert(tree, Config, strict=False, dec_hook=read)
    except msgspec.ValidationError as error:
        raise _explained(str(error), tree, sources) from None
    for problem in _contradictions(config):
        raise ConfigError(f"{problem}. Correct it and start again.")
    return config


def _contradictions(config: Config) -> Iterator[str]:
    """Keys that are fine by themselves, and not together."""
    supervision = config.supervision
    if supervision.unreachable_after <= supervision.reconcile_interval:
        yield (
            f"supervision.unreachable_after ({write(supervision.unreachable_after)}) is not longer than "
            f"supervision.reconcile_interval ({write(supervision.reconcile_interval)}): "
            "every cluster would be shown as unreachable between two looks"
        )
    http = config.http
    if (http.tls_certificate_file is None) != (http.tls_key_file is None):
        yield "http.tls_certificate_file and http.tls_key_file are of use together alone: set both, or neither"
    if http.tls_client_ca_file and not http.tls_certificate_file:
        yield "http.tls_client_ca_file is set without http.tls_certificate_file: clients show certificates to a server with TLS"
    auth = config.auth
    if auth.clock_skew > _MOST_SKEW:
        yield (
            f"auth.clock_skew ({write(auth.clock_skew)}) is more than {write(_MOST_SKEW)}: tokens would be good for much "
            "longer than they say"
        )
    if not all(SHORTEST_KEY <= len(key) <= LONGEST_KEY for key in auth.capability_secrets):
        yield f"auth.capability_keys has a key that is not of {SHORTEST_KEY} to {LONGEST_KEY} bytes"
    if refused := set(auth.signing_algorithms).difference(ALGORITHMS):
        yield (
            f"auth.algorithms names {', '.join(sorted(refused))}, and tokens are taken that are signed with "
            f"{', '.join(ALGORITHMS)}"
        )
    if bool(config.s3.access_key) != bool(config.s3.secret_key):
        there, absent = ("access_key", "secret_key") if config.s3.access_key else ("secret_key", "access_key")
        yield f"s3.{there} is set without s3.{absent}: set both, or none where the machine's own role opens the bucket"
    garbage, placement, cassandra = config.garbage, config.placement, config.cassandra
    if garbage.payload_grace <= placement.deadline:
        yield (
            f"garbage.payload_grace ({write(garbage.payload_grace)}) is not longer than "
            f"placement.deadline ({write(placement.deadline)}): a run might be placed when its payload is gone"
        )
    if cassandra.configured and garbage.payload_retention > cassandra.row_lifetime:
        yield (
            f"garbage.payload_retention ({write(garbage.payload_retention)}) is longer than "
            f"cassandra.row_lifetime ({write(cassandra.row_lifetime)}): no payload outlives the row of its run"
        )


def shown(config: Config) -> dict[str, Any]:
    """The tree as plain data, its secrets hidden."""
    tree: dict[str, Any] = msgspec.to_builtins(config, enc_hook=write)
    for section, key in _SECRETS:
        tree[section][key] = _HIDDEN if tree[section][key] else ""
    for values in tree.values():
        values |= {key: without_credentials(value) for key, value in values.items() if isinstance(value, str)}
    return tree


_SECRETS = {
    (section.name, key.name)
    for section in msgspec.structs.fields(Config)
    for key in msgspec.structs.fields(section.type)
    if isinstance(key.type, type) and issubclass(key.type, Secret)
}


def renamed() -> Mapping[str, tuple[str, ...]]:
    """The present names of every key that had another one, by the former name."""
    return _RENAMED


def _by_present_names(given: Iterable[_Given]) -> Iterator[_Given]:
    """Keys of one source by their present names, the former ones first: a later one wins."""
    for source, key, value in sorted(given, key=lambda one: one[1] not in _RENAMED):
        for name in _RENAMED.get(key, (key,)):
            yield (source if name == key else f"{source}, as {key}"), name, value


def _from_file(file: Path | None) -> Iterator[_Given]:
    if file is None:
        return
    try:
        document = yaml.safe_load(file.read_text()) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"the configuration file {file} cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"the configuration file {file} holds no sections such as 'http:'")
    for section, values in document.items():
        if section not in Config.__struct_fields__:
            continue
        if not isinstance(values, dict):
            raise ConfigError(f"{section} in {file} holds no keys: it is a section")
        for key, value in values.items():
            yield str(file), f"{section}.{str(key).replace('-', '_')}", value


def _from_environment(environment: Mapping[str, str]) -> Iterator[_Given]:
    for variable, value in sorted(environment.items()):
        section, _, key = variable.removeprefix(_PREFIX).lower().partition("__")
        if variable.startswith(_PREFIX) and key and section in Config.__struct_fields__:
            yield f"the environment variable {variable}", f"{section}.{key}", value


def _from_flags(flags: Mapping[str, object]) -> Iterator[_Given]:
    for key, value in flags.items():
        if value is not None:
            yield f"the flag for {key}", key, value


def _explained(
    problem: str, tree: Mapping[str, Mapping[str, Any]], sources: Mapping[str, str]
) -> ConfigError:
    """Put the key and where it came from before the decoder's words."""
    what, _, path = problem.partition(" - at `$.")
    if match := re.search(r"unknown field `(\w+)`", what):
        path, what = f"{path.rstrip('`')}.{match[1]}".lstrip("."), "there is no such key"
    key = path.rstrip("`")
    section, _, name = key.partition(".")
    value = tree.get(section, {}).get(name)
    given = "" if value is None or (section, name) in _SECRETS else f" = {without_credentials(repr(value))}"
    return ConfigError(
        f"{key}{given}: {what} (from {sources.get(key, 'the configuration')}). Correct it and start again."
    )
