from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.domain.events import Parent, RunRequested, event_id
from nexus.domain.job import Materializer, is_ours
from nexus.domain.observed import JobView
from nexus.domain.quantity import parse_quantity
from nexus.domain.run import begin
from nexus.domain.template import WorkgroupSpec
from tests.support.factories import CLUSTER, REQUEST_ID, after, algorithm, run_requested
from tests.unit.golden_files import full_spec

URL = "https://nexus.example.com/data/v1/payloads/x?chk=a%3D&sig=b"
GROUP = "science.sneaksanddata.com"
PARENT = Parent(request_id="019b7c9e-6c2e-7000-8000-00000000000f", algorithm_name="parent-algorithm")
MATERIALIZER = Materializer(installation="nexus", version="0.1.0-1", ttl_after_finished=timedelta(days=7))


def job(request: RunRequested | None = None, *, parent_uid: str = "", **members) -> dict:
    request = request or run_requested(spec=algorithm(**members))
    return MATERIALIZER.job(request, URL, parent_uid)


def pod(**members) -> dict:
    return job(**members)["spec"]["template"]["spec"]


def container(**members) -> dict:
    return pod(**members)["containers"][0]


def test_the_job_of_a_template_with_every_field():
    placement = WorkgroupSpec(
        cluster="eu",
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}},
    )
    request = run_requested(spec=full_spec(), placement=placement, cluster="eu", parent=PARENT)
    labels = {
        f"{GROUP}/algorithm-template-name": "hello-world",
        f"{GROUP}/nexus-version": "0.1.0-1",
        f"{GROUP}/nexus-component": "algorithm-run",
    }
    annotations = {
        "example.com/team": "routing",
        f"{GROUP}/nexus-installation": "nexus",
        f"{GROUP}/nexus-request-id": REQUEST_ID,
        f"{GROUP}/nexus-request-digest": event_id(request),
    }
    assert job(request, parent_uid="parent-uid") == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": REQUEST_ID,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": PARENT.request_id, "uid": "parent-uid"}
            ],
        },
        "spec": {
            "backoffLimit": 3,
            "activeDeadlineSeconds": 3600,
            "ttlSecondsAfterFinished": 604800,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42, 43]}},
                    {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [75]}},
                ]
            },
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": "runner",
                    "affinity": placement.affinity,
                    "tolerations": placement.tolerations,
                    "containers": [
                        {
                            "name": REQUEST_ID,
                            "image": "registry.example.com/algorithms/hello:v1",
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["python", "main.py"],
                            "args": [f"--sas-uri={URL}", f"--request-id={REQUEST_ID}"],
                            "env": [
                                {"name": "MODE", "value": "fast"},
                                {"name": "NEXUS__ALGORITHM_NAME", "value": "hello-world"},
                                {"name": "NEXUS__SHARD_NAME", "value": "eu"},
                                {"name": "NEXUS__PARENT_REQUEST_ID", "value": PARENT.request_id},
                                {"name": "NEXUS__PARENT_ALGORITHM_NAME", "value": "parent-algorithm"},
                            ],
                            "envFrom": [{"secretRef": {"name": "credentials"}}],
                            "resources": {
                                "limits": {"cpu": "2000m", "memory": "4Gi", "nvidia.com/gpu": "1"},
                                "requests": {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "1"},
                            },
                            "volumeMounts": [
                                {"name": "dsdsocket", "mountPath": "/var/run/datadog"},
                                {"name": "settings", "mountPath": "/etc/settings"},
                                {"name": "keys", "mountPath": "/etc/keys", "readOnly": True},
                                {"name": "scratch", "mountPath": "/scratch"},
                            ],
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                        }
                    ],
                    "volumes": [
                        {"name": "dsdsocket", "hostPath": {"path": "/var/run/datadog/"}},
                        {"name": "settings", "configMap": {"name": "settings"}},
                        {"name": "keys", "secret": {"secretName": "keys"}},
                        {"name": "scratch", "emptyDir": {}},
                    ],
                },
            },
        },
    }


