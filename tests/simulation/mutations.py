"""The laws of docs/laws.md, each broken on purpose, and what of a simulation caught it.

`python -m tests.simulation.mutations` breaks the code in a copy of the tree, runs seeds until one catches it, and writes
the table of `docs/simulation.md` anew. With `--check` each must be caught by the first seeds, and nothing is written.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

__all__ = ["MUTATIONS", "Caught", "Mutation", "catch"]

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "simulation.md"
_BEGIN, _END = "<!-- the table that `python -m tests.simulation.mutations` writes -->\n", "<!-- its end -->\n"
_SEEDS = 600
_BROKEN = re.compile(r"^BROKEN by seed (\d+): ([^:]+): (.*)$", re.MULTILINE)


class Mutation(NamedTuple):
    """`old` is there once in the file, and `new` takes its place; so with the other file, where one is not enough."""

    law: str
    what: str
    file: str
    old: str
    new: str
    other_file: str = ""
    other_old: str = ""
    other_new: str = ""


MUTATIONS = (
    Mutation(
        "1. Accepted means durable",
        "the API answers while the request is still on its way to the log",
        "api/contract/submit.py",
        "        await context.journal.append([request])\n    except",
        "        async def later() -> None:\n"
        "            with __import__('contextlib').suppress(Unavailable):\n"
        "                await context.journal.append([request])\n\n"
        "        context.spawn(later())\n    except",
    ),
    Mutation(
        "1. Accepted means durable",
        "the API answers although a large payload is not in its store",
        "api/contract/submit.py",
        "    address = await spooled.put(memoryview(request.payload), context.payloads, key)\n",
        '    address = "memory://payloads/later"\n',
    ),
    Mutation(
        "1. Accepted means durable",
        "an `Idempotency-Key` that was used before makes a new run",
        "api/contract/submit.py",
        "    return first\n",
        "    return request\n",
    ),
    Mutation(
        "2. First terminal fact wins",
        "the last one does",
        "nexus/domain/run.py",
        "            return run if run.ended else _end(run, fact)\n",
        "            return _end(run, fact)\n",
    ),
    Mutation(
        "3. A projection is a fold",
        "the fold asks the clock when a run ended",
        "nexus/domain/run.py",
        "        ended_at=fact.at,\n",
        '        ended_at=__import__("datetime").datetime.now(fact.at.tzinfo),\n',
    ),
    Mutation(
        "4. At least once",
        "a ledger acknowledges before it has written",
        "streams/ledger/ledger.py",
        "        await self._store.write(changes.folded())\n        for delivery in batch:\n            delivery.ack()\n",
        "        for delivery in batch:\n            delivery.ack()\n        await self._store.write(changes.folded())\n",
    ),
    Mutation(
        "4. At least once",
        "what was delivered counts as acknowledged",
        "streams/drivers/acks.py",
        "        return self._held[0] if self._held else self.next\n",
        "        return self.next\n",
    ),
    Mutation(
        "4. Idempotent everywhere",
        "the tag of a run is part of what its end says, so that saying it again is another notification",
        "nexus/domain/events.py",
        '    unsaid = {"at": _NEVER, "tag": ""}\n',
        '    unsaid = {"at": _NEVER}\n',
    ),
    Mutation(
        "5. One Job per run",
        "a scheduler creates although the row has a Job",
        "nexus/domain/placement.py",
        "    if run.ended or run.job_uid or request.cluster != cluster:\n",
        "    if run.ended or request.cluster != cluster:\n",
    ),
    Mutation(
        "5. One Job per run",
        "a Job is named after its payload's address",
        "nexus/domain/job.py",
        '                "name": request.request_id,\n                "labels"',
        '                "name": request.request_id[:-4] + payload_url[-4:],\n                "labels"',
    ),
    Mutation(
        "5. One Job per run",
        "a scheduler trusts a row that it read before it waited for a token",
        "streams/scheduler/placing.py",
        "self._monotonic() - looked > _STALE:",
        "False:",
    ),
    Mutation(
        "5. One Job per run",
        "a Job of that name is the run's, whoever made it",
        "streams/scheduler/placing.py",
        "not is_ours(created.job, run.request, self._materializer.installation)",
        "created.job is None",
    ),
    Mutation(
        "6. No run is silent",
        "a start that is heard makes no room in its algorithm's part of the pending window",
        "streams/scheduler/scheduler.py",
        "        self._window.release(*self._pending.pop(request_id))\n",
        "        self._pending.pop(request_id)\n",
    ),
    Mutation(
        "6. No run is silent",
        "nobody looks at runs that were placed",
        "streams/supervisor/reconciler.py",
        "        await self._journal.append(event for event in decided_on if event)\n",
        "",
    ),
    Mutation(
        "6. No run is silent",
        "what is queued for a cluster that is gone for good waits for it",
        "streams/supervisor/reconciler.py",
        "        if now >= run.request.placement_deadline:\n",
        "        if now >= run.request.placement_deadline and name in here:\n",
    ),
    Mutation(
        "6. No run is silent",
        "what was placed on a cluster that is gone for good waits for it",
        "streams/supervisor/reconciler.py",
        "        return given_up(run, last, now) if now >= given_up_at(run, last, self._limits.unreachable) else None\n",
        "        return None\n",
    ),
    Mutation(
        "6. No run is silent",
        "neither the supervisor nor who looks after it ends a run whose Job completed without a report",
        "streams/supervisor/supervisor.py",
        "                return silent(run, evidence, self._clock())\n",
        "                return None\n",
        "streams/supervisor/oversight.py",
        "            return silent(run, evidence, now)\n",
        "            return None\n",
    ),
    Mutation(
        "6. Blind is not dead",
        "a cluster that cannot be heard has lost its Jobs",
        "streams/supervisor/oversight.py",
        '                _log.warning("cluster_unreachable", cluster=cluster.name, run=run.id, problem=str(error))\n'
        "                return None\n",
        "                return vanished(run, await gather(cluster, run.id, ()), now)\n",
        "streams/supervisor/reconciler.py",
        "if here.get(run.request.cluster) == run.cluster_id\n",
        "if run.request.cluster in self._clusters\n",
    ),
    Mutation(
        "7. Evidence before deletion",
        "the collector deletes first",
        "streams/supervisor/collector.py",
        "        await self._record_evidence(run, cluster)\n",
        "",
    ),
    Mutation(
        "8. The core does no I/O",
        "the first row of a run asks the clock (import-linter catches it before)",
        "nexus/domain/run.py",
        "        last_modified=request.at,\n",
        '        last_modified=__import__("datetime").datetime.now(request.at.tzinfo),\n',
    ),
    Mutation(
        "9. Request first",
        "a cancel is said of a run whose row nobody has read",
        "api/contract/changes.py",
        '        run = await known_run(context, require_id(request_id), algorithm)\n    except NotFound:\n        return text(404, f"Prov',
        '        run = type("Unread", (), {"id": request_id})\n    except NotFound:\n        return text(404, f"Prov',
    ),
    Mutation(
        "Capabilities",
        "a capability of another run is as good",
        "nexus/domain/access/capability.py",
        '            return "its capability is not that of this run"\n',
        '            return ""\n',
    ),
    Mutation(
        "Watermark",
        "clocks are taken to agree",
        "streams/drivers/membership.py",
        "            await self._processor.caught_up(mark.asked - self._skew)\n",
        "            await self._processor.caught_up(mark.asked)\n",
    ),
    Mutation(
        "Watermark",
        "a driver says that it has caught up before it has delivered what there is",
        "streams/drivers/membership.py",
        "            if await self._position(at) < end:\n",
        "            if await self._position(at) + 1 < end:\n",
    ),
    Mutation(
        "Watermark",
        "a run that is not in the projections is not there",
        "api/fresh_rows.py",
        "        if run is None and not caught_up:\n",
        "        if caught_up is None:\n",
    ),
    Mutation(
        "Notifications",
        "who hears of an end does not wait until it is in the row",
        "streams/folded.py",
        "        if last:\n",
        "        if last := {}:\n",
    ),
    Mutation(
        "Notifications",
        "they are acknowledged before they are said",
        "streams/ledger/notifications.py",
        "        ends = [",
        "        for delivery in batch:\n            delivery.ack()\n        ends = [",
    ),
    Mutation(
        "Cordons",
        "a scheduler does not look whether its cluster is cordoned",
        "streams/scheduler/placing.py",
        "        return self._held(self.cluster)\n",
        "        return False\n",
    ),
    Mutation(
        "Tenants",
        "a scheduler takes all runs for those of one tenant",
        "streams/scheduler/scheduler.py",
        "                intern(glance.tenant),\n",
        "                intern(''),\n",
    ),
    Mutation(
        "Tenants",
        "whose a run is is not said when it is accepted",
        "nexus/domain/submission.py",
        "        tenant=tenant.name,\n",
        "",
    ),
)


class Caught(NamedTuple):
    mutation: Mutation
    seeds: int
    """How many it took; 0 where none caught it."""
    by: str


def main(*, check: bool) -> int:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        numbered = enumerate(MUTATIONS)
        found = list(pool.map(lambda one: catch(Path(folder) / str(one[0]), one[1]), numbered))
    missed = [one.mutation for one in found if not one.seeds]
    for one in found:
        print(f"{one.mutation.law}: {one.mutation.what}: {one.by} (seed {one.seeds})")
    for mutation in missed:
        print(f"NOT CAUGHT: {mutation.law}: {mutation.what}")
    if not check and not missed:
        _write(found)
    return bool(missed)


def catch(folder: Path, mutation: Mutation) -> Caught:
    """Break a copy of the tree in that folder, which is made, and run seeds there until one catches it."""
    _break(folder, mutation)
    command = [
        sys.executable,
        "-m",
        "tests.simulation",
        "--first",
        "1",
        "--seeds",
        str(_SEEDS),
        "--until-broken",
    ]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=3600
    )
    shutil.rmtree(folder)
    broken = _BROKEN.search(done.stdout)
    if broken is None and done.returncode:
        raise RuntimeError(f"{mutation.what}: {done.stdout[-500:]}{done.stderr[-2000:]}")
    if broken is None:
        return Caught(mutation, 0, "nothing")
    by = dict.fromkeys(match[2] for match in _BROKEN.finditer(done.stdout))
    return Caught(mutation, int(broken[1]), ", ".join(by))


def _break(folder: Path, mutation: Mutation) -> None:
    for part in ("nexus", "streams", "api", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "golden")
        shutil.copytree(_ROOT / part, folder / part, ignore=ignored)
    _replace(folder / mutation.file, mutation.old, mutation.new)
    if mutation.other_file:
        _replace(folder / mutation.other_file, mutation.other_old, mutation.other_new)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if text.count(old) != 1:
        raise ValueError(f"{path.name} has not once: {old}")
    path.write_text(text.replace(old, new))


def _write(found: list[Caught]) -> None:
    before, _, rest = _PAGE.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _PAGE.write_text(before + _BEGIN + "".join(_rows(found)) + _END + after)


def _rows(found: list[Caught]) -> Iterator[str]:
    yield "| law | broken so that | caught by | by seed |\n|---|---|---|---|\n"
    for caught in found:
        law, what = caught.mutation.law, caught.mutation.what
        yield f"| {law} | {what} | {caught.by} | {caught.seeds} |\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutations", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    sys.exit(main(check=parser.parse_args().check))
