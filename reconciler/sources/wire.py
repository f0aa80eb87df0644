"""Send one HTTP request of ours: no redirects, no cookies, kept-alive connections, from many threads.

Imported only when something must be asked: it brings urllib3 with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from reconciler import __version__
from reconciler.errors import SourceError
from reconciler.secrets import redact
from reconciler.sources.patience import BUSY, Answer, UnreachableError, persist, proxy_for
from reconciler.sources.urls import is_private_address
from reconciler.sources.world import World

_OBJECT = re.compile(r"^(?:<.*>|\w*Connection(?:Pool)?\(.*?\)): ")
"""How urllib3 begins what it says of a connection: with its address in memory, or with host and port."""
_CONNECTIONS = 32
_CHUNK = 1 << 20
_HEADERS = {"User-Agent": f"reconciler/{__version__}", "Accept-Encoding": "identity"}


def send(
    method: str,
    url: str,
    world: World,
    headers: Mapping[str, str] | None = None,
    *,
    limit: int = 0,
    public: bool = False,
    body: bytes | None = None,
) -> Answer:
    """Send `body`, and return the answer, redirects included, with at most `limit` bytes of its own body.

    Repeated while upstream asks for it. `public` refuses a host whose address is not of the public internet, whatever
    its name. Raise SourceError when no answer comes, RateLimitedError when we would wait too long.
    """

    def once() -> Answer:
        with _open(method, url, world, headers or {}, public=public, body=body) as response:
            read = response.read(limit, decode_content=False) if limit else b""
            return _answer(url, response, read)

    return persist(once, world, url)


@contextmanager
def stream(url: str, world: World, *, public: bool = False) -> Iterator[tuple[Answer, Iterator[bytes]]]:
    """Open a GET and give its answer (without body) and the body in chunks. Errors as `send`; not repeated midway."""
    opened: list[urllib3.BaseHTTPResponse] = []

    def once() -> Answer:
        response = _request("GET", url, world, {}, public=public)
        answer = _answer(url, response, b"")
        if answer.status in BUSY:
            response.drain_conn()
            response.release_conn()
        else:
            opened.append(response)
        return answer

    answer = persist(once, world, url)
    try:
        yield answer, _chunks(opened[-1], url, world)
    finally:
        opened[-1].close()


def connections(url: str, *, direct: bool = False) -> urllib3.PoolManager:
    """Return the kept connections for `url`, for whoever sends what `send` cannot; `direct` goes past any proxy."""
    return _pool("" if direct else proxy_for(url), False)


def _chunks(response: urllib3.BaseHTTPResponse, url: str, world: World) -> Iterator[bytes]:
    try:
        while chunk := response.read(_CHUNK, decode_content=False):
            yield chunk
    except (urllib3.exceptions.HTTPError, OSError) as error:
        where = redact(url, world.secrets)
        raise SourceError(
            f"the body broke off: {_cause(error, world)}", where=where, hint="run the same again"
        ) from None


@contextmanager
def _open(
    method: str, url: str, world: World, headers: Mapping[str, str], *, public: bool, body: bytes | None
) -> Iterator[urllib3.BaseHTTPResponse]:
    response = _request(method, url, world, headers, public=public, body=body)
    try:
        yield response
        if method == "HEAD":
            response.drain_conn()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnreachableError(f"the answer broke off: {_cause(error, world)}") from None
    finally:
        # A body that was not read to its end goes with its connection, so that nothing large is drained.
        if method == "HEAD":
            response.release_conn()
        else:
            response.close()


def _request(
    method: str, url: str, world: World, headers: Mapping[str, str], *, public: bool, body: bytes | None = None
) -> urllib3.BaseHTTPResponse:
    pool = _pool(proxy_for(url), public)
    timeout = urllib3.Timeout(connect=min(10.0, world.timeout), read=world.timeout)
    try:
        return pool.request(
            method, url, body=body, headers={**_HEADERS, **headers}, redirect=False, retries=False,
            preload_content=False, timeout=timeout,
        )  # fmt: skip
    except _PrivateAddressError as error:
        raise SourceError(
            str(error), where=redact(url), hint="say `insecure: true` if this variant may come from there"
        ) from None
    except (urllib3.exceptions.SSLError, urllib3.exceptions.LocationValueError) as error:
        raise UnreachableError(f"no safe connection: {_cause(error, world)}", passing=False) from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnreachableError(f"no answer: {_cause(error, world)}") from None


def _answer(url: str, response: urllib3.BaseHTTPResponse, body: bytes) -> Answer:
    return Answer(url, response.status, {key.lower(): value for key, value in response.headers.items()}, body)


def _cause(error: Exception, world: World) -> str:
    """Return what went wrong, without the object that urllib3 puts in front."""
    reason = getattr(error, "reason", None) or error
    text = _OBJECT.sub("", str(reason)) or type(reason).__name__
    return redact(text, world.secrets)[:200]


@cache
def _pool(proxy: str, public: bool) -> urllib3.PoolManager:
    options: dict[str, Any] = {"num_pools": 64, "maxsize": _CONNECTIONS, "block": False}
    if proxy:
        # Which addresses may be reached is the proxy's to say: it looks names up, not we.
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        auth = f"{parts.username}:{parts.password or ''}" if parts.username else None
        headers = urllib3.make_headers(proxy_basic_auth=auth) if auth else None
        plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return urllib3.ProxyManager(plain, proxy_headers=headers, **options)
    pool = urllib3.PoolManager(**options)
    if public:
        pool.pool_classes_by_scheme = {"http": _PublicPool, "https": _PublicTlsPool}
    return pool


class _PrivateAddressError(Exception):
    """A name that looked public leads into a private network."""


def _refuse_private(sock: Any, host: str) -> Any:
    # The address that we are really connected to: what a second look-up says cannot matter any more.
    peer = sock.getpeername()[0]
    if is_private_address(peer):
        sock.close()
        raise _PrivateAddressError(f"{host} is at {peer}, which is not on the public internet")
    return sock


class _PublicConnection(HTTPConnection):
    def _new_conn(self) -> Any:
        return _refuse_private(super()._new_conn(), self.host)


class _PublicTlsConnection(HTTPSConnection):
    def _new_conn(self) -> Any:
        return _refuse_private(super()._new_conn(), self.host)


class _PublicPool(HTTPConnectionPool):
    ConnectionCls = _PublicConnection


class _PublicTlsPool(HTTPSConnectionPool):
    ConnectionCls = _PublicTlsConnection
