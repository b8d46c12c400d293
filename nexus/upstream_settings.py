"""What upstream's environment variables set here, so that its secrets and values go on working (contract §10.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from nexus.domain.errors import ConfigError

__all__ = ["SETTINGS", "Setting", "translated"]

Read = Callable[[str, Mapping[str, str]], Iterable[tuple[str, object]]]
"""From a variable's value, and the other variables, to keys and values of ours. Raises ValueError with what is wrong."""


class Setting(NamedTuple):
    """A setting of upstream, by the variables that its programs and releases gave it: the last that is there wins."""

    variables: tuple[str, ...]
    """One that ends with `*` stands for all that begin so."""
    becomes: tuple[str, ...] = ()
    """Keys of ours; none for what has no use here."""
    meaning: str = ""
    """What a reader has to know."""
    read: Read | None = None
    """None: the value goes to the only key as it is."""


def translated(environment: Mapping[str, str]) -> Iterator[tuple[str, str, object]]:
    """The source, the key and the value of everything that upstream's variables set. An empty one sets nothing.

    Raises ConfigError that names the variable.
    """
    for setting in SETTINGS:
        for variable in setting.variables:
            value = environment.get(variable, "")
            if not value or not setting.becomes:
                continue
            read = setting.read or _as_it_is(setting.becomes[0])
            try:
                found = [*read(value, environment)]
            except ValueError as error:
                raise ConfigError(f"{variable} = {value!r} {error}. Correct it and start again.") from None
            for key, of_key in found:
                yield f"the environment variable {variable}", key, of_key


_FLAVOURS = {
    "astra": "astra",
    "scylla": "scylla",
    "cassandra-astra": "astra",
    "cassandra-scylla": "scylla",
    "cassandra-keyspaces": "keyspaces",
}
_LEVELS = {"warn": "warning", "fatal": "error"}


def _as_it_is(key: str) -> Read:
    return lambda value, _: [(key, value)]


