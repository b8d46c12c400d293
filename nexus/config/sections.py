"""The sections and their keys: `docs/configuration.md` is made from this page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from nexus.config.kinds import NEVER, Secret, SigningKey, Size, Span, SpanOrNever
from nexus.domain.payload import DEFAULT_TENANT

__all__ = ["Config"]

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


class Http(_Section, frozen=True):
    """Where the server listens, and how algorithms and clients reach it."""

    host: str = "127.0.0.1"
    """The address that the server listens on."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8080
    """The port that the server listens on."""
    tls_certificate_file: Path | None = None
    """The certificate of the server and its chain (PEM), followed for changes; none: it speaks HTTP without TLS."""
    tls_key_file: Path | None = None
    """The private key of the certificate (PEM, without a password)."""
    tls_client_ca_file: Path | None = None
    """The authorities (PEM) one of which must have signed the certificate of each client; none: clients need none."""
    external_url: str = ""
    """Scheme and host in payload URLs; empty: http, or https with a certificate, with the host and port above."""
    receiver_url: str = ""
    """Scheme, host and any path by which algorithms reach the receiver. Their Jobs are told it where `auth.reports` is not
    `open`; empty: on `nexus dev` the address of the server, elsewhere the template says it.
    """
    scheduler_url: str = ""
    """The same for the API, by which they submit children of their run; empty: on `nexus dev` the address of the server,
    elsewhere the template says it.
    """
    allowed_origins: str = ""
    """Origins of web pages that may ask this server, such as `https://tools.example.com`, with commas between; its own is."""
    max_body: Size = Size(500 * 1024**2)
    """The largest body of a request, in bytes after inflation; a larger one is refused."""
    body_memory: Size = Size(128 * 1024**2)
    """What the bodies of all requests together may take in memory; beyond it a request is answered 503."""
    body_disk: Size = Size(8 * 1024**3)
    """What larger bodies together may take on disk until they are in the payload store; beyond it the answer is 503."""
    body_folder: Path | None = None
    """Where larger bodies wait; none: the state folder, or the system's folder for temporary files."""
    body_timeout: Span = Span(seconds=20)
    """How long a body may stop before its connection is closed; one slower than 16 KiB a second is cut off too."""
    header_timeout: Span = Span(seconds=20)
    """How long a connection may take for the header of its next request, idle time included, before it is closed."""
    max_connections: Count = 10_000
    """Connections that are held at a time, idle ones included; more wait until one of these is closed."""
    probe_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    """A second port for `/livez`, `/readyz` and `/metrics` alone, without TLS and with connections of its own; 0: none."""
    read_wait: Span = Span(seconds=5)
    """How long a read waits for the projections to catch up before it answers 503."""

    @property
    def address(self) -> str:
        """Scheme, host and port of this server itself."""
        scheme = "https" if self.tls_certificate_file else "http"
        return f"{scheme}://{self.host}:{self.port}"


class Auth(_Section, frozen=True):
    """Who may ask, and what for: docs/security.md."""

    mode: Literal["", "none", "bearer"] = ""
    """`none`: whoever reaches the port may do everything. `bearer`: every request has a token of one of the sources below.
    Has to be set where `http.host` is not the loopback.
    """
    rules_file: Path | None = None
    """Who may do what, and which tenants there are (YAML), followed for changes. Without it, and without `rule_resources`,
    every subject may do everything.
    """
    rule_resources: bool = False
    """Take rules from custom resources too (`NexusAccessRule`), those of `kubernetes.namespace` where templates are."""
    tokens_file: Path | None = None
    """Static tokens (YAML), as `nexus token` writes them, followed for changes; none: there are no static tokens."""
    issuer: str = ""
    """The OIDC issuer (`iss`) whose tokens are taken; empty: none is."""
    jwks_url: str = ""
    """Where the keys of `issuer` are; empty: where its discovery document says."""
    ca_file: Path | None = None
    """The authorities (PEM) that signed the certificate of `issuer`; none: those that the system trusts."""
    audience: str = "nexus"
    """Whom tokens must be for (`aud`): those of `issuer`, and those of service accounts."""
    algorithms: str = "RS256,ES256"
    """What tokens may be signed with, with commas between, whatever they say themselves. None with a shared secret."""
    user_claim: str = "sub"
    """The claim that names the user: `user:<its value>` in rules."""
    groups_claim: str = "groups"
    """The claim that names the user's groups: `group:<each of them>` in rules."""
    clock_skew: Span = Span(seconds=30)
    """By how much the clocks of issuers may differ from ours, at most five minutes."""
    service_accounts: bool = False
    """Take the tokens of service accounts of the cluster that has the custom resources, which is asked about each."""

    reports: Literal["open", "observe", "capability"] = "open"
    """Whose reports the receiver takes. `capability`: those of Jobs that prove which run they are, by what the scheduler put
    into their address of the receiver. `observe`: all, and those that prove nothing are counted. `open`: all.
    """
    capability_keys: Secret = Secret()
    """What proves a report, 32 to 64 bytes each, with commas between, the newest first; empty: one derived from
    `payload.sign_secret`. The same for schedulers and receivers.
    """
    report_allowance: Span = Span(hours=1)
    """How long beyond its deadline, and after its end, a run may report."""

    @property
    def signing_algorithms(self) -> tuple[str, ...]:
        return _names(self.algorithms)

    @property
    def capability_secrets(self) -> list[bytes]:
        """Each of `capability_keys`."""
        return [key.encode() for key in _names(self.capability_keys)]


