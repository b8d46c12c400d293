"""The state folder: its secret, and who may read what lies in it."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from nexus.cli.rebuilding import _settle
from nexus.domain.errors import ConfigError, Unavailable
from nexus.embedded.claims import SqliteClaims
from nexus.embedded.cluster.local import LocalCluster
from nexus.embedded.cluster.statefile import read_state, write_state
from nexus.embedded.event_log import SqliteEventLog
from nexus.embedded.group_commit import connect
from nexus.embedded.payload_store import FolderPayloadStore
from nexus.embedded.private import make_unfinished
from nexus.embedded.run_store import SqliteRunStore
from nexus.embedded.state import StateFolder
from tests.unit.test_local_cluster import ended, shell


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk that has no more room: a write is cut off there, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def open_to_others(root: Path) -> list[str]:
    return [str(path) for path in (root, *root.rglob("*")) if path.lstat().st_mode & 0o077]


# The secret


def test_the_secret_is_made_once_and_long_enough(folder: StateFolder):
    with folder.owned():
        secret = folder.sign_secret()
        assert len(secret) >= 32
        assert folder.sign_secret() == secret


@pytest.mark.parametrize("left", [b"", b" \n"])
def test_an_empty_secret_is_made_anew(folder: StateFolder, left: bytes):
    with folder.owned():
        (folder.root / "sign-secret").write_bytes(left)
        assert len(folder.sign_secret()) >= 32


@pytest.mark.parametrize("weak", [b"short", 31 * b"x", 65 * b"x"])
def test_a_secret_of_the_wrong_length_is_refused(folder: StateFolder, weak: bytes):
    with folder.owned():
        (folder.root / "sign-secret").write_bytes(weak)
        with pytest.raises(ConfigError, match=rf"has {len(weak)} bytes and needs 32 to 64: remove the file"):
            folder.sign_secret()
        assert (folder.root / "sign-secret").read_bytes() == weak


def test_a_secret_that_could_not_be_written_is_not_there(folder: StateFolder):
    with folder.owned():
        with files_of_at_most(8), pytest.raises(Unavailable, match="disk's space"):
            folder.sign_secret()
        assert [path.name for path in folder.root.iterdir()] == ["lock"]
        assert len(folder.sign_secret()) >= 32


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_crash_at_any_step_leaves_no_secret_or_a_whole_one(
    folder: StateFolder, step: str, monkeypatch: pytest.MonkeyPatch
):
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with folder.owned():
        with monkeypatch.context() as dying:
            dying.setattr(os, step, die)
            with pytest.raises(Killed):
                folder.sign_secret()
        path = folder.root / "sign-secret"
        assert not path.exists() or len(path.read_bytes()) >= 32


# Whose it is


@pytest.mark.usefixtures("no_umask")
async def test_all_that_is_kept_belongs_to_its_owner_alone(folder: StateFolder, tmp_path: Path):
    with folder.owned():
        folder.sign_secret()
        cluster = LocalCluster(folder.cluster, slots=1, directory_of=lambda _: tmp_path, environment={})
        await cluster.start()
        with (
            closing(SqliteEventLog(folder.log, {"topic": 1}, time.time)),
            closing(SqliteRunStore(folder.projections)),
            closing(SqliteClaims(folder.claims)),
        ):
            await FolderPayloadStore(folder.payloads).put("algorithm=a/1", b"{}")
            made = await cluster.create(shell("echo words; touch its-own"))
            await ended(cluster, made.job.metadata.name)
            there = {path.name for path in folder.root.rglob("*")}
            assert {"log.db", "log.db-wal", "manifests.db", "state", "events.sock", "owners.log"} <= there
            assert any(name.endswith(".log") and name != "owners.log" for name in there)
            assert open_to_others(folder.root) == []
            await cluster.delete(made.job.metadata.name, made.job.metadata.uid, "Background")
        await cluster.stop()
    assert (tmp_path / "its-own").stat().st_mode & 0o777 == 0o666  # what an algorithm makes is its own affair


@pytest.mark.usefixtures("no_umask")
def test_a_folder_that_was_open_is_closed_at_the_start(folder: StateFolder, tmp_path: Path):
    (folder.root / "payloads" / "algorithm=a").mkdir(parents=True)
    for name in ("log.db", "payloads/algorithm=a/1"):
        (folder.root / name).touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    (folder.root / "link").symlink_to(elsewhere)
    with folder.owned():
        assert [path for path in open_to_others(folder.root) if not Path(path).is_symlink()] == []
    assert elsewhere.stat().st_mode & 0o777 == 0o666


@pytest.mark.usefixtures("no_umask")
def test_a_folder_with_the_things_of_others_is_left_open(folder: StateFolder):
    folder.root.mkdir()
    (folder.root / "thesis.txt").touch()
    with pytest.raises(ConfigError, match=r"not Nexus's.*name an empty folder"), folder.owned():
        pass
    assert folder.root.stat().st_mode & 0o777 == 0o777


def test_a_second_connection_leaves_the_locks_of_the_first(folder: StateFolder):
    """A process that finds none takes the write-ahead log away when it leaves."""
    folder.root.mkdir()
    with closing(connect(folder.log)) as first:
        first.execute("CREATE TABLE kept (word TEXT)")
        connect(folder.log).close()
        first.execute("INSERT INTO kept VALUES ('early')")
        leaving = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM kept').connection.close()"
        subprocess.run([sys.executable, "-c", leaving, str(folder.log)], check=True)
        assert folder.log.with_name("log.db-wal").exists()


# Other files that are trusted later


@pytest.mark.parametrize("room", [1, 30])
def test_a_state_that_did_not_fit_is_told_and_the_one_before_it_counts(tmp_path: Path, room: int):
    write_state(str(tmp_path), {"step": 1})
    size = (tmp_path / "state").stat().st_size
    with files_of_at_most(size + room), pytest.raises(OSError):
        write_state(str(tmp_path), {"step": 2, "much": "x" * 100})
    assert read_state(str(tmp_path)) == {"step": 1}
    write_state(str(tmp_path), {"step": 3})
    assert read_state(str(tmp_path)) == {"step": 3}


def test_projections_stay_where_their_write_ahead_log_cannot_be_folded_in(folder: StateFolder):
    folder.root.mkdir()
    path = folder.projections
    with closing(connect(path)) as writer, closing(connect(path)) as reader:
        writer.execute("CREATE TABLE kept (word TEXT)")
        writer.execute("INSERT INTO kept VALUES (?)", ("x" * 100_000,))
        with files_of_at_most(path.stat().st_size), pytest.raises(Unavailable, match="is kept"):
            _settle(path)
        assert path.with_name("projections.db-wal").stat().st_size
        assert reader.execute("SELECT count(*) FROM kept").fetchone() == (1,)
    with closing(sqlite3.connect(path)) as later:
        assert later.execute("SELECT length(word) FROM kept").fetchone() == (100_000,)


UPLOAD = """
import asyncio, sys
from pathlib import Path
from nexus.embedded.payload_store import FolderPayloadStore