def _flavour(value: str, _: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    if value not in _FLAVOURS:
        raise ValueError(f"is none of {', '.join(_FLAVOURS)}")
    yield "cassandra.flavour", _FLAVOURS[value]


def _hosts(port: str) -> Read:
    """Upstream has one port for all hosts."""

    def read(value: str, environment: Mapping[str, str]) -> Iterator[tuple[str, object]]:
        suffix = f":{environment[port]}" if environment.get(port) else ""
        hosts = [host for part in value.split(",") if (host := part.strip())]
        yield "cassandra.hosts", ",".join(host if ":" in host else host + suffix for host in hosts)

    return read


def _storage(value: str, _: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    url = urlsplit(value)
    if url.scheme not in {"s3", "s3a", "s3n"} or not url.netloc:
        raise ValueError("is not the address of a place in a bucket, such as s3a://bucket/prefix")
    yield "s3.bucket", url.netloc
    if prefix := url.path.strip("/"):
        yield "s3.prefix", prefix


def _level(value: str, _: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    yield "logging.level", _LEVELS.get(value.lower(), value.lower())


def _external(value: str, environment: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    scheme = "http" if environment.get(_INSECURE, "").lower() == "true" else "https"
    yield "http.external_url", value if "://" in value else f"{scheme}://{value}"


def _custom_resources(value: str, _: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    yield "templates.source", "kubernetes"
    yield "templates.kubeconfig", value


def _nexus(*names: str) -> tuple[str, ...]:
    return tuple(f"NEXUS__{name}" for name in names)


_PROXY = "S3_BUFFER__REQUEST_PAYLOAD_PROXY_CONFIGURATION"
(_INSECURE,) = _nexus(f"{_PROXY}__INSECURE")
_ASTRA = ("CQL_STORE", "ASTRA_CQL_STORE")
_OWN_PAUSES = "What is away is tried again by one rule, with pauses that grow and are spread."
_UNUSED = (
    "There are no pools to size: `throttle.in_flight` and `cassandra.in_flight` bound what is under way."
)
_PER_CLUSTER = (
    "Upstream's is for each replica of a scheduler; ours for a cluster, whatever the number of schedulers."
)

SETTINGS: tuple[Setting, ...] = (
    Setting(
        _nexus("CQL_STORE_TYPE"),
        ("cassandra.flavour",),
        "`astra` or `scylla`; `cassandra-astra`, `cassandra-scylla` or `cassandra-keyspaces`. An Apache Cassandra is `scylla`.",
        _flavour,
    ),
    Setting(
        _nexus("SCYLLA_CQL_STORE__HOSTS"),
        ("cassandra.hosts",),
        "With the port of the next line.",
        _hosts("NEXUS__SCYLLA_CQL_STORE__PORT"),
    ),
    Setting(
        _nexus("KEYSPACES_CQL_STORE__HOSTS"),
        ("cassandra.hosts",),
        "With the port of the next line.",
        _hosts("NEXUS__KEYSPACES_CQL_STORE__PORT"),
    ),
    Setting(
        _nexus("SCYLLA_CQL_STORE__PORT", "KEYSPACES_CQL_STORE__PORT"),
        (),
        "Part of `cassandra.hosts`: goes to each host that names none.",
    ),
    Setting(_nexus("SCYLLA_CQL_STORE__USER"), ("cassandra.username",)),
    Setting(_nexus("SCYLLA_CQL_STORE__PASSWORD"), ("cassandra.password",)),
    Setting(_nexus("SCYLLA_CQL_STORE__LOCAL_DC"), ("cassandra.local_dc",)),
    Setting(_nexus("KEYSPACES_CQL_STORE__CA_PATH"), ("cassandra.ca_file",)),
    Setting(_nexus("KEYSPACES_CQL_STORE__REGION"), (), "Part of the host's name."),
    Setting(
        ("KEYSPACES_AWS_ACCESS_KEY_ID", "KEYSPACES_AWS_SECRET_ACCESS_KEY"),
        (),
        "Keyspaces is asked with service-specific credentials: set `cassandra.username` and `cassandra.password`.",
    ),
    Setting(
        _nexus(*(f"{store}__SECURE_CONNECTION_BUNDLE_BASE64" for store in _ASTRA)),
        ("cassandra.bundle_base64",),
    ),
    Setting(_nexus(*(f"{store}__GATEWAY_USER" for store in _ASTRA)), ("cassandra.username",)),
    Setting(_nexus(*(f"{store}__GATEWAY_PASSWORD" for store in _ASTRA)), ("cassandra.password",)),
    Setting(_nexus("KEYSPACE"), ("cassandra.keyspace",)),
    Setting(
        _nexus("INDEXES_SUPPORTED"),
        (),
        "There are no secondary indexes: runs by tag and by stage have their tables.",
    ),
    Setting(
        _nexus("S3_BUFFER__BUFFER_CONFIG__PAYLOAD_STORAGE_PATH", "S3_BUFFER__PAYLOAD_STORAGE_PATH"),
        ("s3.bucket", "s3.prefix"),
        "`s3a://bucket/prefix`. Payloads over `payload.inline_limit` go there; all of them with `s3.presign`.",
        _storage,
    ),
    Setting(_nexus("S3_BUFFER__ACCESS_KEY_ID"), ("s3.access_key",)),
    Setting(_nexus("S3_BUFFER__SECRET_ACCESS_KEY"), ("s3.secret_key",)),
    Setting(_nexus("S3_BUFFER__REGION"), ("s3.region",)),
    Setting(_nexus("S3_BUFFER__ENDPOINT"), ("s3.endpoint",)),
    Setting(
        _nexus("S3_BUFFER__BUFFER_CONFIG__PAYLOAD_VALID_FOR"),
        (),
        "24h beyond the run's deadline, or what its template or its request says.",
    ),
    Setting(
        _nexus("S3_BUFFER__BUFFER_CONFIG__RATE_LIMIT_ELEMENTS_PER_SECOND"), ("throttle.rate",), _PER_CLUSTER
    ),
    Setting(_nexus("S3_BUFFER__BUFFER_CONFIG__RATE_LIMIT_ELEMENTS_BURST"), ("throttle.burst",), _PER_CLUSTER),
    Setting(
        _nexus(
            "S3_BUFFER__BUFFER_CONFIG__FAILURE_RATE_BASE_DELAY",
            "S3_BUFFER__BUFFER_CONFIG__FAILURE_RATE_MAX_DELAY",
            "FAILURE_RATE_BASE_DELAY",
            "FAILURE_RATE_MAX_DELAY",
        ),
        (),
        _OWN_PAUSES,
    ),
    Setting(
        _nexus(
            "S3_BUFFER__BUFFER_CONFIG__WORKERS",
            "WORKERS",
            "RATE_LIMIT_ELEMENTS_PER_SECOND",
            "RATE_LIMIT_ELEMENTS_BURST",
        ),
        (),
        _UNUSED,
    ),
    Setting(_nexus(f"{_PROXY}__TENANT_ID"), ("payload.tenant_id",)),
    Setting(_nexus(f"{_PROXY}__SIGN_SECRET"), ("payload.sign_secret",)),
    Setting(
        _nexus(f"{_PROXY}__EXTERNAL_NAME"),
        ("http.external_url",),
        "With `http://` where the next line is `true`, with `https://` otherwise.",
        _external,
    ),
    Setting((_INSECURE,), (), "Part of `http.external_url`."),
    Setting(_nexus(f"{_PROXY}__SERVE_PATH_TEMPLATE"), (), "The path is fixed."),
    Setting(
        _nexus("RESOURCE_NAMESPACE", "CONTROLLER_NAMESPACE", "RUNTIME_NAMESPACE"),
        ("kubernetes.namespace",),
        "One namespace for Jobs and custom resources, on every cluster.",
    ),
    Setting(_nexus("DEPLOY_NAMESPACE"), (), "Nobody has to know where the schedulers run."),
    Setting(
        _nexus("CONTROLLER_CONFIG_PATH", "KUBE_CONFIG_PATH"),
        ("templates.source", "templates.kubeconfig"),
        "The cluster that has the custom resources. Empty in a pod, as upstream's.",
        _custom_resources,
    ),
    Setting(
        _nexus("SHARD_CONFIG_PATH", "SHARD_KUBE_CONFIG_PATH"),
        ("kubernetes.kubeconfig",),
        "A folder in which `eu.kubeconfig`, `eu.json` or `eu` is the cluster `eu`.",
    ),
    Setting(_nexus("MAX_PAYLOAD_SIZE"), ("http.max_body",)),
    Setting(_nexus("BIND_PORT"), ("http.port",)),
    Setting(_nexus("LOG_LEVEL"), ("logging.level",), "In any case of letters.", _level),
    Setting(_nexus("ALIAS"), (), "What Nexus writes into a cluster bears `placement.installation`."),
    Setting(("GIN_MODE",), (), "There is no mode for debugging."),
    Setting(
        ("APPLICATION_VERSION", "APPLICATION_ENVIRONMENT"),
        (),
        "The version is that of the package; `--config` names the one file.",
    ),
    Setting(
        ("DATADOG__*", "DD_*"),
        (),
        "Logs are JSON lines on standard error, metrics are at `/metrics`: Datadog's agent collects both.",
    ),
)