class Payload(_Section, frozen=True):
    """Where payloads travel, and how their addresses are signed."""

    inline_limit: Size = Size(64 * 1024)
    """Larger payloads go to the payload store, smaller ones travel in the log."""
    tenant_id: str = DEFAULT_TENANT
    """The tenant in payload URLs (`tid`), part of what is signed."""
    sign_secret: SigningKey = SigningKey()
    """Signs payload URLs, 32 to 64 bytes; empty: a random one, kept in the state folder."""


class Log(_Section, frozen=True):
    """The partitions of the topics, on Kafka and in the embedded log."""

    run_partitions: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    """Of `nexus.runs`, of observations and of results. Fixed for life: a role refuses to start on another number."""
    request_partitions: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    """Of each cluster's topic of requests. May grow: at most so many schedulers share a cluster."""


class Templates(_Section, frozen=True):
    """Where the algorithms and workgroups are described."""

    source: Literal["folder", "kubernetes"] = "folder"
    """`folder`: YAML files below `templates.folder`. `kubernetes`: the custom resources of the cluster that
    `templates.kubeconfig` or `templates.in_cluster` names, else of the first one.
    """
    folder: Path = Path("examples")
    """Manifests of algorithms and workgroups, followed for changes."""
    in_cluster: bool = False
    """With `kubernetes`: those of the cluster that Nexus runs in, whether or not it runs algorithms."""
    kubeconfig: Path | None = None
    """With `kubernetes`: those of the cluster of this kubeconfig."""


class Kafka(_Section, frozen=True):
    """The event log of an installation with more than one process."""

    servers: str = ""
    """`host:port`, several with commas between; empty: the embedded log."""
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """The protocol between Nexus and the brokers."""
    ca_file: Path | None = None
    """The authorities (PEM) that signed the brokers' certificates; none: those that the system trusts."""
    cert_file: Path | None = None
    """The client certificate (PEM), where the brokers ask for one."""
    key_file: Path | None = None
    """The private key (PEM) of `cert_file`."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How `username` and `password` are proved, with SASL."""
    username: str = ""
    """The user at the brokers, with SASL."""
    password: Secret = Secret()
    """The password of `username`."""
    replicas: Annotated[int, msgspec.Meta(ge=1, le=7)] = 3
    """Of the topics that `nexus topics` makes."""
    min_insync_replicas: Annotated[int, msgspec.Meta(ge=1, le=7)] = 2
    """How many replicas have a record before its append counts as done."""
    prefix: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{1,60}$")] = "nexus"
    """What the names of the topics begin with: installations with one of their own share brokers."""
    retention: Span = Span(days=90)
    """How long requests and facts are kept: the audit, and what projections can be rebuilt from."""


