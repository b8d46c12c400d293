"""How callers are let in, as the configuration says: sources of proof, rules, and what is said aloud where there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from api.access.entrance import Access
from api.origins import is_loopback
from nexus.access.authenticator import Authenticator
from nexus.access.files import FollowedFile, document
from nexus.access.rulebook import Rulebook
from nexus.access.static import StaticTokens, read_tokens
from nexus.backoff import retry
from nexus.composition.engines import Engines
from nexus.composition.tasks import Spawn
from nexus.config import Auth, Config
from nexus.domain.access import NO_TENANTS, Policy, Rule, Subject, Tenants, read_policy
from nexus.domain.errors import ConfigError
from nexus.ports import TokenSource

if TYPE_CHECKING:
    from nexus.access.jwt import Claims
    from nexus.access.keys import Keys
    from nexus.kubernetes.access_rules import KubernetesRules

__all__ = ["Gate", "check_mode"]

_log = structlog.get_logger(__name__)


def check_mode(config: Config) -> None:
    """Raises ConfigError where others reach this process, and nobody has said who may ask it."""
    if config.auth.mode == "" and not is_loopback(config.http.host):
        raise ConfigError(
            f"auth.mode is not set, and http.host is {config.http.host}, where others reach this process: set "
            "NEXUS__AUTH__MODE to bearer, or to none where whoever reaches the port may do everything"
        )


class Gate:
    """Of one process: what it follows to know callers and rules."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._files: list[FollowedFile[Any]] = []
        self._keys: list[Keys] = []
        self._resources: KubernetesRules | None = None
        self._policy: FollowedFile[Policy] | None = None

    async def access(self, spawn: Spawn) -> Access:
        """Raises ConfigError for files that cannot be read, and where no source is named."""
        auth = self._engines.config.auth
        if auth.mode != "bearer":
            if open_to_all := self._open:
                _log.warning("no_authentication", host=self._engines.config.http.host, problem=open_to_all)
            return Access()
        sources = await self._sources(auth)
        if not sources:
            raise ConfigError(
                "auth.mode is bearer, and no source of tokens is named: set auth.issuer, auth.service_accounts or "
                "auth.tokens_file"
            )
        rules = await self._rulebook(auth, spawn)
        for file in self._files:
            spawn(file.follow())
        for keys in self._keys:
            spawn(keys.follow())
        return Access(Authenticator(sources).subject, rules, self._tenants)

    def remarks(self) -> list[str]:
        """What `/readyz` adds: that everybody is let in, and what is in force only as it was before."""
        files = [
            f"{each.path} is broken, and what it said before is in force: {each.problem}"
            for each in self._files
            if each.problem
        ]
        keys = [
            f"the keys of {each.of} cannot be fetched: {each.problem}" for each in self._keys if each.problem
        ]
        broken = self._resources.problems() if self._resources else []
        rules = [f"a rule allows nothing, because it is broken: {each}" for each in broken]
        return [*filter(None, [self._open]), *files, *keys, *rules]

    def _tenants(self) -> Tenants:
        return self._policy.value.tenants if self._policy else NO_TENANTS

    @property
    def _open(self) -> str:
        """Why it matters that nobody has to say who it is; empty where it does not."""
        config = self._engines.config
        if config.auth.mode == "bearer" or is_loopback(config.http.host):
            return ""
        return "auth.mode is none: whoever reaches this port may do everything"

    async def _sources(self, auth: Auth) -> list[TokenSource]:
        sources: list[TokenSource] = []
        if auth.tokens_file:
            sources.append(StaticTokens(self._follow(auth.tokens_file, read_tokens)))
        if auth.issuer:
            sources.append(self._users(auth))
        if auth.service_accounts:
            sources.append(await self._service_accounts(auth))
        return sources

    async def _rulebook(self, auth: Auth, spawn: Spawn) -> Rulebook:
        sources: list[Callable[[], Sequence[Rule]]] = []
        if auth.rules_file:
            file = self._policy = self._follow(auth.rules_file, _policy)
            sources.append(lambda: file.value.rules.rules)
        if auth.rule_resources:
            from nexus.kubernetes.access_rules import KubernetesRules

            connection = await self._engines.custom_resources()
            resources = KubernetesRules(connection, self._engines.config.kubernetes.namespace)
            await retry(resources.start, "rules_not_read")
            spawn(resources.follow())
            sources.append(resources.rules)
            self._resources = resources
        return Rulebook(sources)

    # The library of tokens, and those that reach who issues them, are loaded where they are needed.

    def _users(self, auth: Auth) -> TokenSource:
        from nexus.access.issuer import Issuer
        from nexus.access.jwt import user_of
        from nexus.access.keys import Keys

        issuer = Issuer(auth.issuer, auth.jwks_url, auth.ca_file)
        self._engines.closing(issuer.close)
        keys = Keys(f"the issuer {auth.issuer}", issuer.published, auth.signing_algorithms, auth.issuer)
        return self._signed(auth, keys, lambda claims: user_of(claims, auth.user_claim, auth.groups_claim))

    async def _service_accounts(self, auth: Auth) -> TokenSource:
        from nexus.access.jwt import user_of
        from nexus.access.keys import Keys, Published
        from nexus.kubernetes.token_reviews import TokenReviews, published

        connection = await self._engines.custom_resources()

        async def fetch() -> Published:
            return Published(*await published(connection))

        keys = Keys(f"the cluster {connection.name}", fetch, auth.signing_algorithms)
        signed = self._signed(auth, keys, lambda claims: user_of(claims, "sub", ""))
        return TokenReviews(connection, auth.audience, signed)

    def _signed(self, auth: Auth, keys: Keys, subject_of: Callable[[Claims], Subject]) -> TokenSource:
        from nexus.access.jwt import Jwt

        self._keys.append(keys)
        skew = auth.clock_skew.total_seconds()
        return Jwt(keys, auth.audience, auth.signing_algorithms, skew, subject_of)

    def _follow(self, path: Path, read: Callable[[bytes, str], Any]) -> FollowedFile[Any]:
        followed = FollowedFile(path, read)
        self._files.append(followed)
        return followed


def _policy(content: bytes, field: str) -> Policy:
    return read_policy(document(content, field), field)
