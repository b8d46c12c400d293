"""What the chart renders, and what it refuses, without a server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import AsyncExitStack
from typing import Any

import prometheus_client
import pytest
import yaml
from prometheus_client.metrics_core import Metric

import api.observability
import streams.controller.metrics
import streams.drivers.faust_metrics
from nexus import __version__
from nexus.composition.engines import Engines
from nexus.composition.serving import ROLES
from nexus.config import Config, load
from nexus.domain.access import read_policy
from nexus.domain.errors import ConfigError
from tests.support.helm import CHART, CRDS, QUICKSTART, SHAPES, Helm, container, of_kind, pods, settings

EVERYTHING = {
    f"{name}.enabled": "true"
    for name in (
        "api.autoscaling",
        "receiver.autoscaling",
        "ledger.keda",
        "supervisor.keda",
        "ingress",
        "networkPolicy",
        "serviceMonitor",
        "prometheusRule",
        "dashboard",
    )
} | {"ingress.host": "nexus.example.com"}
SECRETS = {
    "nexus-s3": {
        "NEXUS__S3_BUFFER__ACCESS_KEY_ID": "key",
        "NEXUS__S3_BUFFER__SECRET_ACCESS_KEY": "hush",
        "NEXUS__S3_BUFFER__REGION": "eu-west-1",
        "NEXUS__S3_BUFFER__ENDPOINT": "https://s3.example.com",
    },
    "nexus-cassandra": {
        "NEXUS__SCYLLA_CQL_STORE__HOSTS": "cassandra",
        "NEXUS__SCYLLA_CQL_STORE__PORT": "9042",
        "NEXUS__SCYLLA_CQL_STORE__USER": "nexus",
        "NEXUS__SCYLLA_CQL_STORE__PASSWORD": "hush",
    },
}


def variables(pod: Any) -> dict[str, str]:
    """What a pod's container has in its environment."""
    only = container(pod)
    environment = {}
    for source in only.get("envFrom", []):
        environment |= SECRETS[source["secretRef"]["name"]]
    environment |= {entry["name"]: entry.get("value", "signed" * 8) for entry in only["env"]}
    return environment


def configured(pod: Any) -> Config:
    """What Nexus makes of it."""
    return load(None, variables(pod))


@pytest.mark.parametrize("mode", SHAPES)
def test_it_passes_the_linter(helm: Helm, mode):
    said = helm.must("lint", "--strict", CHART, CRDS, *settings(SHAPES[mode] | EVERYTHING))
    assert "0 chart(s) failed" in said


@pytest.mark.parametrize(
    ("mode", "roles"),
    [
        ("single", {"api", "receiver", "scheduler", "ledger", "watcher", "supervisor", "topics", "schema"}),
        ("controller", {"api", "scheduler", "ledger", "controller", "topics", "schema"}),
        ("shard", {"receiver", "watcher", "supervisor"}),
    ],
)
def test_a_mode_decides_what_runs(helm: Helm, mode, roles):
    found = pods(helm.template(SHAPES[mode]))
    assert found.keys() == roles
    for role, pod in found.items():
        assert container(pod)["args"] == [role]


def test_a_role_may_be_left_out_or_added(helm: Helm):
    found = pods(helm.template(SHAPES["shard"] | {"receiver.enabled": "false", "ledger.enabled": "true"}))
    assert found.keys() == {"ledger", "watcher", "supervisor"}


def test_every_role_of_nexus_is_in_the_chart():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert {*ROLES} <= {
        name for name, value in values.items() if isinstance(value, dict) and "replicas" in value
    }


