"""The configuration: one typed tree from a YAML file and `NEXUS__SECTION__KEY`, checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from nexus.domain.duration import format_duration, parse_duration
from nexus.domain.errors import ConfigError, InvalidInput
from nexus.domain.payload import DEFAULT_TENANT
from nexus.domain.quantity import whole_units

__all__ = ["NEVER", "Config", "Grace", "Patience", "Size", "Span", "load", "shown"]

_PREFIX = "NEXUS__"
_HIDDEN = "***"
_LONGEST_SECRET = 64


class Span(timedelta):
    """A span of time, written as a Go duration: `24h`, `1m30s`, `500ms`."""


class Patience(Span):
    """A span of time, or `never` for one without an end."""


NEVER = Patience(days=timedelta.max.days)


class Size(int):
    """Bytes, written as a Kubernetes quantity: `64Ki`, `500Mi`."""


class Secret(str):
    """A password or key: never shown."""

    __slots__ = ()


class SigningKey(Secret):
    """At most 64 bytes, which is all that BLAKE2b takes."""

    __slots__ = ()


Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Http(_Section, frozen=True):
    """Where `nexus dev` listens, and how algorithms and clients reach it."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8080
    external_url: str = ""
    """Scheme and host in payload URLs; empty: http with the host and port above."""
    max_body: Size = Size(500 * 1024**2)
    read_wait: Span = Span(seconds=5)
    """How long a read waits for the projections to catch up before it answers 503."""


class Payload(_Section, frozen=True):
    inline_limit: Size = Size(64 * 1024)
    """Larger payloads go to the payload store, smaller ones travel in the log."""
    tenant_id: str = DEFAULT_TENANT
    sign_secret: SigningKey = SigningKey()
    """Signs payload URLs; empty: a random one, kept in the state folder."""


class Log(_Section, frozen=True):
    run_partitions: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    request_partitions: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8


class Templates(_Section, frozen=True):
    source: Literal["folder", "kubernetes"] = "folder"
    """`kubernetes`: the custom resources of the first cluster."""
    folder: Path = Path("examples")


class Kafka(_Section, frozen=True):
    """The event log of an installation with more than one process."""

    servers: str = ""
    """`host:port`, several with commas between; empty: the embedded log."""
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ca_file: Path | None = None
    """Who signed the brokers' certificates; none: whom the system trusts."""
    cert_file: Path | None = None
    key_file: Path | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    username: str = ""
    password: Secret = Secret()
    replicas: Annotated[int, msgspec.Meta(ge=1, le=7)] = 3
    min_insync_replicas: Annotated[int, msgspec.Meta(ge=1, le=7)] = 2
    retention: Span = Span(days=90)
    """How long requests and facts are kept: the audit, and what projections can be rebuilt from."""


class Cassandra(_Section, frozen=True):
    """The run store of an installation with more than one process."""

    hosts: str = ""
    """`host` or `host:port`, several with commas between; empty (and no bundle): the embedded store."""
    flavour: Literal["cassandra", "scylla", "astra", "keyspaces"] = "cassandra"
    keyspace: str = "nexus"
    claims_keyspace: str = ""
    """Where `Idempotency-Key`s are, which cannot be made anew from the log; empty: in `keyspace`."""
    replicas: Annotated[int, msgspec.Meta(ge=1, le=7)] = 3
    """Of a keyspace that `nexus schema` makes."""
    local_dc: str = ""
    """The data centre whose nodes are asked; empty: that of the first host."""
    bundle: Path | None = None
    """The secure connect bundle of Astra."""
    ca_file: Path | None = None
    username: str = ""
    password: Secret = Secret()
    row_lifetime: Span = Span(days=30)
    """How long a run's row is kept, counted from its request."""
    in_flight: Count = 256


class S3(_Section, frozen=True):
    """The payload store of an installation with more than one process."""

    bucket: str = ""
    """Empty: payloads lie in the state folder."""
    endpoint: str = ""
    """Empty: that of AWS in the region."""
    region: str = "us-east-1"
    access_key: str = ""
    """Empty: the credentials that the AWS SDKs find by themselves."""
    secret_key: Secret = Secret()
    prefix: str = "payloads"
    presign: bool = False
    """Algorithms read payloads from S3 itself by presigned URLs; otherwise from Nexus."""


