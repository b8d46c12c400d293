from __future__ import annotations

import msgspec
import pytest

from nexus.domain.errors import InvalidInput
from nexus.domain.template import (
    AlgorithmSpec,
    WorkgroupSpec,
    algorithm_spec,
    limits_of,
    merge,
    workgroup_spec,
)
from tests.support.factories import template_spec


def decoded(**members) -> AlgorithmSpec:
    return algorithm_spec(members, "spec")


def merged(template: dict, overrides: dict) -> dict:
    """The configuration that applies, in its JSON names and without what is unset."""
    spec = merge(algorithm_spec(template, "spec"), algorithm_spec(overrides, "customConfiguration"))
    return msgspec.to_builtins(spec)


# --- the fields of the custom resources


@pytest.mark.parametrize(
    ("section", "member", "value"),
    [
        ("container", "image", "hello"),
        ("container", "registry", "registry.example.com"),
        ("container", "versionTag", "v1"),
        ("container", "serviceAccountName", "runner"),
        ("computeResources", "cpuLimit", "500m"),
        ("computeResources", "memoryLimit", "2Gi"),
        ("computeResources", "customResources", {"nvidia.com/gpu": "1"}),
        ("computeResources", "limits", {"cpu": "1", "memory": "1Gi"}),
        ("computeResources", "requests", {"cpu": "100m"}),
        ("computeResources", "defaultResourceQuota", "0.25"),
        ("workgroupRef", "name", "default"),
        ("workgroupRef", "group", "science.sneaksanddata.com/v1"),
        ("workgroupRef", "kind", "NexusAlgorithmWorkgroup"),
        (
            "runtimeEnvironment",
            "environmentVariables",
            [{"name": "A", "valueFrom": {"secretKeyRef": {"key": "k"}}}],
        ),
        ("runtimeEnvironment", "mappedEnvironmentVariables", [{"configMapRef": {"name": "settings"}}]),
        ("runtimeEnvironment", "annotations", {"example.com/team": "routing"}),
        ("runtimeEnvironment", "deadlineSeconds", 60),
        ("runtimeEnvironment", "maximumRetries", 0),
        ("runtimeEnvironment", "configurationFileMounts", {"settings": {"name": "s", "mountPath": "/s"}}),
        (
            "runtimeEnvironment",
            "secretFileMounts",
            {"keys": {"name": "k", "mountPath": "/k", "readOnly": True}},
        ),
        ("runtimeEnvironment", "storageMounts", {"emptyDir": {"name": "e", "mountPath": "/e"}}),
        ("errorHandlingBehaviour", "transientExitCodes", [75, 76]),
        ("errorHandlingBehaviour", "fatalExitCodes", [42]),
        ("datadogIntegrationSettings", "mountDatadogSocket", True),
        ("datadogIntegrationSettings", "mountDatadogSocket", False),
        ("payloadConfiguration", "payloadValidFor", "12h"),
        ("payloadConfiguration", "payloadSerializationMode", "backend"),
    ],
)
def test_every_field_of_a_template_is_read_and_shown_under_its_name(section, member, value):
    assert msgspec.to_builtins(decoded(**{section: {member: value}})) == {section: {member: value}}


@pytest.mark.parametrize(
    ("member", "value"), [("command", "python main.py"), ("args", ["--sas-uri=%s", "x"])]
)
def test_command_and_args_are_read(member, value):
    assert msgspec.to_builtins(decoded(**{member: value})) == {member: value}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"payloadSerialization": "s3"}, "s3"),
        ({"payloadSerializationMode": "backend"}, "backend"),
        ({"payloadSerialization": "s3", "payloadSerializationMode": "backend"}, "backend"),
        ({"payloadSerialization": "s3", "payloadSerializationMode": None}, "s3"),
        ({"payloadSerialization": None}, ""),
    ],
)
def test_both_spellings_of_the_serialization_are_read_and_the_newer_one_is_written(written, read):
    spec = decoded(payloadConfiguration=written)
    assert spec.payload_configuration.payload_serialization_mode == read
    assert b'"payloadSerialization"' not in msgspec.json.encode(spec)


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"container": None, "args": None, "computeResources": None, "runtimeEnvironment": None},
        {
            "runtimeEnvironment": {
                "deadlineSeconds": None,
                "annotations": {"a": None},
                "environmentVariables": None,
            }
        },
        {"computeResources": {"limits": {"cpu": None}}, "workgroupRef": {"name": None}},
        {"unknown": {"member": 1}, "container": {"unknown": [None]}},
    ],
)
def test_null_means_unset_and_unknown_members_are_dropped(manifest):
    assert algorithm_spec(manifest, "spec") == AlgorithmSpec()