def test_the_quickstart_of_upstream_says_where_everything_is(helm: Helm):
    config = configured(pods(helm.template(QUICKSTART))["scheduler"])
    assert (config.s3.bucket, config.s3.prefix) == ("nexus-s3-bucket", "payload-store")
    assert (config.s3.access_key, config.s3.endpoint) == ("key", "https://s3.example.com")
    assert (config.cassandra.flavour, config.cassandra.hosts) == ("scylla", "cassandra:9042")
    assert (config.cassandra.username, config.kafka.servers) == ("nexus", "kafka:9092")
    assert (config.kubernetes.namespace, config.kubernetes.in_cluster) == ("nexus", True)
    assert (config.templates.source, config.templates.in_cluster) == ("kubernetes", True)
    assert config.http.external_url == "http://nexus.nexus.svc:8080"


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ({"scheduler.config.runtimeNamespace": "jobs"}, "kubernetes.namespace", "jobs"),
        ({"scheduler.config.maxPayloadSize": "1Mi"}, "http.max_body", 1024**2),
        ({"scheduler.config.logLevel": "DEBUG"}, "logging.level", "debug"),
        ({"scheduler.config.s3Buffer.processing.rateLimitElementsPerSecond": "10"}, "throttle.rate", 10),
        (
            {"scheduler.config.s3Buffer.processing.payloadProxy.externalName": "nexus.example.com"},
            "http.external_url",
            "https://nexus.example.com",
        ),
        (
            {
                "scheduler.config.checkpointStore.type": "cassandra-keyspaces",
                "scheduler.config.cqlStore.type": "",
            },
            "cassandra.flavour",
            "keyspaces",
        ),
        ({"config.throttle.rate": "1000000"}, "throttle.rate", 1000000),
        ({"config.s3.presign": "true"}, "s3.presign", True),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else None,
)
def test_values_reach_nexus(helm: Helm, given, key, value):
    config = configured(pods(helm.template(QUICKSTART | given))["api"])
    section, _, name = key.partition(".")
    assert getattr(getattr(config, section), name) == value


def test_a_secret_is_for_the_roles_that_need_it(helm: Helm):
    found = pods(helm.template(QUICKSTART))
    named = {
        role: {source["secretRef"]["name"] for source in container(pod).get("envFrom", [])}
        for role, pod in found.items()
    }
    needed = {
        role: {"nexus-s3", "nexus-cassandra"} for role in ("api", "receiver", "scheduler", "supervisor")
    }
    needed |= {role: {"nexus-cassandra"} for role in ("ledger", "schema")}
    assert named == needed | {role: set() for role in ("watcher", "topics")}


@pytest.mark.parametrize("mode", ["single", "controller"])
def test_kubeconfigs_are_mounted_where_they_are_there(helm: Helm, mode):
    """As the quickstart makes them, also where it says nothing of a mode."""
    found = pods(helm.template(SHAPES[mode]))
    for role, pod in found.items():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        secrets = [source["secret"] for source in volumes["kubeconfigs"]["projected"]["sources"]]
        assert [secret["name"] for secret in secrets] == ["nexus-workers", "nexus-shards"], role
        assert all(secret["optional"] for secret in secrets)
        mounts = {mount["name"]: mount["mountPath"] for mount in container(pod)["volumeMounts"]}
        config = configured(pod).kubernetes
        assert mounts["kubeconfigs"] == str(config.kubeconfig) == "/app/config/shards"
        assert config.in_cluster == (mode == "single")


def test_the_controller_may_have_kubeconfigs_of_its_own(helm: Helm):
    own = SHAPES["controller"] | {"controller.shardsConfigSecretName": "ncc-shards-kube-config"}
    sources = pods(helm.template(own))["controller"]["volumes"][1]["projected"]["sources"]
    assert [source["secret"]["name"] for source in sources] == ["ncc-shards-kube-config"]


def test_the_processes_of_a_shard_serve_it_alone(helm: Helm):
    for pod in pods(helm.template(SHAPES["shard"])).values():
        config = configured(pod)
        assert (config.cluster.name, config.kubernetes.served_clusters) == ("eu", ("eu",))
        assert config.kubernetes.in_cluster


def test_a_shard_knows_no_cluster_but_its_own(helm: Helm):
    """Nor is any kubeconfig mounted beside its Jobs."""
    for role, spec in pods(helm.template(SHAPES["shard"])).items():
        assert [volume["name"] for volume in spec["volumes"]] == ["tmp"], role
        assert "kubeconfig" not in yaml.safe_dump(spec).lower()