class Kubernetes(_Section, frozen=True):
    """The execution clusters of an installation with more than one process."""

    kubeconfig: Path | None = None
    """The kubeconfig of `cluster.name`, or a folder of `<cluster>.kubeconfig` files; none: local processes."""
    in_cluster: bool = False
    """Use the cluster that Nexus runs in, under the name `cluster.name`."""
    removed: str = ""
    """Clusters that are gone for good, with commas between: what ran there ends. Their names stay here for as long as rows
    are kept, and until then are given to no other cluster.
    """
    namespace: str = "default"
    """Where Jobs run, on every cluster, and where custom resources are read from."""

    @property
    def removed_clusters(self) -> tuple[str, ...]:
        return tuple(name for part in self.removed.split(",") if (name := part.strip()))


class Cluster(_Section, frozen=True):
    """The embedded cluster. `slots` is how many pods run at a time."""

    name: str = "standalone"
    slots: Count = 4


class Placement(_Section, frozen=True):
    deadline: Span = Span(hours=24)
    park_after: Span = Span(minutes=5)
    denied_grace: Span = Span(hours=1)
    """How long a cluster may answer 401 or 403 to a request that is parked again and again before that is its end."""
    ttl_after_finished: Span = Span(days=7)
    installation: str = "nexus"


class Throttle(_Section, frozen=True):
    rate: Positive = 100.0
    """Jobs created per second, at most."""
    burst: Positive = 100.0
    pending_floor: Count = 8
    pending_ceiling: Count = 1000
    target_wait: Span = Span(seconds=5)
    pending_grace: Span = Span(seconds=60)
    stuck_ceiling: Count = 1000
    window: Count = 10_000
    """How many requests a scheduler looks ahead over."""
    window_bytes: Size = Size(64 * 1024**2)
    in_flight: Count = 32
    """Creates that an API server has not answered yet."""


class Supervision(_Section, frozen=True):
    sweep_interval: Span = Span(seconds=1)
    linger: Span = Span(seconds=60)
    """How long an algorithm may go on after it has reported."""
    reconcile_interval: Span = Span(seconds=5)
    vanished_grace: Span = Span(seconds=30)
    unheard_after: Span = Span(seconds=30)
    """The silence of a cluster that is told of with its runs. Longer than `reconcile_interval`, in which each is asked."""
    max_blind: Span = Span(hours=24)
    """How long beyond its own deadline a run goes on whose cluster is not heard."""


class Garbage(_Section, frozen=True):
    """What is swept up: Jobs that are no run's, and payloads in the payload store."""

    interval: Span = Span(minutes=10)
    job_grace: Span = Span(hours=24)
    """How long a Job of ours is let be of which there is no run."""
    payload_retention: Span = Span(days=7)
    """How long a payload is kept after its run has ended."""
    payload_grace: Span = Span(hours=48)
    """How long a payload is kept of which there is no run: longer than `placement.deadline`."""


class Grace(_Section, frozen=True):
    """How long a run may hang in one thing before it is given up; `never`: that is shown, and waited out.

    docs/diagnosis.md says what each of them is for.
    """

    image_name: Patience = Patience(minutes=1)
    image_pull: Patience = Patience(minutes=10)
    container_config: Patience = Patience(minutes=10)
    volume_mount: Patience = Patience(minutes=10)
    container_start: Patience = Patience(hours=1)
    pod_create: Patience = Patience(minutes=10)
    quota: Patience = NEVER
    unschedulable: Patience = NEVER
    terminating: Patience = Patience(minutes=15)


class Logging(_Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""


class Config(_Section, frozen=True):
    http: Http = Http()
    payload: Payload = Payload()
    log: Log = Log()
    kafka: Kafka = Kafka()
    cassandra: Cassandra = Cassandra()
    s3: S3 = S3()
    kubernetes: Kubernetes = Kubernetes()
    templates: Templates = Templates()
    cluster: Cluster = Cluster()
    placement: Placement = Placement()
    throttle: Throttle = Throttle()
    supervision: Supervision = Supervision()
    grace: Grace = Grace()
    garbage: Garbage = Garbage()
    logging: Logging = Logging()


def load(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object] | None = None
) -> Config:
    """File, then environment, then `flags` (`{"http.port": 9000}`), the later one wins.

    Raises ConfigError that names the key and its source. Sections that are not ours are ignored: algorithms read
    `NEXUS__*` variables too.
    """
    tree: dict[str, dict[str, Any]] = {}
    sources: dict[str, str] = {}
    for source, key, value in (*_from_file(file), *_from_environment(environment), *_from_flags(flags or {})):
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = value
        sources[key] = source
    try:
        config = msgspec.convert(tree, Config, strict=False, dec_hook=_read)
    except msgspec.ValidationError as error:
        raise _explained(str(error), tree, sources) from None
    for problem in _contradictions(config):
        raise ConfigError(f"{problem}. Correct it and start again.")
    return config