def test_nulls_inside_of_kubernetes_own_shapes_are_dropped_as_well():
    spec = decoded(
        runtimeEnvironment={"environmentVariables": [{"name": "A", "value": "1", "valueFrom": None}]}
    )
    assert spec.runtime_environment.environment_variables == [{"name": "A", "value": "1"}]


def test_reading_leaves_the_manifest_as_it_was():
    manifest = {"payloadConfiguration": {"payloadSerialization": "s3"}, "args": None}
    algorithm_spec(manifest, "spec")
    assert manifest == {"payloadConfiguration": {"payloadSerialization": "s3"}, "args": None}


@pytest.mark.parametrize(
    ("manifest", "field"),
    [
        ({"container": {"image": 1}}, "spec.container.image"),
        ({"container": "hello"}, "spec.container"),
        ({"args": "one"}, "spec.args"),
        ({"args": ["a", 1]}, "spec.args[1]"),
        ({"command": ["python"]}, "spec.command"),
        ({"computeResources": {"cpuLimit": 1}}, "spec.computeResources.cpuLimit"),
        ({"computeResources": {"limits": {"cpu": 1}}}, "spec.computeResources.limits[...]"),
        ({"runtimeEnvironment": {"deadlineSeconds": "60"}}, "spec.runtimeEnvironment.deadlineSeconds"),
        ({"runtimeEnvironment": {"deadlineSeconds": 1.5}}, "spec.runtimeEnvironment.deadlineSeconds"),
        ({"runtimeEnvironment": {"maximumRetries": True}}, "spec.runtimeEnvironment.maximumRetries"),
        (
            {"runtimeEnvironment": {"environmentVariables": ["A=1"]}},
            "spec.runtimeEnvironment.environmentVariables[0]",
        ),
        ({"runtimeEnvironment": {"annotations": {"a": 1}}}, "spec.runtimeEnvironment.annotations[...]"),
        (
            {"errorHandlingBehaviour": {"fatalExitCodes": [1, "2"]}},
            "spec.errorHandlingBehaviour.fatalExitCodes[1]",
        ),
        (
            {"datadogIntegrationSettings": {"mountDatadogSocket": "yes"}},
            "spec.datadogIntegrationSettings.mountDatadogSocket",
        ),
        (
            {"payloadConfiguration": {"payloadSerialization": 1}},
            "spec.payloadConfiguration.payloadSerializationMode",
        ),
        ([], "spec"),
        (None, "spec"),
        ("text", "spec"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(manifest, field):
    with pytest.raises(InvalidInput, match="Expected") as caught:
        algorithm_spec(manifest, "spec")
    assert caught.value.field == field


def test_every_field_of_a_workgroup_is_read():
    manifest = {
        "description": "large machines",
        "cluster": "eu",
        "capabilities": {"gpu": True, "arm64": False},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}},
    }
    assert msgspec.to_builtins(workgroup_spec(manifest, "spec")) == manifest


def test_nulls_of_a_workgroup_mean_unset():
    assert workgroup_spec({"cluster": "eu", "tolerations": None, "affinity": None}, "spec") == WorkgroupSpec(
        cluster="eu"
    )


@pytest.mark.parametrize(
    ("manifest", "field"),
    [
        ({"cluster": 1}, "spec.cluster"),
        ({"capabilities": {"gpu": "yes"}}, "spec.capabilities[...]"),
        (None, "spec"),
    ],
)
def test_a_broken_workgroup_is_named(manifest, field):
    with pytest.raises(InvalidInput) as caught:
        workgroup_spec(manifest, "spec")
    assert caught.value.field == field


# --- the merge of overrides (contract §3.4)

TEMPLATE = template_spec(
    container={
        "image": "hello",
        "registry": "registry.example.com",
        "versionTag": "v1",
        "serviceAccountName": "runner",
    },
    computeResources={
        "cpuLimit": "1",
        "memoryLimit": "1Gi",
        "customResources": {"nvidia.com/gpu": "1"},
        "defaultResourceQuota": "0.5",
    },
    workgroupRef={"name": "default", "group": "g", "kind": "k"},
    runtimeEnvironment={
        "environmentVariables": [{"name": "A", "value": "1"}],
        "mappedEnvironmentVariables": [{"secretRef": {"name": "s"}}],
        "annotations": {"a": "1"},
        "deadlineSeconds": 60,
        "maximumRetries": 3,
        "configurationFileMounts": {"c": {"name": "c", "mountPath": "/c"}},
        "secretFileMounts": {"s": {"name": "s", "mountPath": "/s"}},
        "storageMounts": {"emptyDir": {"name": "e", "mountPath": "/e"}},
    },
    errorHandlingBehaviour={"transientExitCodes": [75], "fatalExitCodes": [42]},
    datadogIntegrationSettings={"mountDatadogSocket": True},
    payloadConfiguration={"payloadValidFor": "12h", "payloadSerializationMode": "s3"},
)


def with_member(template: dict, section: str, member: str, value: object) -> dict:
    return template | {section: template.get(section, {}) | {member: value}}


def test_without_overrides_the_template_applies():
    template = algorithm_spec(TEMPLATE, "spec")
    assert merge(template, None) is template
    assert merge(template, AlgorithmSpec()) == template


@pytest.mark.parametrize(
    ("section", "member", "value"),
    [
        ("container", "image", "other"),
        ("container", "registry", "elsewhere.example.com"),
        ("container", "versionTag", "v9"),
        ("computeResources", "cpuLimit", "2"),
        ("computeResources", "memoryLimit", "2Gi"),
        ("computeResources", "requests", {"cpu": "1", "memory": "1Gi"}),
        ("workgroupRef", "name", "large"),
        ("workgroupRef", "group", "other"),
        ("workgroupRef", "kind", "Other"),
        ("runtimeEnvironment", "deadlineSeconds", 99),
        ("runtimeEnvironment", "deadlineSeconds", 0),
        ("runtimeEnvironment", "maximumRetries", 9),
        ("runtimeEnvironment", "maximumRetries", 0),
    ],
)
def test_what_may_be_overridden_is(section, member, value):
    assert merged(TEMPLATE, {section: {member: value}}) == with_member(TEMPLATE, section, member, value)


@pytest.mark.parametrize(
    "overrides",
    [
        {"container": {"serviceAccountName": "root"}},
        {"command": "rm -rf /", "args": ["--all"]},
        {"computeResources": {"customResources": {"nvidia.com/gpu": "8"}, "defaultResourceQuota": "1"}},
        {"runtimeEnvironment": {"environmentVariables": [{"name": "B", "value": "2"}]}},
        {"runtimeEnvironment": {"mappedEnvironmentVariables": [{"secretRef": {"name": "other"}}]}},
        {"runtimeEnvironment": {"annotations": {"b": "2"}}},
        {"runtimeEnvironment": {"storageMounts": {"data": {"name": "d", "mountPath": "/d"}}}},
        {"runtimeEnvironment": {"secretFileMounts": {"x": {"name": "x", "mountPath": "/x"}}}},
        {"runtimeEnvironment": {"configurationFileMounts": {"x": {"name": "x", "mountPath": "/x"}}}},
        {"errorHandlingBehaviour": {"transientExitCodes": [1], "fatalExitCodes": [2]}},
        {"datadogIntegrationSettings": {"mountDatadogSocket": False}},
        {"payloadConfiguration": {"payloadValidFor": "1h", "payloadSerializationMode": "backend"}},
    ],
)
def test_what_may_not_be_overridden_is_ignored(overrides):
    assert merged(TEMPLATE, overrides) == TEMPLATE


@pytest.mark.parametrize(
    "overrides",
    [
        {"container": {"image": "", "registry": "", "versionTag": ""}},
        {"computeResources": {"cpuLimit": "", "memoryLimit": "", "limits": {}, "requests": {}}},
        {"workgroupRef": {"name": "", "group": "", "kind": ""}},
        {"runtimeEnvironment": {"deadlineSeconds": None, "maximumRetries": None}},
        {"container": None, "computeResources": None, "workgroupRef": None, "runtimeEnvironment": None},
    ],
)
def test_what_is_empty_overrides_nothing(overrides):
    assert merged(TEMPLATE, overrides) == TEMPLATE


def test_a_section_that_the_template_lacks_may_be_overridden():
    overrides = {"runtimeEnvironment": {"deadlineSeconds": 9}, "computeResources": {"cpuLimit": "1"}}
    assert merged(template_spec(), overrides) == template_spec() | overrides


PAIR = {"cpuLimit": "1", "memoryLimit": "1Gi"}
LIMITS = {"limits": {"cpu": "1", "memory": "1Gi"}}


@pytest.mark.parametrize(
    ("template", "overrides", "limits"),
    [
        pytest.param(PAIR, {}, {"cpu": "1", "memory": "1Gi"}, id="nothing over a pair"),
        pytest.param(LIMITS, {}, {"cpu": "1", "memory": "1Gi"}, id="nothing over limits"),
        pytest.param(PAIR, {"cpuLimit": "2"}, {"cpu": "2", "memory": "1Gi"}, id="pair over pair"),
        pytest.param(LIMITS, {"cpuLimit": "2"}, {"cpu": "2", "memory": "1Gi"}, id="pair over limits"),
        pytest.param(PAIR, {"limits": {"cpu": "2"}}, {"cpu": "2", "memory": "1Gi"}, id="limits over pair"),
        pytest.param(
            LIMITS, {"limits": {"memory": "2Gi"}}, {"cpu": "1", "memory": "2Gi"}, id="limits over limits"
        ),
        pytest.param(
            PAIR | {"limits": {"cpu": "3", "memory": "3Gi"}},
            {"memoryLimit": "2Gi"},
            {"cpu": "3", "memory": "2Gi"},
            id="pair over both",
        ),
        pytest.param(
            PAIR,
            {"cpuLimit": "2", "limits": {"cpu": "4"}},
            {"cpu": "4", "memory": "1Gi"},
            id="both over a pair",
        ),
        pytest.param(
            LIMITS,
            {"cpuLimit": "2", "memoryLimit": "2Gi", "limits": {"cpu": "4"}},
            {"cpu": "4", "memory": "2Gi"},
            id="both over limits",
        ),
        pytest.param(
            {"limits": {"ephemeral-storage": "1Gi"}},
            {"limits": {"cpu": "2", "memory": "2Gi"}},
            {"ephemeral-storage": "1Gi", "cpu": "2", "memory": "2Gi"},
            id="another resource stays",
        ),
        pytest.param({}, {"limits": {"cpu": "2"}}, {"cpu": "2"}, id="limits over nothing"),
    ],
)
def test_an_override_in_either_form_wins_over_both_forms(template, overrides, limits):
    spec = merge(decoded(computeResources=template), decoded(computeResources=overrides))
    assert limits_of(spec.compute_resources) == limits


def test_requests_are_overridden_one_by_one():
    spec = merge(
        decoded(computeResources={"requests": {"cpu": "1", "memory": "1Gi"}}),
        decoded(computeResources={"requests": {"cpu": "500m"}}),
    )
    assert spec.compute_resources.requests == {"cpu": "500m", "memory": "1Gi"}


def test_what_the_current_sdk_sends_is_honoured():
    overrides = {
        "computeResources": {
            "limits": {"cpu": "2000m", "memory": "2Gi"},
            "requests": {"cpu": "100m", "memory": "1Gi"},
        },
        "container": {"versionTag": "v9"},
        "runtimeEnvironment": {"deadlineSeconds": 99, "maximumRetries": 3},
        "workgroupRef": {
            "group": "science.sneaksanddata.com/v1",
            "kind": "NexusAlgorithmWorkgroup",
            "name": "wg2",
        },
    }
    applied = merged(template_spec(), overrides)
    assert applied == template_spec() | overrides | {
        "container": template_spec()["container"] | {"versionTag": "v9"}
    }


def test_merging_changes_neither_side():
    template, overrides = decoded(computeResources=LIMITS), decoded(computeResources={"limits": {"cpu": "9"}})
    merge(template, overrides)
    assert template == decoded(computeResources=LIMITS)
    assert overrides == decoded(computeResources={"limits": {"cpu": "9"}})
