"""Where the bytes of one file are now, as a source answers; what the download engine asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

SMALL = 12 << 20
"""Bytes below which a file is asked for where it is named, over connections of ours that follow redirects themselves:
asking first where it is would cost more than the file."""


class Located(NamedTuple):
    """One answer to "where are these bytes now?".

    `headers` (a token among them, maybe) belong to the origin of `url` and are sent nowhere else. `shareable` says that
    the address alone is enough (public or signed), so that another program may be given it. `expires` is in unix
    seconds, None when the address does not say. `size` in bytes and `etag` are what the source heard, if it heard.
    """

    url: str
    headers: Mapping[str, str] = {}
    shareable: bool = False
    expires: float | None = None
    size: int | None = None
    etag: str = ""

    def __repr__(self) -> str:
        """Show no token and no signature: both the headers and the query of a signed address are secrets."""
        return f"Located({self.url.partition('?')[0]!r}, shareable={self.shareable}, expires={self.expires})"
