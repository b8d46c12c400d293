from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import yaml

from nexus.composition.engines import Engines
from nexus.config import NEVER, Config, load, shown
from nexus.domain.errors import ConfigError


@pytest.fixture
def file(tmp_path):
    """Writes the configuration file and answers its path."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "nexus.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_without_any_source_the_defaults_apply():
    assert load(None, {}) == Config()


def test_an_empty_file_changes_nothing(file):
    assert load(file(""), {}) == load(file("# only a comment\n"), {}) == Config()


def test_the_later_source_wins(file):
    path = file("http: {port: 1, host: file}")
    environment = {"NEXUS__HTTP__PORT": "2"}
    assert load(path, {}).http.port == 1
    assert load(path, environment).http.port == 2
    assert load(path, environment, {"http.port": 3}).http.port == 3
    assert load(path, environment, {"http.port": 3}).http.host == "file"


def test_a_flag_that_is_not_given_overrides_nothing():
    assert load(None, {"NEXUS__HTTP__PORT": "2"}, {"http.port": None}).http.port == 2


@pytest.mark.parametrize(
    ("content", "section", "key", "value"),
    [
        ("http: {read_wait: 1m30s}", "http", "read_wait", timedelta(seconds=90)),
        ("grace: {image_pull: 5m}", "grace", "image_pull", timedelta(minutes=5)),
        ("grace: {image_pull: never}", "grace", "image_pull", NEVER),
        ("http: {max_body: 64Ki}", "http", "max_body", 65536),
        ("http: {max_body: 1024}", "http", "max_body", 1024),
        ("http: {max-body: 1Mi}", "http", "max_body", 1024**2),
        ("templates: {folder: /etc/nexus}", "templates", "folder", Path("/etc/nexus")),
        ("throttle: {rate: 0.5}", "throttle", "rate", 0.5),
        ("throttle: {rate: 5}", "throttle", "rate", 5.0),
        ("logging: {level: debug, format: console}", "logging", "format", "console"),
        (
            "payload: {sign_secret: hush-hush-hush-hush-hush-hush-hush}",
            "payload",
            "sign_secret",
            "hush-hush-hush-hush-hush-hush-hush",
        ),
    ],
)
def test_values_are_read_in_their_units(file, content, section, key, value):
    assert getattr(getattr(load(file(content), {}), section), key) == value


@pytest.mark.parametrize(
    ("variable", "value", "section", "key", "read"),
    [
        ("NEXUS__HTTP__PORT", "9000", "http", "port", 9000),
        ("NEXUS__HTTP__READ_WAIT", "500ms", "http", "read_wait", timedelta(milliseconds=500)),
        ("NEXUS__HTTP__MAX_BODY", "1Gi", "http", "max_body", 1024**3),
        ("NEXUS__HTTP__EXTERNAL_URL", "", "http", "external_url", ""),
        ("NEXUS__THROTTLE__RATE", "2.5", "throttle", "rate", 2.5),
        ("NEXUS__LOG__RUN_PARTITIONS", "32", "log", "run_partitions", 32),
        ("NEXUS__TEMPLATES__FOLDER", "/etc/nexus", "templates", "folder", Path("/etc/nexus")),
    ],
)
def test_the_environment_is_read_in_the_same_units(variable, value, section, key, read):
    assert getattr(getattr(load(None, {variable: value}), section), key) == read


def test_what_belongs_to_others_is_ignored(file):
    environment = {
        "NEXUS__CLIENT__RECEIVER": "http://localhost",
        "NEXUS__RUNTIME__PAYLOAD__TYPE_NAME": "x",
        "NEXUS__ALGORITHM_NAME": "hello-world",
        "NEXUS__HTTP": "1",
        "HTTP__PORT": "1",
        "nexus__http__port": "1",
        "PATH": "/bin",
    }
    assert load(file("client: {receiver: x}\ns3-buffer: 1\n5: {a: 1}\n"), environment) == Config()


# --- errors name the key and its source


@pytest.mark.parametrize(
    ("content", "key", "problem"),
    [
        ("http: {port: abc}", "http.port = 'abc'", "Expected `int`"),
        ("http: {port: 65536}", "http.port = 65536", "65535"),
        ("http: {port: null}", "http.port", "`null`"),
        ("http: {prot: 80}", "http.prot = 80", "there is no such key"),
        ("http: {host: 5}", "http.host = 5", "Expected `str`"),
        ("http: {read_wait: soon}", "http.read_wait = 'soon'", "is not a duration"),
        ("http: {read_wait: 5}", "http.read_wait = 5", "is not a duration"),
        ("http: {max_body: -1}", "http.max_body = -1", "is negative"),
        ("http: {max_body: big}", "http.max_body = 'big'", "is not a Kubernetes quantity"),
        ("log: {run_partitions: 0}", "log.run_partitions = 0", ">= 1"),
        ("throttle: {rate: 0}", "throttle.rate = 0", "> 0"),
        ("throttle: {in_flight: 0}", "throttle.in_flight = 0", ">= 1"),
        ("logging: {level: loud}", "logging.level = 'loud'", "loud"),
    ],
)
def test_a_wrong_value_in_the_file_is_named(file, content, key, problem):
    path = file(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert str(caught.value).startswith(f"{key}: ")
    assert problem in str(caught.value)
    assert f"(from {path})" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("NEXUS__HTTP__PORT", "99999", "http.port = '99999'"),
        ("NEXUS__HTTP__PORT", "", "http.port = ''"),
        ("NEXUS__HTTP__NOPE", "1", "http.nope = '1'"),
        ("NEXUS__HTTP__PORT__EXTRA", "1", "http.port__extra = '1'"),
        ("NEXUS__LOG__RUN_PARTITIONS", "1.5", "log.run_partitions = '1.5'"),
        ("NEXUS__THROTTLE__RATE", "nan", "throttle.rate = 'nan'"),
        ("NEXUS__HTTP__READ_WAIT", "0s", "http.read_wait = '0s'"),
    ],
)
def test_a_wrong_variable_is_named(variable, value, key):
    with pytest.raises(ConfigError) as caught:
        load(None, {variable: value})
    assert str(caught.value).startswith(f"{key}: ")
    assert f"(from the environment variable {variable})" in str(caught.value)


def test_a_wrong_flag_is_named():
    with pytest.raises(ConfigError, match=r"http.port = 'x': .*\(from the flag for http.port\)"):
        load(None, {"NEXUS__HTTP__PORT": "1"}, {"http.port": "x"})


def test_the_source_that_is_named_is_the_one_that_won(file):
    with pytest.raises(ConfigError, match="from the environment variable NEXUS__HTTP__PORT"):
        load(file("http: {port: 1}"), {"NEXUS__HTTP__PORT": "x"})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "cannot be read"),
        ("http: {host: 2024-13-01}", "cannot be read"),
        pytest.param("[" * 3000, "cannot be read", id="deep"),
        (b"\xff\xfe\xff", "cannot be read"),
        ("!!python/object/apply:os.getcwd []", "cannot be read"),
        ("- http", "holds no sections"),
        ("just text", "holds no sections"),
        ("http:", "http in .* holds no keys"),
        ("http: 8080", "http in .* holds no keys"),
        ("http: [port]", "http in .* holds no keys"),
    ],
)
def test_a_broken_file_is_named(file, content, problem):
    path = file(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        load(path, {})
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read"):
        load(tmp_path / "absent.yaml", {})


# --- former names of keys


def test_a_former_name_sets_the_present_key(file):
    minute = timedelta(minutes=1)
    assert load(file("supervision: {sweep_interval: 1m}"), {}).supervision.collect_interval == minute
    assert load(None, {"NEXUS__PLACEMENT__PARK_AFTER": "1m"}).placement.defer_after == minute
    assert load(None, {}, {"supervision.unheard_after": "1m"}).supervision.unreachable_after == minute
    assert load(file("supervision: {max-blind: 1m}"), {}).supervision.max_unreachable == minute


def test_a_former_name_may_set_two_keys(file):
    supervision = load(file("supervision: {vanished_grace: 1m}"), {}).supervision
    assert supervision.check_after == supervision.missed_after == timedelta(minutes=1)


def test_the_present_name_wins_over_the_former_within_a_source(file):
    path = file("supervision: {missed_after: 2m, vanished_grace: 1m}")
    supervision = load(path, {}).supervision
    assert (supervision.check_after, supervision.missed_after) == (timedelta(minutes=1), timedelta(minutes=2))


def test_a_later_source_wins_also_by_a_former_name(file):
    path = file("placement: {defer_after: 1m}")
    config = load(path, {"NEXUS__PLACEMENT__PARK_AFTER": "2m"})
    assert config.placement.defer_after == timedelta(minutes=2)


def test_what_is_shown_has_the_present_names(file):
    tree = shown(load(file("placement: {park_after: 1m}"), {}))
    assert tree["placement"]["defer_after"] == "1m0s"
    assert "park_after" not in tree["placement"]


def test_a_wrong_value_of_a_former_name_is_named_with_both():
    variable = "NEXUS__PLACEMENT__PARK_AFTER"
    with pytest.raises(ConfigError) as caught:
        load(None, {variable: "soon"})
    assert str(caught.value).startswith("placement.defer_after = 'soon': ")
    assert f"(from the environment variable {variable}, as placement.park_after)" in str(caught.value)


# --- secrets


@pytest.mark.parametrize(
    "secret", ["hush", 31 * "x", "hush" + 61 * "x", 33 * "\N{LATIN SMALL LETTER E WITH ACUTE}"]
)
def test_a_secret_of_the_wrong_length_is_refused_and_never_part_of_the_error(file, secret):
    path = file(f"payload: {{sign_secret: {secret}}}")
    with pytest.raises(ConfigError, match=r"^payload\.sign_secret: needs 32 to 64 bytes") as caught:
        load(path, {})
    assert secret not in str(caught.value).replace(str(path), "")


def test_secrets_are_hidden_where_the_configuration_is_shown():
    tree = shown(load(None, {"NEXUS__PAYLOAD__SIGN_SECRET": "hush-hush-hush-hush-hush-hush-hush"}))
    assert tree["payload"]["sign_secret"] == "***"
    assert "hush" not in str(tree)
    assert shown(Config())["payload"]["sign_secret"] == ""


def test_what_is_shown_is_plain_and_can_be_loaded_again(file):
    config = load(None, {"NEXUS__HTTP__READ_WAIT": "90s", "NEXUS__HTTP__MAX_BODY": "1Gi"})
    tree = shown(config)
    assert tree["http"]["read_wait"] == "1m30s"
    assert tree["http"]["max_body"] == 1024**3
    assert msgspec.json.encode(tree)
    assert load(file(yaml.safe_dump(tree)), {}) == config


def test_a_grace_that_has_no_end_is_shown_as_it_is_written():
    assert shown(Config())["grace"]["unschedulable"] == "never"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("grace: {image_pull: soon}", ["grace.image_pull", "'soon'"]),
        ("grace: {image_pull: 0s}", ["grace.image_pull", "between zero"]),
        ("grace: {image_pul: 5m}", ["grace.image_pul", "there is no such key"]),
        ("http: {read_wait: never}", ["http.read_wait", "'never'"]),
    ],
)
def test_a_grace_is_checked_before_anything_starts(file, content, words):
    with pytest.raises(ConfigError) as error:
        load(file(content), {})
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"SUPERVISION__UNREACHABLE_AFTER": "5s"},
            r"supervision\.unreachable_after \(5s\).*supervision\.reconcile_interval",
        ),
        ({"PLACEMENT__DEADLINE": "48h"}, r"garbage\.payload_grace \(48h0m0s\).*placement\.deadline"),
        (
            {"CASSANDRA__HOSTS": "db", "CASSANDRA__ROW_LIFETIME": "100h"},
            r"garbage\.payload_retention \(168h0m0s\).*cassandra\.row_lifetime",
        ),
        ({"S3__ACCESS_KEY": "key"}, r"s3\.access_key is set without s3\.secret_key"),
        ({"S3_BUFFER__SECRET_ACCESS_KEY": "hush"}, r"s3\.secret_key is set without s3\.access_key"),
    ],
)
def test_keys_that_contradict_each_other_are_named(variables, words):
    with pytest.raises(ConfigError, match=words):
        load(None, {f"NEXUS__{name}": value for name, value in variables.items()})


def test_removed_clusters_are_names_with_commas_between():
    config = load(None, {"NEXUS__KUBERNETES__REMOVED": "eu-1, us-2,"})
    assert config.kubernetes.removed_clusters == ("eu-1", "us-2")


def test_a_cluster_is_configured_or_removed():
    config = load(None, {"NEXUS__KUBERNETES__REMOVED": "standalone"})
    with pytest.raises(ConfigError, match=r"kubernetes\.removed names standalone"):
        Engines(config, None, AsyncExitStack()).topics()
    config = load(None, {"NEXUS__KUBERNETES__REMOVED": "gone"})
    engines = Engines(config, None, AsyncExitStack())
    assert "nexus.requests.gone" in engines.topics()
    assert engines.cluster_names() == ["standalone"]


async def test_a_process_serves_all_clusters_or_those_that_it_is_told(tmp_path):
    for name in ("eu", "us", "ap"):
        (tmp_path / f"{name}.kubeconfig").touch()
    folder = {"NEXUS__KUBERNETES__KUBECONFIG": str(tmp_path)}
    engines = Engines(load(None, folder), None, AsyncExitStack())
    assert engines.of_served("supervisor") == "supervisor"
    engines = Engines(load(None, folder | {"NEXUS__KUBERNETES__SERVE": "us, eu"}), None, AsyncExitStack())
    assert engines.of_served("supervisor") == "supervisor-eu-us"
    assert engines.cluster_names() == ["ap", "eu", "us"]
    engines = Engines(load(None, folder | {"NEXUS__KUBERNETES__SERVE": "af"}), None, AsyncExitStack())
    with pytest.raises(ConfigError, match=r"kubernetes\.serve names af, and the clusters .* are ap, eu, us"):
        await engines.clusters()
