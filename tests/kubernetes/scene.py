"""A namespace with all that failures need: nodes of its own, priorities, a quota and a webhook that says no."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from infra.services.pki import Authority
from infra.services.server import free_ports
from tests.support.kube import SIM, Namespace, namespace

__all__ = ["NODES", "OWN", "Scene", "scene"]

OWN = f"{SIM}/own"
NODES = ("notready", "lost", "fenced", "gone", "small")
"""Each for one scenario that does something to it. Nobody else's pods come here."""

_DENIED = f"{SIM}/denied"


class Scene:
    """What scenarios act upon. Names of what is not in a namespace end with that of this one."""

    def __init__(self, there: Namespace) -> None:
        self.there = there

    def named(self, kind: str) -> str:
        return f"{kind}-{self.there.name}"

    def placed_on(self, node: str) -> dict[str, Any]:
        """For a pod's spec: that node, and away from it a second after it fails."""
        leaves = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
        return {
            "nodeSelector": {OWN: self.named(node)},
            "tolerations": [
                {"key": OWN, "operator": "Exists"},
                {"key": "node.kubernetes.io/not-ready", **leaves},
                {"key": "node.kubernetes.io/unreachable", **leaves},
            ],
        }

    async def pods(self, job: str) -> list[Any]:
        path = f"/api/v1/namespaces/{{}}/pods?labelSelector=batch.kubernetes.io/job-name={job}"
        found: list[Any] = (await self.there.call("GET", path))["items"]
        return found

    async def running(self, job: str) -> str:
        """The name of its pod, once it runs, and the cluster's events, which come later, speak of it."""
        while True:
            for pod in await self.pods(job):
                name: str = pod["metadata"]["name"]
                if pod["status"].get("phase") == "Running" and await self._events(name):
                    return name
            await asyncio.sleep(0.1)

    async def _events(self, pod: str) -> list[Any]:
        found = await self.there.call(
            "GET", f"/api/v1/namespaces/{{}}/events?fieldSelector=involvedObject.name={pod}"
        )
        items: list[Any] = found["items"]
        return items

    # What happens to a Job

    async def delete_pod(self, job: str) -> None:
        await self.there.call("DELETE", f"/api/v1/namespaces/{{}}/pods/{await self.running(job)}")

    async def delete_job(self, job: str) -> None:
        await self.running(job)
        await self.there.call(
            "DELETE", f"/apis/batch/v1/namespaces/{{}}/jobs/{job}", {"propagationPolicy": "Background"}
        )

    async def fail_node(self, job: str) -> None:
        """Its kubelet says that it is not ready, and still ends what is deleted."""
        await self.running(job)
        await self._label("notready", f"{SIM}/node", "not-ready")

    async def lose_node(self, job: str) -> None:
        """Its kubelet says nothing any more."""
        await self.running(job)
        await self._label("lost", "type", None)

    async def fence_node(self, job: str) -> None:
        """As `lose_node`, and then an operator says that the machine is off, so that its pods are given up."""
        pod = await self.running(job)
        await self._label("fenced", "type", None)
        while (await self.there.call("GET", f"/api/v1/namespaces/{{}}/pods/{pod}"))["metadata"].get(
            "deletionTimestamp"
        ) is None:
            await asyncio.sleep(0.5)
        node = f"/api/v1/nodes/{self.named('fenced')}"
        taints = (await self.there.call("GET", node))["spec"]["taints"]
        off = {"key": "node.kubernetes.io/out-of-service", "value": "off", "effect": "NoExecute"}
        await self.there.merge(node, {"spec": {"taints": [*taints, off]}})

    async def delete_node(self, job: str) -> None:
        await self.running(job)
        await self.there.call("DELETE", f"/api/v1/nodes/{self.named('gone')}")

    async def preempt(self, job: str) -> None:
        """A pod of a higher priority needs its place."""
        await self.running(job)
        container = {
            "name": "main",
            "image": "example.test/urgent:1",
            "resources": {"requests": {"cpu": "1"}},
        }
        spec = {"containers": [container], "priorityClassName": self.named("high"), **self.placed_on("small")}
        pod = {"metadata": {"name": "urgent", "labels": {f"{SIM}/outcome": "hang"}}, "spec": spec}
        await self.there.call("POST", "/api/v1/namespaces/{}/pods", pod)

    async def _label(self, node: str, name: str, value: str | None) -> None:
        change = {"metadata": {"labels": {name: value}}}
        await self.there.merge(f"/api/v1/nodes/{self.named(node)}", change)

    # Setting it up

    async def build(self, port: int, authority: Path) -> None:
        there = self.there
        for node in NODES:
            await there.call("POST", "/api/v1/nodes", self._node(node))
        classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
        for name, value in (("high", 1000), ("low", 1), ("none", 2)):
            await there.call("POST", classes, {"metadata": {"name": self.named(name)}, "value": value})
        only = {"scopeName": "PriorityClass", "operator": "In", "values": [self.named("none")]}
        quota = {"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [only]}}
        await there.call(
            "POST",
            "/api/v1/namespaces/{}/resourcequotas",
            {"metadata": {"name": "none"}, "spec": quota},
        )
        await there.call("POST", self._webhooks, self._webhook(port, authority))
        async with asyncio.timeout(30):
            while not await self._denies():
                await asyncio.sleep(0.1)

    async def strike(self) -> None:
        """What is in the namespace goes with it, but for pods that nobody would end."""
        await self.there.call(
            "DELETE", "/apis/batch/v1/namespaces/{}/jobs", {"propagationPolicy": "Background"}
        )
        await self.there.call("DELETE", "/api/v1/namespaces/{}/pods", {"gracePeriodSeconds": 0})
        for node in NODES:
            await self.there.call("DELETE", f"/api/v1/nodes/{self.named(node)}")
        for name in ("high", "low", "none"):
            await self.there.call("DELETE", f"/apis/scheduling.k8s.io/v1/priorityclasses/{self.named(name)}")
        await self.there.call("DELETE", f"{self._webhooks}/{self.named('deny')}")

    async def _denies(self) -> bool:
        """The API server takes a moment to hear of a webhook."""
        container = {"name": "main", "image": "example.test/denied:1"}
        pod = {
            "metadata": {"name": "denied", "labels": {_DENIED: "true"}},
            "spec": {"containers": [container]},
        }
        path = f"/api/v1/namespaces/{self.there.name}/pods?dryRun=All"
        answer = await self.there.connection.request("POST", path, msgspec.json.encode(pod))
        return b"without a signature" in answer.body

    _webhooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"

    def _node(self, node: str) -> dict[str, Any]:
        name = self.named(node)
        small = {"cpu": "1", "memory": "1Gi", "pods": "10"}
        return {
            "metadata": {"name": name, "labels": {"type": "kwok", OWN: name}},
            "spec": {"taints": [{"key": OWN, "effect": "NoSchedule"}]},
            "status": {"allocatable": small, "capacity": small} if node == "small" else {},
        }

    def _webhook(self, port: int, authority: Path) -> dict[str, Any]:
        """Only for what is labelled so, only in this namespace."""
        rules = [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
            {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]},
        ]
        webhook = {
            "name": "deny.nexus.test",
            "rules": rules,
            "clientConfig": {
                "url": f"https://127.0.0.1:{port}/",
                "caBundle": base64.b64encode(authority.read_bytes()).decode(),
            },
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.there.name}},
            "objectSelector": {"matchLabels": {_DENIED: "true"}},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
        }
        return {"metadata": {"name": self.named("deny")}, "webhooks": [webhook]}


async def _deny(request: web.Request) -> web.Response:
    review = await request.json()
    response = {
        "uid": review["request"]["uid"],
        "allowed": False,
        "status": {"message": "no image without a signature"},
    }
    return web.json_response(
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    )


@asynccontextmanager
async def scene(kubeconfig: Path, folder: Path) -> AsyncIterator[Scene]:
    authority = Authority(folder / "pki")
    certificate, key = authority.issue("webhook", "/CN=webhook", "serverAuth", "IP:127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    application = web.Application()
    application.router.add_post("/", _deny)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_ports({"webhook": 0})["webhook"]
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
    try:
        async with namespace(kubeconfig) as there:
            built = Scene(there)
            try:
                await built.build(port, authority.certificate)
                yield built
            finally:
                await built.strike()
    finally:
        await runner.cleanup()
