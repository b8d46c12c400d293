"""What has to be on the servers before the roles start: `nexus topics` and `nexus schema` make it, or `nexus dev`."""

from __future__ import annotations

from nexus.cassandra import schema
from nexus.cassandra.connection import connect
from nexus.cassandra.schema import Version
from nexus.config import Cassandra, Config
from nexus.kafka import topics
from nexus.kafka.admin import Admin
from nexus.kafka.client import connection
from nexus.kafka.topics import Finding
from nexus.kubernetes.shards import shards

__all__ = ["for_development", "make_tables", "make_topics"]


async def make_topics(
    config: Config, *, only_check: bool = False, development: bool = False
) -> list[Finding]:
    """`development`: as few replicas as there are brokers. Raises Unavailable where no broker answers."""
    clusters = [*(shards(config) or [config.cluster.name]), *config.kubernetes.removed_clusters]
    async with Admin(connection(config.kafka)) as admin:
        brokers = await admin.brokers() if development else None
        wanted = topics.wanted(config, clusters, brokers=brokers)
        return await topics.apply(admin, wanted, only_check=only_check)


async def make_tables(config: Cassandra, *, development: bool = False) -> list[Version]:
    """`development`: as few replicas as there are nodes. The versions that were missing, now applied."""
    async with await connect(config, None) as session:
        await schema.make_keyspace(session, config, development=development)
    async with await connect(config, config.keyspace) as session:
        return await schema.apply(session)


async def for_development(config: Config) -> None:
    """On those servers that the configuration names. What differs from it there is for the roles to refuse."""
    if config.kafka.servers:
        await make_topics(config, development=True)
    if config.cassandra.configured:
        await make_tables(config.cassandra, development=True)