def test_the_scaler_may_need_to_be_let_in(helm: Helm):
    documents = helm.template(QUICKSTART | EVERYTHING | {"kedaAuthentication": "kafka"})
    triggers = [
        one for found in of_kind(documents, "ScaledObject").values() for one in found["spec"]["triggers"]
    ]
    assert [trigger["authenticationRef"] for trigger in triggers] == [{"name": "kafka"}] * len(triggers)


def test_who_is_scaled_has_no_number_of_replicas(helm: Helm):
    plain = of_kind(helm.template(QUICKSTART), "Deployment")
    scaled = of_kind(helm.template(QUICKSTART | EVERYTHING), "Deployment")
    assert all(found["spec"]["replicas"] == 2 for found in plain.values())
    without = {name for name, found in scaled.items() if "replicas" not in found["spec"]}
    assert without == {"nexus-api", "nexus-receiver", "nexus-ledger", "nexus-supervisor"}


@pytest.mark.parametrize("more", [{}, {"config.kafka.prefix": "blue", "config.placement.installation": "b"}])
@pytest.mark.parametrize("mode", ["single", "shard"])
def test_lag_is_asked_of_the_groups_that_there_are(helm: Helm, mode, more):
    documents = helm.template(SHAPES[mode] | EVERYTHING | more)
    engines = Engines(configured(pods(documents)["supervisor"]), None, AsyncExitStack())
    groups = {engines._group(engines.of_served(name)) for name in ("supervisor", "collector")}
    groups |= {engines._group(engines.ledgers)} if mode == "single" else set()
    asked = [
        trigger["metadata"]
        for found in of_kind(documents, "ScaledObject").values()
        for trigger in found["spec"]["triggers"]
    ]
    assert {trigger["consumerGroup"] for trigger in asked} == groups
    topics = {engines._names.there(topic) for topic in engines.topics()}
    assert {trigger["topic"] for trigger in asked} <= topics


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"mode": "double"}, "'/mode': value must be one of 'single', 'controller', 'shard'"),
        ({"image.tag": "2"}, "'/image/tag': got number, want string"),
        ({"api.replica": "3"}, "additional properties 'replica' not allowed"),
        ({"config.kafka.server": "x"}, "additional properties 'server' not allowed"),
        ({"config.kafka.password": "x"}, "additional properties 'password' not allowed"),
        ({"api.replicas": "-1"}, "minimum"),
        ({"config.kafka.servers": ""}, "config.kafka.servers is empty: name the brokers"),
        ({"scheduler.config.cqlStore.secretName": ""}, "There is no run store"),
        ({"scheduler.config.s3Buffer.payloadStoragePath": ""}, "There is no payload store"),
        (
            {"scheduler.config.s3Buffer.processing.payloadStoragePath": "s3a://other/place"},
            "payloadStoragePath differ: remove one",
        ),
        ({"mode": "shard"}, "A shard needs its name"),
        ({"mode": "controller"}, "set config.http.external_url"),
        ({"scheduler.autoscaling.enabled": "true"}, "more of them place no more Jobs"),
        ({"ledger.keda.enabled": "true", "ledger.keda.maxReplicas": "33"}, "there are 32 partitions"),
        ({"supervisor.keda.enabled": "true", "supervisor.keda.minReplicas": "0"}, "set at least 1"),
        ({"ingress.enabled": "true"}, "ingress.host is empty"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, dict) else "",
)
def test_wrong_values_are_refused_with_a_sentence(helm: Helm, given, sentence):
    assert sentence in helm.fails("template", "nexus", CHART, *settings(QUICKSTART | given))


@pytest.mark.parametrize("mode", SHAPES)
def test_a_secret_that_is_missing_is_named_before_anything_starts(helm: Helm, mode):
    """By the kubelet, and by what describes the pod: no role starts with half of what it needs."""
    for role, pod in pods(helm.template(SHAPES[mode])).items():
        named = [entry["valueFrom"] for entry in container(pod)["env"] if "valueFrom" in entry]
        sources = [*container(pod).get("envFrom", []), *named]
        for source in sources:
            assert not next(iter(source.values())).get("optional"), (role, source)


