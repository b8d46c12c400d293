"""The embedded cluster: its processes, and what it makes of crashes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from nexus.domain.observed import JobView, PodView
from nexus.embedded.cluster.job_table import Manifests
from nexus.embedded.cluster.local import LocalCluster
from nexus.embedded.cluster.policy import Verdict, delay_before, judge
from nexus.embedded.cluster.processes import signal_process
from nexus.embedded.cluster.statefile import last_line, read_state, write_state
from nexus.embedded.cluster.work_order import Order
from nexus.ports import Listed

ALGORITHM = "science.sneaksanddata.com/algorithm-template-name"
IGNORE_DISRUPTION = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}

# What happens in the process that is to be killed: Jobs are created from manifests on its standard input.
NEXUS = """
import asyncio, json, sys
from pathlib import Path
from nexus.embedded.cluster.local import LocalCluster

async def main():
    root = Path(sys.argv[1])
    cluster = LocalCluster(root, slots=1, directory_of=lambda _: root.parent, environment={}, retry_delay=0.02)
    await cluster.start()
    for manifest in json.loads(sys.stdin.readline()):
        await cluster.create(manifest)
    print("created", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def shell(script: str, name: str = "", **spec: Any) -> dict[str, Any]:
    return job(["sh", "-c", script], name, **spec)


def job(command: list[str], name: str = "", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name or str(uuid.uuid4()), "labels": {ALGORITHM: "algorithm"}},
        "spec": {
            "backoffLimit": 0,
            "template": {"spec": {"containers": [{"name": "main", "command": command}]}},
            **spec,
        },
    }


@asynccontextmanager
async def started(
    root: Path, *, slots: int = 2, directory: Path | None = None
) -> AsyncIterator[LocalCluster]:
    cluster = LocalCluster(
        root,
        slots=slots,
        directory_of=lambda _: directory or root.parent,
        environment={},
        retry_delay=0.02,
        grace=0.3,
    )
    await cluster.start()
    try:
        yield cluster
    finally:
        await cluster.stop()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cluster"


@pytest.fixture
async def cluster(root: Path) -> AsyncIterator[LocalCluster]:
    async with started(root) as cluster:
        yield cluster
        await clear(cluster)


async def clear(cluster: LocalCluster) -> None:
    watch = cluster.watch()
    listed = await anext(watch)
    await watch.aclose()
    assert isinstance(listed, Listed)
    for view in listed.jobs:
        await cluster.delete(view.metadata.name, view.metadata.uid, "Background")


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 10) -> Any:
    async with asyncio.timeout(seconds):
        while not (result := await condition()):
            await asyncio.sleep(0.01)
    return result


async def ended(cluster: LocalCluster, name: str) -> JobView:
    async def look() -> JobView | None:
        view = await cluster.get(name)
        assert view is not None
        return view if view.ended else None

    return await until(look)


async def run(cluster: LocalCluster, manifest: dict[str, Any]) -> tuple[JobView, list[PodView]]:
    name = (await cluster.create(manifest)).job.metadata.name
    view = await ended(cluster, name)
    return view, list(await cluster.pods(name))


async def lines(path: Path, count: int = 1) -> list[str]:
    """What a command wrote, once it is that much."""

    async def look() -> list[str] | None:
        written = read(path).splitlines()
        return written if len(written) >= count else None

    return await until(look)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def said_to_run(root: Path) -> None:
    """The owners wrote what they had started: a successor of one that had not begins anew."""

    async def look() -> bool:
        states = [read_state(str(folder)) for folder in (root / "jobs").iterdir()]
        return all(state and state["pods"][-1]["status"]["phase"] == "Running" for state in states)

    await until(look)


