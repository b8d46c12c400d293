"""Group commit on SQLite: what arrives while one transaction is being written shares the next one."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from nexus.domain.errors import Damaged, InvalidInput, Unavailable
from nexus.embedded.private import make_file

__all__ = ["GroupCommit", "connect"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def connect(path: Path) -> sqlite3.Connection:
    """A connection in WAL mode that waits for the disk at each commit: what was committed survives a power cut.

    The file is made where it is missing; SQLite gives its companions the same mode.
    """
    make_file(path)
    try:
        return _connect(path)
    except sqlite3.OperationalError as error:
        raise Unavailable(
            f"{path} cannot be opened ({error}): check the disk's space and permissions"
        ) from error
    except sqlite3.DatabaseError as error:
        raise Damaged(f"{path} is damaged ({error}): {_REMEDIES.get(path.name, _RESTORE)}") from error


_RESTORE = "stop Nexus, and restore the whole state folder from a back-up"
_REMEDIES = {
    "log.db": f"it is the event log, which cannot be made anew: {_RESTORE}",
    "projections.db": "it holds the projections: stop Nexus, and make them anew from the log with `nexus rebuild`",
    "claims.db": f"it holds the idempotency keys: {_RESTORE}, or remove the file, and no key is known any more",
    "manifests.db": f"it holds the Jobs of the embedded cluster: {_RESTORE}",
}


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


class GroupCommit(Generic[Item, Result]):
    """One thread owns the writing connection; `apply` puts a batch of items into its open transaction."""

    def __init__(
        self,
        path: Path,
        apply: Callable[[sqlite3.Connection, Sequence[Item]], Sequence[Result]],
    ) -> None:
        self._path = path
        self._apply = apply
        self._connection = connect(path)
        self._pending: list[tuple[Item, asyncio.Future[Result], asyncio.AbstractEventLoop]] = []
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"commit-{path.stem}", daemon=True)
        self._thread.start()

    async def submit(self, item: Item) -> Result:
        """Returns once the item is durable. Raises Unavailable when the file cannot be written."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        with self._wake:
            if self._closed:
                raise Unavailable(f"{self._path} is closed: this process is stopping")
            self._pending.append((item, future, loop))
            if len(self._pending) == 1:
                self._wake.notify()
        return await future

    def close(self) -> None:
        """Write what is pending, then close the file."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._pending or self._closed)
                batch, self._pending = self._pending, []
            if not batch:
                return
            outcome = self._write([item for item, _, _ in batch])
            # All waiters of one loop are woken by one call: a wake-up of the loop costs more than the rest.
            for loop in {loop for _, _, loop in batch}:
                futures = [future for _, future, of in batch if of is loop]
                results = (
                    outcome
                    if isinstance(outcome, Exception)
                    else [result for result, (_, _, of) in zip(outcome, batch, strict=True) if of is loop]
                )
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_deliver, futures, results)

    def _write(self, items: Sequence[Item]) -> Sequence[Result] | Exception:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = self._apply(self._connection, items)
            self._connection.execute("COMMIT")
        except Exception as error:  # whatever it is, those who wait must hear of it, and the thread go on
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.DataError):
                return InvalidInput("", f"{self._path} cannot hold it ({error})")
            if not isinstance(error, sqlite3.Error):
                return error
            return Unavailable(
                f"{self._path} cannot be written ({error}): check the disk's space and permissions"
            )
        return results


def _deliver(futures: Sequence[asyncio.Future[Result]], results: Sequence[Result] | Exception) -> None:
    if isinstance(results, Exception):
        for future in futures:
            if not future.done():
                future.set_exception(results)
        return
    for future, result in zip(futures, results, strict=True):
        if not future.done():
            future.set_result(result)
