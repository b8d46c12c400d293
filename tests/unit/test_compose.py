"""compose.yaml is valid, and says the same as the code and as `make services`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from infra.services import S3, Cassandra, Kafka, Kubernetes, cassandra, kafka, kubernetes, s3
from nexus.composition.serving import ROLES
from nexus.config import Config, load

ROOT = Path(__file__).parents[2]
# With the defaults of `${NAME:-default}`.
DOCUMENT = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "compose.yaml").read_text()))
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "nexus"}
PREFIX = "NEXUS__"


def test_it_keeps_the_compose_specification() -> None:
    compose_spec.PyCompose.from_json(json.dumps(DOCUMENT)).validate()


def test_the_specification_is_really_checked() -> None:
    with pytest.raises(ValueError, match="prots"):
        compose_spec.PyCompose.from_yaml("services: {a: {image: b, prots: []}}")


def test_every_role_is_a_service() -> None:
    assert {service["command"][0] for service in OURS.values()} == {*ROLES, "topics", "schema"}
    assert all(service["command"] == [name] for name, service in OURS.items())


@pytest.mark.parametrize("name", OURS)
def test_its_settings_are_settings_of_nexus(name: str) -> None:
    settings = OURS[name]["environment"]
    for variable in settings:
        assert variable.removeprefix(PREFIX).partition("__")[0].lower() in Config.__struct_fields__
    load(None, settings)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("kafka", f"apache/kafka:{kafka.VERSION}"),
        ("cassandra", f"cassandra:{cassandra.VERSION}"),
        ("s3", f"chrislusf/seaweedfs:{s3.VERSION}"),
        ("kubernetes", f"rancher/k3s:v{kubernetes.VERSION}-k3s1"),
        ("kubeconfig", f"rancher/k3s:v{kubernetes.VERSION}-k3s1"),
    ],
)
def test_servers_have_the_versions_that_tests_run_on(name: str, image: str) -> None:
    assert SERVICES[name]["image"] == image


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("kafka", Kafka.usual_ports["broker"]),
        ("cassandra", Cassandra.usual_ports["cql"]),
        ("s3", S3.usual_ports["s3"]),
        ("kubernetes", Kubernetes.usual_ports["apiserver"]),
        ("api", Config().http.port),
    ],
)
def test_servers_have_the_ports_of_make_services_and_only_this_machine_reaches_them(
    name: str, published: int
) -> None:
    [port] = SERVICES[name]["ports"]
    assert port.startswith(f"127.0.0.1:{published}:")


def test_nexus_finds_the_servers_where_they_are() -> None:
    config = load(None, OURS["api"]["environment"])
    kafka_settings = SERVICES["kafka"]["environment"]
    assert f"INSIDE://{config.kafka.servers}," in kafka_settings["KAFKA_ADVERTISED_LISTENERS"]
    assert SERVICES["cassandra"]["ports"][0].endswith(config.cassandra.hosts.removeprefix("cassandra"))
    assert SERVICES["s3"]["ports"][0].endswith(config.s3.endpoint.removeprefix("http://s3"))
    assert str(config.kubernetes.kubeconfig) in SERVICES["kubeconfig"]["command"][0]
    address = SERVICES["api"]["networks"]["default"]["ipv4_address"]
    assert config.http.external_url == f"http://{address}:{config.http.port}"


def test_nexus_has_the_keys_of_the_payload_store() -> None:
    identities = json.loads(Path(s3.__file__).with_name("s3.json").read_text())["identities"]
    keys = identities[0]["credentials"][0]
    config = load(None, OURS["api"]["environment"])
    assert (config.s3.access_key, config.s3.secret_key) == (keys["accessKey"], keys["secretKey"])


def test_what_is_mounted_or_built_from_is_there() -> None:
    files = {config["file"] for config in DOCUMENT["configs"].values()}
    files |= {service["build"]["dockerfile"] for service in OURS.values()}
    assert all((ROOT / file).is_file() for file in files)


def test_the_image_is_not_root_and_copies_only_what_is_not_ignored() -> None:
    lines = (ROOT / "infra" / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001"]
    copied = {name for line in lines if re.match("COPY [^-]", line) for name in line.split()[1:-1]}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
