"""The page about failures: made from the rules of `nexus/domain/diagnosis`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from nexus.config import Config, shown
from nexus.domain.diagnosis import REFUSALS, RULES, Ending
from nexus.domain.diagnosis.exits import EXIT_CODES, SIGNALS
from nexus.domain.diagnosis.placing import LACKS
from nexus.domain.diagnosis.refusals import PLACEMENT_DEADLINE
from nexus.domain.diagnosis.rules import GRACES, JOB_VANISHED, NO_REPORT, Rule
from nexus.domain.events import RunDeadlineExceeded, RunFailed, RunSchedulingFailed
from nexus.domain.reachability import REMOVED, UNREACHABLE
from nexus.domain.run import Stage

__all__ = ["COMMITTED", "current"]

COMMITTED = Path(__file__).parents[1] / "diagnosis.md"

_STAGES = {
    RunFailed: Stage.FAILED,
    RunDeadlineExceeded: Stage.DEADLINE_EXCEEDED,
    RunSchedulingFailed: Stage.SCHEDULING_FAILED,
}

_HEAD = """\
# Why a run failed, and why it does not go on

Written by `make pages` from the rules in [`nexus/domain/diagnosis`](../nexus/domain/diagnosis): change those.

For a run that did not complete `nexus get ID` shows its **category**, a **cause** in one sentence, the **details** in the
cluster's own words, a **hint** what to do, and the end of its log. For a run that is stalled it shows the same, and since
when. The causes are fixed texts, upstream's where it has one, so that clients may compare them.

A run that is stalled ends once one thing has stalled it for longer than the grace of that thing. Graces are configured
(`grace.image_pull: 5m`, or `NEXUS__GRACE__IMAGE_PULL=5m`). With `never` the run shows what stalls it, and waits. A grace
counts from when the reconciler first observed the thing, and begins again when something else stalls the run.
"""

_OTHERS = """\
Two more have the words of people and programs: `Reported` is a failure that the algorithm reported to the receiver, and
`Cancelled` names who cancelled the run, and why.
"""


def current() -> str:
    """The page by the rules as they are."""
    return "\n".join(
        [
            _HEAD,
            "## Graces\n",
            *_graces(),
            "## What became of its Job\n",
            "The first that applies is the diagnosis.\n",
            *map(_ending, RULES),
            "## What else ends a run\n",
            *map(_ending, (NO_REPORT, JOB_VANISHED, UNREACHABLE, REMOVED, PLACEMENT_DEADLINE)),
            _OTHERS,
            "## When a cluster refuses the Job\n",
            "The run ends SCHEDULING_FAILED, and the cause is `Algorithm submission was buffered, but failed to launch on the",
            "target cluster:` with the cluster's words. A quota is waited for until `placement.deadline`.\n",
            *_table(("category", "when", "what to do"), ((r.category, r.when, r.hint) for r in REFUSALS)),
            "## What lacks where no node takes a pod\n",
            *_table(
                ("what lacks", "what to do"),
                ((lack.what or "a resource by name", lack.hint) for lack in LACKS),
            ),
            "## Exit codes and signals\n",
            "A container that is ended by signal n has exit code 128 + n.\n",
            *_table(
                ("exit code", "means", "what to do"),
                (
                    *((str(code), "of a shell", hint) for code, hint in EXIT_CODES.items()),
                    *(
                        (str(128 + number), f"{signal.name}: {signal.meaning}", signal.hint)
                        for number, signal in SIGNALS.items()
                    ),
                ),
            ),
        ]
    )


def _graces() -> Iterator[str]:
    defaults = shown(Config())["grace"]
    rows = (
        (
            f"`grace.{name}`",
            defaults[name],
            ", ".join(_once(rule.category for rule in RULES if rule.grace == name)),
        )
        for name in GRACES
    )
    yield from _table(("key", "default", "for a run that is stalled by"), rows)


def _ending(ending: Ending) -> str:
    lines = [
        f"### {ending.category}\n",
        f"{ending.when[0].upper()}{ending.when[1:]}.\n",
        f"- Stage: {_STAGES[ending.ends_as]}",
        f"- Cause: {ending.cause}",
        f"- What to do: {ending.hint}",
    ]
    if isinstance(ending, Rule) and ending.grace:
        also = "" if ending.only_hangs else ", or when its Job's deadline comes first"
        lines.append(f"- Ends after `grace.{ending.grace}`{also}.")
    return "\n".join([*lines, ""])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
