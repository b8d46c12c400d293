"""The page for users of upstream: made from what `nexus/upstream_settings.py` understands, and from the chart's values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from docs.pages.upstream_values import UPSTREAM
from nexus.upstream_settings import SETTINGS

__all__ = ["COMMITTED", "current"]

COMMITTED = Path(__file__).parents[1] / "coming-from-go.md"

_HEAD = """\
# Coming from the Go original

Written by `make pages` from [`nexus/upstream_settings.py`](../nexus/upstream_settings.py).

Clients, algorithms, templates and workgroups work unchanged. What changes is how Nexus is run: it needs a Kafka, it has more roles,
and each has less to do. Secrets with upstream's variables are read as they are: a variable of ours
([configuration](configuration.md)) wins over one of upstream's, and upstream's over the file.

Upstream's quickstart works line by line, with Kafka's address ([installation](installation.md)):

| step of the quickstart | what it does here |
|---|---|
| `helm install nexus-crd ...` | the chart `infra/helm/nexus-crd`; `--take-ownership` where upstream's was |
| Cassandra and S3, a bucket | the same, and a Kafka |
| `kubectl create secret generic nexus-workers --from-file=nexus-worker-cluster=./config.json` | the cluster `nexus-worker-cluster`, beside `standalone`, which is that of Nexus; with `--set mode=controller` [its roles move there](installation.md) |
| Secrets `nexus-s3` and `nexus-cassandra` | read as they are: the variables below |
| `helm install nexus ... --set ginMode=release` | `infra/helm/nexus`, with `--set config.kafka.servers=...` |

## Variables

Of the scheduler, the receiver, the supervisor and the configuration controller. An empty one sets nothing.

| variable | sets | remarks |
|---|---|---|"""


_VALUES = """\
## Values of the charts

Of upstream's four charts; here one chart has everything but the definitions. A value that is not listed among
[ours](../infra/helm/nexus/README.md) is refused, with its name.
"""


def current() -> str:
    """The page by the table as it is."""
    return "\n".join([_HEAD, *_rows(), "", _VALUES, *_values()])


def _rows() -> Iterator[str]:
    for setting in SETTINGS:
        variables = "<br>".join(f"`{variable}`" for variable in setting.variables)
        keys = "<br>".join(f"`{key}`" for key in setting.becomes) or "nothing"
        yield f"| {variables} | {keys} | {setting.meaning} |"


def _values() -> Iterator[str]:
    for chart, values in UPSTREAM.items():
        yield f"### {chart}\n\n| upstream's value | ours | remarks |\n|---|---|---|"
        for value in values:
            names = "<br>".join(f"`{name}`" if " " not in name else name for name in value.names)
            same = "the same" if value.becomes == value.names else ""
            ours = same or "<br>".join(f"`{name}`" for name in value.becomes) or "nothing"
            yield f"| {names} | {ours} | {value.remark} |"
        yield ""
