"""The hub's answers that carry bytes: resolve, resolve-cache, the CDN, plain files. Ranges and validators."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from reconciler.hub.access import Refusal, error, find_commit, find_repository, may_read, quota
from reconciler.hub.repos import Blob, Commit, File, Repository
from reconciler.hub.wire import Call, Response
from reconciler.hub.world import World

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_LAST_MODIFIED = "Wed, 07 Jan 2026 12:00:00 GMT"


def answer_cdn(world: World, call: Call) -> Response:
    """Answer a call of the CDN's origin: a plain file, or a file of a repository by a signed URL."""
    if call.method not in ("GET", "HEAD"):
        return error(405, "MethodNotAllowed", "The CDN serves GET and HEAD")
    if call.path.startswith("/files/"):
        return _plain(world, call)
    if "authorization" in call.headers:
        return error(400, "InvalidRequest", "Only one auth mechanism allowed: the signature, no Authorization header")
    if not world.is_signed(call.plain_path, call.query):
        return error(403, "AccessDenied", "Request has expired, or its signature does not match")
    repo_id, _, rest = unquote(call.path).lstrip("/").partition("/@")
    sha, _, path = rest.partition("/")
    repository = world.repositories.get(repo_id) or world.repositories.get(world.renamed.get(repo_id, ""))
    commit = repository.commits.get(sha) if repository else None
    file = commit.by_path.get(path) if commit else None
    if file is None or file.blob is None:
        return error(404, "NoSuchKey", "There is no such object")
    return serve(call, file.blob, cdn_etag(file.blob), {"Content-Type": "application/octet-stream"})


def cdn_etag(blob: Blob) -> str:
    """Return the CDN's own ETag: 64 hex, like a sha256, and not that of the bytes, as at the real Hub."""
    return hashlib.sha256(b"cdn " + blob.sha256.encode()).hexdigest()


def resolve(world: World, call: Call, repo_id: str, revision: str, path: str) -> Response:
    """Answer `/{id}/resolve/{rev}/{path}`: 302 to the CDN for LFS, 307 or the bytes for small files."""
    repository, commit, file = _find(world, call, repo_id, revision, path)
    headers = {**_identity(commit, file), **quota(world, "resolvers")}
    if file.lfs and not world.large_redirect:
        return serve(call, file.blob or Blob(b""), file.etag, {**headers, "Content-Type": "application/octet-stream"})
    if file.lfs:
        headers |= {"Location": world.signed_url(repository, commit, file), "Cache-Control": "no-store"}
        return _redirect(302, headers)
    if not world.small_redirect:
        return _small(call, file, headers)
    target = f"/api/resolve-cache/models/{quote(repository.repo_id)}/{commit.sha}/{quote(file.path)}"
    return _redirect(307, headers | {"Location": f"{target}?etag={quote(chr(34) + file.etag + chr(34))}"})


def resolve_cache(world: World, call: Call, repo_id: str, revision: str, path: str) -> Response:
    """Answer `/api/resolve-cache/models/{id}/{sha}/{path}`: the bytes of a small file."""
    _, commit, file = _find(world, call, repo_id, revision, path)
    return _small(call, file, {**_identity(commit, file), **quota(world, "resolvers")})


def serve(call: Call, blob: Blob, etag: str, headers: Mapping[str, str]) -> Response:
    """Answer with a blob: 200, 206 for one range, 304, or 416 (RFC 9110 sections 13 and 14)."""
    quoted = f'"{etag}"'
    shared = {**headers, "ETag": quoted, "Accept-Ranges": "bytes", "Last-Modified": _LAST_MODIFIED}
    known = [tag.strip().removeprefix("W/") for tag in call.headers.get("if-none-match", "").split(",")]
    if quoted in known or "*" in known:
        return Response(304, tuple(shared.items()))
    wanted = _RANGE.fullmatch(call.headers.get("range", "").strip())
    if (
        wanted is None
        or not any(wanted.groups())
        or call.headers.get("if-range", quoted)
        not in (
            quoted,
            _LAST_MODIFIED,
        )
    ):
        return Response(200, tuple(shared.items()), blob)
    first, last = wanted.groups()
    start = int(first) if first else max(0, blob.size - int(last))
    stop = min(int(last) + 1, blob.size) if first and last else blob.size
    if start >= stop:
        return Response(416, (*shared.items(), ("Content-Range", f"bytes */{blob.size}")))
    ranged = ("Content-Range", f"bytes {start}-{stop - 1}/{blob.size}")
    return Response(206, (*shared.items(), ranged), blob, start, stop)


def _find(world: World, call: Call, repo_id: str, revision: str, path: str) -> tuple[Repository, Commit, File]:
    repository = find_repository(world, call, repo_id)
    commit = find_commit(repository, revision)
    may_read(world, call, repository, commit)
    file = commit.by_path.get(path)
    if file is None or file.blob is None:
        raise Refusal(404, "EntryNotFound", f"{path} does not exist on {revision!r}", {"X-Repo-Commit": commit.sha})
    return repository, commit, file


def _identity(commit: Commit, file: File) -> dict[str, str]:
    tag = f'"{file.etag}"'
    linked = {"X-Linked-Etag": tag, "X-Linked-Size": str(file.size)} if file.lfs else {}
    return {"X-Repo-Commit": commit.sha, "ETag": tag, **linked}


def _redirect(status: int, headers: Mapping[str, str]) -> Response:
    text = f"{'Found' if status == 302 else 'Temporary Redirect'}. Redirecting to {headers['Location']}"
    return Response(status, (*headers.items(), ("Content-Type", "text/plain; charset=utf-8")), Blob(text.encode()))


def _small(call: Call, file: File, headers: Mapping[str, str]) -> Response:
    blob = file.blob or Blob(b"")
    kind = {"Content-Type": "text/plain; charset=utf-8", "Content-Disposition": "inline"}
    return serve(call, blob, file.etag, {**headers, **kind})


def _plain(world: World, call: Call) -> Response:
    plain = world.plain.get(unquote(call.path).removeprefix("/files/"))
    if plain is None:
        return error(404, "NotFound", "There is no such file")
    if plain.redirect:
        return _redirect(plain.status, {"Location": plain.redirect})
    headers = {"Content-Type": "application/octet-stream"}
    if plain.digest_header:
        digest = base64.b64encode(bytes.fromhex(plain.blob.sha256)).decode()
        headers |= {"Repr-Digest": f"sha-256=:{digest}:", "Digest": f"SHA-256={digest}"}  # RFC 9530; RFC 3230
    return serve(call, plain.blob, plain.blob.sha256[:32], headers)
