"""What the controller decides to write, given the objects here and those in a shard."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from nexus.domain.manifest import TEMPLATE, WORKGROUP
from nexus.domain.sync.copies import (
    ADOPT,
    SHARDS,
    Apply,
    Delete,
    Sight,
    copies,
    decide,
    labels,
    orphans,
    remains,
    surplus,
)
from nexus.domain.sync.guard import Guard
from nexus.domain.sync.objects import CONFIG_MAP, FINALIZER, KINDS, MANAGER, SECRET, Key, Object, Status
from nexus.domain.sync.references import references
from nexus.domain.sync.source import Source
from nexus.domain.sync.standing import CLASH, FAILED, MISSING, REMOVED, UNREACHABLE, Standing, standing
from nexus.domain.sync.status import initial, is_done_with, notices, status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OURS = labels("nexus")


def thing(name: str, body: Mapping[str, Any] | None = None, **metadata: Any) -> Object:
    plain = {"metadata": {"name": name, "uid": f"uid-{name}", **metadata}, **(body or {})}
    return msgspec.convert(plain, Object)


def source(name: str, spec: object = None, **metadata: Any) -> Object:
    """As the controller has taken it on."""
    return thing(
        name, {"spec": spec or {"command": "c"}}, **{"finalizers": [FINALIZER], "generation": 1, **metadata}
    )


def naming(**members: object) -> dict[str, Any]:
    return {"command": "c", "runtimeEnvironment": members}


def secrets(*names: str, **more: object) -> dict[str, Any]:
    return naming(mappedEnvironmentVariables=[{"secretRef": {"name": name, **more}} for name in names])


class Clusters:
    """The objects here, those in one shard, and an API server that is only a dictionary."""

    def __init__(self, **objects: Object) -> None:
        self.here = Source()
        for kind in KINDS:
            self.here.replace(kind, [])
        self.there: dict[Key, Object] = {}
        self.doomed: set[Key] = set()
        self.written: list[str] = []

    @property
    def sight(self) -> Sight:
        return Sight(self.here, self.there, "eu", "nexus", self.doomed)

    def put(self, kind: str, *things: Object) -> None:
        for each in things:
            self.here.put(Key(kind, each.metadata.name), each)

    def write(self, write: Apply | Delete) -> None:
        found = self.there.pop(write.key, None)
        if isinstance(write, Delete):
            assert found
            assert write.uid == found.metadata.uid
            self.written.append(f"delete {write.key.name}")
            return
        assert (write.found is None) == (found is None)
        metadata = write.body["metadata"] | {
            "uid": found.metadata.uid if found else f"uid-{len(self.written)}"
        }
        managed = {
            "f:metadata": {"f:annotations": {f"f:{key}": {} for key in metadata.get("annotations", {})}}
        }
        metadata["managedFields"] = [{"manager": MANAGER, "operation": "Apply", "fieldsV1": managed}]
        body = {key: value for key, value in write.body.items() if key not in {"kind", "apiVersion"}}
        self.there[write.key] = msgspec.convert(body | {"metadata": metadata}, Object)
        self.written.append(f"{'change' if found else 'make'} {write.key.name}")

    def settle(self) -> list[str]:
        """Everything that is written until nothing more is to be done."""
        self.written = []
        for _ in range(100):
            keys = sorted({*self.here.objects, *self.there}, reverse=True)
            writes = [write for key in keys if (write := decide(key, self.sight))]
            if not writes:
                return self.written
            self.write(writes[0])
        raise AssertionError(self.written)

    def stands(self, name: str, kind: str = TEMPLATE, **failures: str) -> Standing | None:
        failed = {Key(TEMPLATE, name): text for name, text in failures.items()}
        return standing(Key(kind, name), self.sight, failed)


@pytest.fixture
def clusters() -> Clusters:
    return Clusters()


def test_what_a_template_names_is_found_in_every_place() -> None:
    spec = naming(
        mappedEnvironmentVariables=[
            {"secretRef": {"name": "s1"}},
            {"configMapRef": {"name": "c1", "optional": True}},
        ],
        environmentVariables=[
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k", "optional": True}}},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c1", "key": "k"}}},
            {"name": "C", "value": "v"},
        ],
        secretFileMounts={"s3": {"name": "v", "mountPath": "/s"}},
        configurationFileMounts={"c2": {"name": "w", "mountPath": "/c"}},
    )
    assert references(spec) == {
        Key(SECRET, "s1"): True,
        Key(CONFIG_MAP, "c1"): True,  # needed by one mention of two
        Key(SECRET, "s2"): False,
        Key(SECRET, "s3"): True,
        Key(CONFIG_MAP, "c2"): True,
    }


@pytest.mark.parametrize(
    "spec",
    [
        None,
        [],
        "x",
        {"runtimeEnvironment": []},
        naming(secretFileMounts=[], environmentVariables={"a": 1}),
        naming(environmentVariables=[None, {"valueFrom": {"secretKeyRef": {"name": 3}}}]),
    ],
)
def test_what_is_no_template_names_nothing(spec: object) -> None:
    assert references(spec) == {}


def test_what_is_named_comes_first_and_is_owned_by_the_copy(clusters: Clusters) -> None:
    clusters.put(TEMPLATE, source("alg", secrets("s")))
    clusters.put(SECRET, thing("s", {"type": "Opaque", "data": {"a": "YQ=="}}))
    assert clusters.settle() == ["make s", "make alg", "change s"]
    assert [owner.name for owner in clusters.there[Key(SECRET, "s")].metadata.owner_references] == ["alg"]
    assert clusters.settle() == []
    assert clusters.stands("alg") == Standing("True", "Synced", "its copy is up to date")


def test_nothing_is_copied_before_the_finalizer_is_there(clusters: Clusters) -> None:
    clusters.put(TEMPLATE, source("alg", secrets("s"), finalizers=[]))
    clusters.put(SECRET, thing("s"))
    assert clusters.settle() == []


def test_type_binary_data_annotations_and_immutability_are_kept(clusters: Clusters) -> None:
    annotations = {"team": "a", "kubectl.kubernetes.io/last-applied-configuration": "{}", ADOPT: "true"}
    clusters.put(
        TEMPLATE, source("alg", naming(secretFileMounts={"s": {}}, configurationFileMounts={"c": {}}))
    )
    clusters.put(
        SECRET,
        thing(
            "s",
            {"type": "kubernetes.io/tls", "data": {"a": "YQ=="}, "immutable": True},
            annotations=annotations,
            labels={"theirs": "1"},
        ),
    )
    clusters.put(CONFIG_MAP, thing("c", {"data": {"a": "b"}, "binaryData": {"x": "AAA="}}))
    clusters.settle()
    copy = clusters.there[Key(SECRET, "s")]
    assert (copy.type, copy.data, copy.immutable) == ("kubernetes.io/tls", {"a": "YQ=="}, True)
    assert copy.metadata.annotations == {"team": "a"}
    assert copy.metadata.labels == OURS
    assert clusters.there[Key(CONFIG_MAP, "c")].binary_data == {"x": "AAA="}


def test_an_annotation_that_is_taken_away_goes_and_those_of_others_stay(clusters: Clusters) -> None:
    clusters.put(WORKGROUP, source("wg", annotations={"a": "1"}))
    clusters.settle()
    key = Key(WORKGROUP, "wg")
    metadata = clusters.there[key].metadata
    there = msgspec.structs.replace(metadata, annotations={"a": "1", "theirs": "1"})
    clusters.there[key] = msgspec.structs.replace(clusters.there[key], metadata=there)
    assert clusters.settle() == []
    clusters.put(WORKGROUP, source("wg"))
    assert clusters.settle() == ["change wg"]


@pytest.mark.parametrize("change", [{"type": "other"}, {"data": {"a": "Yg=="}}, {"immutable": False}])
def test_what_cannot_be_changed_is_made_anew(clusters: Clusters, change: dict[str, Any]) -> None:
    first = {"type": "Opaque", "data": {"a": "YQ=="}, "immutable": True}
    clusters.put(TEMPLATE, source("alg", secrets("s")))
    clusters.put(SECRET, thing("s", first))
    clusters.settle()
    clusters.put(SECRET, thing("s", first | change))
    assert clusters.settle() == ["delete s", "make s"]


def test_drift_is_repaired(clusters: Clusters) -> None:
    clusters.put(WORKGROUP, source("wg", {"cluster": "a"}))
    clusters.settle()
    key = Key(WORKGROUP, "wg")
    clusters.there[key] = msgspec.structs.replace(clusters.there[key], spec={"cluster": "b", "more": {}})
    assert clusters.settle() == ["change wg"]
    assert clusters.there[key].spec == {"cluster": "a"}
    del clusters.there[key]
    assert clusters.settle() == ["make wg"]


def test_what_apply_leaves_there_is_removed_by_a_patch() -> None:
    body = {"spec": {"a": {"b": 1}, "c": [1]}}
    found = thing("x", {"spec": {"a": {"b": 1, "theirs": 2}, "c": [1], "more": {"d": 1}}})
    assert surplus(body, found) == {"spec": {"a": {"theirs": None}, "more": None}}
    assert surplus(body, thing("x", body)) == {}
    assert surplus({"data": {}}, thing("x", {"data": {"a": "YQ=="}})) == {"data": {"a": None}}


def test_labels_choose_shards(clusters: Clusters) -> None:
    clusters.put(TEMPLATE, source("everywhere"), source("here", labels={f"{SHARDS}eu": ""}))
    clusters.put(TEMPLATE, source("elsewhere", secrets("s"), labels={f"{SHARDS}us": "true"}))
    clusters.put(SECRET, thing("s"))
    assert clusters.settle() == ["make here", "make everywhere"]
    clusters.put(TEMPLATE, source("here", labels={f"{SHARDS}us": ""}))
    assert clusters.settle() == ["delete here"]


def test_a_secret_of_two_templates_stays_until_neither_names_it(clusters: Clusters) -> None:
    clusters.put(SECRET, thing("s"))
    clusters.put(TEMPLATE, source("a", secrets("s")), source("b", secrets("s")))
    clusters.settle()
    assert len(clusters.there[Key(SECRET, "s")].metadata.owner_references) == 2
    clusters.put(TEMPLATE, source("a"))
    assert sorted(clusters.settle()) == ["change a", "change s"]
    clusters.put(TEMPLATE, source("b"))
    assert sorted(clusters.settle()) == ["change b", "delete s"]


def test_what_was_copied_for_a_template_that_never_was_is_removed_when_it_names_it_no_more(
    clusters: Clusters,
) -> None:
    clusters.put(SECRET, thing("s"))
    clusters.put(TEMPLATE, source("a", secrets("s", "missing")))
    assert clusters.settle() == ["make s"]  # nothing owns it
    clusters.put(TEMPLATE, source("a", secrets("missing")))
    assert clusters.settle() == ["delete s"]


def test_what_one_of_two_names_no_more_is_not_given_up_with_an_empty_list(clusters: Clusters) -> None:
    clusters.put(SECRET, thing("s"))
    clusters.put(TEMPLATE, source("a", secrets("s")), source("b", secrets("s")))
    clusters.settle()
    clusters.put(TEMPLATE, source("a"))
    clusters.settle()
    for kind in KINDS:
        clusters.here.replace(kind, [])
    assert clusters.settle() == []


def test_a_deletion_takes_the_copies_along_and_nothing_else(clusters: Clusters) -> None:
    clusters.put(SECRET, thing("s"), thing("shared"))
    clusters.put(TEMPLATE, source("a", secrets("s", "shared")), source("b", secrets("shared")))
    clusters.put(WORKGROUP, source("wg"))
    clusters.settle()
    clusters.put(TEMPLATE, source("a", secrets("s", "shared"), deletionTimestamp="2026-01-01T00:00:00Z"))
    clusters.put(WORKGROUP, source("wg", deletionTimestamp="2026-01-01T00:00:00Z"))
    assert remains(Key(TEMPLATE, "a"), clusters.sight) == {Key(TEMPLATE, "a"), Key(SECRET, "s")}
    assert sorted(clusters.settle()) == ["change shared", "delete a", "delete s", "delete wg"]
    assert remains(Key(TEMPLATE, "a"), clusters.sight) == set()
    assert clusters.stands("a") == Standing("True", REMOVED, "it has no copy there")


def test_what_others_made_is_never_touched(clusters: Clusters) -> None:
    theirs = {Key(kind, "x"): thing("x", {"data": {"a": "YQ=="}}) for kind in KINDS}
    other = thing("other", labels=labels("another installation"))
    clusters.there |= theirs | {Key(SECRET, "other"): other}
    clusters.put(TEMPLATE, source("x"), source("alg", secrets("x")))
    clusters.put(WORKGROUP, source("x"))
    clusters.put(SECRET, thing("x"))
    clusters.doomed = set(clusters.there)
    assert clusters.settle() == []
    assert clusters.stands("alg") == clusters.stands("x")
    assert clusters.stands("x") == Standing(
        "False", CLASH, 'Resource "x" already exists and is not managed by any Machine Learning Algorithm'
    )
    clusters.put(TEMPLATE, source("x", deletionTimestamp="2026-01-01T00:00:00Z"))
    assert clusters.settle() == []
    assert remains(Key(TEMPLATE, "x"), clusters.sight) == set()


def test_an_annotation_lets_what_others_made_be_adopted(clusters: Clusters) -> None:
    clusters.there[Key(SECRET, "s")] = thing("s", {"type": "Opaque"})
    clusters.put(TEMPLATE, source("alg", secrets("s")))
    clusters.put(SECRET, thing("s", {"type": "Opaque", "data": {"a": "YQ=="}}, annotations={ADOPT: "true"}))
    assert clusters.settle() == ["change s", "make alg", "change s"]


def test_a_secret_that_is_missing_holds_the_template_and_keeps_the_copy(clusters: Clusters) -> None:
    clusters.put(TEMPLATE, source("alg", secrets("s")))
    assert clusters.settle() == []
    assert clusters.stands("alg") == Standing(
        "False",
        MISSING,
        f'Resource "s" referenced by {TEMPLATE} "alg" is missing in the controller cluster',
    )
    clusters.put(SECRET, thing("s"))
    assert clusters.settle() == ["make s", "make alg", "change s"]
    clusters.here.remove(Key(SECRET, "s"))
    assert clusters.settle() == []  # runs there need it


def test_what_is_optional_may_be_missing_and_then_goes_there_too(clusters: Clusters) -> None:
    clusters.put(TEMPLATE, source("alg", secrets("s", optional=True)))
    assert clusters.settle() == ["make alg"]
    assert clusters.stands("alg") == Standing("True", "Synced", "its copy is up to date")
    clusters.put(SECRET, thing("s"))
    assert clusters.settle() == ["make s"]
    clusters.here.remove(Key(SECRET, "s"))
    assert clusters.settle() == ["delete s"]


def test_an_absence_deletes_nothing_by_itself(clusters: Clusters) -> None:
    clusters.put(SECRET, thing("s"))
    clusters.put(TEMPLATE, source("a", secrets("s")), source("b"))
    clusters.settle()
    for kind in KINDS:
        clusters.here.replace(kind, [])
    assert clusters.settle() == []
    assert orphans(clusters.sight) == copies(clusters.sight) == set(clusters.there)
    clusters.doomed = orphans(clusters.sight)
    assert sorted(clusters.settle()) == ["delete a", "delete b", "delete s"]


def test_more_than_half_of_the_copies_need_a_second_list() -> None:
    keys = [Key(TEMPLATE, str(number)) for number in range(10)]
    guard = Guard()
    assert guard.look(set(keys[:5]), 10, 1) == 0
    assert guard.doomed == set(keys[:5])
    guard = Guard()
    assert guard.look(set(keys[:6]), 10, 1) == 6
    assert guard.look(set(keys[:6]), 10, 1) == 6  # the shard was listed again, and not what is here
    assert guard.doomed == set()
    assert guard.look(set(keys[1:7]), 10, 2) == 1
    assert guard.doomed == set(keys[1:6])


def test_a_source_that_nobody_can_copy_is_said_so(clusters: Clusters) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"a": deep}
    clusters.put(WORKGROUP, source("wg", deep))
    assert clusters.settle() == []
    found = clusters.stands("wg", WORKGROUP)
    assert found
    assert (found.status, found.reason) == ("False", FAILED)
    assert "nested more than 64 levels deep" in found.message


def test_the_last_words_of_a_shard_are_told(clusters: Clusters) -> None:
    clusters.put(TEMPLATE, source("alg"))
    assert clusters.stands("alg") is None
    assert clusters.stands("alg", alg="no") == Standing(
        "False",
        FAILED,
        f'Synchronization/update of a resource "alg" referenced by {TEMPLATE} "alg" failed with a fatal error no',
    )


def test_a_deletion_that_waits_says_for_what(clusters: Clusters) -> None:
    clusters.put(WORKGROUP, source("wg"))
    clusters.settle()
    going = source("wg", deletionTimestamp="2026-01-01T00:00:00Z")
    clusters.put(WORKGROUP, going)
    key = Key(WORKGROUP, "wg")
    copy = thing("wg", labels=OURS, finalizers=["a/b"], deletionTimestamp="2026-01-01T00:00:00Z")
    clusters.there[key] = copy
    found = clusters.stands("wg", WORKGROUP)
    assert found
    assert found.message == f"the deletion of the {WORKGROUP} wg there waits for a/b"


# Its status

SYNCED = Standing("True", "Synced", "its copy is up to date")
AWAY = Standing("Unknown", UNREACHABLE, "away")


class Told:
    """A template, and what its shards tell of it."""

    def __init__(self, **metadata: Any) -> None:
        self.here = Source()
        self.key = Key(TEMPLATE, "alg")
        self.metadata = metadata
        self.status = Status()
        self.put()

    def put(self, **metadata: Any) -> None:
        self.metadata |= metadata
        found = source("alg", secrets("s", "t"), **self.metadata)
        self.here.put(self.key, msgspec.structs.replace(found, status=self.status))
        self.here.put(Key(SECRET, "s"), thing("s"))

    @property
    def source(self) -> Object:
        return self.here.objects[self.key]

    def tell(
        self, now: datetime = NOW, removed: tuple[str, ...] = (), **shards: Standing | None
    ) -> list[Any]:
        """What is said as Events; the status is kept."""
        after = status(self.key, self.here, shards, removed, now)
        if after is None:
            return []
        said = [(each.type, each.reason, each.message) for each in notices(self.key, self.status, after)]
        self.status = after
        self.put()
        return said

    def condition(self, kind: str) -> tuple[str, str, str]:
        found = {each.type: each for each in self.status.conditions or ()}[kind]
        return found.status, found.reason, found.message


def test_the_first_word_is_that_it_begins() -> None:
    told = Told()
    first = initial(told.key, told.source, NOW)
    assert first
    told.status = first
    told.put()
    assert told.condition("Ready") == ("False", "AlgorithmReady", 'Algorithm "alg" initializing')
    assert initial(told.key, told.source, NOW) is None
    assert told.tell(eu=None, us=SYNCED) == []


def test_ready_when_all_shards_are() -> None:
    told = Told()
    said = told.tell(eu=SYNCED, us=SYNCED)
    assert said == [("Normal", "Synced", f"Resource of type {TEMPLATE} synced successfully")]
    assert told.condition("Ready") == ("True", "AlgorithmReady", 'Algorithm "alg" ready')
    assert told.status.synced_secrets == ("s",)
    assert told.status.synced_configurations == ()
    assert told.status.synced_to_clusters == ("eu", "us")
    assert told.tell(NOW + timedelta(hours=1), eu=SYNCED, us=SYNCED) == []
    assert {each.last_transition_time for each in told.status.conditions or ()} == {"2026-01-01T00:00:00Z"}


def test_ready_goes_false_with_the_reason_and_back() -> None:
    told = Told()
    told.tell(eu=SYNCED, us=SYNCED)
    bad = Standing("False", FAILED, "no")
    later = NOW + timedelta(minutes=1)
    assert told.tell(later, eu=bad, us=SYNCED) == [("Warning", FAILED, "no")]
    assert told.condition("Ready") == ("False", FAILED, "eu: no")
    assert told.condition("SyncedTo-us")[0] == "True"
    assert told.status.synced_to_clusters == ("us",)
    assert told.tell(later, eu=bad, us=SYNCED) == []
    assert [each[0] for each in told.tell(later, eu=SYNCED, us=SYNCED)] == ["Normal"]
    assert told.condition("Ready")[0] == "True"
    assert told.tell(later, eu=bad, us=bad) == [("Warning", FAILED, "no")]
    assert told.condition("Ready") == ("False", FAILED, "no")


def test_a_new_generation_is_told_of_when_it_is_everywhere() -> None:
    told = Told()
    told.tell(eu=SYNCED)
    told.put(generation=2)
    assert told.tell(eu=None) == []
    assert told.tell(eu=SYNCED)
    assert {each.observed_generation for each in told.status.conditions or ()} == {2}


def test_a_shard_whose_kubeconfig_disappears_is_unknown_until_it_is_removed() -> None:
    told = Told()
    told.tell(eu=SYNCED, us=SYNCED)
    text = 'no cluster "us" is configured: give its kubeconfig, or name it in kubernetes.removed'
    assert told.tell(eu=SYNCED) == [("Warning", "ClusterUnknown", text)]
    assert told.condition("SyncedTo-us") == ("Unknown", "ClusterUnknown", text)
    assert told.tell(removed=("us",), eu=SYNCED)
    assert [each.type for each in told.status.conditions or ()] == ["Ready", "SyncedTo-eu"]


def test_a_label_that_names_no_shard_is_said_so() -> None:
    told = Told(labels={f"{SHARDS}moon": ""})
    told.tell(eu=SYNCED)
    assert [each.type for each in told.status.conditions or ()] == ["Ready", "SyncedTo-moon"]
    assert told.condition("Ready")[:2] == ("False", "ClusterUnknown")


def test_a_deletion_waits_for_the_shards_that_are_heard_and_an_hour_for_those_that_are_not() -> None:
    told = Told()
    told.tell(eu=SYNCED, us=SYNCED)
    told.put(deletionTimestamp="2026-01-01T00:00:00Z")
    gone = Standing("True", REMOVED, "")
    assert is_done_with(told.source, {"eu": gone, "us": None}, (), NOW) is None
    assert is_done_with(told.source, {"eu": gone, "us": gone}, (), NOW) == []
    assert is_done_with(told.source, {"eu": gone, "us": AWAY}, (), NOW) is None
    told.tell(eu=gone, us=AWAY)
    assert told.condition("Ready") == ("False", UNREACHABLE, "away")
    soon, later = NOW + timedelta(minutes=59), NOW + timedelta(minutes=60)
    assert is_done_with(told.source, {"eu": gone, "us": AWAY}, (), soon) is None
    assert is_done_with(told.source, {"eu": gone, "us": AWAY}, (), later) == ["us"]
    assert is_done_with(told.source, {"eu": None, "us": AWAY}, (), later) is None
    assert is_done_with(told.source, {"eu": gone}, ("us",), NOW) == []