def test_the_least_template_leaves_the_defaults_to_the_api_server():
    made = job(args=None)
    assert made["spec"].keys() == {"ttlSecondsAfterFinished", "podFailurePolicy", "template"}
    assert made["spec"]["template"]["spec"].keys() == {"restartPolicy", "containers"}
    assert made["spec"]["template"]["spec"]["containers"][0].keys() == {
        "name",
        "image",
        "imagePullPolicy",
        "command",
        "env",
        "terminationMessagePolicy",
    }
    assert made["metadata"]["ownerReferences"] == []


def test_zero_retries_are_said():
    assert job(runtimeEnvironment={"maximumRetries": 0})["spec"]["backoffLimit"] == 0


def test_a_job_is_the_same_each_time_and_encodes_to_json():
    """A create that is tried again must say the same."""
    request = run_requested(spec=full_spec())
    assert msgspec.json.encode(job(request)) == msgspec.json.encode(job(request))


def test_the_row_makes_the_same_job_as_the_request():
    request = run_requested(spec=full_spec())
    assert job(begin(request).request) == job(request)


# --- command, arguments, environment


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("python main.py", ["python", "main.py"]),
        ("run", ["run"]),
        (" python  main.py ", ["python", "main.py"]),
    ],
)
def test_the_command_is_split_at_spaces(command, parts):
    assert container(command=command)["command"] == parts