class Cassandra(_Section, frozen=True):
    """The run store of an installation with more than one process."""

    hosts: str = ""
    """`host` or `host:port`, several with commas between; empty (and no bundle): the embedded store."""
    flavour: Literal["cassandra", "scylla", "astra", "keyspaces"] = "cassandra"
    """The kind of server: it decides how rows are kept in their order, and how a session is opened."""
    keyspace: str = "nexus"
    """Where the projections are."""
    claims_keyspace: str = ""
    """Where `Idempotency-Key`s are, which cannot be made anew from the log; empty: in `keyspace`."""
    replicas: Annotated[int, msgspec.Meta(ge=1, le=7)] = 3
    """Of a keyspace that `nexus schema` makes."""
    local_dc: str = ""
    """The data centre whose nodes are asked; empty: that of the first host."""
    bundle: Path | None = None
    """The secure connect bundle of Astra."""
    bundle_base64: Secret = Secret()
    """The same, its bytes in base64: a Secret of Kubernetes may hold it as a variable."""
    ca_file: Path | None = None
    """The authorities (PEM) that signed the servers' certificates; none: no TLS, but on Keyspaces and Astra."""
    username: str = ""
    """The user at the servers."""
    password: Secret = Secret()
    """The password of `username`."""
    row_lifetime: Span = Span(days=30)
    """How long a run's row is kept, counted from its request."""
    in_flight: Count = 256
    """Statements of a process that the servers have not answered yet, at most."""

    @property
    def configured(self) -> bool:
        """Whether there are servers at all: the embedded store is used otherwise."""
        return bool(self.hosts or self.bundle or self.bundle_base64)


class S3(_Section, frozen=True):
    """The payload store of an installation with more than one process."""

    bucket: str = ""
    """The bucket of the payloads; empty: the state folder."""
    endpoint: str = ""
    """The URL of the server; empty: that of AWS in the region."""
    region: str = "us-east-1"
    """The region of the bucket."""
    access_key: str = ""
    """The key's name; empty: the credentials that the AWS SDKs find by themselves."""
    secret_key: Secret = Secret()
    """The secret of `access_key`."""
    prefix: str = "payloads"
    """What the keys of payloads start with."""
    presign: bool = False
    """Algorithms read payloads from S3 itself by presigned URLs; otherwise from Nexus."""


class Kubernetes(_Section, frozen=True):
    """The execution clusters of an installation with more than one process."""

    kubeconfig: Path | None = None
    """The kubeconfig of `cluster.name`, or a folder with one for each cluster, named `<cluster>.kubeconfig`, `<cluster>.json`
    or `<cluster>`; none: local processes.
    """
    in_cluster: bool = False
    """Use the cluster that Nexus runs in, under the name `cluster.name`."""
    serve: str = ""
    """The clusters that this process watches, places on and supervises, with commas between; empty: all. Supervisors that share a
    cluster have the same list.
    """
    removed: str = ""
    """Clusters that are gone for good, with commas between: what ran there ends. Their names stay here for as long as rows
    are kept, and until then are given to no other cluster.
    """
    namespace: str = "default"
    """Where Jobs run, on every cluster, and where custom resources are read from."""

    @property
    def removed_clusters(self) -> tuple[str, ...]:
        return _names(self.removed)

    @property
    def served_clusters(self) -> tuple[str, ...]:
        """None means all."""
        return tuple(sorted(_names(self.serve)))


class Cluster(_Section, frozen=True):
    """The embedded cluster, and the name of the only cluster where there is one."""

    name: str = "standalone"
    """What `spec.cluster` of a workgroup names."""
    slots: Count = 4
    """Pods that run at a time on the embedded cluster."""


class Placement(_Section, frozen=True):
    """From a request to its Job."""

    deadline: Span = Span(hours=24)
    """A run that has no Job this long after its submission ends SCHEDULING_FAILED."""
    defer_after: Span = Span(minutes=5)
    """A request that its cluster refused for this long is deferred for as long, and then queued again."""
    denied_grace: Span = Span(hours=1)
    """How long a cluster may answer 401 or 403 to a request before the run ends SCHEDULING_FAILED."""
    ttl_after_finished: Span = Span(days=7)
    """`ttlSecondsAfterFinished` of each Job: when Kubernetes deletes it, had Nexus not done so long before."""
    installation: str = "nexus"
    """The name of this installation, written into its Jobs and consumer groups. Two in one namespace need two names."""