def test_half_of_the_keys_to_the_bucket_are_refused_before_anything_starts(helm: Helm):
    given = variables(pods(helm.template(QUICKSTART))["api"])
    del given["NEXUS__S3_BUFFER__SECRET_ACCESS_KEY"]
    with pytest.raises(ConfigError, match=r"s3\.access_key is set without s3\.secret_key"):
        load(None, given)


def test_a_secret_that_does_not_say_where_the_run_store_is_ends_the_role(helm: Helm):
    given = variables(pods(helm.template(QUICKSTART))["ledger"])
    del given["NEXUS__SCYLLA_CQL_STORE__HOSTS"]
    command = [sys.executable, "-m", "nexus", "ledger"]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "no run store is configured" in done.stderr
    assert "set cassandra.hosts" in done.stderr


def test_everything_bears_one_version(helm: Helm):
    for chart in (CHART, CRDS):
        found = yaml.safe_load((chart / "Chart.yaml").read_text())
        assert found["version"] == found["appVersion"] == __version__
    for pod in pods(helm.template(QUICKSTART)).values():
        assert container(pod)["image"] == f"nexus:{__version__}"
    for definition in yaml.safe_load_all(helm.must("template", "crd", CRDS)):
        assert definition["metadata"]["labels"]["app.kubernetes.io/version"] == __version__


def test_alerts_and_dashboard_ask_for_metrics_that_there_are(helm: Helm):
    assert api.observability
    assert streams.controller.metrics
    assert streams.drivers.faust_metrics
    known = {"up"} | {name for metric in prometheus_client.REGISTRY.collect() for name in _series(metric)}
    documents = helm.template(QUICKSTART | EVERYTHING)
    [rules] = of_kind(documents, "PrometheusRule").values()
    alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert len(alerts) > 3
    assert all(alert["annotations"]["runbook"] for alert in alerts)
    dashboard = json.loads((CHART / "dashboards/nexus.json").read_text())
    expressions = [alert["expr"] for alert in alerts]
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for expression in expressions:
        asked = set(re.findall(r"\b(\w+)\{", expression))
        assert asked, expression
        assert asked <= known, expression
    [shown] = [found for name, found in of_kind(documents, "ConfigMap").items() if "dashboard" in name]
    assert json.loads(shown["data"]["nexus.json"]) == dashboard


