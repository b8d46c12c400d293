"""The servers as containers, where a Docker engine answers: written from the documentation of the images, and not
run wherever the servers are local processes. Each yields the variables that `infra.services` gives for its server.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import infra.services
from infra.services import cassandra, kubernetes, s3

__all__ = ["cassandra_container", "docker_answers", "kafka_container", "kubernetes_container", "s3_container"]

_KWOK = Path(kubernetes.__file__).with_name("kwok.yaml")
_IDENTITIES = Path(s3.__file__).with_name("s3.json")


def docker_answers() -> bool:
    import docker  # type: ignore[import-untyped]  # no py.typed

    try:
        with docker.from_env(timeout=5) as engine:
            return bool(engine.ping())
    except docker.errors.DockerException:
        return False


@contextmanager
def kafka_container() -> Iterator[Mapping[str, str]]:
    from testcontainers.community.kafka import KafkaContainer

    # Of this image testcontainers knows how to advertise the port that Docker chose.
    with KafkaContainer("confluentinc/cp-kafka:7.9.0").with_kraft() as broker:
        yield {"NEXUS_TEST_KAFKA": broker.get_bootstrap_server()}


@contextmanager
def cassandra_container() -> Iterator[Mapping[str, str]]:
    from testcontainers.community.cassandra import CassandraContainer

    with CassandraContainer(f"cassandra:{cassandra.VERSION}") as node:
        host, port = node.get_contact_points()[0]
        yield {"NEXUS_TEST_CASSANDRA": f"{host}:{port}"}


@contextmanager
def s3_container() -> Iterator[Mapping[str, str]]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    server = (
        DockerContainer(f"chrislusf/seaweedfs:{s3.VERSION}")
        .with_command("server -s3 -s3.config=/s3.json -master.volumeSizeLimitMB=64 -volume.max=2000")
        .with_volume_mapping(_IDENTITIES, "/s3.json")
        .with_exposed_ports(8333)
        .waiting_for(HttpWaitStrategy(8333, "/healthz"))
    )
    with server:
        address = f"http://{server.get_container_host_ip()}:{server.get_exposed_port(8333)}"
        yield dict(infra.services.S3().variables) | {"NEXUS_TEST_S3": address}


@contextmanager
def kubernetes_container() -> Iterator[Mapping[str, str]]:
    """The API server and controllers of k3s without its node; kwok plays the nodes, beside it on the same network."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    cluster = (
        DockerContainer(f"rancher/k3s:v{kubernetes.VERSION}-k3s1")
        .with_exposed_ports(6443)
        .with_kwargs(privileged=True)
        .waiting_for(LogMessageWaitStrategy("k3s is up and running"))
    )
    host = cluster.get_container_host_ip()
    cluster.with_command(f"server --disable-agent --disable=traefik,metrics-server --tls-san={host}")
    with cluster, tempfile.TemporaryDirectory() as folder:
        written = cluster.exec(["cat", "/etc/rancher/k3s/k3s.yaml"]).output.decode()
        inside, outside = Path(folder, "inside"), Path(folder, "outside")
        inside.write_text(written)
        outside.write_text(
            written.replace("https://127.0.0.1:6443", f"https://{host}:{cluster.get_exposed_port(6443)}")
        )
        for node in kubernetes.nodes():
            cluster.exec(["sh", "-c", f"echo '{json.dumps(node)}' | kubectl apply -f -"])
        kwok = (
            DockerContainer(f"registry.k8s.io/kwok/kwok:v{kubernetes.KWOK_VERSION}")
            .with_kwargs(network_mode=f"container:{cluster.get_wrapped_container().id}")
            .with_volume_mapping(inside, "/kubeconfig")
            .with_volume_mapping(_KWOK, "/kwok.yaml")
            .with_command(
                "--kubeconfig=/kubeconfig --config=/kwok.yaml --manage-nodes-with-label-selector=type=kwok"
            )
        )
        with kwok:
            yield {"NEXUS_TEST_KUBECONFIG": str(outside)}