def _contradictions(config: Config) -> Iterator[str]:
    """Keys that are fine by themselves, and not together."""
    supervision = config.supervision
    if supervision.unheard_after <= supervision.reconcile_interval:
        yield (
            f"supervision.unheard_after ({_write(supervision.unheard_after)}) is not longer than "
            f"supervision.reconcile_interval ({_write(supervision.reconcile_interval)}): "
            "every cluster would be told of as silent between two looks"
        )
    garbage, placement, cassandra = config.garbage, config.placement, config.cassandra
    if garbage.payload_grace <= placement.deadline:
        yield (
            f"garbage.payload_grace ({_write(garbage.payload_grace)}) is not longer than "
            f"placement.deadline ({_write(placement.deadline)}): a run might be placed when its payload is gone"
        )
    if (cassandra.hosts or cassandra.bundle) and garbage.payload_retention > cassandra.row_lifetime:
        yield (
            f"garbage.payload_retention ({_write(garbage.payload_retention)}) is longer than "
            f"cassandra.row_lifetime ({_write(cassandra.row_lifetime)}): no payload outlives the row of its run"
        )


def shown(config: Config) -> dict[str, Any]:
    """The tree as plain data, its secrets hidden."""
    tree: dict[str, Any] = msgspec.to_builtins(config, enc_hook=_write)
    for section, key in _SECRETS:
        tree[section][key] = _HIDDEN if tree[section][key] else ""
    return tree


_SECRETS = {
    (section.name, key.name)
    for section in msgspec.structs.fields(Config)
    for key in msgspec.structs.fields(section.type)
    if isinstance(key.type, type) and issubclass(key.type, Secret)
}


def _from_file(file: Path | None) -> Iterator[tuple[str, str, Any]]:
    if file is None:
        return
    try:
        document = yaml.safe_load(file.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
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


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    for variable, value in sorted(environment.items()):
        section, _, key = variable.removeprefix(_PREFIX).lower().partition("__")
        if variable.startswith(_PREFIX) and key and section in Config.__struct_fields__:
            yield f"the environment variable {variable}", f"{section}.{key}", value


def _from_flags(flags: Mapping[str, object]) -> Iterator[tuple[str, str, Any]]:
    for key, value in flags.items():
        if value is not None:
            yield f"the flag for {key}", key, value


def _read(kind: type, value: object) -> object:
    if value is None:
        raise ValueError("has no value")
    try:
        return _parse(kind, str(value))
    except InvalidInput as error:
        raise ValueError(error.problem) from None  # the decoder adds the key to a ValueError


def _parse(kind: type, text: str) -> object:
    if kind is Span:
        return Span(seconds=parse_duration("", text).total_seconds())
    if kind is Patience:
        return NEVER if text == "never" else Patience(seconds=parse_duration("", text).total_seconds())
    if kind is Size:
        return Size(whole_units("", text))
    if kind is Secret:
        return Secret(text)
    if kind is SigningKey:
        if len(text.encode()) > _LONGEST_SECRET:
            raise ValueError(f"has more than {_LONGEST_SECRET} bytes")
        return SigningKey(text)
    if kind is Path:
        return Path(text)
    raise NotImplementedError(kind)


def _write(value: object) -> object:
    if value == NEVER:
        return "never"
    if isinstance(value, timedelta):
        return format_duration(value)
    return int(value) if isinstance(value, Size) else str(value)


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
    given = "" if value is None or (section, name) in _SECRETS else f" = {value!r}"
    return ConfigError(
        f"{key}{given}: {what} (from {sources.get(key, 'the configuration')}). Correct it and start again."
    )