def _series(metric: Metric) -> set[str]:
    if metric.type == "counter":
        return {f"{metric.name}_total"}
    if metric.type == "histogram":
        return {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
    return {metric.name}


def test_the_notes_say_the_next_command(helm: Helm):
    notes = helm.must("install", "nexus", CHART, "--dry-run=client", *settings(QUICKSTART)).partition(
        "NOTES:"
    )[2]
    assert "kubectl --namespace default wait deployment" in notes
    assert "nexus run ALGORITHM" in notes


def test_probes_are_answered_on_a_port_that_others_cannot_fill(helm: Helm):
    found = pods(helm.template(QUICKSTART))
    served = [found[role] for role in ROLES if role in found]
    assert served
    for pod in served:
        port = configured(pod).http.probe_port
        assert {"name": "probes", "containerPort": port} in container(pod)["ports"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container(pod)[probe]["httpGet"]["port"] == "probes"


def test_large_bodies_have_room_and_do_not_evict_their_pod(helm: Helm):
    for role, pod in pods(helm.template(QUICKSTART)).items():
        tmp = next(volume for volume in pod["volumes"] if volume["name"] == "tmp")
        assert tmp["emptyDir"] == ({} if role == "api" else {"sizeLimit": "256Mi"})


@pytest.mark.parametrize("mode", SHAPES)
def test_who_may_ask_is_said_by_the_values(helm: Helm, mode):
    """Without them everybody may, which a role has to be told where others reach it."""
    for pod in pods(helm.template(SHAPES[mode])).values():
        assert configured(pod).auth.mode == "none"
        assert "auth" not in {volume["name"] for volume in pod["volumes"]}
    given = {
        "auth.mode": "bearer",
        "auth.serviceAccounts": "true",
        "auth.ruleResources": "true",
        "auth.tokensSecretName": "nexus-tokens",
        "auth.rules[0].name": "team",
        "auth.rules[0].subjects[0]": "token:ci",
        "auth.rules[0].verbs[0]": "submit",
        "auth.tenants[0].name": "routing",
        "auth.tenants[0].subjects[0]": "token:ci",
        "auth.tenants[0].weight": "3",
        "config.auth.issuer": "https://issuer.example.com",
    }
    rendered = helm.template(SHAPES[mode] | given)
    for role, pod in pods(rendered).items():
        auth = configured(pod).auth
        assert (auth.mode, auth.issuer) == ("bearer", "https://issuer.example.com")
        asked = role in {"api", "receiver"}
        assert auth.service_accounts is auth.rule_resources is asked
        files = {str(file).rpartition("/")[2] for file in (auth.rules_file, auth.tokens_file) if file}
        assert files == ({"rules.yaml", "tokens.yaml"} if asked else set())
        mounts = {mount["name"]: mount["mountPath"] for mount in container(pod)["volumeMounts"]}
        assert mounts.get("auth") == ("/app/config/auth" if asked else None)
    rules = next(each for name, each in of_kind(rendered, "ConfigMap").items() if name.endswith("-rules"))
    policy = read_policy(yaml.safe_load(rules["data"]["rules.yaml"]), "rules")
    assert [(rule.name, rule.verbs) for rule in policy.rules.rules] == [("team", ("submit",))]
    assert [(each.name, each.weight) for each in policy.tenants.tenants] == [("routing", 3)]
    reviews = next(
        each for name, each in of_kind(rendered, "ClusterRole").items() if name.endswith("-reviews")
    )
    assert [rule["verbs"] for rule in reviews["rules"]] == [["create"], ["get"]]


def test_jobs_are_told_where_to_prove_which_run_they_are(helm: Helm):
    for reports, told in (("open", ""), ("capability", "http://nexus-receiver.nexus.svc:8080")):
        found = pods(helm.template(SHAPES["single"] | {"config.auth.reports": reports}))
        assert {configured(pod).http.receiver_url for pod in found.values()} == {told}
        api = told.replace("-receiver", "")
        assert {configured(pod).http.scheduler_url for pod in found.values()} == {api}


@pytest.mark.parametrize("mode", SHAPES)
def test_services_speak_tls_with_a_certificate_of_a_secret(helm: Helm, mode):
    given = {
        "tls.secretName": "nexus-tls",
        "tls.clientCertificates": "true",
        "config.auth.reports": "capability",
    }
    for role, pod in pods(helm.template(SHAPES[mode] | given)).items():
        http = configured(pod).http
        served = role in {"api", "receiver"}
        files = [http.tls_certificate_file, http.tls_key_file, http.tls_client_ca_file]
        names = ["tls.crt", "tls.key", "ca.crt"]
        assert [str(file or "") for file in files] == [
            f"/app/config/tls/{name}" if served else "" for name in names
        ]
        mounts = {mount["name"]: mount["mountPath"] for mount in container(pod)["volumeMounts"]}
        assert mounts.get("tls") == ("/app/config/tls" if served else None)
        secrets = {each["name"]: each.get("secret", {}).get("secretName") for each in pod["volumes"]}
        assert secrets.get("tls") == ("nexus-tls" if served else None)
        if mode == "single":
            assert http.external_url == http.scheduler_url == "https://nexus.nexus.svc:8080"
            assert http.receiver_url == "https://nexus-receiver.nexus.svc:8080"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"auth.mode": "bearer"}, "no source of tokens"),
        ({"auth.tenants[0].name": "routing"}, "no rule lets them do anything"),
        ({"auth.mode": "maybe"}, "auth"),
        ({"config.auth.mode": "none"}, "set auth.mode"),
    ],
)
def test_who_may_ask_has_to_be_said_whole(helm: Helm, given, named):
    assert named in helm.fails("template", "nexus", CHART, *settings(SHAPES["single"] | given))
