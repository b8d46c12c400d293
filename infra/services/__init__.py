"""Real servers for local work and for tests: Kafka, Cassandra, S3 and Kubernetes as processes of this machine."""

from infra.services.cassandra import Cassandra
from infra.services.errors import MissingTool, ServiceError
from infra.services.kafka import Kafka, SecureKafka
from infra.services.kubernetes import Kubernetes
from infra.services.s3 import S3
from infra.services.server import Server

__all__ = ["S3", "Cassandra", "Kafka", "Kubernetes", "MissingTool", "SecureKafka", "Server", "ServiceError"]