class Throttle(_Section, frozen=True):
    """How fast Jobs are created, and how many may wait to start: for each cluster, shared by its schedulers."""

    rate: Positive = 100.0
    """Jobs created per second, at most."""
    burst: Positive = 100.0
    """Jobs created at once after a quiet time, at most."""
    pending_floor: Count = 8
    """Jobs that may be created and not yet started, however slowly the cluster starts them."""
    pending_ceiling: Count = 1000
    """Jobs that may be created and not yet started, however fast the cluster starts them."""
    target_wait: Span = Span(seconds=5)
    """How long a Job should wait to start: the bound on pending Jobs is what the cluster started in that time."""
    pending_grace: Span = Span(seconds=60)
    """A Job pending for longer (no node takes it) no longer counts as pending, but against `stuck_ceiling`."""
    stuck_ceiling: Count = 1000
    """Jobs pending for longer than `pending_grace`, at which no more are created."""
    window: Count = 200_000
    """Requests that a scheduler looks ahead over, at most: among them it is fair between tenants, and then between
    algorithms. It keeps about 700 bytes of each.
    """
    in_flight: Count = 32
    """Creates of a scheduler that the API server has not answered yet, at most."""


class Supervision(_Section, frozen=True):
    """How runs that have a Job are looked after, and when their Jobs are deleted."""

    collect_interval: Span = Span(seconds=1)
    """How often the collector looks for ended runs whose Job is still there."""
    linger: Span = Span(seconds=60)
    """How long an algorithm may go on after it has reported, before its Job is deleted."""
    reconcile_interval: Span = Span(seconds=5)
    """How often the reconciler asks the clusters about runs whose time is due."""
    check_after: Span = Span(seconds=30)
    """A placed run without a new event for this long is checked at its cluster: a Job that is not there has vanished."""
    missed_after: Span = Span(seconds=30)
    """A Job that ended this long ago, and whose end no supervisor has judged, is judged by the reconciler."""
    unreachable_after: Span = Span(seconds=30)
    """A cluster that has not answered for this long is shown as unreachable with its runs. Longer than
    `reconcile_interval`, in which each cluster is asked.
    """
    max_unreachable: Span = Span(hours=24)
    """How long beyond its own deadline a run goes on while its cluster is unreachable; then it ends FAILED."""


class Garbage(_Section, frozen=True):
    """What the sweeper removes: Jobs without a run, and payloads past their time."""

    interval: Span = Span(minutes=10)
    """How often the sweeper looks for Jobs and payloads without a run."""
    job_grace: Span = Span(hours=24)
    """How long a Job of this installation that no run has is kept."""
    payload_retention: Span = Span(days=7)
    """How long a payload is kept after its run has ended; not longer than `cassandra.row_lifetime`."""
    payload_grace: Span = Span(hours=48)
    """How long a payload that no run has is kept; longer than `placement.deadline`."""


class Grace(_Section, frozen=True):
    """How long one thing may stall a run before the run ends; with `never` the run shows what stalls it, and waits.

    docs/diagnosis.md names the categories of each.
    """

    image_name: SpanOrNever = SpanOrNever(minutes=1)
    """An image whose name is invalid."""
    image_pull: SpanOrNever = SpanOrNever(minutes=10)
    """An image that cannot be pulled."""
    container_config: SpanOrNever = SpanOrNever(minutes=10)
    """A secret or config map that a container needs and that is not there."""
    volume_mount: SpanOrNever = SpanOrNever(minutes=10)
    """A volume that cannot be mounted."""
    container_start: SpanOrNever = SpanOrNever(hours=1)
    """A container that cannot be made or started."""
    pod_create: SpanOrNever = SpanOrNever(minutes=10)
    """A Job whose pods cannot be created."""
    quota: SpanOrNever = NEVER
    """A quota that leaves no room for the pod."""
    unschedulable: SpanOrNever = NEVER
    """A pod that no node takes."""
    terminating: SpanOrNever = SpanOrNever(minutes=15)
    """A pod that is being deleted and does not end, or whose node is lost."""


class Logging(_Section, frozen=True):
    """What the processes write to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines that are written."""
    format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""


class Config(_Section, frozen=True):
    """The whole tree: a section for each part of Nexus."""

    http: Http = Http()
    auth: Auth = Auth()
    payload: Payload = Payload()
    log: Log = Log()
    kafka: Kafka = Kafka()
    cassandra: Cassandra = Cassandra()
    s3: S3 = S3()
    kubernetes: Kubernetes = Kubernetes()
    templates: Templates = Templates()
    cluster: Cluster = Cluster()
    placement: Placement = Placement()
    throttle: Throttle = Throttle()
    supervision: Supervision = Supervision()
    grace: Grace = Grace()
    garbage: Garbage = Garbage()
    logging: Logging = Logging()
