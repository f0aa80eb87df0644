"""The Hugging Face Hub: `hf:owner/repo[@revision]`.

Names, commits, sizes and digests come through huggingface_hub (`hubapi`); where bytes are now, we ask ourselves: one
HEAD a file, and the token goes to the Hub's own origin only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from reconciler.errors import AccessError, NotFoundError, SourceError
from reconciler.inert import inert
from reconciler.located import Located
from reconciler.references import Reference, parse
from reconciler.secrets import redact
from reconciler.sources import Request, World, refusals, selection, urls
from reconciler.sources.patience import Answer
from reconciler.state import GATED, Artifact, Pin

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Listing(NamedTuple):
    """Every file of a repository at one commit."""

    repo: str
    revision: str
    license: str | None
    files: tuple[Artifact, ...]
    gated: str = ""


def check(reference: str, *, insecure: bool = False) -> None:
    """Raise ValueError, with the reason, when `reference` is not `hf:owner/repo[@revision]`."""
    _parsed(reference)


def resolve(request: Request, world: World) -> Pin:
    """Ask the Hub for the commit, and for the files there that the request selects."""
    found = listing(request.source, request.revision, world)
    files = selection.select(found.files, request)
    about = {GATED: found.gated} if found.gated else {}
    return Pin(request.source, found.revision, files, found.license, about=about)


def current(request: Request, world: World) -> str | None:
    """Ask the Hub for the commit that the request means now."""
    return _about(request.source, request.revision, world)


def listing(source: str, revision: str | None, world: World) -> Listing:
    """List a repository at `revision` (None: what the source says); many variants of one repository cost one listing.

    Raise a SourceError that says why it cannot be listed, or must not be taken.
    """
    from reconciler.sources import hubapi

    reference = refusals.reachable(source, _parsed, world)
    about = hubapi.about(reference.repository, revision or reference.revision, world)

    def ask() -> tuple[Artifact, ...]:
        where = f"hf:{about.repo}"
        return selection.accept(hubapi.entries(about.repo, about.revision, world), where)

    files = world.memory.once(("files", world.endpoint, about.repo, about.revision), ask)
    return Listing(about.repo, about.revision, about.license, files, about.gated)


def locate(source: str, revision: str | None, artifact: Artifact, world: World) -> Located:
    """Ask the Hub where the file is now, and that it still is the locked one.

    A file below `world.small` is not asked for twice: its address on the Hub is the answer, for connections that
    follow redirects and keep the token at its origin; its digest is the judge of what comes.
    """
    hunt = _hunt(source, revision, artifact, world)
    if artifact.size < world.small:
        return Located(hunt.url, hunt.headers_for(hunt.url), size=artifact.size)
    return _follow(hunt)


def access(pin: Pin, world: World) -> str | None:
    """Ask for one file, once a repository: that one may list a repository says nothing of its files.

    Trouble of the moment (a limit, a server that is down) is a warning and no reason.
    """
    if world.offline or not pin.files or pin.revision is None:
        return None
    repo, revision = _parsed(pin.source).repository, pin.revision
    own = [file for file in pin.files if not file.support]
    if not own or _is_open(repo, revision, pin.source, world):
        return None
    probe = max(own, key=lambda file: file.size)

    def ask() -> str | None:
        try:
            _follow(_hunt(pin.source, revision, probe, world))
        except (AccessError, NotFoundError) as error:
            problem = error.problems[0]
            return f"{problem.summary}; {problem.hint}" if problem.hint else problem.summary
        except SourceError as error:
            world.warn(f"whether hf:{repo} may be downloaded is not known: {error}")
        return None

    return world.memory.once(("access", world.endpoint, repo, revision), ask)


def _hunt(source: str, revision: str | None, artifact: Artifact, world: World) -> _Hunt:
    reference = refusals.reachable(source, _parsed, world)
    if revision is None:
        raise SourceError("the lock names no commit", where=source, hint="run `reconciler lock --upgrade`")
    return _Hunt(reference.repository, revision, artifact, world)


def _is_open(repo: str, revision: str, source: str, world: World) -> bool:
    """Whether this run has heard already that the repository is neither gated nor private."""
    asked = {_parsed(source).revision, revision, None}
    known = [world.memory.recall(("about", world.endpoint, repo, each)) for each in asked]
    return any(about is not None and not about.guarded for about in known)


def _about(source: str, revision: str | None, world: World) -> str:
    from reconciler.sources import hubapi

    reference = refusals.reachable(source, _parsed, world)
    return hubapi.about(reference.repository, revision or reference.revision, world).revision


def _parsed(source: str) -> Reference:
    reference = parse(source)
    if reference.scheme != "hf" or reference.path:
        raise ValueError(f"not a repository of the Hub: {source[:200]!r}; expected hf:owner/repo[@revision]")
    return reference


@dataclass(frozen=True, slots=True)
class _Hunt:
    """One file that we look for."""

    repo: str
    revision: str
    artifact: Artifact
    world: World

    @property
    def url(self) -> str:
        path = quote(self.artifact.path, safe="/")
        return f"{self.world.endpoint}/{quote(self.repo)}/resolve/{quote(self.revision, safe='')}/{path}"

    @property
    def where(self) -> str:
        return f"hf:{self.repo}@{self.revision}/{inert(self.artifact.path)}"

    def headers_for(self, url: str) -> dict[str, str]:
        """Return the token for the Hub's own origin, nothing for any other."""
        token = self.world.token
        if token is None or urls.origin(url) != urls.origin(self.world.endpoint):
            return {}
        return {"Authorization": f"Bearer {token.reveal()}"}