@pytest.mark.parametrize(
    ("arg", "made"),
    [
        ("--sas-uri=%s", f"--sas-uri={URL}"),
        ("--sas-uri=%v", f"--sas-uri={URL}"),
        ("--request-id=%s", f"--request-id={REQUEST_ID}"),
        ("--sas-uri", "--sas-uri"),
        ("--sas-uri=%s;request-id=%s", f"--sas-uri={URL};request-id={URL}"),
        ("--request-id=100%%-%s", f"--request-id=100%-{REQUEST_ID}"),
        ("--request-id=%%s", "--request-id=%s"),
        ("--request-id=%%%s", f"--request-id=%{REQUEST_ID}"),
        ("--format=%s", "--format=%s"),
        ("--rate=100%%", "--rate=100%%"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_an_argument_that_names_its_keyword_is_a_format(arg, made):
    assert container(args=[arg])["args"] == [made]


def test_our_variables_come_last_because_the_last_one_wins():
    env = container(
        runtimeEnvironment={"environmentVariables": [{"name": "NEXUS__SHARD_NAME", "value": "fake"}]}
    )["env"]
    assert [each["name"] for each in env] == [
        "NEXUS__SHARD_NAME",
        "NEXUS__ALGORITHM_NAME",
        "NEXUS__SHARD_NAME",
    ]
    assert env[-1]["value"] == CLUSTER


def test_a_variable_from_a_secret_stays_as_it_is():
    variable = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    assert container(runtimeEnvironment={"environmentVariables": [variable]})["env"][0] == variable


# --- resources


@pytest.mark.parametrize(
    ("resources", "limits", "requests"),
    [
        pytest.param(
            {"cpuLimit": "2", "memoryLimit": "4Gi"},
            {"cpu": "2", "memory": "4Gi"},
            {"cpu": "200m", "memory": "4Gi"},
            id="pair",
        ),
        pytest.param(
            {"limits": {"cpu": "1500m", "memory": "1Gi"}},
            {"cpu": "1500m", "memory": "1Gi"},
            {"cpu": "150m", "memory": "1Gi"},
            id="limits",
        ),
        pytest.param(
            {"cpuLimit": "9", "memoryLimit": "9Gi", "limits": {"cpu": "1", "memory": "1Gi"}},
            {"cpu": "1", "memory": "1Gi"},
            {"cpu": "100m", "memory": "1Gi"},
            id="limits over the pair",
        ),
        pytest.param(
            {"cpuLimit": "2", "requests": {"cpu": "1"}}, {"cpu": "2"}, {"cpu": "1"}, id="requests as given"
        ),
        pytest.param({"requests": {"cpu": "1"}}, None, {"cpu": "1"}, id="requests alone"),
        pytest.param({"memoryLimit": "1Gi"}, {"memory": "1Gi"}, {"memory": "1Gi"}, id="memory alone"),
        pytest.param(
            {"cpuLimit": "1", "customResources": {"nvidia.com/gpu": "2"}},
            {"cpu": "1", "nvidia.com/gpu": "2"},
            {"cpu": "100m", "nvidia.com/gpu": "2"},
            id="custom resources in both",
        ),
        pytest.param(
            {"customResources": {"nvidia.com/gpu": "2"}},
            {"nvidia.com/gpu": "2"},
            {"nvidia.com/gpu": "2"},
            id="custom resources alone",
        ),
    ],
)
def test_limits_and_requests(resources, limits, requests):
    made = container(computeResources=resources)["resources"]
    assert (made.get("limits"), made.get("requests")) == (limits, requests)


@pytest.mark.parametrize(
    ("limit", "quota", "request_"),
    [
        ("1", "", "100m"),
        ("1", "0.5", "500m"),
        ("1", "1", "1000m"),
        ("1", "a tenth", "100m"),
        ("5m", "", "1m"),
        ("14m", "", "1m"),
        ("15m", "", "2m"),
        ("0.25", "0.3", "75m"),
        ("1k", "", "100000m"),
        ("2e0", "1E-1", "200m"),
        ("0.0001", "1", "1m"),
        ("1m", "", "0m"),
    ],
)
def test_the_cpu_request_is_a_rounded_share_of_the_limit(limit, quota, request_):
    resources = {"cpuLimit": limit, "defaultResourceQuota": quota}
    assert container(computeResources=resources)["resources"]["requests"]["cpu"] == request_


@given(st.integers(1, 10_000_000), st.decimals("0.001", "1", places=3))
def test_a_cpu_request_is_never_above_its_limit(milli, quota):
    resources = {"cpuLimit": f"{milli}m", "defaultResourceQuota": str(quota)}
    request = container(computeResources=resources)["resources"]["requests"]["cpu"]
    assert parse_quantity("", request) <= parse_quantity("", f"{milli}m")


# --- volumes


@pytest.mark.parametrize(
    ("kind", "name", "source"),
    [
        ("configurationFileMounts", "settings", {"configMap": {"name": "settings"}}),
        ("secretFileMounts", "settings", {"secret": {"secretName": "settings"}}),
        ("storageMounts", "settings", {"persistentVolumeClaim": {"claimName": "settings"}}),
        ("storageMounts", "emptyDir", {"emptyDir": {}}),
    ],
)
def test_a_mount_has_its_volume(kind, name, source):
    mount = {"name": "a-volume", "mountPath": "/a", "subPath": "b", "readOnly": True}
    spec = pod(runtimeEnvironment={kind: {name: mount}})
    assert spec["volumes"] == [{"name": "a-volume", **source}]
    assert spec["containers"][0]["volumeMounts"] == [mount]


@pytest.mark.parametrize("wanted", [True, False, None])
def test_the_datadog_socket_is_mounted_where_it_is_wanted(wanted):
    spec = pod(datadogIntegrationSettings={"mountDatadogSocket": wanted})
    assert ("volumes" in spec) is ("volumeMounts" in spec["containers"][0]) is bool(wanted)


def test_volumes_keep_the_order_of_the_manifest():
    mounts = {name: {"name": name, "mountPath": f"/{name}"} for name in ("z", "a", "m")}
    assert [volume["name"] for volume in pod(runtimeEnvironment={"secretFileMounts": mounts})["volumes"]] == [
        "z",
        "a",
        "m",
    ]


# --- failures


DISRUPTION = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.mark.parametrize(
    ("errors", "rules"),
    [
        (None, []),
        ({"fatalExitCodes": [], "transientExitCodes": []}, []),
        ({"fatalExitCodes": [3, 1, 3]}, [("FailJob", [1, 3])]),
        ({"transientExitCodes": [255, 2]}, [("Ignore", [2, 255])]),
        ({"transientExitCodes": [1], "fatalExitCodes": [2]}, [("FailJob", [2]), ("Ignore", [1])]),
    ],
)
def test_a_disruption_is_nobody_s_fault_and_exit_codes_follow_sorted_and_once(errors, rules):
    made = job(errorHandlingBehaviour=errors)["spec"]["podFailurePolicy"]["rules"]
    assert made == [
        DISRUPTION,
        *({"action": action, "onExitCodes": {"operator": "In", "values": codes}} for action, codes in rules),
    ]


# --- identity


def test_a_template_cannot_overwrite_our_annotations():
    request = run_requested(
        spec=algorithm(runtimeEnvironment={"annotations": {f"{GROUP}/nexus-request-id": "fake", "a": "1"}})
    )
    annotations = job(request)["metadata"]["annotations"]
    assert annotations[f"{GROUP}/nexus-request-id"] == REQUEST_ID
    assert annotations["a"] == "1"


@pytest.mark.parametrize(
    ("parent", "uid", "owned"),
    [(None, "", False), (PARENT, "", False), (None, "parent-uid", False), (PARENT, "parent-uid", True)],
)
def test_an_owner_is_the_living_job_of_the_parent(parent, uid, owned):
    owners = job(run_requested(parent=parent), parent_uid=uid)["metadata"]["ownerReferences"]
    expected = {"apiVersion": "batch/v1", "kind": "Job", "name": PARENT.request_id, "uid": "parent-uid"}
    assert owners == ([expected] if owned else [])


def seen(request: RunRequested, **metadata) -> JobView:
    """The Job of that request as the API shows it after its create."""
    made = job(request)
    return msgspec.convert(made | {"metadata": made["metadata"] | {"uid": "job-uid"} | metadata}, JobView)


def test_the_job_of_a_request_is_ours_also_by_the_row():
    request = run_requested(spec=full_spec(), parent=PARENT)
    assert is_ours(seen(request), request, "nexus")
    assert is_ours(seen(request), begin(request).request, "nexus")


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(seen(run_requested(), annotations={}), id="somebody else's"),
        pytest.param(seen(run_requested(), deletionTimestamp="2026-01-02T03:04:05Z"), id="terminating"),
        pytest.param(seen(run_requested(tag="other")), id="another request"),
        pytest.param(seen(run_requested(at=after(1))), id="the same said at another time"),
        pytest.param(seen(run_requested(REQUEST_ID[:-1] + "2")), id="another run"),
    ],
)
def test_what_only_has_the_name_is_not_ours(view):
    assert not is_ours(view, run_requested(), "nexus")


def test_another_installation_s_job_is_not_ours():
    assert not is_ours(seen(run_requested()), run_requested(), "staging")


def test_what_a_job_is_given_besides_wins_over_its_template():
    """Of two variables of one name the last one counts."""
    of_template = [{"name": "NEXUS__CLIENT__RECEIVER", "value": "http://other"}]
    request = run_requested(spec=algorithm(runtimeEnvironment={"environmentVariables": of_template}))
    given = {"NEXUS__CLIENT__RECEIVER": "http://receiver/as/x"}
    [container] = MATERIALIZER.job(request, URL, "", given)["spec"]["template"]["spec"]["containers"]
    assert {each["name"]: each["value"] for each in container["env"]}[
        "NEXUS__CLIENT__RECEIVER"
    ] == "http://receiver/as/x"
    [without] = MATERIALIZER.job(request, URL)["spec"]["template"]["spec"]["containers"]
    assert container["env"][:-1] == without["env"]
