"""A file on the web: `https://host/path/file` (plain http and private addresses with `insecure: true` only).

Nothing but the address is known of it, so size and digest are read from headers, given by hand, or found by reading
the body once. No credentials are sent.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from urllib.parse import unquote

from reconciler import links
from reconciler.errors import AccessError, NotFoundError, SourceError
from reconciler.inert import human_bytes, inert
from reconciler.located import Located
from reconciler.paths import check_component
from reconciler.references import parse
from reconciler.secrets import redact
from reconciler.sources import Request, World, refusals, selection, urls
from reconciler.sources.patience import Answer
from reconciler.state import UNREAD, Artifact, Digest, Pin, parse_digest

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_HEAD = frozenset({400, 403, 405, 501})
_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGE = re.compile(rb"\s*<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
_PEEK = 1024
_STRUCTURED = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):", re.IGNORECASE)
_OLD = re.compile(r"sha-256=([A-Za-z0-9+/]{43}=)", re.IGNORECASE)


def check(reference: str, *, insecure: bool = False) -> None:
    """Raise ValueError, with the reason, when `reference` is not the address of a file that we would fetch."""
    parts = urls.check(reference)
    parse(reference)
    _refuse_page(reference)
    if "#" in reference:
        raise ValueError("a URL with a fragment; leave out what stands from # on")
    if name := urls.secret_in(reference):
        raise ValueError(f"the URL carries a secret or an expiring signature ({name}=); a manifest must not hold one")
    if not insecure and parts.scheme == "http":
        raise ValueError("plain http can be changed on its way; use https, or say `insecure: true` for this variant")
    if not insecure and urls.is_private(parts.hostname or ""):
        raise ValueError(f"{parts.hostname} is a private address; say `insecure: true` if this variant may use it")


def _refuse_page(reference: str) -> None:
    """Raise ValueError for the page of a model or file where a file must stand: what a browser's address line says."""
    found = links.read(reference)
    page = found.source.startswith("hf:") and "/resolve/" not in reference and "/raw/" not in reference
    if page or (found.source.startswith("civitai:") and "/api/" not in reference):
        files = f" with `files: [{links.pattern_of(found.file)}]`" if found.file else ""
        raise ValueError(f"{reference[:200]!r} is a page for people, not a file; did you mean {found.source}{files}?")


def resolve(request: Request, world: World) -> Pin:
    """Ask for the file's name, size and digest. Without a digest in a header or by hand the body is read once."""
    world = world.trusting([urls.origin(request.source)[1]]) if request.insecure else world
    answer = _find(request.source, world)
    size, name = _size(answer), _name(request.source, answer)
    given = selection.hand_digest(name, request, 1)
    digest = given or _told_digest(answer.headers)
    if request.listing:
        digest, size = digest or UNREAD, size or 0
        _peek(answer.url, request.source, world)
    elif digest is None or size is None or size <= _PEEK:
        found, count = _read(answer.url, request.source, size, world)
        if digest is not None and digest != found:
            raise _differs(request.source, "the manifest pins" if given else "its header says", digest, found)
        digest, size = found, count
    else:
        _peek(answer.url, request.source, world)
    files = selection.select((Artifact(name, size, digest, url=request.source),), request)
    return Pin(request.source, None, files)


def current(request: Request, world: World) -> str | None:
    """Say that a file on the web has no revisions."""
    return None


def locate(source: str, revision: str | None, artifact: Artifact, world: World) -> Located:
    """Follow the redirects to where the file is now; raise SourceError when its size or digest is another."""
    answer = _find(artifact.url or source, world)
    size, told = _size(answer), _told_digest(answer.headers)
    if size is not None and size != artifact.size:
        raise SourceError(
            f"upstream has changed the bytes of a locked file: locked {artifact.size} bytes ({artifact.digest}), "
            f"now {size} bytes" + (f" ({told})" if told else ""),
            where=redact(source),
            hint="take the new ones on purpose, with `reconciler lock --upgrade`",
        )
    if told is not None and told != artifact.digest:
        raise _differs(source, "the lock says", artifact.digest, told)
    etag = answer.headers.get("etag", "")
    return Located(answer.url, {}, True, urls.expires(answer.url), size, etag.removeprefix("W/").strip('"'))


def read(source: str, world: World, most: int) -> bytes:
    """Return the whole of a small file, redirects followed; raise SourceError when it has more than `most` bytes."""
    answer = _find(source, world)
    too_large = SourceError(f"larger than {human_bytes(most)}", where=redact(source))
    if (_size(answer) or 0) > most:
        raise too_large
    data = bytearray()
    with _body(answer.url, source, world) as (_, chunks):
        for chunk in chunks:
            data += chunk
            if len(data) > most:
                raise too_large
    return bytes(data)


def access(pin: Pin, world: World) -> str | None:
    """Say nothing: whether a file on the web may be had is known when it comes."""
    return None


def _find(source: str, world: World) -> Answer:
    """Return the last answer of a chain of redirects: headers of the file itself, and its address."""
    from reconciler.sources import wire

    _allow(source, world)
    url = source
    method = "HEAD"
    for _ in range(urls.HOPS + 2):
        public = not _is_trusted(url, world)
        headers = {"Range": "bytes=0-0"} if method == "GET" else {}
        answer = wire.send(method, url, world, headers, limit=1 if method == "GET" else 0, public=public)
        if method == "HEAD" and answer.status in _NO_HEAD:
            method = "GET"  # signed addresses are often signed for GET alone
        elif answer.status in _REDIRECTS and "location" in answer.headers:
            url = _hop(url, answer.headers["location"], world)
            method = "HEAD"
        else:
            _accept(answer, source)
            return answer
    raise SourceError(f"more than {urls.HOPS} redirects", where=redact(source))


