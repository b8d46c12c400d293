"""Remove from an environment what its libraries bring and no role reads: `python trim.py SITE_PACKAGES`."""

from __future__ import annotations

import shutil
import struct
import sys
from pathlib import Path

__all__ = ["UNUSED", "strip", "trim"]

_NOTHING: set[str] = set()
_LAZY = {"__init__.py"}

UNUSED = {
    # Of the client of Kubernetes the credentials are used: what is asked and answered is JSON of our own kinds.
    "kubernetes/client/api/*": _LAZY,
    "kubernetes/client/models/*": _LAZY,
    "kubernetes/aio/client/api/*": _LAZY,
    "kubernetes/aio/client/models/*": _LAZY,
    # Of AWS a bucket is used, and what else its credentials may come from.
    "botocore/data/[!_]*": {
        "endpoints.json",
        "partitions.json",
        "s3",
        "sdk-default-configuration.json",
        "signin",
        "sso",
        "sso-oidc",
        "sts",
    },
    # Of Swagger UI the one page is served that `api/openapi.py` makes.
    "swagger_ui/static/*": {"LICENSE", "favicon-32x32.png", "swagger-ui-bundle.js", "swagger-ui.css"},
    # Litestar makes examples with them where it is asked to, and never is.
    "faker/*": _NOTHING,
    "polyfactory/*": _NOTHING,
    # Statements are written in CQL.
    "cassandra/cqlengine/*": _NOTHING,
    # Rich colours source code where it is given some, and never is; pytest colours differences.
    "pygments/lexers/*": {"__init__.py", "_mapping.py", "diff.py", "python.py", "special.py"},
}
"""What matches, below the folder of the packages, is removed but for these names."""


def trim(packages: Path) -> None:
    """Raises SystemExit for what is not there: a library has changed, and has to be looked at again."""
    for pattern, kept in UNUSED.items():
        found = {path.name: path for path in packages.glob(pattern)}
        if missing := sorted(kept - found.keys()):
            raise SystemExit(
                f"trim: {pattern} has no {', '.join(missing)}: see what the library keeps there now"
            )
        unused = [path for name, path in found.items() if name not in kept]
        if not unused:
            raise SystemExit(f"trim: {pattern} has nothing to remove: see what the library brings now")
        for path in unused:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for library in packages.rglob("*.so*"):
        strip(library)


def strip(library: Path) -> None:
    """Cut off a shared object of 64 bits what is after its segments, which is for linkers and debuggers alone.

    The same is done by `strip`, which the base of the image does not have.
    """
    content = bytearray(library.read_bytes())
    if content[:6] != b"\x7fELF\x02\x01":
        return
    (segments,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    end = segments + size * count
    for header in range(segments, end, size):
        offset, _, _, length = struct.unpack_from("<QQQQ", content, header + 8)
        end = max(end, offset + length)
    struct.pack_into("<Q", content, 40, 0)  # where the sections are listed,
    struct.pack_into("<HH", content, 60, 0, 0)  # how many, and which one has their names
    library.write_bytes(content[:end])


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