def _follow(hunt: _Hunt) -> Located:
    """Go from redirect to redirect: on the Hub with the token, past it without; stop where bytes are."""
    from reconciler.sources import wire

    url, etag = hunt.url, None
    for _ in range(urls.HOPS + 1):
        answer = wire.send("HEAD", url, hunt.world, hunt.headers_for(url))
        if etag is None and "x-repo-commit" in answer.headers and answer.status < 400:
            etag = _confirm(hunt, answer)
        if answer.status in _REDIRECTS and (location := answer.headers.get("location")):
            target = _hop(hunt, url, location)
            if etag is not None and urls.origin(target) != urls.origin(url):
                return Located(target, {}, True, urls.expires(target), hunt.artifact.size, etag)
            url = target
        elif answer.status == 200 and etag is not None:
            return _here(hunt, answer, etag)
        else:
            raise _refused(hunt, answer)
    raise SourceError(f"more than {urls.HOPS} redirects", where=hunt.where)


def _confirm(hunt: _Hunt, answer: Answer) -> str:
    """Return the ETag of an answer of the Hub; raise SourceError when it speaks of other bytes than the locked ones.

    Only X-Linked-Etag is the sha256 of the bytes; a CDN's ETag may look like one and is none. The Hub's own ETag of a
    small file is its git digest.
    """
    artifact = hunt.artifact
    if answer.headers["x-repo-commit"] != hunt.revision:
        found = inert(answer.headers["x-repo-commit"])[:60]
        raise SourceError(f"the Hub answers for commit {found} instead of {hunt.revision}", where=hunt.where)
    algorithm, _, digest = artifact.digest.partition(":")
    etag = _etag(answer, "x-linked-etag")
    if not etag and algorithm == "git-sha1":
        etag = _etag(answer, "etag")
    comparable = len(etag) == len(digest) and all(letter in "0123456789abcdef" for letter in etag)
    size = answer.headers.get("x-linked-size", "")
    if (comparable and etag != digest) or (size.isdecimal() and int(size) != artifact.size):
        raise _changed(hunt, f"{algorithm}:{etag}" if comparable else inert(etag)[:80], size)
    return etag or _etag(answer, "etag")


def _etag(answer: Answer, name: str) -> str:
    return answer.headers.get(name, "").removeprefix("W/").strip('"')


def _changed(hunt: _Hunt, digest: str, size: str) -> SourceError:
    artifact = hunt.artifact
    return SourceError(
        f"upstream has changed the bytes of a locked file: locked {artifact.digest} ({artifact.size} bytes), "
        f"now {digest} ({size or '?'} bytes)",
        where=hunt.where,
        hint="a commit must never change; take the new bytes only on purpose, with `reconciler lock --upgrade`",
    )


def _here(hunt: _Hunt, answer: Answer, etag: str) -> Located:
    kind, size = answer.headers.get("content-type", ""), answer.headers.get("content-length", "")
    if size.isdecimal() and int(size) != hunt.artifact.size and "content-encoding" not in answer.headers:
        raise _changed(hunt, inert(etag)[:80], size)
    if kind.startswith("text/html") and not hunt.artifact.path.endswith((".html", ".htm")):
        raise SourceError("the Hub sends a web page instead of the file", where=hunt.where, hint="log in, or try later")
    headers: Mapping[str, str] = hunt.headers_for(answer.url)
    return Located(answer.url, headers, not headers, urls.expires(answer.url), hunt.artifact.size, etag)


def _hop(hunt: _Hunt, url: str, location: str) -> str:
    start = urls.check(hunt.world.endpoint).hostname or ""
    private = urls.is_private(start) or (urls.origin(hunt.world.endpoint) != urls.origin(urls.HUB))
    try:
        return urls.follow(url, location, private=private)
    except ValueError as error:
        raise SourceError(redact(str(error), [hunt.world.token]), where=hunt.where) from None


def _refused(hunt: _Hunt, answer: Answer) -> SourceError:
    if answer.status == 200:
        hint = f"is {hunt.world.endpoint} a Hub, and not a proxy that hides X-Repo-Commit?"
        return SourceError("the answer names no commit", where=hunt.where, hint=hint)
    if urls.origin(answer.url) != urls.origin(hunt.world.endpoint):
        what = f"{urls.origin(answer.url)[1]} answers {refusals.status_text(answer.status)}"
        return SourceError(what, where=hunt.where, hint="run the same again later")
    return refusals.refusal(answer.status, answer.headers, hunt.where, hunt.repo, hunt.world)
