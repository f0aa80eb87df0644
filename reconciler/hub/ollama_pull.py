"""How the embedded Ollama server pulls: manifest, blobs in parts, digests of what is new, manifest, unused layers.

As https://github.com/ollama/ollama/blob/main/server/download.go, with one difference: it tries again at once.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from reconciler.hub import ollama_files as files
from reconciler.hub.ollama_files import Bad, Store
from reconciler.hub.ollama_names import Name
from reconciler.hub.ollama_streams import Halt, Steps

_ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"
_AGENT = "ollama/0.32.15 (amd64 linux) Go/go1.26"
_TRIES = 6
_BLOCK = 1 << 20
_PART_LEAST, _PART_MOST, _PARTS = 100_000_000, 1_000_000_000, 16
_LOOPBACK = re.compile(r"(127\.[0-9.]+|localhost|\[::1\])(:\d+)?")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_TIMEOUT = 60.0


class Upstream(NamedTuple):
    """Where a server pulls from: stand-ins for hosts of the internet, and one pull of blobs at a time."""

    registries: Mapping[str, str]
    """Host of a name -> URL of the registry that answers for it."""
    one_at_a_time: threading.Lock


class _Part(NamedTuple):
    number: int
    offset: int
    size: int
    completed: int


class _Registry:
    """One registry for one pull: its address, and the token once there is one."""

    def __init__(self, url: str, halt: Halt) -> None:
        self.url, self.halt, self.token = url, halt, ""

    @contextmanager
    def asked(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> Generator[HTTPResponse]:
        """Ask for `url`, once more with a token where one is wanted; raise Bad in the server's words."""
        for again in (False, True):
            sent = {"Accept": _ACCEPT, **({"Authorization": self.token} if self.token else {}), **(headers or {})}
            with _exchange(method, url, sent, self.halt) as response:
                if response.status != 401:
                    if response.status == 404:
                        raise Bad("file does not exist")
                    if response.status >= 400:
                        raise Bad(f"{response.status}: {response.read(4096).decode('utf-8', 'replace')}")
                    yield response
                    return
                if again:
                    raise Bad("unauthorized: access denied")
                self._authorise(response.getheader("Www-Authenticate", ""))

    def _authorise(self, challenge: str) -> None:
        told = dict(_CHALLENGE.findall(challenge))
        realm = urlsplit(told.get("realm", ""))
        if realm.netloc != urlsplit(self.url).netloc:
            raise Bad(f'realm host "{realm.netloc}" does not match original host "{urlsplit(self.url).netloc}"')
        query = urlencode({"service": told.get("service", ""), "scope": told.get("scope", ""), "ts": "0", "nonce": "0"})
        signed = {"Authorization": "AAAAC3NzaC1lZDI1NTE5AAAAIA:c2lnbmVk"}
        with _exchange("GET", f"{told['realm']}?{query}", signed, self.halt) as response:
            if response.status != 200:
                raise Bad("unauthorized: access denied")
            self.token = f"Bearer {json.loads(response.read(65536))['token']}"


def pull(store: Store, name: Name, upstream: Upstream, halt: Halt, *, insecure: bool) -> Steps:
    """Yield what the server says while it pulls; raise Bad for what goes wrong, Stopped when nobody listens."""
    old: set[str] = set()
    with suppress(Bad, FileNotFoundError):  # pulling over a manifest that is damaged mends it
        old = {str(layer["digest"]) for layer in files.read(store, name).layers}
    yield {"status": "pulling manifest"}
    base = f"/v2/{name.namespace}/{name.model}"
    try:
        registry = _Registry(_address(name, upstream, insecure=insecure), halt)
        with registry.asked("GET", f"{registry.url}{base}/manifests/{name.tag}") as response:
            data = response.read(16 << 20)
        layers = _layers(data)
    except Bad as problem:
        raise Bad(f"pull model manifest: {problem}") from None
    if any(layer.get("mediaType") == "application/vnd.ollama.image.tensor" for layer in layers):
        raise Bad("this model requires MLX support, but the MLX runtime is not available")
    fresh: list[str] = []
    with _alone(upstream.one_at_a_time, halt):
        for layer in layers:
            digest = str(layer["digest"])
            if (yield from _blob(store, registry, base, digest)) and digest not in fresh:
                fresh.append(digest)
        yield {"status": "verifying sha256 digest"}
        for digest in fresh:
            _verify(files.blob_path(store, digest), digest)
        yield {"status": "writing manifest"}
        files.write(store, name, data)
    unused = old - {str(layer["digest"]) for layer in layers}
    if unused and not store.noprune:
        yield {"status": "removing unused layers"}
        files.remove_unused(store, unused)
    yield {"status": "success"}


def _layers(data: bytes) -> list[Mapping[str, Any]]:
    try:
        value = json.loads(data)
    except ValueError:
        raise Bad(f"invalid character {data[:1].decode('latin-1')!r} looking for beginning of value") from None
    files.check(value)
    config = value.get("config") or {}
    return [*(value.get("layers") or []), *([config] if config.get("digest") else [])]


def _address(name: Name, upstream: Upstream, *, insecure: bool) -> str:
    known = upstream.registries.get(name.host.lower())
    if known is not None:
        return known.rstrip("/")
    asked = f'Get "https://{name.host}/v2/{name.namespace}/{name.model}/manifests/{name.tag}"'
    if not _LOOPBACK.fullmatch(name.host):  # a server of tests and demos: it never leaves this machine
        raise Bad(f"{asked}: dial tcp: lookup {name.host}: no such host")
    if not insecure:
        raise Bad(f"{asked}: tls: first record does not look like a TLS handshake")
    return f"http://{name.host}"


