"""`python -m infra.services start|stop|status [server...]`."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from infra.services import S3, Cassandra, Kafka, Kubernetes, SecureKafka, Server, ServiceError

_USUAL = ["kafka", "cassandra", "s3", "kubernetes"]
_SERVERS: dict[str, Server] = {kind.name: kind() for kind in (Kafka, Cassandra, S3, Kubernetes, SecureKafka)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.services", description=__doc__)
    parser.add_argument("action", choices=["start", "stop", "status"])
    parser.add_argument(
        "servers",
        nargs="*",
        type=_server,
        metavar="server",
        help=f"of {', '.join(_SERVERS)}; default: {', '.join(_USUAL)}",
    )
    arguments = parser.parse_args()
    servers = arguments.servers or [_SERVERS[name] for name in _USUAL]
    with ThreadPoolExecutor(len(servers)) as pool:
        outcomes = list(pool.map(_ACTIONS[arguments.action], servers))
    return max(outcomes)


def _server(name: str) -> Server:
    try:
        return _SERVERS[name]
    except KeyError:
        raise argparse.ArgumentTypeError(f"there is no {name!r}, only {', '.join(_SERVERS)}") from None


def _start(server: Server) -> int:
    print(
        f"# {server.name}: starting; the first time it is installed too, which may take minutes",
        file=sys.stderr,
    )
    try:
        server.start()
    except ServiceError as error:
        print(f"{server.name}: {error}", file=sys.stderr)
        return 1
    return _status(server)


def _stop(server: Server) -> int:
    server.stop()
    return 0


def _status(server: Server) -> int:
    healthy = server.healthy()
    state = "serves" if healthy else "does not serve" if server.running() else "stopped"
    print(f"# {server.name} {state}, logs in {server.folder}")
    if healthy:
        print("\n".join(f"export {name}={value}" for name, value in server.variables.items()))
    return 0 if healthy else 1


_ACTIONS = {"start": _start, "stop": _stop, "status": _status}

if __name__ == "__main__":
    sys.exit(main())
