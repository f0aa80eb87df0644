"""Ask the Hub's API through huggingface_hub, held to one origin, to limits and to our patience.

Imported only when a Hub must be asked: it brings huggingface_hub with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, partial
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import huggingface_hub
from huggingface_hub import HfApi, errors
from huggingface_hub.utils import httpx  # type: ignore[attr-defined,unused-ignore]

from reconciler import __version__
from reconciler.errors import NotFoundError, SourceError, UnseenError
from reconciler.inert import inert, suggest
from reconciler.secrets import redact
from reconciler.sources import refusals, urls
from reconciler.sources.patience import Answer, UnreachableError, persist
from reconciler.sources.selection import MAX_FILES, Entry
from reconciler.sources.world import World

T = TypeVar("T")

_MAX_BODY = 32 << 20
"""Bytes of one answer, decompressed; a page of 1000 tree entries has a hundredth of that."""


class About(NamedTuple):
    """What the Hub says of a repository: its name now, the commit that a revision means now, and its license."""

    repo: str
    revision: str
    license: str | None
    guarded: bool
    """Gated or private: to see it is not yet to be allowed to download it."""
    gated: str = ""
    """`auto` or `manual` where everybody must agree to something first, and how that is granted; '' for open ones."""


class Hit(NamedTuple):
    """A repository that a search found: its downloads of the last month, and the paths of its files.

    `paths` is None where the Hub did not tell them.
    """

    repo: str
    downloads: int
    paths: tuple[str, ...] | None


@dataclass
class _Guard:
    """What may happen while we call huggingface_hub in this thread; and the kinds of tree entries that it drops."""

    world: World
    repo: str
    odd: list[Entry] = field(default_factory=list)

    def admit(self, url: str) -> None:
        where = redact(url, [self.world.token])
        if urls.origin(url) != urls.origin(self.world.endpoint):
            raise SourceError(
                f"the Hub's answer leads to another host, {urls.origin(url)[1]}; a token must not follow it",
                where=where,
                hint=f"HF_ENDPOINT is {self.world.endpoint}; name the host that really answers",
            )
        if "/api/agent-harnesses" in url:  # telemetry that would write into the user's home; the library lives without
            raise SourceError("not asked", where=where)


_INSTALLING = Lock()
_GUARD: ContextVar[_Guard | None] = ContextVar("guard", default=None)


class _Client(httpx.Client):
    """huggingface_hub's HTTP client, which obeys the guard while there is one and is untouched otherwise."""

    def send(self, request: Any, **options: Any) -> Any:
        """Send one request and follow redirects on its own origin only."""
        guard = _GUARD.get()
        if guard is None:
            return super().send(request, **options)
        for _ in range(urls.HOPS + 1):
            url = str(request.url)
            guard.admit(url)
            answer = persist(lambda request=request: self._once(request, guard.world), guard.world, url)  # type: ignore[misc]
            location = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                _note_odd_entries(url, answer, guard)
                return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body, request=request)
            target = _followed(url, location, guard)
            guard.admit(target)
            headers = {key: value for key, value in request.headers.items() if key.lower() != "host"}
            request = self.build_request(request.method, target, headers=headers)
        raise SourceError(f"more than {urls.HOPS} redirects", where=redact(str(request.url), [guard.world.token]))

    def _once(self, request: Any, world: World) -> Answer:
        request.extensions = {**request.extensions, "timeout": httpx.Timeout(world.timeout).as_dict()}
        try:
            response = super().send(request, stream=True, follow_redirects=False)
            try:
                body = _bounded(response.iter_bytes(), str(request.url))
            finally:
                response.close()
        except httpx.TransportError as error:
            passing = "certificate" not in str(error).lower()
            raise UnreachableError(f"no answer: {error or type(error).__name__}", passing=passing) from None
        except httpx.DecodingError:
            raise SourceError("the answer's compression is broken", where=str(request.url)) from None
        for told in response.headers.get_list("x-hf-warning"):  # the library would print it as it stands
            words = f"the Hub says: {inert(redact(told, [world.token]))[:300]}"
            world.memory.once(("told", words), partial(world.warn, words))
        dropped = {"content-encoding", "content-length", "transfer-encoding", "x-hf-warning"}
        headers = {key.lower(): value for key, value in response.headers.items() if key.lower() not in dropped}
        return Answer(str(request.url), response.status_code, headers, body)


