"""Our own view of clusters: what is so of each, and whether it is cordoned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from litestar import get, post
from litestar.params import FromPath, RawBody

from api.access.caller import CallerOf
from api.context import ApiContext
from api.contract.plain import SMALL_BODY
from api.openapi import json_body
from api.own.problems import problems
from api.parameters import ContextOf
from nexus.domain import bounds
from nexus.domain.bounds import check_bound
from nexus.domain.cordon import Cordon
from nexus.domain.decoding import decoded
from nexus.domain.errors import NotFound
from nexus.domain.events import ClusterCordoned, ClusterUncordoned
from nexus.domain.figures import total
from nexus.domain.reachability import Contact
from nexus.domain.run import State
from nexus.domain.texts import check_text
from nexus.views import Clusters, ClusterView, CordonView

__all__ = ["cluster_routes"]

_LATELY = timedelta(seconds=30)
"""As long what a process has told is taken for what is so."""
_PAGE, _COUNTED = 1000, 10_000
"""Runs that are read at a time, and in all, to count those that run."""


class Why(msgspec.Struct):
    """`reason` is shown to whoever looks at the cluster."""

    reason: str | None = None


_whys = msgspec.json.Decoder(Why)


@get("/api/v1/clusters", summary="What is so of each cluster", tags=["api"], responses=problems(503))
async def list_clusters(context: ContextOf) -> Clusters:
    """Those that are configured, that are removed, and that ever answered."""
    await context.cordons.refresh()
    now = context.clock()
    contacts = await context.store.contacts()
    told = [each for each in await context.store.figures() if now - each.at <= _LATELY]
    running = await _running(context, now)
    names = {*context.clusters, *context.removed, *(each.cluster for each in contacts)}
    views = []
    for name in sorted(names):
        mine = sorted((each for each in contacts if each.cluster == name), key=_at)
        heard = mine[-1] if mine else None
        known = total(name, told)
        cordon = context.cordons.standing.get(name)
        oldest = known.oldest if known else None
        views.append(
            ClusterView(
                name=name,
                state=_state(context, name, heard, cordon, now),
                identity=heard.identity if heard else "",
                heard_at=heard.at if heard else None,
                problem=_problem(context, name, mine, contacts, now),
                cordon=_view(cordon) if cordon else None,
                queued=known.queued if known else None,
                lag=(now - oldest).total_seconds() if oldest else (0.0 if known else None),
                pending=known.pending if known else None,
                window=known.window if known else None,
                rate=known.rate if known else None,
                running=None if running is None else running[name],
                kubernetes=known.kubernetes if known else "",
                nexus=list(known.nexus) if known else [],
            )
        )
    return Clusters(views)


@post(
    "/api/v1/clusters/{cluster:str}/cordon",
    status_code=200,
    summary="Give a cluster no more Jobs",
    tags=["api"],
    opt=json_body(Why),
    request_max_body_size=SMALL_BODY,
    responses=problems(400, 404, 503),
)
async def cordon_cluster(
    context: ContextOf, caller: CallerOf, cluster: FromPath[str], body: RawBody
) -> CordonView:
    """What it has goes on, and what is requested for it waits. It is durable when it is answered."""
    reason = _reason(body)
    _must_be_known(context, cluster)
    await context.journal.append(
        [ClusterCordoned(cluster=cluster, at=context.clock(), subject=caller.name, reason=reason)]
    )
    await context.cordons.refresh()
    standing = context.cordons.standing.get(cluster)
    return _view(standing) if standing else CordonView(context.clock())


@post(
    "/api/v1/clusters/{cluster:str}/uncordon",
    status_code=204,
    summary="Give a cluster Jobs again",
    tags=["api"],
    opt=json_body(Why),
    request_max_body_size=SMALL_BODY,
    responses=problems(400, 404, 503),
)
async def uncordon_cluster(
    context: ContextOf, caller: CallerOf, cluster: FromPath[str], body: RawBody
) -> None:
    """What waited for it is placed, oldest first."""
    reason = _reason(body)
    await context.cordons.refresh()
    if cluster not in context.cordons.standing:
        _must_be_known(context, cluster)
    await context.journal.append(
        [ClusterUncordoned(cluster=cluster, at=context.clock(), subject=caller.name, reason=reason)]
    )


def _reason(body: bytes) -> str:
    reason = (decoded(_whys, body, "body").reason or "") if body else ""
    check_bound("reason", reason, bounds.REASON)
    check_text("reason", reason)
    return reason


def _must_be_known(context: ApiContext, cluster: str) -> None:
    if cluster not in context.clusters:
        known = ", ".join(sorted(context.clusters)) or "none"
        raise NotFound(f"there is no cluster {cluster[:80]!r}: those that are configured are {known}")


async def _running(context: ApiContext, now: datetime) -> Mapping[str, int] | None:
    """How many runs each cluster has that run; None where they are too many to count."""
    found: Counter[str] = Counter()
    after = ""
    for _ in range(0, _COUNTED, _PAGE):
        page = await context.store.running(now, _PAGE, after)
        found.update(run.request.cluster for run in page if run.state is State.RUNNING)
        if len(page) < _PAGE:
            return found
        after = page[-1].id
    return None


def _state(
    context: ApiContext, name: str, heard: Contact | None, cordon: Cordon | None, now: datetime
) -> Literal["ready", "cordoned", "unreachable", "absent", "removed"]:
    if name in context.removed:
        return "removed"
    if name not in context.clusters:
        return "absent"
    if cordon is not None:
        return "cordoned"
    return "ready" if _lately(context, heard, now) else "unreachable"


def _problem(
    context: ApiContext, name: str, mine: Sequence[Contact], contacts: Sequence[Contact], now: datetime
) -> str:
    """Two clusters that are one have one identity; one that was made anew, or is another, has had two.

    `mine` are those of `contacts` that are of this name, the last one at the end.
    """
    if name not in context.clusters:
        return ""
    if not mine:
        return "it has never answered: /readyz of its scheduler says why"
    last = mine[-1]
    twins = sorted(
        each.cluster
        for each in contacts
        if each.identity == last.identity and each.cluster != name and each.cluster in context.clusters
        if _lately(context, each, now)
    )
    if twins:
        return f"it is the cluster {', '.join(twins)} as well: take one of the kubeconfigs away"
    if len(mine) > 1:
        return (
            f"another cluster ({mine[-2].identity}) answered under its name until {mine[-2].at:%Y-%m-%d %H:%M:%S}Z: "
            "see whether its kubeconfig is the right one"
        )
    return "" if _lately(context, last, now) else "it does not answer: /readyz of its scheduler says why"


def _view(cordon: Cordon) -> CordonView:
    return CordonView(cordon.since, cordon.subject, cordon.reason)


def _lately(context: ApiContext, heard: Contact | None, now: datetime) -> bool:
    return heard is not None and now - heard.at < context.unreachable_after


def _at(contact: Contact) -> datetime:
    return contact.at


cluster_routes = [list_clusters, cordon_cluster, uncordon_cluster]
