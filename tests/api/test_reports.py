"""Whose reports the receiver takes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from api.access.reports import Reports
from nexus.domain.access import Capabilities, derived
from nexus.domain.events import RunCompleted, RunFailed
from nexus.domain.run import Stage
from nexus.domain.topics import DEAD_LETTERS, RUNS
from tests.api.conftest import Api
from tests.streams.conftest import run_id

HOUR = timedelta(hours=1)
CAPABILITIES = Capabilities([derived(b"k" * 32)], "tests", HOUR)
COMPLETED = {"resultUri": "data:,done"}


class Reporting(Api):
    async def capability(self, run):
        return CAPABILITIES.of((await self.row(run)).request, self.installation.clock())

    async def report(self, run, capability=None, algorithm="quick", **body):
        prefix = "" if capability is None else f"/as/{capability}"
        path = f"{prefix}/algorithm/v1/complete/{algorithm}/requests/{run}"
        return (await self.http.post(path, json=body or COMPLETED)).status_code

    async def checks(self, run, capability=None, algorithm="quick"):
        prefix = "" if capability is None else f"/as/{capability}"
        return await self.http.get(f"{prefix}/algorithm/v1/check/{algorithm}/requests/{run}")


@pytest.fixture
async def proving(installation, tmp_path):
    api = Reporting(installation, tmp_path, reports=Reports("capability", CAPABILITIES))
    yield api
    await api.close()


async def test_an_algorithm_ends_its_own_run_and_hears_that_it_did(proving):
    run = await proving.submit()
    mine = await proving.capability(run)
    assert (await proving.checks(run, mine)).json() == {"is_processed": False}
    assert await proving.report(run, mine) == 202
    assert (await proving.row(run)).stage is Stage.COMPLETED
    assert (await proving.checks(run, mine)).json() == {"is_processed": True}
    assert await proving.report(run, mine, errorCause="too late") == 202  # evidence, as ever


async def test_nobody_else_ends_it(proving):
    run, other = await proving.submit(), await proving.submit()
    mine, others = await proving.capability(run), await proving.capability(other)
    for wrong in (None, "", "x.y", others, mine[:-1], mine + "A"):
        assert await proving.report(run, wrong) == 401, wrong
        assert (await proving.checks(run, wrong)).status_code == 401, wrong
    assert await proving.report(run, mine, algorithm="short") == 401
    assert not (await proving.row(run)).ended
    assert await proving.installation.said(RUNS, run) == []


async def test_a_refused_report_is_kept_once_for_each_run(proving):
    run, other = await proving.submit(), await proving.submit()
    for _ in range(3):
        assert await proving.report(run, "x.y") == 401
        assert await proving.report(other) == 401
        assert await proving.report(run_id(99)) == 401
    letters = await proving.installation.said(DEAD_LETTERS)
    assert sorted(letter.request_id for letter in letters) == [run, other]
    assert "its capability is not that of this run" in letters[0].reason
    assert b"data:,done" in letters[0].record


async def test_after_its_end_and_the_allowance_it_reports_no_more(proving):
    run = await proving.submit()
    mine = await proving.capability(run)
    cancel = f"/algorithm/v1/cancel/quick/requests/{run}"
    assert (await proving.http.post(cancel, json={})).status_code == 200
    await proving.installation.reaches(run, lambda row: row.ended)
    assert await proving.report(run, mine) == 202
    proving.installation.clock.advance(HOUR.total_seconds() + 1)
    assert await proving.report(run, mine) == 401


async def test_a_young_capability_tells_that_the_row_is_there(proving, monkeypatch):
    run = await proving.submit()
    mine = await proving.capability(run)
    read = []
    get = proving.installation.store.get

    async def seen(key):
        read.append(key)
        return await get(key)

    monkeypatch.setattr(proving.installation.store, "get", seen)
    assert await proving.report(run, mine) == 202
    assert read == []
    assert await proving.report(run, mine, errorCause="a second one") == 202
    await proving.installation.reaches(run, lambda row: row.ended)
    monkeypatch.undo()
    assert (await proving.row(run)).stage is Stage.COMPLETED
    assert [type(fact) for fact in await proving.installation.said(RUNS, run)] == [RunCompleted, RunFailed]


async def test_a_capability_expires(proving):
    run = await proving.submit()
    mine = await proving.capability(run)
    proving.installation.clock.advance(2 * HOUR.total_seconds())
    assert await proving.report(run, mine) == 401


async def test_it_is_in_no_line_of_the_log_and_no_metric(proving, capsys):
    run = await proving.submit()
    mine = await proving.capability(run)
    for capability in (mine, mine + "A"):
        await proving.report(run, capability)
    await proving.http.get(f"/as/{mine}/nowhere")
    metrics = (await proving.http.get(f"/as/{mine}/metrics")).text
    assert "nexus_reports_unproved_total" in metrics
    said = capsys.readouterr()
    assert "report_unproved" in said.out
    assert mine not in metrics + said.out + said.err
    job = (await proving.http.get(f"/algorithm/v1/buffer/quick/requests/{run}")).text
    assert "/as/" not in job


async def test_observing_takes_everything_and_counts(installation, tmp_path):
    api = Reporting(installation, tmp_path, reports=Reports("observe", CAPABILITIES))
    run = await api.submit()
    assert (await api.checks(run)).status_code == 200
    assert await api.report(run) == 202
    assert (await api.row(run)).stage is Stage.COMPLETED
    assert 'nexus_reports_unproved_total{taken="yes"}' in (await api.http.get("/metrics")).text
    await api.close()


async def test_open_takes_what_it_took(installation, tmp_path):
    api = Reporting(installation, tmp_path)
    run = await api.submit()
    assert await api.report(run, "whatever") == 202
    await api.close()