def about(repo: str, revision: str | None, world: World) -> About:
    """Ask for the commit that `revision` (None: the default branch) means now; two callers ask once.

    Raise AccessError, NotFoundError (with the branches and tags that there are), RateLimitedError or SourceError.
    """
    return world.memory.once(("about", world.endpoint, repo, revision), lambda: _about(repo, revision, world))


def entries(repo: str, commit: str, world: World) -> list[Entry]:
    """List everything in `repo` at `commit`: the only place where sizes and digests are read."""
    where = f"hf:{repo}@{commit}"

    def ask(api: HfApi) -> list[Entry]:
        found: list[Entry] = []
        for item in api.list_repo_tree(repo, recursive=True, revision=commit):
            if len(found) > MAX_FILES:
                raise SourceError(f"more than {MAX_FILES} entries are listed", where=where)
            found.append(_entry(item))
        return found

    with _guarded(repo, world) as guard:
        listed = _told(ask, where, repo, world)
        return [entry for entry in listed if entry.kind == "file"] + guard.odd


def refs(repo: str, world: World) -> tuple[str, ...]:
    """Return the names of the branches and tags, as the Hub lists them; raise SourceError when it cannot be asked."""
    with _guarded(repo, world):
        found = _told(lambda api: api.list_repo_refs(repo), f"hf:{repo}", repo, world)
    return tuple(ref.name for ref in (*found.branches, *found.tags))


def commits(repo: str, revision: str | None, world: World) -> tuple[str, ...]:
    """Return the commits of a branch (None: the default one), the newest first; raise SourceError."""
    with _guarded(repo, world):
        found = _told(lambda api: api.list_repo_commits(repo, revision=revision), f"hf:{repo}", repo, world)
    return tuple(commit.commit_id for commit in found if isinstance(commit.commit_id, str))


def search(words: str, limit: int, world: World, *, tag: str | None = None) -> tuple[Hit, ...]:
    """Return at most `limit` repositories whose name contains `words`, the most downloaded first.

    With `tag` only those that the Hub gave it; `gguf` is on all that hold such files
    (https://huggingface.co/docs/hub/gguf). Two callers ask once. Raise AccessError where the token is refused,
    RateLimitedError or SourceError.
    """

    def ask(api: HfApi) -> tuple[Hit, ...]:
        found = api.list_models(search=words, sort="downloads", limit=limit, full=True, filter=tag)
        return tuple(_hit(each) for each in found)

    def once() -> tuple[Hit, ...]:
        if world.offline:
            raise refusals.offline(world.endpoint)
        try:
            with _guarded("", world):
                return _told(ask, f"a search for {inert(words)!r}", "", world)
        except (NotFoundError, UnseenError):  # what these say is about a repository
            raise SourceError(f"{world.endpoint} has no list of models to be searched") from None

    return world.memory.once(("search", world.endpoint, words.casefold(), limit, tag), once)


def _hit(info: Any) -> Hit:
    downloads = info.downloads if isinstance(info.downloads, int) else 0
    paths = None if info.siblings is None else tuple(str(each.rfilename) for each in info.siblings)
    return Hit(str(info.id), downloads, paths)


def _about(repo: str, revision: str | None, world: World) -> About:
    where = f"hf:{repo}@{revision}" if revision else f"hf:{repo}"
    with _guarded(repo, world):
        try:
            info = _told(lambda api: api.model_info(repo, revision=revision, timeout=world.timeout), where, repo, world)
        except NotFoundError as error:
            if revision is None or "revision" not in str(error):
                raise
            raise NotFoundError(error.problems[0].summary, where=where, hint=_refs(repo, revision, world)) from None
    name, commit = info.id, info.sha
    if not isinstance(commit, str) or len(commit) != 40 or not set(commit) <= set("0123456789abcdef"):
        raise SourceError(f"the Hub names no commit but {str(commit)[:60]!r}", where=where)
    if revision is not None and len(revision) == 40 and commit != revision:
        raise SourceError(f"the Hub answered with commit {commit} instead", where=where)
    if isinstance(name, str) and name != repo:
        now = inert(redact(name))[:200]
        world.warn(f"hf:{repo} is now called hf:{now}; change the manifest while the old name still leads there")
    gated = info.gated if info.gated in ("auto", "manual") else ""
    name = name if isinstance(name, str) else repo
    return About(name, commit, _license(info), bool(info.gated or info.private), gated)


