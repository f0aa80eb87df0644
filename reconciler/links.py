"""What the web address of a model means: a file of the Hub, a version of Civitai, a model of Ollama, any file. Pure.

Nothing is asked: a page, a workflow or a person gave the address, and it may be dead.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from reconciler.air import Air
from reconciler.globs import exact
from reconciler.paths import check_relative
from reconciler.references import parse

HUB = frozenset({"huggingface.co", "www.huggingface.co", "hf.co", "hf-mirror.com"})
"""The Hub, and a mirror that serves the same repositories."""
CIVITAI = frozenset({"civitai.com", "www.civitai.com", "civitai.green", "civitai.red"})
"""Civitai's own hosts: one site, filtered differently."""
OLLAMA = frozenset({"ollama.com", "www.ollama.com", "registry.ollama.ai"})
"""Ollama's own library, and the registry behind it."""

_KEYS = frozenset(
    {"token", "access_token", "api_key", "apikey", "api-key", "key", "auth", "authorization", "password", "secret"}
)
_PLACEHOLDER = re.compile(r"[$<{%*]|xxx|your|redacted", re.IGNORECASE)
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_CHOOSES = ("type", "format", "size", "fp")


class Source(NamedTuple):
    """What an address means. `source` is what a manifest would say, '' when nothing can; then `why` says why."""

    source: str = ""
    file: str = ""
    """Path inside a repository of the Hub; it ends with `/` for a directory."""
    name: str = ""
    """The file's name, as far as the address tells it."""
    air: Air | None = None
    """The same as an AIR, without ecosystem and type."""
    version: str = ""
    """Civitai's number of a version whose model the address does not name."""
    why: str = ""
    notes: tuple[str, ...] = ()
    """What people should know of it."""
    has_secret: bool = False
    """Whether a token stood in the address; it is in none of the fields above."""


def read(url: str, model: str = "") -> Source:
    """Say what an address means. `model` is Civitai's number of the model, where somebody else knows it.

    Secrets in the address are left out. Addresses that nobody could fetch have no `source`.
    """
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").rstrip(".")
        secret = parts.username is not None or parts.password is not None
    except ValueError:
        return Source(why="not the address of a file")
    if parts.scheme not in ("http", "https") or not host:
        return Source(why=f"{parts.scheme or 'text'} is no address of the web; expected https://…")
    if secret:
        return Source(why="the address holds a user name or password; tokens come from the environment")
    given = parse_qsl(parts.query, keep_blank_values=True)
    query = [(key, value) for key, value in given if key.lower() not in _KEYS]
    hidden = [value for key, value in given if key.lower() in _KEYS]
    if host in HUB:
        found = _of_hub(parts)
    elif host in CIVITAI:
        found = _of_civitai(parts, dict(query), model)
    elif host in OLLAMA:
        found = _of_ollama(parts)
    else:
        found = _of_web(parts, query, hidden=bool(hidden))
    return found._replace(has_secret=any(value and not _PLACEHOLDER.search(value) for value in hidden))


