"""Ask Civitai's API: models, versions, hashes; bounded, patient, and with the token for Civitai's own hosts only.

https://developer.civitai.com/site/reference/model-versions. Reading needs no token, and what is read without one is the
same for everybody; the token is shown where an answer is refused without it, and for downloads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from reconciler.errors import AccessError, NotFoundError, SourceError
from reconciler.inert import inert
from reconciler.secrets import redact
from reconciler.sources import civitaitold as told
from reconciler.sources import urls
from reconciler.sources.civitaitold import Model, Version
from reconciler.sources.patience import Answer
from reconciler.sources.world import World

T = TypeVar("T")

HOSTS = frozenset({"civitai.com", "civitai.green", "civitai.red"})
"""Civitai's own sites: one service under three names, and one account."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})

_MAX_BODY = 32 << 20
"""Bytes of one answer; a hundred versions with everything that is said of them have a tenth of that."""
_MOST_IDS, _MOST_WHOLE = 10_000, 100
"""How many hashes one call takes: for numbers of versions, for whole versions."""


class Match(NamedTuple):
    """A file that Civitai knows by one of its hashes."""

    model: int
    version: int
    file: int
    name: str
    type: str
    """Of the model, as Civitai writes it: `LORA`, `Checkpoint`."""
    air: str
    sha256: str
    """64 hex, lower case; '' when Civitai tells none."""

    @property
    def source(self) -> str:
        """What a manifest writes for exactly this file."""
        return f"civitai:{self.model}@{self.version}+{self.file}"


def is_own(url: str, world: World) -> bool:
    """Whether `url` is of Civitai's own: the endpoint's origin, or another of its sites over https."""
    home, there = urls.origin(world.civitai), urls.origin(url)
    return there == home or (home[1] in HOSTS and there[1] in HOSTS and there[0] == "https" and there[2] == 443)


def headers_for(url: str, world: World) -> dict[str, str]:
    """Return the token for Civitai's own hosts, nothing for any other."""
    token = world.civitai_token
    return {"Authorization": f"Bearer {token.reveal()}"} if token is not None and is_own(url, world) else {}


def page(model: str | int, version: str | int, world: World) -> str:
    """Return the address of a version's page, for people."""
    return f"{world.civitai}/models/{model}?modelVersionId={version}"


def hop(url: str, location: str, world: World, where: str) -> str:
    """Return where a redirect leads; raise SourceError when we do not go there."""
    private = urls.is_private(urls.origin(world.civitai)[1])
    try:
        return urls.follow(url, location, private=private)
    except ValueError as error:
        raise SourceError(redact(str(error), world.secrets), where=where) from None


def model(number: str, world: World) -> Model:
    """Ask for a model and the numbers of its versions; two callers ask once. Raise NotFoundError or SourceError."""
    where = f"civitai:{number}"
    return world.memory.once(
        ("civitai-model", world.civitai, number),
        lambda: _told(told.model, _ask(f"/models/{number}", world, where), where, world),
    )


def version(number: str, world: World, where: str = "") -> Version:
    """Ask for a version and its files; two callers ask once. Raise NotFoundError or SourceError."""
    where = where or f"civitai version {number}"
    return world.memory.once(
        ("civitai-version", world.civitai, number),
        lambda: _told(told.version, _ask(f"/model-versions/{number}", world, where), where, world),
    )


def by_hash(hashes: Iterable[str], world: World) -> Mapping[str, Match]:
    """Return what Civitai knows of `hashes`, by the hash as given; those that it does not know are left out.

    Digests of 64 hex (`sha256:` before them or not) go in batches. Short ones (AutoV1, AutoV2, AutoV3, CRC32) are asked
    one by one. Of several versions with the same file the oldest is meant. Raise SourceError when Civitai cannot be
    asked.
    """
    given = {text: text.removeprefix("sha256:").lower() for text in hashes}
    given = {text: plain for text, plain in given.items() if plain and not told.NOTHING.startswith(plain)}
    long = sorted({text for text in given.values() if len(text) == 64})
    found: dict[str, Match] = {}
    known = [text for part in _parts(long, _MOST_IDS) for text in _known(part, world)]
    for part in _parts(sorted(set(known) & set(long)), _MOST_WHOLE):
        for match in _whole(part, world):
            other = found.get(match.sha256)
            if other is None or match.version < other.version:
                found[match.sha256] = match
    for text in sorted(set(given.values()) - set(long)):
        single = _single(text, world)
        if single is not None:
            found[text] = single
    return {text: found[plain] for text, plain in given.items() if plain in found}


