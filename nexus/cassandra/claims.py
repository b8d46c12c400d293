"""Claims of `Idempotency-Key`s on Cassandra, by insert-if-absent."""

from __future__ import annotations

from datetime import timedelta

from nexus.cassandra.driver import Prepared, Session
from nexus.config import Cassandra
from nexus.domain.duration import whole_seconds
from nexus.ports import Claim

__all__ = ["CassandraClaims"]

_CLAIM = (
    "INSERT INTO {}.claims (algorithm, key, body_hash, request) VALUES (?, ?, ?, ?) IF NOT EXISTS USING TTL ?"
)


class CassandraClaims:
    def __init__(self, session: Session, statement: Prepared, lifetime: timedelta) -> None:
        self._session = session
        self._statement = statement
        self._ttl = whole_seconds(lifetime)

    @classmethod
    async def open(cls, session: Session, config: Cassandra) -> CassandraClaims:
        """A claim is kept as long as a row. Raises ConfigError without the schema."""
        statement = await session.prepare(_CLAIM.format(config.claims_keyspace or config.keyspace))
        return cls(session, statement, config.row_lifetime)

    async def claim(self, algorithm: str, key: str, claim: Claim) -> Claim:
        """After OutcomeUnknown the same claim may stand: asking again tells."""
        applied, *standing = await self._session.change(
            self._statement, (algorithm, key, claim.body_hash, claim.request, self._ttl)
        )
        if applied:
            return claim
        _, _, body_hash, request = standing
        return Claim(body_hash, request)
