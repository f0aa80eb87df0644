"""Speak HTTP over kept connections: redirects by hand, tokens to their own origin only, nothing that waits for ever.

http.client with `readinto` is the fastest that was measured from Python; what it lacks (a pool, redirects, proxies, a
floor under the speed) stands here.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from reconciler import __version__
from reconciler.download import Limits
from reconciler.errors import TransferError

_HOPS = 10
_DRAIN = 1 << 16
"""A redirect's body up to this size is read, to keep the connection; a larger one costs the connection."""

_BROKEN = (http.client.RemoteDisconnected, http.client.CannotSendRequest, BrokenPipeError, ConnectionResetError)


class Reset(Exception):  # noqa: N818  (a happening on the wire, not an error for people)
    """The connection broke, timed out or spoke nonsense; worth another try."""


class Answer(NamedTuple):
    """A response whose body has not been read; `url` is where it came from after all redirects."""

    response: http.client.HTTPResponse
    url: str

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    def header(self, name: str) -> str:
        """Return a header, '' when absent."""
        return self.response.headers.get(name) or ""


def origin(url: str) -> str:
    """Return scheme://host:port of an address; tokens stay within it."""
    parts = urllib.parse.urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def check_url(url: str) -> str:
    """Return `url` when it is one that we speak to; raise TransferError otherwise."""
    shown = url.partition("?")[0][:200]
    if not url.isascii() or any(ch <= " " or ch == "\x7f" for ch in url):
        raise TransferError(f"not an address: {shown!r}", hint="spaces, control and non-ASCII characters are escaped")
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        _ = parts.port
    except ValueError:
        good = False
    if not good:
        raise TransferError(f"not an http(s) address: {shown!r}")
    return url


