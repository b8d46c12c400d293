"""Whether something serves at an address, asked with the standard library alone."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import struct
from typing import Any

__all__ = ["cql_answers", "fetch", "http_ok", "kafka_answers"]

_PATIENCE = 3.0  # seconds for one answer
_CQL_OPTIONS = bytes.fromhex("040000000500000000")  # protocol 4, no flags, stream 0, OPTIONS, no body
_CQL_SUPPORTED = 0x06
_KAFKA_API_VERSIONS = struct.pack(">hhih", 18, 0, 1, -1)  # key, version, correlation id, no client id


def http_ok(port: int, path: str, tls: ssl.SSLContext | None = None) -> bool:
    return fetch(port, "GET", path, tls=tls)[0] == http.client.OK


def fetch(
    port: int, method: str, path: str, body: object = None, tls: ssl.SSLContext | None = None
) -> tuple[int, Any]:
    """Status and JSON body of an answer; None when it has none. Raises OSError when there is no answer."""
    connection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=_PATIENCE, context=tls)
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    )
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        received = answer.read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from None
    finally:
        connection.close()
    try:
        return answer.status, json.loads(received)
    except ValueError:
        return answer.status, None


def cql_answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), _PATIENCE) as connection:
        connection.sendall(_CQL_OPTIONS)
        header = connection.recv(9, socket.MSG_WAITALL)
        return len(header) == len(_CQL_OPTIONS) and header[4] == _CQL_SUPPORTED


def kafka_answers(port: int, tls: ssl.SSLContext | None = None) -> bool:
    """A broker answers once it has registered, caught up and been unfenced."""
    with socket.create_connection(("127.0.0.1", port), _PATIENCE) as plain:
        connection = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
        connection.sendall(struct.pack(">i", len(_KAFKA_API_VERSIONS)) + _KAFKA_API_VERSIONS)
        return bool(connection.recv(4))