async def pieces():
    yield b"half of it"
    print("begun", flush=True)
    await asyncio.Event().wait()

asyncio.run(FolderPayloadStore(Path(sys.argv[1])).put_pieces("algorithm=a/b", pieces()))
"""


def test_what_a_killed_upload_left_is_no_payload_and_goes_at_the_next_start(folder: StateFolder) -> None:
    with folder.owned():
        asyncio.run(FolderPayloadStore(folder.payloads).put("algorithm=a/whole", b"{}"))
    upload = subprocess.Popen([sys.executable, "-c", UPLOAD, str(folder.payloads)], stdout=subprocess.PIPE)
    assert upload.stdout is not None
    with upload.stdout:
        assert upload.stdout.readline() == b"begun\n"
    upload.kill()
    upload.wait()
    assert len(list(folder.payloads.glob("*/*"))) == 2
    stored = asyncio.run(FolderPayloadStore(folder.payloads).stored("", 10))
    assert [each.key for each in stored] == ["algorithm=a/whole"]
    with folder.owned():
        assert [file.name for file in folder.payloads.glob("*/*")] == ["whole"]


def test_what_other_kills_left_goes_too_and_nothing_else(folder: StateFolder) -> None:
    with folder.owned():
        handle, _ = make_unfinished(folder.root)
        os.close(handle)
        for name in ("projections.fresh.db", "projections.fresh.db-wal", "projections.db", ".gitignore"):
            (folder.root / name).touch()
    with folder.owned():
        assert {file.name for file in folder.root.iterdir()} == {"lock", "projections.db", ".gitignore"}
