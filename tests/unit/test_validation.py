from __future__ import annotations

import pytest

from nexus.domain.errors import InvalidInput
from nexus.domain.template import AlgorithmSpec, Workgroup, WorkgroupSpec, algorithm_spec, merge
from nexus.domain.validation import (
    check_algorithm_name,
    check_applied,
    check_overrides,
    check_tag,
    check_template,
    check_workgroup,
)
from tests.support.factories import algorithm, template_spec, workgroup
from tests.unit.golden_files import full_spec

INT32 = 2**31 - 1


def resources(**members) -> dict:
    return {"computeResources": members}


def runtime(**members) -> dict:
    return {"runtimeEnvironment": members}


def variable(**members) -> dict:
    return runtime(environmentVariables=[{"name": "FIRST", "value": "1"}, members])


def fatal(*codes: int) -> dict:
    return {"errorHandlingBehaviour": {"fatalExitCodes": list(codes)}}


def container(**members) -> dict:
    return {"container": template_spec()["container"] | members}


def test_a_template_with_every_field_is_valid():
    check_template("hello-world", full_spec())


def test_the_least_template_is_valid():
    check_template("hello-world", algorithm())


WRONG_VALUES = [
    (container(registry="registry example"), "container.registry", "an image registry"),
    (container(registry="-registry"), "container.registry", "an image registry"),
    (container(image="Upper/Case"), "container.image", "an image name"),
    (container(image="image:tag"), "container.image", "an image name"),
    (container(image="../escape"), "container.image", "an image name"),
    (container(versionTag="v 1"), "container.versionTag", "an image tag"),
    (container(versionTag=129 * "v"), "container.versionTag", "an image tag"),
    (container(versionTag="-v1"), "container.versionTag", "an image tag"),
    (container(serviceAccountName="Runner"), "container.serviceAccountName", "a Kubernetes name"),
    ({"workgroupRef": {"name": "no_underscore"}}, "workgroupRef.name", "a Kubernetes name"),
    (resources(cpuLimit="one"), "computeResources.cpuLimit", "'one' is not a Kubernetes quantity"),
    (resources(cpuLimit="-1"), "computeResources.cpuLimit", "negative"),
    (resources(memoryLimit="1 Gi"), "computeResources.memoryLimit", "quantity"),
    (resources(memoryLimit="1GB"), "computeResources.memoryLimit", "quantity"),
    (resources(limits={"cpu": "1,5"}), "computeResources.limits.cpu", "quantity"),
    (resources(limits={"cpu": ""}), "computeResources.limits.cpu", "quantity"),
    (resources(requests={"memory": "lots"}), "computeResources.requests.memory", "quantity"),
    (resources(limits={"a b": "1"}), "computeResources.limits", "the name of a resource"),
    (resources(customResources={"gpu/": "1"}), "computeResources.customResources", "the name of a resource"),
    (
        resources(customResources={"nvidia.com/gpu": "x"}),
        "computeResources.customResources.nvidia.com/gpu",
        "quantity",
    ),
    (resources(defaultResourceQuota="0"), "computeResources.defaultResourceQuota", "not above 0"),
    (resources(defaultResourceQuota="1.1"), "computeResources.defaultResourceQuota", "at most 1"),
    (resources(defaultResourceQuota="-0.1"), "computeResources.defaultResourceQuota", "not above 0"),
    (resources(defaultResourceQuota="NaN"), "computeResources.defaultResourceQuota", "NaN"),
    (resources(defaultResourceQuota="Infinity"), "computeResources.defaultResourceQuota", "Infinity"),
    (runtime(deadlineSeconds=0), "runtimeEnvironment.deadlineSeconds", "0 is not between 1"),
    (runtime(deadlineSeconds=-1), "runtimeEnvironment.deadlineSeconds", "-1"),
    (runtime(deadlineSeconds=INT32 + 1), "runtimeEnvironment.deadlineSeconds", str(INT32)),
    (runtime(maximumRetries=-1), "runtimeEnvironment.maximumRetries", "-1 is not between 0"),
    (runtime(maximumRetries=INT32 + 1), "runtimeEnvironment.maximumRetries", str(INT32)),
    (variable(value="x"), "runtimeEnvironment.environmentVariables[1].name", "None"),
    (variable(name=""), "runtimeEnvironment.environmentVariables[1].name", "''"),
    (variable(name="A=B"), "runtimeEnvironment.environmentVariables[1].name", "A=B"),
    (variable(name="\N{SNOWMAN}"), "runtimeEnvironment.environmentVariables[1].name", "variable"),
    (variable(name=7), "runtimeEnvironment.environmentVariables[1].name", "7"),
    (variable(name="A", value=1), "runtimeEnvironment.environmentVariables[1].value", "quotes"),
    (variable(name="A", value=True), "runtimeEnvironment.environmentVariables[1].value", "quotes"),
    (
        variable(name="A", value="x", valueFrom={"fieldRef": {}}),
        "runtimeEnvironment.environmentVariables[1]",
        "both",
    ),
    (
        runtime(mappedEnvironmentVariables=[{"prefix": "A_"}]),
        "runtimeEnvironment.mappedEnvironmentVariables[0]",
        "a configMapRef or a secretRef",
    ),
    (
        runtime(mappedEnvironmentVariables=[{"secretRef": "name"}]),
        "runtimeEnvironment.mappedEnvironmentVariables[0]",
        "a configMapRef or a secretRef",
    ),
    (runtime(annotations={"a b": "1"}), "runtimeEnvironment.annotations", "the key of an annotation"),
    (
        runtime(configurationFileMounts={"Settings": {"name": "s", "mountPath": "/s"}}),
        "runtimeEnvironment.configurationFileMounts",
        "the name of a Kubernetes object",
    ),
    (
        runtime(secretFileMounts={"keys": {"name": "under_score", "mountPath": "/s"}}),
        "runtimeEnvironment.secretFileMounts.keys.name",
        "the name of a volume",
    ),
    (
        runtime(secretFileMounts={"keys": {"mountPath": "/s"}}),
        "runtimeEnvironment.secretFileMounts.keys.name",
        "the name of a volume",
    ),
    (
        runtime(storageMounts={"data": {"name": "d"}}),
        "runtimeEnvironment.storageMounts.data.mountPath",
        "a path in the container",
    ),
    (
        runtime(storageMounts={"emptyDir": {"name": "d", "mountPath": "a:b"}}),
        "runtimeEnvironment.storageMounts.emptyDir.mountPath",
        "a path in the container",
    ),
    (fatal(0), "errorHandlingBehaviour.fatalExitCodes", "0 is not an exit code"),
    (fatal(256), "errorHandlingBehaviour.fatalExitCodes", "256"),
    (fatal(-1), "errorHandlingBehaviour.fatalExitCodes", "-1"),
    (fatal(*range(300)), "errorHandlingBehaviour.fatalExitCodes", "at most 255"),
    (
        {"errorHandlingBehaviour": {"transientExitCodes": [1, 0]}},
        "errorHandlingBehaviour.transientExitCodes",
        "0 is not an exit code",
    ),
    (
        {"payloadConfiguration": {"payloadValidFor": "1 day"}},
        "payloadConfiguration.payloadValidFor",
        "duration",
    ),
    ({"payloadConfiguration": {"payloadValidFor": "0s"}}, "payloadConfiguration.payloadValidFor", "zero"),
    (
        {"payloadConfiguration": {"payloadSerializationMode": "s4"}},
        "payloadConfiguration.payloadSerializationMode",
        "neither 's3' nor 'backend'",
    ),
]


