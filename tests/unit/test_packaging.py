"""What is shipped says what it needs, what it is, and may do with the libraries what it does."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.cluster import ClusterMetadata
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.sender import Sender
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record import MemoryRecords
from aiokafka.structs import PartitionMetadata
from cassandra.cluster import ResponseFuture
from faust.transport.consumer import ThreadDelegateConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import nexus

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED = ("nexus", "streams", "api", "infra")
DECLARED = {
    canonicalize_name(each.name): each for each in map(Requirement, PROJECT["project"]["dependencies"])
}


def imported(file: Path) -> set[str]:
    """The top-level names of what a module imports, wherever in it."""
    names = set[str]()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", SHIPPED)
def test_whatever_is_imported_is_declared(package):
    files = [
        file
        for file in (ROOT / package).rglob("*.py")
        if not {"image", "services"} & {*file.relative_to(ROOT).parts[:2]}
    ]
    names = set[str]().union(*map(imported, files)) - set(sys.stdlib_module_names) - {*SHIPPED}
    distributions = packages_distributions()
    undeclared = {
        name
        for name in names
        if not {canonicalize_name(each) for each in distributions.get(name, [name])} & DECLARED.keys()
    }
    assert undeclared == set()


@pytest.mark.parametrize("name", ["aiokafka", "faust-streaming", "mode-streaming", "cassandra-driver"])
def test_whose_internals_are_used_is_held_below_its_next_minor_release(name):
    assert re.search(r"<\d+\.\d+", str(DECLARED[name].specifier)), f"{name} needs an upper bound"


@pytest.mark.parametrize("package", SHIPPED)
def test_types_are_shipped(package):
    assert (ROOT / package / "py.typed").exists()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"][package]


def test_the_version_has_one_place():
    assert nexus.__version__ == PROJECT["project"]["version"]
    with pytest.raises(AttributeError):
        nexus.nothing  # noqa: B018
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert changelog.index("## Unreleased") < changelog.index(f"## {nexus.__version__} - ")


def test_the_image_is_built_from_all_that_the_package_is_made_of():
    copied = set(
        re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "infra" / "Dockerfile").read_text(), re.MULTILINE)
    )
    names = {name for line in copied for name in line.split()}
    assert {
        "pyproject.toml",
        PROJECT["project"]["readme"],
        *PROJECT["project"]["license-files"],
        *SHIPPED,
    } <= names


# Canaries: where one of these fails after an upgrade, what uses it has to be read again before the bound is raised.


def test_the_producer_of_aiokafka_can_be_abandoned():
    """nexus/kafka/library.py closes the sender and fails what the accumulator holds."""
    source = inspect.getsource(AIOKafkaProducer.__init__)
    assert "self._sender = Sender(" in source
    assert "self._message_accumulator = MessageAccumulator(" in source
    assert inspect.iscoroutinefunction(Sender.close)
    assert [*inspect.signature(MessageAccumulator.fail_all).parameters] == ["self", "exception"]


def test_aiokafka_tells_which_replicas_are_in_sync():
    assert ClusterMetadata()._partitions == {}
    assert {"partition", "leader", "replicas", "isr"} <= {*PartitionMetadata._fields}


def test_aiokafka_asks_brokers_as_the_log_does():
    assert [*inspect.signature(FetchRequest.__init__).parameters][1:] == [
        "max_wait_time",
        "min_bytes",
        "max_bytes",
        "isolation_level",
        "topics",
        "rack_id",
    ]
    assert [*inspect.signature(OffsetRequest.__init__).parameters][1:] == [
        "replica_id",
        "isolation_level",
        "topics",
    ]
    assert {"has_next", "next_batch"} <= {*dir(MemoryRecords(b""))}


def test_faust_has_a_thread_in_which_its_consumer_is_asked():
    """streams/drivers/inbox.py commits through it."""
    assert "_thread" in inspect.getsource(ThreadDelegateConsumer)
    assert callable(AIOKafkaConsumerThread._ensure_consumer)
    assert inspect.iscoroutinefunction(AIOKafkaConsumerThread.call_thread)


def test_the_cassandra_driver_tells_where_the_next_page_begins():
    assert ResponseFuture._paging_state is None