async def dead(pid: int) -> None:
    async def look() -> bool:
        return not alive(pid)

    await until(look)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def killed_nexus(root: Path, *manifests: dict[str, Any], when: Callable[[], Awaitable[Any]]) -> None:
    """Another process creates the Jobs, and is killed without warning when that has happened."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", NEXUS, str(root)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(manifests).encode() + b"\n")
    assert await process.stdout.readline() == b"created\n"
    await when()
    process.kill()
    await process.wait()


# -- one command ------------------------------------------------------------------------------------------------


async def test_runs_in_the_folder_of_its_algorithm_with_our_interpreter(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "templates" / "algorithm"
    folder.mkdir(parents=True)
    asked = []

    def directory_of(algorithm: str) -> Path:
        asked.append(algorithm)
        return folder

    cluster = LocalCluster(root, slots=1, directory_of=directory_of, environment={})
    await cluster.start()
    script = "import os, sys; print(os.getcwd()); print(sys.executable)"
    _, (pod,) = await run(cluster, job(["python", "-c", script]))
    where, interpreter = (await cluster.log_tail(pod.metadata.name, 1000)).splitlines()
    assert set(asked) == {"algorithm"}
    assert Path(where) == folder
    assert Path(interpreter).parent == Path(sys.executable).parent
    await clear(cluster)
    await cluster.stop()


async def test_without_a_folder_it_does_not_start(root: Path, tmp_path: Path) -> None:
    async with started(root, directory=tmp_path / "absent") as cluster:
        _, (pod,) = await run(cluster, shell("exit 0"))
        assert pod.terminated
        assert pod.terminated.reason == "StartError"
        assert pod.terminated.message == (
            f'chdir to cwd ("{tmp_path}/absent") failed: no such file or directory'
        )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["absent"], 'exec: "absent": executable file not found in $PATH'),
        (["./absent"], 'exec: "./absent": no such file or directory'),
        (["./plain"], 'exec: "./plain": permission denied'),
        ([], "no command specified"),
    ],
)
async def test_what_cannot_be_executed(
    cluster: LocalCluster, tmp_path: Path, command: list[str], message: str
) -> None:
    (tmp_path / "plain").write_text("text")
    _, (pod,) = await run(cluster, job(command))
    assert pod.terminated
    assert (pod.terminated.reason, pod.terminated.message) == ("StartError", message)


@pytest.mark.parametrize(
    ("script", "code", "signal"),
    [
        ("exit 143", 143, 0),
        ("exit 137", 137, 0),
        ("kill -TERM $$", 143, 15),
        ("kill -KILL $$", 137, 9),
        ("exit 3", 3, 0),
    ],
)
async def test_an_exit_code_of_its_own_is_no_signal(
    cluster: LocalCluster, script: str, code: int, signal: int
) -> None:
    _, (pod,) = await run(cluster, shell(script))
    assert pod.terminated
    assert (pod.terminated.exit_code, pod.terminated.signal) == (code, signal)


async def test_what_a_command_leaves_behind_is_killed(cluster: LocalCluster, tmp_path: Path) -> None:
    view, _ = await run(cluster, shell(f"sleep 60 & echo $! > {tmp_path}/left"))
    assert view.condition("Complete")
    await dead(int((await lines(tmp_path / "left"))[0]))


async def test_deletion_kills_at_once_what_does_not_listen(cluster: LocalCluster, tmp_path: Path) -> None:
    script = f"trap '' TERM; sleep 60 & echo $$ $! > {tmp_path}/pids; wait"
    created = await cluster.create(shell(script))
    pids = (await lines(tmp_path / "pids"))[0].split()
    assert await cluster.delete(created.job.metadata.name, created.job.metadata.uid, "Background")
    for pid in pids:
        await dead(int(pid))


async def test_the_deadline_kills_after_a_grace(cluster: LocalCluster, tmp_path: Path) -> None:
    script = f"trap 'echo asked >> {tmp_path}/said' TERM; while true; do sleep 0.05; done"
    view, (pod,) = await run(cluster, shell(script, activeDeadlineSeconds=1))
    failed = view.condition("Failed")
    assert failed
    assert failed.reason == "DeadlineExceeded"
    assert (tmp_path / "said").read_text() == "asked\n"
    assert pod.metadata.deletion_timestamp
    assert pod.terminated
    assert pod.terminated.exit_code == 137


async def test_a_deadline_counts_while_no_slot_is_free(root: Path, tmp_path: Path) -> None:
    async with started(root, slots=1) as cluster:
        await cluster.create(job(["sleep", "60"]))
        view, pods = await run(cluster, shell(f"touch {tmp_path}/ran", activeDeadlineSeconds=1))
        failed = view.condition("Failed")
        assert failed
        assert (failed.reason, view.status.failed, pods) == ("DeadlineExceeded", 1, [])
        assert not (tmp_path / "ran").exists()
        await clear(cluster)


async def test_only_as_many_run_as_there_are_slots(cluster: LocalCluster, tmp_path: Path) -> None:
    script = f"echo + >> {tmp_path}/log; sleep 0.05; echo - >> {tmp_path}/log"
    names = [(await cluster.create(shell(script))).job.metadata.name for _ in range(12)]
    for name in names:
        await ended(cluster, name)
    at_once = most = 0
    for line in (tmp_path / "log").read_text().split():
        at_once += 1 if line == "+" else -1
        most = max(most, at_once)
    assert (most, at_once) == (2, 0)


# -- crashes ------------------------------------------------------------------------------------------------


async def test_jobs_survive_the_death_of_nexus(root: Path, tmp_path: Path) -> None:
    script = f"echo started >> {tmp_path}/log; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo done"
    await killed_nexus(
        root,
        shell(script, "running"),
        shell(f"echo waited >> {tmp_path}/log", "waiting"),
        when=lambda: lines(tmp_path / "log"),
    )
    async with started(root, slots=1) as cluster:
        (before,) = await cluster.pods("running")
        (waiting,) = await cluster.pods("waiting")
        assert (before.status.phase, waiting.status.phase) == ("Running", "Pending")
        (tmp_path / "go").touch()
        assert (await ended(cluster, "running")).condition("Complete")
        assert (await ended(cluster, "waiting")).condition("Complete")
        (after,) = await cluster.pods("running")
        assert after.metadata.uid == before.metadata.uid
        assert await cluster.log_tail(after.metadata.name, 100) == "done\n"
        assert (tmp_path / "log").read_text() == "started\nwaited\n"
        await clear(cluster)


async def test_a_job_ends_without_nexus(root: Path, tmp_path: Path) -> None:
    script = f"echo started >> {tmp_path}/log; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 4"
    await killed_nexus(root, shell(script, "alone", backoffLimit=1), when=lambda: lines(tmp_path / "log"))
    (tmp_path / "go").touch()
    (folder,) = (root / "jobs").iterdir()

    async def over() -> bool:
        return b'"Failed"' in last_line(str(folder)) and b'"conditions"' in last_line(str(folder))

    await until(over)
    async with started(root) as cluster:
        view = await cluster.get("alone")
        assert view
        assert view.ended
        assert view.status.failed == 2
        await clear(cluster)


@pytest.mark.parametrize(("policy", "attempts", "counted"), [(IGNORE_DISRUPTION, 2, 0), (None, 1, 1)])
async def test_an_owner_that_is_killed(
    cluster: LocalCluster, root: Path, tmp_path: Path, policy: Any, attempts: int, counted: int
) -> None:
    script = f"echo $$ $PPID >> {tmp_path}/log; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    created = await cluster.create(shell(script, podFailurePolicy=policy))
    command, owner = (int(pid) for pid in (await lines(tmp_path / "log"))[0].split())
    await said_to_run(root)
    os.kill(owner, signal.SIGKILL)
    if attempts == 2:
        await lines(tmp_path / "log", 2)
        assert not alive(command)
        (tmp_path / "go").touch()
    view = await ended(cluster, created.job.metadata.name)
    pods = await cluster.pods(created.job.metadata.name)
    await dead(command)
    assert len(pods) == attempts
    assert view.status.failed == counted
    lost = pods[0]
    assert (lost.status.phase, lost.status.reason) == ("Failed", "NodeLost")
    assert lost.terminated is None
    assert [c.reason for c in lost.status.conditions if c.type == "DisruptionTarget"] == ["DeletionByPodGC"]


async def test_an_end_that_does_not_fit_on_the_disk_is_written_when_it_does(
    cluster: LocalCluster, root: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    made = await cluster.create(shell(f"until [ -e {go} ]; do sleep 0.01; done"))
    await said_to_run(root)
    state = read_state(str(root / "jobs" / made.job.metadata.uid))
    assert state is not None
    owner = psutil.Process(state["owner"]["pid"])
    unlimited = owner.rlimit(psutil.RLIMIT_FSIZE)
    owner.rlimit(psutil.RLIMIT_FSIZE, (1, unlimited[1]))
    go.touch()
    await dead(state["process"]["pid"])
    owner.rlimit(psutil.RLIMIT_FSIZE, unlimited)
    view = await ended(cluster, made.job.metadata.name)
    assert view.status.succeeded == 1
    assert len(await cluster.pods(made.job.metadata.name)) == 1


async def test_an_owner_that_dies_while_nexus_is_away(root: Path, tmp_path: Path) -> None:
    script = f"echo $$ $PPID >> {tmp_path}/log; [ -e {tmp_path}/go ] || sleep 60"
    manifest = shell(script, "lost", podFailurePolicy=IGNORE_DISRUPTION)
    await killed_nexus(root, manifest, when=lambda: lines(tmp_path / "log"))
    command, owner = (int(pid) for pid in (await lines(tmp_path / "log"))[0].split())
    await said_to_run(root)
    os.kill(owner, signal.SIGKILL)
    await dead(owner)
    assert alive(command)
    (tmp_path / "go").touch()
    async with started(root) as cluster:
        assert (await ended(cluster, "lost")).condition("Complete")
        assert not alive(command)
        assert [pod.status.phase for pod in await cluster.pods("lost")] == ["Failed", "Succeeded"]
        await clear(cluster)


async def test_an_owner_that_dies_before_it_said_what_it_started(root: Path, tmp_path: Path) -> None:
    async with started(root) as cluster:
        created = await cluster.create(
            shell(f"echo $$ $PPID >> {tmp_path}/log; [ -e {tmp_path}/go ] || sleep 60")
        )
        command, owner = (int(pid) for pid in (await lines(tmp_path / "log"))[0].split())
        await said_to_run(root)
    os.kill(owner, signal.SIGKILL)
    await dead(owner)
    (root / "jobs" / created.job.metadata.uid / "state").unlink()
    (tmp_path / "go").touch()
    async with started(root) as cluster:
        assert (await ended(cluster, created.job.metadata.name)).condition("Complete")
        assert not alive(command)
        await clear(cluster)


async def test_a_deletion_that_was_interrupted_is_finished(root: Path, tmp_path: Path) -> None:
    async with started(root) as cluster:
        created = await cluster.create(shell(f"echo $$ > {tmp_path}/pid; sleep 60"))
        (pid,) = await lines(tmp_path / "pid")
    manifests = Manifests(root / "manifests.db")
    await manifests.delete(created.job.metadata.uid)
    manifests.close()
    async with started(root) as cluster:
        assert await cluster.get(created.job.metadata.name) is None
        assert not alive(int(pid))
        assert names(root / "jobs") == []


async def test_deletion_after_the_owner_died(cluster: LocalCluster, root: Path, tmp_path: Path) -> None:
    created = await cluster.create(shell(f"echo $$ $PPID >> {tmp_path}/log; sleep 60"))
    command, owner = (int(pid) for pid in (await lines(tmp_path / "log"))[0].split())
    os.kill(owner, signal.SIGKILL)
    assert await cluster.delete(created.job.metadata.name, created.job.metadata.uid, "Background")
    assert not alive(command)
    assert names(root / "jobs") == []


@pytest.fixture
def bystanders() -> set[int]:
    """Children of this process that other tests keep."""
    return {child.pid for child in psutil.Process().children()}


def children(bystanders: set[int]) -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.pid not in bystanders]


async def test_a_launcher_that_is_killed_is_replaced(bystanders: set[int], cluster: LocalCluster) -> None:
    await run(cluster, shell("exit 0"))
    (launcher,) = children(bystanders)
    launcher.kill()
    view, _ = await run(cluster, shell("exit 0"))
    assert view.condition("Complete")


async def test_a_sigterm_that_was_meant_for_another_job_is_nothing(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    script = f"echo $PPID > {tmp_path}/owner; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    created = await cluster.create(shell(script))
    (owner,) = await lines(tmp_path / "owner")
    os.kill(int(owner), signal.SIGTERM)
    (tmp_path / "go").touch()
    assert (await ended(cluster, created.job.metadata.name)).condition("Complete")


async def test_a_number_that_is_another_process_now_is_left_alone() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "60")
    born = psutil.Process(process.pid).create_time()
    assert not signal_process({"pid": process.pid, "started": born - 60}, signal.SIGKILL)
    assert alive(process.pid)
    assert signal_process({"pid": process.pid, "started": born}, signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL


# -- the folder -----------------------------------------------------------------------------------------------


async def test_a_root_with_a_long_name(tmp_path: Path) -> None:
    root = tmp_path / ("long" * 40) / "cluster"
    root.parent.mkdir()
    async with started(root) as cluster:
        watch = cluster.watch()
        await anext(watch)
        await cluster.create(shell("exit 0"))
        async for change in watch:  # told by the owner, not found by looking
            assert not isinstance(change, Listed)
            if isinstance(change.object, JobView) and change.object.ended:
                break
        await watch.aclose()


async def test_nothing_is_left_after_the_end(bystanders: set[int], root: Path) -> None:
    async with started(root) as cluster:
        identity = await cluster.identity()
        await run(cluster, shell("exit 0"))

        async def idle() -> bool:
            return [child.children() for child in children(bystanders)] == [[]]

        await until(idle)
        await clear(cluster)
        watch = cluster.watch()
        await anext(watch)
        following = asyncio.ensure_future(anext(watch, None))
    assert await following is None
    assert children(bystanders) == []
    assert names(root) == ["jobs", "manifests.db", "owners.log"]
    assert names(root / "jobs") == []
    assert (root / "owners.log").read_text() == ""
    async with started(root) as cluster:
        assert await cluster.identity() == identity


def test_the_state_on_disk_is_the_last_whole_line(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert read_state(folder) is None
    for step in range(3):
        write_state(folder, {"step": step})
    with (tmp_path / "state").open("ab") as file:
        file.write(b'\n{"step": 3, "torn')
    assert read_state(folder) == {"step": 2}
    for step in range(4, 40):
        write_state(folder, {"step": step, "much": "x" * 10_000})
    assert read_state(folder) == {"step": 39, "much": "x" * 10_000}
    assert (tmp_path / "state").stat().st_size < 300_000


# -- what a failure means -------------------------------------------------------------------------------------


def order(*rules: Any) -> Order:
    return {"namespace": "default", "container": "main", "rules": list(rules)}  # type: ignore[typeddict-item]


def rule(action: str, operator: str = "", *values: int, condition: str = "") -> dict[str, Any]:
    conditions = [condition] if condition else []
    return {"action": action, "operator": operator, "values": list(values), "conditions": conditions}


@pytest.mark.parametrize(
    ("rules", "code", "conditions", "action"),
    [
        ([], 1, [], "Count"),
        ([rule("Ignore", "In", 1, 2)], 2, [], "Ignore"),
        ([rule("Ignore", "In", 1, 2)], 3, [], "Count"),
        ([rule("FailJob", "NotIn", 1, 2)], 3, [], "FailJob"),
        ([rule("FailJob", "NotIn", 1, 2)], None, [], "Count"),
        ([rule("Count", "In", 1), rule("FailJob", "In", 1)], 1, [], "Count"),
        (
            [rule("FailJob", "In", 1), rule("Ignore", condition="DisruptionTarget")],
            None,
            ["DisruptionTarget"],
            "Ignore",
        ),
        ([rule("FailJob", condition="DisruptionTarget")], None, ["DisruptionTarget"], "FailJob"),
    ],
)
def test_the_first_rule_that_matches_decides(
    rules: list[Any], code: int | None, conditions: list[str], action: str
) -> None:
    assert judge(order(*rules), "pod", code, conditions).action == action


def test_a_rule_on_conditions_names_the_condition() -> None:
    verdict = judge(order(rule("FailJob", condition="DisruptionTarget")), "pod", None, ["DisruptionTarget"])
    message = "Pod default/pod has condition DisruptionTarget matching FailJob rule at index 0"
    assert verdict == Verdict("FailJob", message)


def test_the_delay_doubles_up_to_a_limit() -> None:
    assert [delay_before(n, 0.1) for n in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert delay_before(10_000, 0.1) == 5.0