def _blob(store: Store, registry: _Registry, base: str, digest: str) -> Generator[Mapping[str, Any], None, bool]:
    """Have a blob; return whether it is new. One that exists is taken for good, whatever is in it."""
    path = files.blob_path(store, digest)
    status = {"status": f"pulling {digest[7:19]}", "digest": digest}
    if path.exists():
        size = path.stat().st_size
        yield {**status, "total": size, **({"completed": size} if size else {})}
        return False
    if store.readonly:
        raise Bad(f"open {path}-partial: read-only file system")
    url = f"{registry.url}{base}/blobs/{digest}"
    parts = _parts(path) or _new_parts(path, _size(registry, url))
    total = sum(part.size for part in parts)
    done = sum(part.completed for part in parts)
    direct = _direct_url(registry, url)
    if total > _BLOCK:
        yield {**status, "total": total, **({"completed": done} if done else {})}
    for part in parts:
        for size in _fetch(path, part, direct, registry.halt):
            done += size
            if done // _BLOCK > (done - size) // _BLOCK and done < total:
                yield {**status, "total": total, "completed": done}
    yield {**status, "total": total, **({"completed": total} if total else {})}
    for part in parts:
        _part_path(path, part.number).unlink()
    path.with_name(f"{path.name}-partial").replace(path)
    return True


def _size(registry: _Registry, url: str) -> int:
    with registry.asked("HEAD", url) as response:
        return int(response.getheader("Content-Length") or 0)


def _direct_url(registry: _Registry, url: str) -> str:
    """Return where the bytes are: where a redirect leads that goes to another host, or what `Location` says."""
    host = urlsplit(url).hostname
    for _ in range(10):
        with registry.asked("GET", url) as response:
            location = response.getheader("Location")
            elsewhere = location is not None and urlsplit(urljoin(url, location)).hostname != host
            if location and not elsewhere and 300 <= response.status < 400:
                url = urljoin(url, location)
                continue
            if response.status not in (200, 307):
                raise Bad(f"unexpected status code {response.status}")
            if location is None:
                raise Bad("http: no Location header in response")
            return urljoin(url, location)
    raise Bad("maximum redirects exceeded (10) for directURL")


def _parts(path: Path) -> list[_Part]:
    found = []
    for part in path.parent.glob(f"{path.name}-partial-*"):
        value = json.loads(part.read_text())
        found.append(_Part(value["N"], value["Offset"], value["Size"], value["Completed"]))
    return sorted(found)


def _new_parts(path: Path, total: int) -> list[_Part]:
    size = min(max(total // _PARTS, _PART_LEAST), _PART_MOST)
    parts = [_Part(number, offset, min(size, total - offset), 0) for number, offset in enumerate(range(0, total, size))]
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in parts:
        _note(path, part)
    with path.with_name(f"{path.name}-partial").open("ab") as file:
        file.truncate(total)
    return parts


def _part_path(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}-partial-{number}")


def _note(path: Path, part: _Part) -> None:
    value = {"N": part.number, "Offset": part.offset, "Size": part.size, "Completed": part.completed}
    _part_path(path, part.number).write_text(json.dumps(value, separators=(",", ":")) + "\n")


def _fetch(path: Path, part: _Part, url: str, halt: Halt) -> Generator[int, None, None]:
    """Yield how many bytes came; note how far the part is whenever a try ends. No status is looked at.

    What was cut off counts as far as it came; of a body that is whole and too short, a page or a refusal, nothing does.
    """
    done, error = part.completed, ""
    with path.with_name(f"{path.name}-partial").open("r+b") as file:
        for _ in range(_TRIES):
            begun, error = done, "unexpected EOF"
            wanted = {"Range": f"bytes={part.offset + done}-{part.offset + part.size - 1}"}
            try:
                with _exchange("GET", url, wanted, halt) as response:
                    file.seek(part.offset + done)
                    while done < part.size and (block := response.read1(min(_BLOCK, part.size - done))):
                        file.write(block)
                        done += len(block)
                        yield len(block)
                    whole = done - begun == int(response.getheader("Content-Length") or -1)
                if whole and done < part.size:
                    yield begun - done
                    done, error = begun, "EOF"
            except (http.client.HTTPException, OSError, Bad) as problem:
                error = str(problem)
            finally:
                file.flush()
                _note(path, part._replace(completed=done))
            halt.look()
            if done >= part.size:
                return
    raise Bad(f"max retries exceeded: {error}")


def _verify(path: Path, digest: str) -> None:
    with path.open("rb") as file:
        found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if found != digest:
        path.unlink()
        raise Bad(f"digest mismatch, file must be downloaded again: want {digest}, got {found}")


@contextmanager
def _exchange(method: str, url: str, headers: Mapping[str, str], halt: Halt) -> Generator[HTTPResponse]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_TIMEOUT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.connect()
        halt.watch(connection.sock)
        halt.look()
        connection.request(method, target, headers={"User-Agent": _AGENT, **headers})
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as problem:
        connection.close()
        halt.look()
        text = "connect: connection refused" if isinstance(problem, ConnectionRefusedError) else "EOF"
        raise Bad(f'{method.title()} "{url}": dial tcp {parts.netloc}: {text}') from None
    try:
        yield response
    finally:
        halt.watch(None)
        connection.close()


@contextmanager
def _alone(lock: threading.Lock, halt: Halt) -> Generator[None]:
    while not lock.acquire(timeout=0.05):
        halt.look()
    try:
        yield
    finally:
        lock.release()
