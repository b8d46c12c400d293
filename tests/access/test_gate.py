"""Whether a process starts at all, what it says aloud, and which sources it takes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from nexus.access.static import add_token, new_token
from nexus.composition.access import Gate, check_mode
from nexus.composition.engines import Engines
from nexus.composition.readiness import Readiness
from nexus.config import load
from nexus.domain.errors import ConfigError, Unauthenticated, Unavailable
from nexus.embedded.state import StateFolder


def configured(**given):
    return load(None, {f"NEXUS__{key.upper()}": str(value) for key, value in given.items()})


@asynccontextmanager
async def gate(tmp_path, **given):
    async with AsyncExitStack() as stack:
        folder = StateFolder(tmp_path / "state")
        stack.enter_context(folder.owned())
        engines = Engines(configured(**given), folder, stack)
        tasks = []
        made = Gate(engines)
        try:
            yield made, lambda work: tasks.append(asyncio.create_task(work)), engines
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "::", "nexus.example.com"])
def test_where_others_reach_it_somebody_has_to_say_who_may_ask(host):
    with pytest.raises(ConfigError, match="NEXUS__AUTH__MODE"):
        check_mode(configured(http__host=host))
    for mode in ("none", "bearer"):
        check_mode(configured(http__host=host, auth__mode=mode))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_on_the_loopback_nobody_has_to(host):
    check_mode(configured(http__host=host))


async def test_that_everybody_may_do_everything_is_said_aloud(tmp_path, capsys):
    async with gate(tmp_path, http__host="0.0.0.0", auth__mode="none") as (made, spawn, engines):
        assert (await made.access(spawn)).subject is None
        assert "whoever reaches this port may do everything" in capsys.readouterr().out
        said = (await Readiness(engines, ["api"], made.remarks).unable()).partly
        assert said == ["auth.mode is none: whoever reaches this port may do everything"]
        assert (await Readiness(engines, ["watcher"], made.remarks).unable()).partly == []


async def test_on_the_loopback_nothing_is_said(tmp_path):
    async with gate(tmp_path) as (made, spawn, _):
        assert (await made.access(spawn)).subject is None
        assert made.remarks() == []


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "no source of tokens"),
        ({"auth__tokens_file": "/nowhere/tokens.yaml"}, "/nowhere/tokens.yaml"),
        ({"auth__issuer": "http://issuer.example"}, "auth.issuer"),
        ({"auth__issuer": "https://issuer.example", "auth__ca_file": "/nowhere"}, "auth.ca_file"),
        ({"auth__service_accounts": "true"}, "service accounts"),
    ],
)
async def test_bearer_wants_a_source_that_can_be_used(tmp_path, given, named):
    async with gate(tmp_path, auth__mode="bearer", **given) as (made, spawn, _):
        with pytest.raises(ConfigError, match=named):
            await made.access(spawn)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"auth__algorithms": "RS256,HS256"}, "auth.algorithms names HS256"),
        ({"auth__algorithms": "none"}, "auth.algorithms names none"),
        ({"auth__clock_skew": "10m"}, "auth.clock_skew"),
        ({"auth__mode": "maybe"}, "auth.mode"),
    ],
)
def test_what_would_let_in_too_many_is_refused(given, named):
    with pytest.raises(ConfigError, match=named):
        configured(**given)


async def test_several_sources_stand_side_by_side_and_rules_follow_their_file(tmp_path):
    secret, entry = new_token("ci", (), None)
    tokens, rules = tmp_path / "tokens.yaml", tmp_path / "rules.yaml"
    tokens.write_bytes(add_token(b"", entry, ""))
    rules.write_text("rules: [{name: all, subjects: ['token:ci'], verbs: ['*']}]")
    given = {
        "auth__mode": "bearer",
        "auth__tokens_file": tokens,
        "auth__rules_file": rules,
        "auth__issuer": "https://127.0.0.1:1",
    }
    async with gate(tmp_path, **given) as (made, spawn, _):
        access = await made.access(spawn)
        assert access.subject is not None
        assert (await access.subject(secret)).name == "token:ci"
        assert [rule.name for rule in access.rules().rules] == ["all"]
        of_issuer = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovLzEyNy4wLjAuMToxIn0.x"
        with pytest.raises(Unavailable, match="the issuer https"):
            await access.subject(of_issuer)
        with pytest.raises(Unauthenticated):
            await access.subject("something else")
        [remark] = made.remarks()
        assert "the keys of the issuer https://127.0.0.1:1 cannot be fetched" in remark
        rules.write_text("rules: 1")
        await made._files[1].look()
        assert any(
            "rules.yaml is broken, and what it said before is in force" in each for each in made.remarks()
        )
        assert [rule.name for rule in access.rules().rules] == ["all"]
