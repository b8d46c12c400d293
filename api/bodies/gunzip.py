"""Inflating a body of `Content-Encoding: gzip` piece by piece, so that a bomb is found out before it goes off."""

from __future__ import annotations

import zlib

from litestar.exceptions import ClientException

__all__ = ["Gunzip"]

_GZIP = 16 + zlib.MAX_WBITS
_PIECE = 64 * 1024
"""Bytes inflated in one step."""
_FREE = 16 * 1024 * 1024
"""Bytes that may come of however little."""
_RATIO = 200
"""Bytes that may come of one beyond that: JSON rarely shrinks to a hundredth, and a bomb to a thousandth."""


class Gunzip:
    """Give it with `feed` what came, and take with `next_piece` what comes of it until that is empty.

    Raises ClientException (400) for what is no gzip, and for what grows too much.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._rest = b""
        self._fed = 0
        self._made = 0

    def feed(self, data: bytes) -> None:
        self._rest += data
        self._fed += len(data)

    def next_piece(self) -> bytes:
        """At most 64 KiB; empty when it needs more to go on."""
        while self._rest:
            if self._member.eof:  # a file may be several, one after another
                self._member = zlib.decompressobj(_GZIP)
            try:
                piece = self._member.decompress(self._rest, _PIECE)
            except zlib.error as error:
                raise ClientException(
                    f"the body is not gzip, as its Content-Encoding says: {error}"
                ) from None
            self._rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                self._made += len(piece)
                if self._made > _FREE + _RATIO * self._fed:
                    raise ClientException(
                        f"the body inflates to more than {_RATIO} times its size: send it without Content-Encoding"
                    )
                return piece
        return b""

    def finish(self) -> None:
        """Nothing more comes. Raises ClientException where the stream is not whole."""
        if not self._member.eof:
            raise ClientException("the body ends before its gzip stream does")
