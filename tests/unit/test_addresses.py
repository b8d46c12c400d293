"""What somebody wrote into an address to log in is shown nowhere."""

from __future__ import annotations

import pytest

from nexus.config import S3, Kafka, Secret, load, shown
from nexus.domain.addresses import without_credentials
from nexus.domain.errors import ConfigError, Unavailable
from nexus.kafka.event_log import KafkaEventLog
from nexus.s3 import S3PayloadStore


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("https://me:hush@host:9000/path", "https://***@host:9000/path"),
        ("https://hush@host", "https://***@host"),
        ("https://me:hu/sh@host", "https://***@host"),
        ("https://me:hu@sh@host", "https://***@host"),
        ("me:hush@one:9092,me:hush@two:9092", "***@one:9092,***@two:9092"),
        ("one:9092, me:hush@two:9092", "one:9092, ***@two:9092"),
        (
            "could not connect to 'http://me:hush@host/bucket'",
            "could not connect to 'http://***@host/bucket'",
        ),
        ("one:9092,two:9092", "one:9092,two:9092"),
        ("http://host:9000", "http://host:9000"),
        ("/srv/data@home", "/srv/data@home"),
    ],
)
def test_only_the_credentials_are_hidden(text, safe):
    assert without_credentials(text) == safe


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NEXUS__KAFKA__SERVERS", "me:hush@broker:9092"),
        ("NEXUS__S3__ENDPOINT", "https://me:hush@s3.example"),
        ("NEXUS__HTTP__EXTERNAL_URL", "https://me:hush@nexus.example"),
    ],
)
def test_no_key_shows_them(variable, value):
    assert "hush" not in str(shown(load(None, {variable: value})))


def test_no_refusal_of_a_key_shows_them():
    with pytest.raises(ConfigError) as refused:
        load(None, {"NEXUS__HTTP__PORT": "http://me:hush@host"})
    assert "hush" not in str(refused.value)
    assert "http.port" in str(refused.value)


def test_brokers_are_named_without_credentials():
    with pytest.raises(ConfigError, match=r"kafka\.username and kafka\.password") as refused:
        KafkaEventLog(Kafka(servers="one:9092,me:hush@two:9092"), {})
    assert "hush" not in str(refused.value)


async def test_no_message_about_s3_shows_them():
    store = S3PayloadStore(
        S3(bucket="b", endpoint="http://me:hush@127.0.0.1:1", access_key="a", secret_key=Secret("a"))
    )
    with pytest.raises(Unavailable) as away:
        await store.start()
    await store.close()
    assert "hush" not in str(away.value)
    assert "http://***@127.0.0.1:1" in str(away.value)