@pytest.mark.parametrize(("members", "field", "words"), WRONG_VALUES)
def test_a_wrong_value_in_a_template_is_named(members, field, words):
    with pytest.raises(InvalidInput) as caught:
        check_template("hello-world", algorithm(**members))
    assert caught.value.field == f"spec.{field}"
    assert words in caught.value.problem


@pytest.mark.parametrize(("members", "field", "words"), WRONG_VALUES)
def test_a_wrong_value_in_overrides_is_named(members, field, words):
    with pytest.raises(InvalidInput) as caught:
        check_overrides(algorithm_spec(members, "customConfiguration"))
    assert caught.value.field == f"customConfiguration.{field}"
    assert words in caught.value.problem


@pytest.mark.parametrize(
    "members",
    [
        container(registry="localhost:5000/team", image="a/b__c.d-e", versionTag="1.0_beta-2"),
        container(registry="registry.example.com", versionTag=128 * "v"),
        resources(cpuLimit="0.5", memoryLimit="1e9"),
        resources(limits={"cpu": "2", "memory": "128974848", "ephemeral-storage": "1Ti"}),
        resources(customResources={"nvidia.com/gpu": "1", "hugepages-2Mi": "4Mi"}),
        resources(defaultResourceQuota="1"),
        resources(defaultResourceQuota="a tenth"),
        runtime(deadlineSeconds=1, maximumRetries=0),
        runtime(deadlineSeconds=INT32, maximumRetries=INT32),
        variable(name="lower.case-with.dots", value=""),
        variable(name="A", valueFrom={"secretKeyRef": {"name": "s", "key": "k"}}),
        variable(name="A", value="", valueFrom={"fieldRef": {"fieldPath": "metadata.name"}}),
        runtime(mappedEnvironmentVariables=[{"configMapRef": {"name": "c"}, "prefix": "P_"}]),
        runtime(annotations={"example.com/Team_1": "any value, of any länge"}),
        fatal(*range(1, 256)),
        fatal(5, 5, 3),
        {"payloadConfiguration": {"payloadValidFor": "168h"}},
    ],
)
def test_these_values_are_valid(members):
    check_template("hello-world", algorithm(**members))
    check_overrides(algorithm_spec(members, "customConfiguration"))


