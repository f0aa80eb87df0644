"""What the download tests share: bytes, a source that asks the embedded hub, and engines with small limits."""

from __future__ import annotations

import hashlib
import http.client
import random
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path

from reconciler.download import Arrived, Downloader, Failed, HubFile, Limits, Progress, Wanted
from reconciler.download.engine import WithAria2, WithHubClient, WithPool
from reconciler.download.program import find_aria2c
from reconciler.hub.server import Hub
from reconciler.located import Located
from reconciler.secrets import Secret
from reconciler.state import Digest

MIB = 1 << 20
BIG_ENOUGH = 2 * MIB
"""A size that the small limits below already call large."""
TOKEN = "hf_CANARY0123456789"
REPO = "acme/model"

QUICK = Limits(
    connections_per_file=4, files=2, small=256 * 1024, piece=MIB, retries=4, stall=1.5, floor=1024, patience=30,
    backoff=0.01, slowest=0.05, connect_timeout=3, read_timeout=2,
)  # fmt: skip

ENGINES: dict[str, Callable[[Limits], Downloader]] = {
    "aria2": lambda limits: WithAria2(limits, _program()),
    "pool": WithPool,
    "hub_client": WithHubClient,
}


def _program():
    program = find_aria2c()
    assert program is not None, "these tests need an aria2c (the `aria2` package brings one)"
    return program


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that no two seeds share."""
    return random.Random(seed).randbytes(size)


def sha256(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def git_sha1(data: bytes) -> Digest:
    return Digest("git-sha1:" + hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())


def locate(hub: Hub, sha: str, path: str, token: str = "", calls: list[str] | None = None) -> Callable[[], Located]:
    """What a Hub source does: ask for the signed address with the token, give the address alone away."""
    resolve = f"{hub.url}/{REPO}/resolve/{sha}/{urllib.parse.quote(path)}"

    def now() -> Located:
        if calls is not None:
            calls.append(path)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        parts = urllib.parse.urlsplit(resolve)
        connection = http.client.HTTPConnection(parts.netloc, timeout=5)
        connection.request("HEAD", parts.path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        signed = answer.getheader("Location") or ""
        if signed.startswith(hub.cdn_url):
            expires = float(urllib.parse.parse_qs(urllib.parse.urlsplit(signed).query)["Expires"][0])
            return Located(signed, shareable=True, expires=expires)
        return Located(resolve, headers)

    return now


def want(
    hub: Hub, sha: str, path: str, data: bytes, stage: Path, *, token: str = "", digest: Digest | None = None,
    calls: list[str] | None = None,
) -> Wanted:  # fmt: skip
    """One file of the hub's repository."""
    there = HubFile(hub.url, REPO, sha, path, Secret(token) if token else None)
    find = locate(hub, sha, path, token, calls)
    return Wanted(f"model: {path}", len(data), digest or sha256(data), stage, find, there)


def plain(url: str, data: bytes, stage: Path, *, shareable: bool = True, key: str = "file") -> Wanted:
    """One file at a plain address."""
    return Wanted(key, len(data), sha256(data), stage, lambda: Located(url, shareable=shareable))


def fetch(engine: Downloader, wanted: Iterable[Wanted], watch: Callable[[Progress], None] = lambda _: None) -> list:
    return list(engine.fetch(list(wanted), watch))


def arrived(result: Arrived | Failed) -> Arrived:
    assert isinstance(result, Arrived), result.error
    return result


def failed(result: Arrived | Failed) -> Failed:
    assert isinstance(result, Failed), f"{result.path.name} arrived with {result.path.stat().st_size} bytes"
    return result


def names(stage: Path) -> list[str]:
    return sorted(path.name for path in stage.iterdir())
