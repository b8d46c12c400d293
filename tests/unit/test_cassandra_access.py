"""How the section `cassandra` says where the run store is."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from nexus.cassandra.connection import access
from nexus.cassandra.statements import texts
from nexus.config import load
from nexus.domain.errors import ConfigError


def read(**keys: str):
    environment = {f"NEXUS__CASSANDRA__{key.upper()}": value for key, value in keys.items()}
    return access(load(None, environment).cassandra)


@pytest.fixture
def bundle(tmp_path) -> Path:
    path = tmp_path / "secure-connect.zip"
    path.write_bytes(b"")
    return path


def test_hosts_have_ports_or_the_usual_one():
    assert read(hosts="one, two:9043").hosts == [("one", 9042), ("two", 9043)]


def test_scylla_is_reached_as_cassandra_is():
    assert read(hosts="one", flavour="scylla", local_dc="eu") == read(hosts="one", local_dc="eu")


def test_no_tls_unless_a_ca_is_named(tmp_path):
    assert not read(hosts="one").tls
    assert read(hosts="one", ca_file=str(tmp_path / "ca.pem")).tls


def test_keyspaces_has_its_port_and_always_tls():
    found = read(
        hosts="cassandra.eu-west-1.amazonaws.com", flavour="keyspaces", username="u-at-1", password="p"
    )
    assert found.hosts == [("cassandra.eu-west-1.amazonaws.com", 9142)]
    assert found.tls


def test_astra_is_reached_by_its_bundle(bundle):
    found = read(bundle=str(bundle), flavour="astra", username="token", password="AstraCS:x")
    assert (found.bundle, found.username, found.password) == (bundle, "token", "AstraCS:x")


def test_a_bundle_may_come_as_text():
    keys = {"flavour": "astra", "username": "token", "password": "AstraCS:x"}
    found = read(bundle_base64="UEsD\nBBQA", **keys)
    assert found.bundle.read_bytes() == base64.b64decode("UEsDBBQA")
    assert found.bundle.stat().st_mode & 0o777 == 0o600
    assert read(bundle_base64="UEsDBBQA", **keys).bundle == found.bundle


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"flavour": "astra", "bundle_base64": "no!"}, "cassandra.bundle_base64 is not base64"),
        ({}, "cassandra.hosts is empty"),
        ({"hosts": "one:cql"}, "'one:cql' is neither host nor host:port"),
        ({"hosts": "one:70000"}, "neither host nor host:port"),
        ({"flavour": "astra"}, "cassandra.bundle"),
        ({"bundle": "nowhere.zip", "hosts": "one"}, "cassandra.flavour"),
        ({"bundle": "nowhere.zip", "flavour": "astra"}, "there is no file nowhere.zip"),
        ({"hosts": "one", "bundle": "nowhere.zip", "flavour": "astra"}, "exclude each other"),
        ({"hosts": "one", "flavour": "keyspaces"}, "cassandra.username"),
    ],
)
def test_what_cannot_be_names_the_key(keys, said):
    with pytest.raises(ConfigError, match=said):
        read(**keys)


def test_astra_needs_credentials(bundle):
    with pytest.raises(ConfigError, match=r"cassandra\.username"):
        read(bundle=str(bundle), flavour="astra")


@pytest.mark.parametrize("timestamps", [True, False])
def test_no_statement_looks_through_a_table(timestamps):
    for cql in texts(timestamps=timestamps):
        assert "ALLOW FILTERING" not in cql
        assert cql.startswith("INSERT") or " WHERE " in cql


def test_no_table_has_an_index():
    from nexus.cassandra.schema import versions

    assert not [cql for version in versions() for cql in version.statements if "INDEX" in cql.upper()]