def fields_of(source: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what a manifest would say of a source, or of the web address of a model (`source`, `files`), and notes.

    The address of any other file is its own source. Raise ValueError with why an address means no model.
    """
    if not source.startswith(("https://", "http://")):
        return {"source": source}, ()
    found = read(source)
    if not found.source:
        raise ValueError(found.why)
    if found.source.startswith(("https://", "http://")):
        return {"source": source}, ()
    notes = tuple(note for note in found.notes if "names no file" not in note)
    return {"source": found.source, **({"files": [pattern_of(found.file)]} if found.file else {})}, notes


def pattern_of(file: str) -> str:
    """Return the pattern that means the file of an address; of a directory, which ends with `/`, all that is in it."""
    return f"{exact(file)}**" if file.endswith("/") else exact(file)


def _of_hub(parts: SplitResult) -> Source:
    """https://huggingface.co/docs/hub/models-downloading; `blob` and `raw` are the pages of the same file."""
    segments = [unquote(part) for part in parts.path.strip("/").split("/")]
    if segments[0] in ("datasets", "spaces") and not {"resolve", "raw"} & set(segments[3:4]):
        return Source(why=f"one of the Hub's {segments[0]}, and no model")
    if segments[0] in ("datasets", "spaces", "api"):
        return _of_web(parts, [], hidden=False)
    repository = "/".join(segments[:2])
    what, revision, path = [*segments[2:3], "", ""][0], *_revision(parts.path.strip("/").split("/")[3:])
    if what not in ("resolve", "blob", "raw", "tree", "") or (what in ("resolve", "blob", "raw") and not path):
        return Source(why="no file of a repository; expected https://huggingface.co/OWNER/REPO/resolve/REVISION/FILE")
    source = f"hf:{repository}" + (f"@{revision}" if revision not in ("", "main") else "")
    if what == "tree" and path:
        path += "/"
    return _checked(
        Source(
            source, path, path.rstrip("/").rpartition("/")[2],
            Air(None, None, "huggingface", repository, _air_version(revision, path)),
            notes=() if path and not path.endswith("/") else ("the address names no file: all of it is taken",),
        )
    )  # fmt: skip


def _revision(raw: list[str]) -> tuple[str, str]:
    """Part what stands behind `resolve/`: a revision holds `/` only encoded, or as one of the Hub's own refs."""
    if raw[:2] in (["refs", "pr"], ["refs", "convert"]) and len(raw) > 2:
        raw = ["/".join(raw[:3]), *raw[3:]]
    return (unquote(raw[0]), "/".join(map(unquote, raw[1:]))) if raw else ("", "")


def _air_version(revision: str, path: str) -> str | None:
    if not revision:
        return None
    from urllib.parse import quote

    ref = revision if revision.startswith("refs/") else quote(revision, safe="")
    return f"{ref}/{quote(path.rstrip('/'), safe='/+=,()!-_.~')}" if path else ref


def _of_civitai(parts: SplitResult, query: dict[str, str], model: str) -> Source:
    """The page of a model, or its download: `/models/ID[/title]?modelVersionId=V`, `/api/download/models/V`."""
    segments = parts.path.strip("/").split("/")
    file = query.get("fileId", "")
    chooses = tuple(f"{key}={query[key]}" for key in _CHOOSES if key in query)
    notes = (f"which of the version's files is meant ({', '.join(chooses)}) is not locked by the address",)
    match segments:
        case ["models", number, *_] if _NUMBER.fullmatch(number):
            version = query.get("modelVersionId", "")
        case ["api", "download", "models", version] if _NUMBER.fullmatch(version):
            number = model
        case ["api", "download", "models", word]:
            return Source(why=f"{word[:80]!r} is no version of Civitai; its versions are numbers")
        case _:
            return Source(why="no model of Civitai; expected https://civitai.com/models/ID?modelVersionId=VERSION")
    if any(text and not _NUMBER.fullmatch(text) for text in (version, file)):
        return Source(why=f"{(version or file)[:80]!r} is no number of Civitai")
    if not number:
        return Source(
            version=version, why=f"the address names version {version} and not its model; give its AIR, or the address "
            "of the model's page",
        )  # fmt: skip
    air = Air(None, None, "civitai", number, version or None, file or None)
    told = notes if chooses else ()
    if not version:
        told = ("no version is named: the newest one is taken, and locked", *told)
    return Source("civitai:" + str(air).removeprefix("urn:air:civitai:"), air=air, notes=told)


def _of_ollama(parts: SplitResult) -> Source:
    """The page of a model: `/library/llama3.2:3b`, `/NAMESPACE/MODEL[:TAG]`, with `/tags` or `/blobs/…` behind it."""
    segments = [unquote(part) for part in parts.path.strip("/").split("/")]
    if segments[0] == "v2":  # the registry's own addresses
        return _of_web(parts, [], hidden=False)
    if len(segments) < 2 or segments[2:3] not in ([], ["tags"], ["blobs"]):
        return Source(why="no model of Ollama; expected https://ollama.com/library/MODEL:TAG")
    namespace, model = segments[:2]
    notes = () if ":" in model else ("the address names no tag: `latest` is taken",)
    name = model if namespace == "library" else f"{namespace}/{model}"
    return _checked(Source(f"ollama:{name}", name=model, notes=notes))


def _of_web(parts: SplitResult, query: list[tuple[str, str]], *, hidden: bool) -> Source:
    kept = urlencode(query) if hidden else parts.query
    url = parts._replace(query=kept, fragment="").geturl()
    notes = ("plain http: say `insecure: true`, or find it under https",) if parts.scheme == "http" else ()
    return _checked(Source(url, name=unquote(parts.path.rsplit("/", 1)[-1]), notes=notes))


def _checked(found: Source) -> Source:
    """Keep only what a manifest may say."""
    try:
        parse(found.source)
        if found.file:
            check_relative(found.file.rstrip("/"))
    except ValueError as error:
        return Source(why=str(error))
    return found