@pytest.mark.parametrize(
    ("members", "field"),
    [
        (container(image=""), "spec.container.image"),
        (container(registry=""), "spec.container.registry"),
        (container(versionTag=""), "spec.container.versionTag"),
        ({"container": None}, "spec.container.image"),
        ({"command": None}, "spec.command"),
        ({"command": "  "}, "spec.command"),
        ({"workgroupRef": None}, "spec.workgroupRef.name"),
    ],
)
def test_a_template_must_say_what_to_run_and_where(members, field):
    with pytest.raises(InvalidInput, match="is required") as caught:
        check_template("hello-world", algorithm(**members))
    assert caught.value.field == field


def test_overrides_may_leave_out_everything():
    check_overrides(AlgorithmSpec())


@pytest.mark.parametrize("name", ["a", "hello-world", "v1.hello", "0", 63 * "a"])
def test_these_algorithm_names_are_valid(name):
    check_algorithm_name(name)


@pytest.mark.parametrize(
    "name", ["", "Hello", "a_b", "-a", "a-", "a..b", "a/b", "é", 64 * "a", "a\n", "../etc/passwd"]
)
def test_a_wrong_algorithm_name_is_named(name):
    with pytest.raises(InvalidInput) as caught:
        check_algorithm_name(name)
    assert caught.value.field == "algorithm name"
    with pytest.raises(InvalidInput, match="algorithm name"):
        check_template(name, algorithm())


@pytest.mark.parametrize(
    ("members", "name"),
    [
        (resources(limits={"cpu": "1"}, requests={"cpu": "1001m"}), "cpu"),
        (resources(memoryLimit="1Gi", requests={"cpu": "9", "memory": "1025Mi"}), "memory"),
    ],
)
def test_a_request_above_its_limit_is_named(members, name):
    with pytest.raises(InvalidInput, match="is above its limit") as caught:
        check_template("hello-world", algorithm(**members))
    assert caught.value.field == f"spec.computeResources.requests.{name}"


@pytest.mark.parametrize(
    "members",
    [
        resources(limits={"cpu": "1"}, requests={"cpu": "1000m"}),
        resources(requests={"cpu": "64"}),
        resources(limits={"memory": "1Gi"}, requests={"cpu": "64"}),
    ],
)
def test_a_request_up_to_its_limit_or_without_one_is_valid(members):
    check_template("hello-world", algorithm(**members))


def test_only_the_merged_configuration_can_tell_a_request_above_its_limit():
    template = algorithm(**resources(requests={"cpu": "2"}, limits={"cpu": "4"}))
    overrides = algorithm_spec(resources(cpuLimit="1"), "customConfiguration")
    check_overrides(overrides)
    with pytest.raises(InvalidInput, match="2 is above its limit of 1") as caught:
        check_applied(merge(template, overrides), "customConfiguration")
    assert caught.value.field == "customConfiguration.computeResources.requests.cpu"


def test_a_workgroup_names_its_cluster():
    check_workgroup(workgroup())
    with pytest.raises(InvalidInput) as caught:
        check_workgroup(Workgroup("default", WorkgroupSpec(description="no cluster")))
    assert caught.value.field == "spec.cluster"


@pytest.mark.parametrize("name", ["", "Upper", "a b", 254 * "a"])
def test_a_wrong_workgroup_name_is_named(name):
    with pytest.raises(InvalidInput) as caught:
        check_workgroup(workgroup(name))
    assert caught.value.field == "metadata.name"


def test_a_tag_has_a_bounded_length():
    check_tag("tag", 1024 * "é")
    with pytest.raises(InvalidInput, match="1025 characters, at most 1024") as caught:
        check_tag("newTag", 1025 * "x")
    assert caught.value.field == "newTag"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (lambda text: algorithm(**container(image=text)), 5000 * "a-" + "!"),
        (lambda text: algorithm(**container(image=text)), 5000 * "a" + "!"),
        (lambda text: algorithm(workgroupRef={"name": text}), 5000 * "a-" + "!"),
        (lambda text: algorithm(workgroupRef={"name": text}), 100 * "a." + "!"),
        (lambda text: algorithm(**resources(limits={text: "1"})), 5000 * "a." + "!"),
        (lambda text: algorithm(**resources(cpuLimit=text)), 5000 * "1" + "!"),
        (lambda text: algorithm(payloadConfiguration={"payloadValidFor": text}), 5000 * "1h" + "!"),
    ],
    ids=["segments", "one segment", "workgroup", "labels", "limit", "cpu", "duration"],
)
def test_a_long_value_is_refused_quickly_and_shown_in_part(pattern, text):
    """Nobody may stop the API by what its patterns would have to try."""
    with pytest.raises(InvalidInput) as caught:
        check_template("hello-world", pattern(text))
    assert len(str(caught.value)) < 300
