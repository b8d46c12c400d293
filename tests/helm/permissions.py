"""What the service accounts of the charts may do, as a page: `python -m tests.helm.permissions` writes it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from infra.services.kubernetes.build import programs
from tests.helm.accounts import Asked
from tests.support.helm import SHAPES, Helm, of_kind

__all__ = ["COMMITTED", "Grant", "current", "grants"]

COMMITTED = Path(__file__).parents[2] / "docs/permissions.md"

_HEAD = """\
# What each service account may do

Written by `python -m tests.helm.permissions` from the charts. Tests hold it against the audit logs of API servers that
an installation works with: every line is used, and everything else is refused.

Where nothing is said of a namespace, it is that of the Jobs and custom resources. Every account that deals with a
cluster may also read the namespace `kube-system` itself, and nothing in it: its uid is what a cluster is known by.
"""

_COLUMNS = "| account | resources | verbs |\n|---|---|---|"
_ACCESS = {"auth.mode": "bearer", "auth.serviceAccounts": "true", "auth.ruleResources": "true"}
_ACCESS_HEAD = """\
## With `auth.serviceAccounts` and `auth.ruleResources`

Beside the above. Tokens are reviewed in the whole cluster, and rules are read in the namespace. The keys of service
accounts, which are no resource, are read under `/.well-known/openid-configuration` and `/openid/v1/jwks`.
"""


class Grant(NamedTuple):
    verbs: tuple[str, ...]
    group: str
    resources: tuple[str, ...]
    names: tuple[str, ...]

    def allows(self) -> Iterator[Asked]:
        """Each single thing. One that is not bound to names has none."""
        for verb in self.verbs:
            for resource in self.resources:
                for name in self.names or ("",):
                    yield Asked(verb, self.group, resource, name)


def grants(documents: list[Any]) -> dict[str, list[Grant]]:
    """Of each role, in the namespace; with those of the cluster last."""
    found: dict[str, list[Grant]] = {}
    for name, account in of_kind(documents, "ServiceAccount").items():
        role = account["metadata"]["labels"]["app.kubernetes.io/component"]
        rules = of_kind(documents, "Role").get(name, {"rules": []})["rules"]
        found[role] = [_grant(rule) for rule in rules]
        for bound in of_kind(documents, "ClusterRoleBinding").values():
            if name in [subject["name"] for subject in bound["subjects"]]:
                rules = of_kind(documents, "ClusterRole")[bound["roleRef"]["name"]]["rules"]
                found[role] += [_grant(rule) for rule in rules if "resources" in rule]
    return found


def _grant(rule: Any) -> Grant:
    [group] = rule["apiGroups"]
    return Grant(tuple(rule["verbs"]), group, tuple(rule["resources"]), tuple(rule.get("resourceNames", ())))


def current(helm: Helm) -> str:
    lines = [line for mode in SHAPES for line in _of_mode(helm, mode)]
    return "\n".join([_HEAD, *lines, *_of_access(helm)])


def _of_mode(helm: Helm, mode: str) -> Iterator[str]:
    yield f"## Mode `{mode}`\n"
    yield _COLUMNS
    for role, given in grants(helm.template(SHAPES[mode])).items():
        local = [grant for grant in given if grant.resources != ("namespaces",)]
        yield from (_row(role, grant) for grant in local)
        if not local:
            yield f"| `nexus-{role}` | nothing, and no token is mounted | |"
    yield ""


def _of_access(helm: Helm) -> Iterator[str]:
    """What `auth` adds. It is the same in each mode that has the role."""
    yield _ACCESS_HEAD
    yield _COLUMNS
    before = grants(helm.template(SHAPES["single"]))
    for role, given in grants(helm.template(SHAPES["single"] | _ACCESS)).items():
        yield from (_row(role, grant) for grant in given if grant not in before[role])
    yield ""


def _row(role: str, grant: Grant) -> str:
    named = f" named {', '.join(f'`{name}`' for name in grant.names)}" if grant.names else ""
    resources = ", ".join(f"`{resource}`" for resource in grant.resources)
    return f"| `nexus-{role}` | {resources}{named} | {', '.join(grant.verbs)} |"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        COMMITTED.write_text(current(Helm(programs(), Path(folder))))
