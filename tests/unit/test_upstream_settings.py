"""Upstream's secrets and variables go on working, and what becomes of each is written down."""

from __future__ import annotations

import msgspec
import pytest

from docs.pages.chart_values import Value, values
from docs.pages.upstream_values import UPSTREAM
from nexus.config import Config, load
from nexus.domain.errors import ConfigError
from nexus.upstream_settings import SETTINGS

ASTRA = "NEXUS__ASTRA_CQL_STORE"
SCYLLA = "NEXUS__SCYLLA_CQL_STORE"
KEYSPACES = "NEXUS__KEYSPACES_CQL_STORE"
S3 = "NEXUS__S3_BUFFER"
PROXY = f"{S3}__REQUEST_PAYLOAD_PROXY_CONFIGURATION"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"NEXUS__CQL_STORE_TYPE": "scylla"}, {"cassandra.flavour": "scylla"}),
        ({"NEXUS__CQL_STORE_TYPE": "cassandra-keyspaces"}, {"cassandra.flavour": "keyspaces"}),
        ({f"{SCYLLA}__HOSTS": "one, two"}, {"cassandra.hosts": "one,two"}),
        (
            {f"{SCYLLA}__HOSTS": "one,two:9043", f"{SCYLLA}__PORT": "19042"},
            {"cassandra.hosts": "one:19042,two:9043"},
        ),
        ({f"{KEYSPACES}__HOSTS": "k", f"{KEYSPACES}__PORT": "9142"}, {"cassandra.hosts": "k:9142"}),
        (
            {f"{SCYLLA}__USER": "u", f"{SCYLLA}__PASSWORD": "p", f"{SCYLLA}__LOCAL_DC": "dc"},
            {"cassandra.username": "u", "cassandra.password": "p", "cassandra.local_dc": "dc"},
        ),
        (
            {f"{ASTRA}__SECURE_CONNECTION_BUNDLE_BASE64": "UEs=", f"{ASTRA}__GATEWAY_USER": "token"},
            {"cassandra.bundle_base64": "UEs=", "cassandra.username": "token"},
        ),
        (
            {"NEXUS__CQL_STORE__GATEWAY_PASSWORD": "old", f"{ASTRA}__GATEWAY_PASSWORD": "new"},
            {"cassandra.password": "new"},
        ),
        ({"NEXUS__KEYSPACE": "runs"}, {"cassandra.keyspace": "runs"}),
        (
            {f"{S3}__BUFFER_CONFIG__PAYLOAD_STORAGE_PATH": "s3a://nexus-s3-bucket/payload-store"},
            {"s3.bucket": "nexus-s3-bucket", "s3.prefix": "payload-store"},
        ),
        ({f"{S3}__PAYLOAD_STORAGE_PATH": "s3://bucket"}, {"s3.bucket": "bucket", "s3.prefix": "payloads"}),
        (
            {f"{S3}__ACCESS_KEY_ID": "a", f"{S3}__SECRET_ACCESS_KEY": "s", f"{S3}__REGION": "eu-west-1"},
            {"s3.access_key": "a", "s3.secret_key": "s", "s3.region": "eu-west-1"},
        ),
        ({f"{S3}__ENDPOINT": "http://minio:9000"}, {"s3.endpoint": "http://minio:9000"}),
        (
            {
                f"{S3}__BUFFER_CONFIG__RATE_LIMIT_ELEMENTS_PER_SECOND": "10",
                f"{S3}__BUFFER_CONFIG__RATE_LIMIT_ELEMENTS_BURST": "50",
            },
            {"throttle.rate": 10.0, "throttle.burst": 50.0},
        ),
        (
            {
                f"{PROXY}__TENANT_ID": "t",
                f"{PROXY}__SIGN_SECRET": "s" * 32,
                f"{PROXY}__EXTERNAL_NAME": "n.example",
            },
            {
                "payload.tenant_id": "t",
                "payload.sign_secret": "s" * 32,
                "http.external_url": "https://n.example",
            },
        ),
        (
            {f"{PROXY}__EXTERNAL_NAME": "nexus:8080", f"{PROXY}__INSECURE": "true"},
            {"http.external_url": "http://nexus:8080"},
        ),
        ({"NEXUS__RESOURCE_NAMESPACE": "old"}, {"kubernetes.namespace": "old"}),
        (
            {"NEXUS__RESOURCE_NAMESPACE": "old", "NEXUS__RUNTIME_NAMESPACE": "new"},
            {"kubernetes.namespace": "new"},
        ),
        (
            {"NEXUS__KUBE_CONFIG_PATH": "/kubeconfig"},
            {"templates.source": "kubernetes", "templates.kubeconfig": "/kubeconfig"},
        ),
        (
            {"NEXUS__SHARD_KUBE_CONFIG_PATH": "/app/config/shards"},
            {"kubernetes.kubeconfig": "/app/config/shards"},
        ),
        ({"NEXUS__MAX_PAYLOAD_SIZE": "500Mi"}, {"http.max_body": 500 * 1024**2}),
        ({"NEXUS__BIND_PORT": "9090"}, {"http.port": 9090}),
        ({"NEXUS__LOG_LEVEL": "INFO"}, {"logging.level": "info"}),
        ({"NEXUS__LOG_LEVEL": "WARN"}, {"logging.level": "warning"}),
    ],
    ids=lambda given: next(iter(given)),
)
def test_what_a_variable_of_upstream_sets(environment, expected):
    config = load(None, environment)
    for key, value in expected.items():
        section, _, name = key.partition(".")
        found = getattr(getattr(config, section), name)
        assert (str(found) if isinstance(value, str) else found) == value