def _refs(repo: str, revision: str, world: World) -> str:
    try:
        refs = _told(lambda api: api.list_repo_refs(repo), f"hf:{repo}", repo, world)
    except SourceError:
        return "look at its branches and tags on the Hub"
    names = [ref.name for ref in (*refs.branches, *refs.tags)]
    near = suggest(revision, names)
    return f"did you mean {near}?" if near else f"there are: {', '.join(names[:12]) or 'none'}"


def _license(info: Any) -> str | None:
    card = info.card_data
    found = card.get("license") if card is not None else None
    if found == "other" and isinstance(named := card.get("license_name"), str):
        found = named
    if found is None:
        tags = [tag for tag in info.tags or () if isinstance(tag, str)]
        found = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None)
    if isinstance(found, list):
        found = ", ".join(part for part in found if isinstance(part, str))
    return found if isinstance(found, str) and found.isprintable() and 0 < len(found) <= 100 else None


def _entry(item: Any) -> Entry:
    if not hasattr(item, "blob_id"):
        return Entry(item.path, "directory")
    digest = f"git-sha1:{item.blob_id}" if item.lfs is None else f"sha256:{item.lfs.sha256}"
    return Entry(item.path, "file", item.size, digest)


def _note_odd_entries(url: str, answer: Answer, guard: _Guard) -> None:
    """Remember what list_repo_tree takes for a directory and is none: links, submodules, entries of wrong types."""
    if answer.status != 200 or "/tree/" not in url:
        return
    try:
        page = json.loads(answer.body)
        for item in page:
            kind = "symlink" if item.get("mode") in ("120000", 0o120000) else item["type"]
            if kind != "file":
                guard.odd.append(Entry(item["path"], kind))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise SourceError("the Hub's list of files is not what we understand", where=redact(url)) from None


@contextmanager
def _guarded(repo: str, world: World) -> Iterator[_Guard]:
    with _INSTALLING:  # to set a client closes the one before, which another thread may be using
        _install()
    guard = _Guard(world, repo)
    token = _GUARD.set(guard)
    try:
        yield guard
    finally:
        _GUARD.reset(token)


@cache
def _install() -> None:
    from huggingface_hub.utils._http import hf_request_event_hook

    huggingface_hub.set_client_factory(
        lambda: _Client(event_hooks={"request": [hf_request_event_hook]}, follow_redirects=True, timeout=None)
    )


def _told(ask: Callable[[HfApi], T], where: str, repo: str, world: World) -> T:
    """Return `ask(api)`; whatever huggingface_hub raises becomes a SourceError that says what to do."""
    token = world.token.reveal() if world.token is not None else False
    api = HfApi(endpoint=world.endpoint, token=token, library_name="reconciler", library_version=__version__)
    try:
        return ask(api)
    except errors.HfHubHTTPError as error:
        headers = {key.lower(): value for key, value in error.response.headers.items()}
        refused = refusals.refusal(error.response.status_code, headers, where, repo, world)
    except errors.OfflineModeIsEnabled:
        refused = refusals.offline(where)
    except errors.HFValidationError as error:
        refused = SourceError(redact(str(error), [world.token])[:300], where=where)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        httpx.HTTPError,
        httpx.InvalidURL,
    ) as error:
        summary = f"the Hub's answer is not what we understand ({type(error).__name__})"
        refused = SourceError(summary, where=where, hint=f"is {world.endpoint} a Hub?")
    raise refused


def _bounded(chunks: Iterator[bytes], url: str) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > _MAX_BODY:
            raise SourceError(f"the answer is larger than {_MAX_BODY >> 20} MiB", where=redact(url))
    return bytes(body)


def _followed(url: str, location: str, guard: _Guard) -> str:
    try:
        return urls.follow(url, location, private=True)
    except ValueError as error:
        raise SourceError(str(error), where=redact(url, [guard.world.token])) from None