def _allow(source: str, world: World) -> None:
    if world.offline:
        raise refusals.offline(redact(source))
    try:
        check(source, insecure=urls.origin(source)[1] in world.insecure)
    except ValueError as error:
        raise SourceError(str(error), where=redact(source)) from None


def _is_trusted(url: str, world: World) -> bool:
    return urls.origin(url)[1] in world.insecure


def _hop(url: str, location: str, world: World) -> str:
    try:
        return urls.follow(url, location, private=_is_trusted(url, world))
    except ValueError as error:
        raise SourceError(redact(str(error)), where=redact(url)) from None


def _accept(answer: Answer, source: str) -> None:
    where, status = redact(source), answer.status
    if status in (401, 403):
        raise AccessError(
            f"the server refuses it ({status})", where=where, hint="does it want a login? use a source that can"
        )
    if status in (404, 410):
        hint = "look at the address in a browser; it was moved, or taken down"
        raise NotFoundError(f"there is no such file ({status})", where=where, hint=hint)
    if status not in (200, 206):
        raise SourceError(f"the server answers {refusals.status_text(status)}", where=where)
    coding = answer.headers.get("content-encoding", "identity")
    if coding not in ("identity", ""):
        raise SourceError(f"the server sends it compressed ({inert(coding)[:40]}), which hides its size", where=where)
    if answer.headers.get("content-type", "").lower().startswith("text/html"):
        raise _page(where)


def _page(where: str) -> SourceError:
    hint = "is it the page of the file, or a login? for the Hub write hf:owner/repo"
    return SourceError("the server sends a web page instead of a file", where=where, hint=hint)


def _size(answer: Answer) -> int | None:
    if answer.status == 206:
        total = answer.headers.get("content-range", "").rpartition("/")[2]
        return int(total) if total.isdecimal() else None
    length = answer.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 16 else None


def _name(source: str, answer: Answer) -> str:
    """Return the file's name: from the URL, or as the server says when the URL's has no extension."""
    name = urls.file_name(source)
    if "." not in name:
        name = _disposition(answer.headers.get("content-disposition", "")) or name
    try:
        return check_component(name)
    except ValueError as error:
        raise SourceError(f"the file's name cannot be used: {error}", where=redact(source)) from None


def _disposition(header: str) -> str:
    if not header:
        return ""
    message = Message()
    message["content-disposition"] = header
    name = message.get_filename() or ""
    return unquote(name).rpartition("/")[2].rpartition("\\")[2]


def _told_digest(headers: Mapping[str, str]) -> Digest | None:
    """Return the sha256 of the whole file from Repr-Digest (RFC 9530) or Digest (RFC 3230)."""
    for name, pattern in (("repr-digest", _STRUCTURED), ("digest", _OLD)):
        if found := pattern.search(headers.get(name, "")):
            return parse_digest(f"sha256:{base64.b64decode(found.group(1)).hex()}")
    return None


def _peek(url: str, source: str, world: World) -> None:
    """Look at the first bytes, where the size alone cannot tell a page or a pointer from weights."""
    from reconciler.sources import wire

    headers = {"Range": f"bytes=0-{_PEEK - 1}"}
    answer = wire.send("GET", url, world, headers, limit=_PEEK, public=not _is_trusted(url, world))
    _accept(answer, source)
    _judge(answer.body, redact(source))


def _read(url: str, source: str, size: int | None, world: World) -> tuple[Digest, int]:
    """Read the whole body, keep nothing of it, and return its digest and size."""
    where = redact(source)
    if size is None or size > 1 << 20:
        much = human_bytes(size) if size is not None else "all of it"
        world.warn(f"{where}: the server tells no sha256, so {much} is read once; `lock: {{sha256: …}}` spares that")
    hasher, count = hashlib.sha256(), 0
    with _body(url, source, world) as (answer, chunks):
        for chunk in chunks:
            if count == 0:
                _judge(chunk, where)
            hasher.update(chunk)
            count += len(chunk)
            if count > (size if size is not None else 1 << 50):
                break
    promised = _size(answer) if answer.status == 200 else None
    expected = size if size is not None else promised
    if count == 0:
        raise SourceError("the file is empty", where=where)
    if expected is not None and count != expected:
        raise SourceError(f"{expected} bytes were promised and {count} came", where=where, hint="run the same again")
    return Digest(f"sha256:{hasher.hexdigest()}"), count


@contextmanager
def _body(url: str, source: str, world: World) -> Iterator[tuple[Answer, Iterator[bytes]]]:
    from reconciler.sources import wire

    with wire.stream(url, world, public=not _is_trusted(url, world)) as (answer, chunks):
        _accept(answer, source)
        yield answer, chunks


def _judge(start: bytes, where: str) -> None:
    if start.startswith(_POINTER):
        hint = "the server has no git-lfs; take the file from where it was uploaded"
        raise SourceError("this is a Git LFS pointer and not the file itself", where=where, hint=hint)
    if _PAGE.match(start[:512]):
        raise _page(where)


def _differs(source: str, who: str, wanted: Digest, found: Digest) -> SourceError:
    return SourceError(
        f"{who} {wanted}, and upstream has {found}",
        where=redact(source),
        hint="the bytes are not the ones that were pinned; do not take them unless you know why",
    )