def test_what_has_no_use_here_is_taken_in_silence():
    names = [name for setting in SETTINGS if not setting.becomes for name in setting.variables]
    assert len(names) > 10
    assert load(None, dict.fromkeys(names, "7")) == Config()


def test_an_empty_variable_sets_nothing():
    """Upstream's charts pass empty ones for whatever was not given."""
    names = [name for setting in SETTINGS for name in setting.variables]
    assert load(None, dict.fromkeys(names, "")) == Config()


def test_our_own_variable_wins():
    both = {f"{SCYLLA}__HOSTS": "theirs", "NEXUS__CASSANDRA__HOSTS": "ours"}
    assert load(None, both).cassandra.hosts == "ours"


def test_upstreams_variable_wins_over_the_file(tmp_path):
    file = tmp_path / "nexus.yaml"
    file.write_text("cassandra: {hosts: file}")
    assert load(file, {f"{SCYLLA}__HOSTS": "theirs"}).cassandra.hosts == "theirs"


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("NEXUS__CQL_STORE_TYPE", "mongo", "is none of astra, scylla"),
        (f"{S3}__BUFFER_CONFIG__PAYLOAD_STORAGE_PATH", "/tmp/payloads", "s3a://bucket/prefix"),
        ("NEXUS__MAX_PAYLOAD_SIZE", "big", "is not a Kubernetes quantity"),
        ("NEXUS__LOG_LEVEL", "loud", "loud"),
    ],
)
def test_a_wrong_value_names_the_variable(variable, value, problem):
    with pytest.raises(ConfigError, match=variable) as caught:
        load(None, {variable: value})
    assert problem in str(caught.value)


def test_every_key_that_is_named_is_there():
    keys = {
        f"{section.name}.{key.name}"
        for section in msgspec.structs.fields(Config)
        for key in msgspec.structs.fields(section.type)
    }
    assert {key for setting in SETTINGS for key in setting.becomes} <= keys
    assert [setting.variables for setting in SETTINGS if not (setting.becomes or setting.meaning)] == []


def test_every_value_that_the_page_names_is_one_of_the_chart():
    def names(some: tuple[Value, ...]) -> set[str]:
        return {name for value in some for name in {value.name} | names(value.inside)}

    told = [value for values_of_chart in UPSTREAM.values() for value in values_of_chart]
    assert {name for value in told for name in value.becomes} <= names(values())
    assert [value.names for value in told if not (value.becomes or value.remark)] == []
    # All of upstream's tree that the chart understands is told of.
    understood = {
        name for name in names(values()) if name.startswith("scheduler.config.") and not _section(name)
    }
    assert understood <= {name for value in told for name in value.becomes}


def _section(name: str) -> bool:
    found = values()
    for part in name.split("."):
        [one] = [value for value in found if value.path[-1] == part]
        found = one.inside
    return bool(found)