class Line:
    """The kept connections of one thread, one an origin. Not for two threads at once, except `cut`.

    Whoever reads from it calls `alive` when bytes came; a line that was not alive for `limits.stall` seconds is cut by
    `Lines`, which ends a read that trickles a byte at a time and never times out by itself.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.deadline: float | None = None
        self._kept: dict[str, http.client.HTTPConnection] = {}
        self._socket: socket.socket | None = None
        self._closed = False

    def alive(self) -> None:
        """Bytes came: the clock starts again."""
        self.deadline = time.monotonic() + self.limits.stall

    def get(self, url: str, headers: Mapping[str, str], extra: Mapping[str, str] | None = None) -> Answer:
        """GET `url`, following redirects; `headers` go to its own origin only, `extra` (a Range) everywhere.

        Raise Reset when another try may help, TransferError when the address or a redirect is not acceptable.
        """
        home = origin(check_url(url))
        for _ in range(_HOPS):
            sent = {"User-Agent": f"reconciler/{__version__}", "Accept-Encoding": "identity", **(extra or {})}
            if origin(url) == home:
                sent |= headers
            response = self._once(url, sent)
            if response.status not in (301, 302, 303, 307, 308):
                return Answer(response, url)
            target = urllib.parse.urljoin(url, response.headers.get("Location") or "")
            self._drain(response, url)
            if urllib.parse.urlsplit(url).scheme == "https" and not target.startswith("https://"):
                raise TransferError("the server sends us from https to an unprotected address", where=origin(url))
            url = check_url(target)
        raise TransferError(f"more than {_HOPS} redirects", where=home)

    @contextlib.contextmanager
    def reading(self, answer: Answer) -> Iterator[http.client.HTTPResponse]:
        """Read a body within this block; a connection whose body was not read to its end is closed."""
        try:
            yield answer.response
        except (OSError, http.client.HTTPException, ValueError) as error:
            # A cut line surfaces as ValueError or OSError, depending on where the read stood.
            if isinstance(error, OSError) and error.errno is not None and not _of_network(error):
                raise
            raise Reset(_words(error)) from error
        finally:
            self.deadline = None
            if not answer.response.isclosed():
                self.hang_up(answer.url)

    def hang_up(self, url: str) -> None:
        """Close the connection to the origin of `url`."""
        connection = self._kept.pop(origin(url), None)
        if connection is not None:
            connection.close()

    def cut(self) -> None:
        """End whatever this line waits for. Callable from another thread."""
        current = self._socket
        if current is not None:
            with contextlib.suppress(OSError):
                # The plain method: SSLSocket.shutdown drops the TLS state under the feet of the reading thread.
                socket.socket.shutdown(current, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close every connection."""
        for connection in self._kept.values():
            connection.close()
        self._kept.clear()
        self._socket = None

    def _once(self, url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        try:
            return self._exchange(url, headers)
        except _BROKEN as error:
            # A kept connection that the server has closed meanwhile: that is no failure of anything.
            if not self._was_kept:
                raise Reset(_words(error)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.hang_up(url)
            raise Reset(_words(error)) from error
        try:
            return self._exchange(url, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.hang_up(url)
            raise Reset(_words(error)) from error

    def _exchange(self, url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        key = origin(url)
        connection = self._kept.get(key)
        self._was_kept = connection is not None and connection.sock is not None
        self.alive()
        try:
            if connection is None:
                connection = self._kept[key] = _connect(url, self.limits)
            if not self._was_kept:
                connection.timeout = self.limits.connect_timeout
                connection.connect()
            self._socket = connection.sock
            self._socket.settimeout(self.limits.read_timeout)
            connection.request("GET", _target(url), headers=dict(headers))
            response = connection.getresponse()
        except BaseException:
            self.hang_up(url)
            raise
        self.alive()
        return response

    def _drain(self, response: http.client.HTTPResponse, url: str) -> None:
        try:
            if response.length is None or response.length > _DRAIN:
                self.hang_up(url)
            else:
                response.read()
        except (OSError, http.client.HTTPException):
            self.hang_up(url)

    _was_kept = False


class Lines:
    """Every line of one download, watched: a stalled one is cut, and all of them when it is over."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.over = threading.Event()
        self._lines: set[Line] = set()
        self._lock = threading.Lock()
        self._watcher = threading.Thread(target=self._watch, name="download-watch", daemon=True)
        self._watcher.start()

    @contextlib.contextmanager
    def line(self) -> Iterator[Line]:
        """Lend a line to this thread."""
        line = Line(self.limits)
        with self._lock:
            self._lines.add(line)
        try:
            yield line
        finally:
            with self._lock:
                self._lines.discard(line)
            line.close()

    def close(self) -> None:
        """Cut everything; whoever reads gets Reset."""
        self.over.set()
        self._cut(everything=True)
        self._watcher.join()

    def _watch(self) -> None:
        tick = min(1.0, self.limits.stall / 4)
        while not self.over.wait(tick):
            self._cut()
        self._cut(everything=True)

    def _cut(self, *, everything: bool = False) -> None:
        now = time.monotonic()
        with self._lock:
            for line in self._lines:
                if everything or (line.deadline is not None and now > line.deadline):
                    line.cut()


@lru_cache(maxsize=1)
def certificates() -> str | None:
    """Return the file of trusted authorities: SSL_CERT_FILE, the system's, else certifi's; None when there is none."""
    paths = ssl.get_default_verify_paths()
    known = (
        os.environ.get("SSL_CERT_FILE"), paths.cafile, "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
    )  # fmt: skip
    for path in known:
        if path and Path(path).is_file():
            return path
    with contextlib.suppress(ImportError):
        import certifi

        return certifi.where()
    return None


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for `url` (`https_proxy`, `no_proxy`, …), None for none."""
    parts = urllib.parse.urlsplit(url)
    if urllib.request.proxy_bypass_environment(parts.hostname or ""):  # type: ignore[attr-defined]
        return None
    proxies = urllib.request.getproxies_environment()
    return proxies.get(parts.scheme) or proxies.get("all")


@lru_cache(maxsize=1)
def _context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates())


def _connect(url: str, limits: Limits) -> http.client.HTTPConnection:
    parts = urllib.parse.urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    proxy = proxy_for(url)
    if proxy is None:
        if secure:
            return http.client.HTTPSConnection(host, port, timeout=limits.connect_timeout, context=_context())
        return http.client.HTTPConnection(host, port, timeout=limits.connect_timeout)
    via = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    connection = (
        http.client.HTTPSConnection(
            via.hostname or "", via.port or 3128, timeout=limits.connect_timeout, context=_context()
        )
        if secure
        else _ThroughProxy(via.hostname or "", via.port or 3128, timeout=limits.connect_timeout)
    )
    login = {}
    if via.username:
        pair = f"{urllib.parse.unquote(via.username)}:{urllib.parse.unquote(via.password or '')}"
        login = {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode("ascii")}
    if isinstance(connection, _ThroughProxy):
        connection.prefix, connection.login = f"http://{parts.netloc}", login
    else:
        connection.set_tunnel(host, port, login)
    return connection


class _ThroughProxy(http.client.HTTPConnection):
    """Plain http by way of a proxy: it is asked for the whole address."""

    prefix = ""
    login: Mapping[str, str] = {}

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        super().putrequest(method, self.prefix + url, skip_host, skip_accept_encoding)
        for name, value in self.login.items():
            self.putheader(name, value)


def _target(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _of_network(error: OSError) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError, ssl.SSLError, socket.gaierror, socket.herror))


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended before the file did"
    return str(error) or type(error).__name__
