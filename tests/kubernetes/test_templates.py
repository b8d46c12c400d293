"""Templates as custom resources of a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from nexus.domain.errors import InvalidInput
from nexus.kubernetes.templates import KubernetesTemplates
from tests.contract.test_templates import SPEC, manifest, until
from tests.support.kube import RESOURCES, Namespace, install_kinds

ROOT = RESOURCES


@pytest.fixture
async def deployed(there: Namespace) -> Namespace:
    """The namespace, once the API server knows our kinds."""
    await install_kinds(there)
    return there


@asynccontextmanager
async def followed(there: Namespace) -> AsyncIterator[KubernetesTemplates]:
    templates = KubernetesTemplates(there.connection, there.name)
    await templates.start()
    following = asyncio.create_task(templates.watch())
    yield templates
    assert not following.done()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def put(there: Namespace, kind: str, name: str, spec: object) -> None:
    await there.call("POST", f"{ROOT}/{kind.lower()}s", manifest(kind, name, spec))


async def put_deep(there: Namespace, name: str) -> None:
    """A workgroup that no encoder of ours would write."""
    plain = manifest(
        "NexusAlgorithmWorkgroup",
        name,
        {"description": "d", "cluster": "c", "affinity": {"nodeAffinity": "nested"}},
    )
    body = msgspec.json.encode(plain).replace(b'"nested"', b'{"a":' * 3000 + b"{}" + b"}" * 3000)
    at = f"{ROOT}/nexusalgorithmworkgroups".format(there.name)
    assert (await there.connection.request("POST", at, body)).status == 201


async def test_one_broken_object_takes_nothing_else_along(deployed: Namespace) -> None:
    """As it is when the watch begins, and as it comes."""
    async with followed(deployed) as templates:
        await put_deep(deployed, "deep")
        await put(deployed, "NexusAlgorithmTemplate", "nul", SPEC | {"args": ["a\x00b"]})
        await put(deployed, "NexusAlgorithmTemplate", "good", SPEC)
        await put(deployed, "NexusAlgorithmWorkgroup", "wg", {"description": "d", "cluster": "c"})
        async with followed(deployed) as again:
            for each in (templates, again):
                await until(lambda each=each: each.template("good") and each.workgroup("wg"))
                with pytest.raises(InvalidInput, match="has a NUL character"):
                    each.template("nul")
                with pytest.raises(InvalidInput, match="is nested more than 64 levels deep"):
                    each.workgroup("deep")
