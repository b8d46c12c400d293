"""One run of a tenant behind a hundred thousand of another: how long until its Job is there."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

import psutil
import yaml

from nexus.access.static import add_token, new_token
from tests.bench.embedded.jobs import templates
from tests.bench.figures import quantile
from tests.bench.load import Load, post
from tests.bench.report import Result, Row
from tests.e2e.nexus_process import NexusProcess

__all__ = ["measure"]

RATE = 20
"""Jobs a second: with both tenants waiting, each has half of them."""
_PATH = "/algorithm/v1/run/nothing"
_BODY = b'{"algorithmParameters": {}}'


async def measure(queued: int = 100_000, single: int = 20) -> Result:
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        flood, other = _tokens(folder)
        policy = {
            "rules": [{"name": "all", "subjects": ["*"], "verbs": ["*"]}],
            "tenants": [{"name": name, "subjects": [f"token:{name}"]} for name in ("flood", "other")],
        }
        (folder / "rules.yaml").write_text(yaml.safe_dump(policy))
        nexus = NexusProcess(
            folder / "state",
            templates(folder / "templates"),
            auth__mode="bearer",
            auth__tokens_file=str(folder / "tokens.yaml"),
            auth__rules_file=str(folder / "rules.yaml"),
            cluster__slots="8",
            throttle__rate=str(RATE),
            throttle__burst="1",
        )
        nexus.http.headers["Authorization"] = f"Bearer {other}"
        await nexus.start()
        alone = [await _wait(nexus) for _ in range(single)]
        requests = iter([post(_PATH, _BODY, f"Authorization: Bearer {flood}")] * queued)
        await Load(lambda: next(requests, None)).run("127.0.0.1", nexus.port, 64)
        await _wait(nexus)  # it is read behind all of them
        behind = [await _wait(nexus) for _ in range(single)]
        size = psutil.Process(nexus.pid).memory_info().rss / 2**20
        nexus.kill()
        await nexus.http.aclose()
    return Result(
        [
            Row("submit to Job, nothing queued, p50", quantile(alone, 0.5) * 1000, "ms"),
            Row(
                f"submit to Job, {queued:,} of another tenant queued, p50", quantile(behind, 0.5) * 1000, "ms"
            ),
            Row(f"submit to Job, {queued:,} of another tenant queued, the longest", max(behind) * 1000, "ms"),
            Row(f"memory of `nexus dev`, {queued:,} runs of another tenant queued", size, "MiB"),
        ],
        f"Tenants: one run after the other of one, while {queued:,} of another wait for the same cluster, with the same "
        f"algorithm, which is given {RATE} Jobs a second. From the time in the request to that at which its Job is there.",
    )


def _tokens(folder: Path) -> list[str]:
    content, made = b"", []
    for name in ("flood", "other"):
        token, entry = new_token(name, (), None)
        content = add_token(content, entry, "tokens")
        made.append(token)
    (folder / "tokens.yaml").write_bytes(content)
    return made


async def _wait(nexus: NexusProcess) -> float:
    """Seconds from a submission to its Job."""
    run = await nexus.submit("nothing")
    path = f"/api/v1/runs/{run}"

    async def has_a_job() -> bool:
        answer = await nexus.http.get(path)
        return answer.status_code == 200 and answer.json()["sentAt"] is not None

    await nexus.until(has_a_job, seconds=600)
    shown = (await nexus.http.get(path)).json()
    return (_time(shown["sentAt"]) - _time(shown["receivedAt"])).total_seconds()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
