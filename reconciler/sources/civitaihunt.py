"""Find where a file of Civitai is now, whether it still is the locked one, and whether it may be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from reconciler.errors import AccessError, NotFoundError, SourceError
from reconciler.inert import inert
from reconciler.located import Located
from reconciler.sources import World, urls
from reconciler.sources import civitaiapi as api
from reconciler.sources.civitaitold import Version
from reconciler.sources.patience import Answer
from reconciler.state import Artifact

DOWNLOADS = "/api/download/models/"
"""Where the paths of downloads begin."""

MODES: Mapping[str, str] = {
    "Archived": "the model is archived: Civitai keeps its page and gives its files to nobody",
    "TakenDown": "the model was taken down: Civitai gives its files to nobody",
}
"""Mode of a model -> why nothing can be had of it."""

_PEEK = 64 << 10
"""Bytes of an answer that is not the file: enough for the words of a refusal."""


@dataclass(frozen=True, slots=True)
class Hunt:
    """One file that we look for."""

    model: str
    version: str
    artifact: Artifact
    world: World

    @property
    def where(self) -> str:
        """What it is, for messages."""
        return f"civitai:{self.model}@{self.version}/{inert(self.artifact.path)}"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The address by the file's number; and as the API gave it, for files that belong to another version."""
        parts = urlsplit(self.artifact.url)
        base = f"{self.world.civitai}{parts.path or DOWNLOADS + self.version}"
        number = parse_qs(parts.query).get("fileId", [""])[0]
        rest = "&".join(part for part in parts.query.split("&") if part and not part.startswith("fileId="))
        plain = f"{base}?{rest}" if rest else base
        return (f"{base}?fileId={number}", plain) if number.isdecimal() else (plain,)

    @property
    def number(self) -> int:
        """The file's number, 0 when the lock does not say it."""
        text = parse_qs(urlsplit(self.artifact.url).query).get("fileId", [""])[0]
        return int(text) if text.isdecimal() else 0


def follow(hunt: Hunt) -> Located:
    """Try the file's addresses in turn; the last one's refusal counts."""
    first, *others = hunt.addresses
    try:
        return _chase(hunt, first)
    except NotFoundError:
        if not others or "?" not in others[0]:  # a bare address could mean any file
            raise
    return _chase(hunt, others[0])


def _chase(hunt: Hunt, url: str) -> Located:
    """Go from redirect to redirect by asking for one byte: on Civitai with the token, past it without."""
    from reconciler.sources import wire

    world = hunt.world
    for _ in range(urls.HOPS + 1):
        own = api.is_own(url, world)
        # Who speaks JSON is refused in JSON; a browser is sent to a login, which answers 200.
        more = {"Content-Type": "application/json", **api.headers_for(url, world)} if own else {}
        answer = wire.send("GET", url, world, {"Range": "bytes=0-0", **more}, limit=_PEEK)
        location = answer.headers.get("location")
        if answer.status in api.REDIRECTS and location:
            target = api.hop(url, location, world, hunt.where)
            if own and api.is_own(target, world) and not urlsplit(target).path.startswith("/api/"):
                raise _login(hunt)
            url = target
            continue
        return _landed(hunt, answer, own=own)
    raise SourceError(f"more than {urls.HOPS} redirects", where=hunt.where)


def _landed(hunt: Hunt, answer: Answer, *, own: bool) -> Located:
    if answer.status not in (200, 206):
        if own:
            raise api.refusal(answer, hunt.where, hunt.world)
        host = urls.origin(answer.url)[1]
        raise SourceError(f"{host} answers {answer.status}", where=hunt.where, hint="run the same again later")
    if api.is_page(answer):
        raise _login(hunt)
    size = _size(answer)
    etag = answer.headers.get("etag", "").removeprefix("W/").strip('"')
    headers = api.headers_for(answer.url, hunt.world)
    return Located(answer.url, headers, not headers, urls.expires(answer.url), size, etag)


def _size(answer: Answer) -> int | None:
    if answer.status == 206:
        text = answer.headers.get("content-range", "").rpartition("/")[2]
    else:
        text = answer.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 16 else None


def _login(hunt: Hunt) -> AccessError:
    what = "Civitai sends a web page (a login?) instead of the file"
    if hunt.world.civitai_token is None:
        return AccessError(f"{what}, and no token is set", where=hunt.where, hint=api.token_hint(hunt.world))
    page = api.page(hunt.model, hunt.version, hunt.world)
    return AccessError(what, where=hunt.where, hint=f"is CIVITAI_TOKEN right, and has its account access to {page}?")


def confirm(hunt: Hunt) -> None:
    """Raise SourceError when Civitai speaks of other bytes under this file's number than the locked ones."""
    now = _now(hunt)
    if now is not None and now != hunt.artifact.digest and hunt.number:
        raise changed(hunt, now)


def _now(hunt: Hunt) -> str | None:
    """Return the digest that Civitai tells of the file now, None when it tells none."""
    try:
        version = api.version(hunt.version, hunt.world, hunt.where)
    except SourceError:
        return None  # whether the bytes can be had, the download tells
    file = next((each for each in version.files if each.number == hunt.number), None)
    sha256 = file.hashes.get("sha256") if file is not None else None
    return f"sha256:{sha256}" if sha256 else None


def changed(hunt: Hunt, now: str) -> SourceError:
    """Return the error for bytes that are not the locked ones; `now` says what they are."""
    artifact = hunt.artifact
    return SourceError(
        f"upstream has changed the bytes of a locked file: locked {artifact.digest} ({artifact.size} bytes), now {now}",
        where=hunt.where,
        hint="take the new ones on purpose, with `reconciler lock --upgrade`",
    )


class _Barrier(NamedTuple):
    """Why a version cannot be had; `for_all`: whoever asks."""

    why: str
    for_all: bool


def denied(hunt: Hunt) -> str | None:
    """Say why a file could not be had now, None when it could or nobody can tell."""
    try:
        barrier = _barrier(api.version(hunt.version, hunt.world, hunt.where), hunt)
    except NotFoundError as error:
        return error.problems[0].summary
    except SourceError as error:
        hunt.world.warn(f"whether {hunt.where} may be downloaded is not known: {error}")
        return None
    if barrier is not None and barrier.for_all:
        return barrier.why
    try:
        follow(hunt)
    except (AccessError, NotFoundError) as error:
        problem = error.problems[0]
        if barrier is not None:
            more = "; no token is set (CIVITAI_TOKEN)" if hunt.world.civitai_token is None else ""
            return f"{barrier.why}{more}"
        return f"{problem.summary}; {problem.hint}" if problem.hint else problem.summary
    except SourceError as error:
        hunt.world.warn(f"whether {hunt.where} may be downloaded is not known: {error}")
    return None


def _barrier(version: Version, hunt: Hunt) -> _Barrier | None:
    page = api.page(version.model, version.number, hunt.world)
    if version.mode in MODES:
        return _Barrier(MODES[version.mode], for_all=True)
    if version.usage != "Download":
        return _Barrier("its creator permits generation on Civitai only, and no downloads", for_all=True)
    if version.paid:
        return _Barrier(f"it is sold: pay for access at {page}", for_all=False)
    if version.early or version.until:
        until = f" until {moment(version.until)}" if version.until else ""
        return _Barrier(f"it is in early access{until}: wait, or pay for access at {page}", for_all=False)
    return None


def moment(text: str) -> str:
    """Return a time of Civitai's as people read it, `2026-12-01 09:00 UTC`; as it is when it is none."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return inert(text)[:40]
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return f"{when:%Y-%m-%d %H:%M} UTC"
