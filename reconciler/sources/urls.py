"""Judge URLs: where they lead, whether we may follow, when they expire. Pure."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import SplitResult, parse_qsl, unquote, urljoin, urlsplit

HUB = "https://huggingface.co"
"""The Hub, where no mirror is named."""

CIVITAI = "https://civitai.com"
"""Civitai, where no mirror is named."""

HOPS = 5
"""How many redirects we follow."""

_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
_HOST = re.compile(r"(?=.{1,253}\.?$)(?!-)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\\<>\"{}|^`]")
_SECRETS = frozenset(
    {
        "token", "access_token", "auth", "authorization", "apikey", "api_key", "api-key", "key", "password", "secret",
        "sig", "signature", "x-amz-signature", "x-amz-security-token", "x-goog-signature",
    }
)  # fmt: skip

Origin = tuple[str, str, int]
"""(scheme, host, port): what a credential belongs to."""


def check(url: str) -> SplitResult:
    """Return the parts of an http(s) URL; raise ValueError with the reason when it is not one that we would open."""
    if len(url) > 8192:
        raise ValueError("the URL is longer than 8192 characters")
    if bad := _UNSAFE.search(url):
        raise ValueError(f"the URL holds {bad.group()!r}, which must be percent-encoded")
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        raise ValueError(f"scheme {parts.scheme or '(none)'!r} is not http or https")
    if "@" in parts.netloc:
        raise ValueError("the URL holds a user name or password before an @; credentials come from the environment")
    host = parts.hostname or ""
    if not host:
        raise ValueError("the URL names no host")
    if not host.isascii():
        raise ValueError("the host holds letters that look like others; write its xn-- form")
    if ":" not in host and not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is not a host name")
    _check_port(parts)
    return parts


def _check_port(parts: SplitResult) -> None:
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the URL's port is not a number up to 65535") from None
    if port is not None and port not in (80, 443) and port < 1024:
        raise ValueError(f"port {port} belongs to another service")


def origin(url: str) -> Origin:
    """Return (scheme, host, port) of an http(s) URL."""
    parts = urlsplit(url)
    return (parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme, 0))


def is_private(host: str) -> bool:
    """Whether `host` says by itself that it is this machine or a private network, in any spelling of an address."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    return is_private_address(host)


def is_private_address(text: str) -> bool:
    """Whether `text` is an IP address (also decimal, octal, hex, IPv4 in IPv6) outside the public internet."""
    try:
        address = ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(text))  # 2130706433, 0x7f.1, 127.1
        except OSError:
            return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not address.is_global or address.is_multicast


def follow(url: str, location: str, *, private: bool) -> str:
    """Return where a redirect from `url` leads; raise ValueError when we do not go there.

    `private` allows this machine and private networks: the start was there already, or the manifest says so.
    """
    target = urljoin(url, location)
    parts = check(target)
    if url.startswith("https:") and parts.scheme != "https":
        raise ValueError("the redirect leads from https to plain http")
    if not private and is_private(parts.hostname or ""):
        raise ValueError(f"the redirect leads to a private address, {parts.hostname}")
    return target.split("#", 1)[0]


def expires(url: str) -> float | None:
    """Return when a signed URL ends, in unix seconds, or None when it does not say.

    `Expires` (CloudFront, S3 v2, https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/
    private-content-creating-signed-url-canned-policy.html) or date + lifetime (SigV4; Google spells it X-Goog-).
    """
    query = {key.lower(): value for key, value in parse_qsl(urlsplit(url).query)}
    if (when := query.get("expires", "")).isdecimal() and len(when) < 13:
        return float(when)
    for vendor in ("amz", "goog"):
        date, life = query.get(f"x-{vendor}-date", ""), query.get(f"x-{vendor}-expires", "")
        if date and life.isdecimal() and len(life) < 10:
            try:
                start = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            except ValueError:
                continue
            return start.timestamp() + int(life)
    return None


def secret_in(url: str) -> str | None:
    """Return the name of a query parameter that holds a secret, if one does."""
    return next(
        (key for key, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True) if key.lower() in _SECRETS), None
    )


def file_name(url: str) -> str:
    """Return the last segment of the URL's path, percent-decoded; '' when there is none."""
    return unquote(urlsplit(url).path.rsplit("/", 1)[-1])