def refusal(answer: Answer, where: str, world: World) -> SourceError:
    """Return the error for an answer that is not the one we asked for, with Civitai's own words in it."""
    words = said(answer, world) or ("with a web page, as the guard before it does" if is_page(answer) else "")
    why = f": {words}" if words else ""
    status = answer.status
    if status in (401, 403):
        if world.civitai_token is None:
            summary, hint = f"Civitai wants a login ({status}){why}, and no token is set", token_hint(world)
        else:
            summary, hint = f"Civitai refuses it ({status}){why}", "is CIVITAI_TOKEN right, and has its account access?"
        return AccessError(summary, where=where, hint=hint)
    if status in (404, 410, 451):
        meaning = {404: "there is no such thing, or it is not published", 410: "it is gone", 451: "it was taken down"}
        return NotFoundError(f"{meaning[status]} ({status}){why}", where=where, hint="look at its page on Civitai")
    return SourceError(f"Civitai answered {status}, which we did not expect{why}", where=where)


def token_hint(world: World) -> str:
    """Say how to come by a token."""
    return f"make one at {world.civitai}/user/account and set CIVITAI_TOKEN"


def said(answer: Answer, world: World) -> str:
    """Return what an answer says in words, inert and short; '' when it says nothing."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(value, dict):
        return ""
    words = [value[key] for key in ("error", "message") if isinstance(value.get(key), str)]
    return inert(redact("; ".join(dict.fromkeys(words)), world.secrets))[:200]


def is_page(answer: Answer) -> bool:
    """Whether an answer is a web page."""
    kind = answer.headers.get("content-type", "").lower()
    return kind.startswith("text/html") or answer.body[:64].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _known(hashes: Sequence[str], world: World) -> list[str]:
    """Return which of up to 10,000 SHA256 Civitai has, lower case; what it has not it passes over in silence."""
    where = f"{world.civitai}/api/v1/model-versions/by-hash/ids"
    rows = _list(_ask("/model-versions/by-hash/ids", world, where, [text.upper() for text in hashes]), where, world)
    return [text.lower() for row in rows if isinstance(row, dict) and isinstance(text := row.get("hash"), str)]


def _whole(hashes: Sequence[str], world: World) -> list[Match]:
    """Return the files with up to 100 SHA256."""
    where = f"{world.civitai}/api/v1/model-versions/by-hash"
    rows = _list(_ask("/model-versions/by-hash", world, where, [text.upper() for text in hashes]), where, world)
    found = [_told(told.version, row, where, world) for row in rows if row is not None]
    wanted = set(hashes)
    return [_match(each, file) for each in found for file in each.files if file.hashes.get("sha256") in wanted]


def _single(text: str, world: World) -> Match | None:
    where = f"{world.civitai}/api/v1/model-versions/by-hash/{inert(text)[:80]}"
    try:
        value = _ask(f"/model-versions/by-hash/{quote(text, safe='')}", world, where)
    except NotFoundError:
        return None
    found = _told(told.version, value, where, world)
    return next((_match(found, file) for file in found.files if text in file.hashes.values()), None)


def _match(found: Version, file: told.File) -> Match:
    return Match(
        found.model, found.number, file.number, file.name, found.type, found.air or "", file.hashes.get("sha256", "")
    )


def _parts(values: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (values[at : at + size] for at in range(0, len(values), size))


def _list(value: Any, where: str, world: World) -> list[Any]:
    if not isinstance(value, list):
        raise _not_understood(where, world)
    return value


def _ask(path: str, world: World, where: str, body: Any = None) -> Any:
    """Return the JSON of an answer: asked without the token first, with it when that is refused."""
    url = f"{world.civitai}/api/v1{path}"
    answer = _send(url, world, where, body, {})
    if answer.status in (401, 403, 404) and (headers := headers_for(url, world)):
        answer = _send(url, world, where, body, headers)
    if answer.status != 200:
        raise refusal(answer, where, world)
    if is_page(answer):
        raise SourceError("Civitai sends a web page instead of an answer", where=where, hint="try again later")
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise _not_understood(where, world) from None


def _send(url: str, world: World, where: str, body: Any, headers: Mapping[str, str]) -> Answer:
    from reconciler.sources import wire

    data = None if body is None else json.dumps(body).encode()
    kind = {} if body is None else {"Content-Type": "application/json"}
    for _ in range(urls.HOPS + 1):
        sent = {"Accept": "application/json", **kind, **(headers if is_own(url, world) else {})}
        answer = wire.send("GET" if body is None else "POST", url, world, sent, limit=_MAX_BODY + 1, body=data)
        location = answer.headers.get("location")
        if answer.status not in REDIRECTS or not location:
            if len(answer.body) > _MAX_BODY:
                raise SourceError(f"the answer is larger than {_MAX_BODY >> 20} MiB", where=where)
            return answer
        url = hop(url, location, world, where)
        if not is_own(url, world):
            raise SourceError(f"the answer leads to another host, {urls.origin(url)[1]}", where=where)
    raise SourceError(f"more than {urls.HOPS} redirects", where=where)


def _told(read: Callable[[Any], T], value: Any, where: str, world: World) -> T:
    try:
        return read(value)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _not_understood(where, world) from None


def _not_understood(where: str, world: World) -> SourceError:
    return SourceError("the answer is not what we understand", where=where, hint=f"is {world.civitai} a Civitai?")
