from __future__ import annotations

from datetime import timedelta

import pytest

from nexus.cli import render
from nexus.domain.reachability import Contact, given_up, given_up_at, last_contact, removed, unreachable_since
from nexus.domain.run import Stage, State, fold
from nexus.views import RunView
from tests.support.factories import CLUSTER, after, algorithm, completed, folded, job_created, run_requested

SILENCE = timedelta(seconds=30)
BLIND = timedelta(hours=1)
HERE = Contact(CLUSTER, "cluster-uid", after(100))


def placed(deadline: int | None = None):
    runtime = {"deadlineSeconds": deadline} if deadline else {}
    return folded(job_created(), request=run_requested(spec=algorithm(runtimeEnvironment=runtime)))


@pytest.mark.parametrize(
    ("run", "heard", "expected"),
    [
        pytest.param(folded(), [HERE], after(100), id="queued"),
        pytest.param(placed(), [HERE], after(100), id="placed"),
        pytest.param(
            placed(), [Contact(CLUSTER, "another", after(200)), HERE], after(100), id="another came"
        ),
        pytest.param(folded(), [Contact(CLUSTER, "another", after(200)), HERE], after(200), id="any will do"),
        pytest.param(folded(), [Contact("eu", "cluster-uid", after(200))], after(0), id="another name"),
        pytest.param(folded(), [], after(0), id="never, since the request"),
        pytest.param(placed(), [], after(1), id="never, since the Job"),
        pytest.param(placed(), [Contact(CLUSTER, "cluster-uid", after(-9))], after(1), id="before the Job"),
    ],
)
def test_a_run_was_last_heard_of_when_its_own_cluster_answered(run, heard, expected):
    assert last_contact(run, heard) == expected


def test_a_short_silence_is_none():
    assert unreachable_since(placed(), [HERE], after(129), SILENCE) is None
    assert unreachable_since(placed(), [HERE], after(130), SILENCE) == after(100)


def test_nobody_listens_for_a_run_that_ended():
    run = fold(placed(), completed(), 5)
    assert unreachable_since(run, [HERE], after(1000), SILENCE) is None


@pytest.mark.parametrize(
    ("deadline", "heard", "expected"),
    [
        (600, 100, 1 + 600 + 3600),
        (600, 5000, 5000 + 3600),
        (None, 100, 100 + 3600),
        (None, -5, 1 + 3600),
    ],
)
def test_a_run_is_given_up_beyond_its_deadline_and_a_long_silence(deadline, heard, expected):
    assert given_up_at(placed(deadline), after(heard), BLIND) == after(expected)


@pytest.mark.parametrize(
    ("end", "category"),
    [
        (given_up(placed(), after(100), after(5000)), "ClusterNotHeard"),
        (removed(placed(), after(5000)), "ClusterRemoved"),
    ],
)
def test_what_ends_unseen_says_why_and_what_to_do(end, category):
    row = fold(placed(), end, 5)
    assert (row.stage, row.diagnosis.category, row.ended_at) == (Stage.FAILED, category, after(5000))
    assert CLUSTER in row.diagnosis.details
    assert row.diagnosis.hint
    assert "cannot be asked" in end.evidence.note
    assert row.has_job, "it is collected when its cluster is back"


def view(**fields) -> RunView:
    """As the API answers it."""
    said = dict.fromkeys(RunView.__struct_fields__) | {
        "request_id": "id",
        "algorithm": "hello-world",
        "state": State.RUNNING,
        "stage": Stage.RUNNING,
        "cluster": CLUSTER,
        "workgroup": "default",
        "tag": "",
        "received_at": after(0),
        "result_uri": "",
    }
    return RunView(**said | fields)


def test_the_command_line_tells_of_the_silence(capsys):
    silent = view(unheard_since=after(100))
    render.show_run(silent)
    assert "has not answered since 2026-01-02 03:05:45Z" in capsys.readouterr().out
    render.show_runs([silent, view()])
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert "running, unreachable since 2026-01-02 03:05:45Z" in first
    assert "unheard" not in second
