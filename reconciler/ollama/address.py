"""The address of an Ollama server, as declared or as `OLLAMA_HOST` says. Pure.

The rules are those of https://github.com/ollama/ollama/blob/main/envconfig/config.go.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from reconciler.errors import InputError
from reconciler.inert import inert

DEFAULT = "http://127.0.0.1:11434"

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")
_PATH = re.compile(r"(?:/[A-Za-z0-9_.~%!$&'()*+,;=:@-]+)*")
_HINT = "write it as http://HOST:PORT"


def url_of(declared: str | None, environ: Mapping[str, str]) -> str:
    """Return the server's URL without a slash at its end: what is declared, else `$OLLAMA_HOST`, else the default.

    As with Ollama: without a scheme it is http on port 11434, with one the scheme's own port; an address that means
    all interfaces is a server on this machine; quotes and spaces around it mean nothing. A path is the prefix of a
    proxy. Raise InputError when it is no address.
    """
    where = "OLLAMA_HOST" if declared is None else "url"
    text = (environ.get("OLLAMA_HOST", "") if declared is None else declared).strip().strip("\"'").strip()
    if not text:
        return DEFAULT
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "http", text
    scheme = scheme.lower()
    if scheme not in _PORTS:
        raise InputError(f"expected http or https, found {inert(scheme[:40])!r}", where=where, hint=_HINT)
    authority, slash, path = rest.partition("/")
    path = (slash + path).rstrip("/")
    host, port = _host_and_port(authority, where)
    if not _PATH.fullmatch(path):
        raise InputError(f"expected an address without query or fragment, found {_shown(text)}", where=where)
    number = port or (_PORTS[scheme] if mark else 11434)
    return f"{scheme}://{host}{'' if number == _PORTS[scheme] else f':{number}'}{path}"


def is_loopback(url: str) -> bool:
    """Whether a server is on this machine, by its address alone; in a container it sees other files."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_and_port(authority: str, where: str) -> tuple[str, int]:
    if "@" in authority:
        raise InputError("expected an address without user and password", where=where, hint=_HINT)
    host, port = authority, ""
    if authority.startswith("["):
        host, end, port = authority[1:].partition("]")
        if not end or (port and not port.startswith(":")):
            raise InputError(f"not an address: {_shown(authority)}", where=where, hint=_HINT)
        port = port[1:]
    elif authority.count(":") == 1:
        host, _, port = authority.partition(":")
    if port and not (port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536):
        raise InputError(f"expected a port up to 65535, found {_shown(port)}", where=where, hint=_HINT)
    return _reachable(host, where), int(port or 0)


def _reachable(host: str, where: str) -> str:
    """Return a host to connect to, IPv6 in brackets."""
    if not host:
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise InputError(f"not a host: {_shown(host)}", where=where, hint=_HINT) from None
        return host.lower()
    if address.version == 6:
        return "[::1]" if address.is_unspecified else f"[{address}]"
    return "127.0.0.1" if address.is_unspecified else str(address)


def _shown(text: str) -> str:
    return repr(inert(text[:100]))
