"""Read what a manifest writes after `source:` into its parts. Pure.

Nothing is looked up here: `owner/repo` may not exist, a revision may be a branch, a tag or a commit.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from reconciler import air
from reconciler.inert import suggest
from reconciler.ollama import names

_COMMIT = re.compile(r"[0-9a-f]{40}")

# The Hub's rule for owners and repositories: https://huggingface.co/docs/huggingface_hub/package_reference/utilities
# (validate_repo_id). `--` and `..` are refused there too; the HF cache relies on it to tell owner and name apart.
_HUB_NAME = re.compile(r"(?![-.])(?!.*(?:--|\.\.))[A-Za-z0-9._-]{1,96}(?<![-.])")

# https://git-scm.com/docs/git-check-ref-format, without spaces of any kind.
_REVISION = re.compile(r"(?![-/@])(?!.*(?:\.\.|//|@\{|/\.|\.lock(?:/|$)))[^\x00-\x20\x7f~^:?*\[\\\s]{1,200}(?<![/.])")

_NUMBER = r"[1-9][0-9]{0,18}"
_CIVITAI = re.compile(rf"(?P<model>{_NUMBER})(?:@(?P<version>{_NUMBER}))?(?:\+(?P<file>{_NUMBER}))?")

_SCHEMES = ("hf", "ollama", "civitai", "https", "http", "file")
_SPELLINGS = {"huggingface": "hf", "hugging-face": "hf", "hub": "hf", **{scheme: scheme for scheme in _SCHEMES}}

EXPECTED = (
    "hf:owner/repo[@revision], ollama:[host/][namespace/]model[:tag], civitai:model[@version][+file], "
    "urn:air:…, https://… or file:…"
)


class Reference(NamedTuple):
    """A source, taken apart. What the source does not say is None or ''.

    | scheme | repository | revision | path |
    |---|---|---|---|
    | `hf` | `owner/repo` | branch, tag or commit | file inside (only an AIR names one) |
    | `ollama` | `[host/][namespace/]model` | tag | |
    | `civitai` | model number | version number | file number |
    | `https`, `http` | host, with the port when the URL names one | query | decoded path, without the first `/` |
    | `file` | | | path as written |
    """

    scheme: str
    repository: str
    revision: str | None = None
    path: str = ""


def parse(source: str) -> Reference:
    """Take a source apart; raise ValueError saying what was expected when it is none."""
    if source[:8].lower() == "urn:air:":
        return _parse_air(source)
    scheme, colon, rest = source.partition(":")
    match scheme:
        case "hf" if colon:
            return _parse_hub(source, rest)
        case "ollama" if colon:
            return _parse_ollama(rest)
        case "civitai" if colon:
            return _parse_civitai(source, rest)
        case "https" | "http" if colon:
            return _parse_url(source)
        case "file" if colon:
            return _parse_file(source, rest)
        case _:
            near = meant(source)
            more = f"did you mean {near[:200]}?" if near else f"expected {EXPECTED}"
            raise ValueError(f"not a source: {source[:200]!r}; {more}")


def meant(text: str) -> str:
    """Return the source that a spelling which is none probably means, '' when nothing is near.

    Such spellings are `owner/repo`, `HF:…`, `hf://…`, `huggingface:…`, `llama3.2:3b` and a path.
    """
    scheme, colon, rest = text.strip().partition(":")
    tries = []
    if colon:
        spelt = _SPELLINGS.get(scheme.lower())
        known = spelt or suggest(scheme.lower(), _SCHEMES)
        tries += [f"ollama:{text.strip()}"] * (not spelt and not set(":/") & set(rest))  # MODEL:TAG
        tries += [f"{known}:{rest.strip().lstrip('/')}"] * (known in ("hf", "ollama", "civitai"))
        tries += [f"{known}:{rest.strip()}"] * bool(known)
    elif scheme.startswith("/"):
        tries = [f"file:{scheme}"]
    elif scheme.partition("/")[0] in ("huggingface.co", "hf.co", "civitai.com"):
        tries = [f"https://{scheme}"]
    elif scheme.count("/") == 1 and not scheme.startswith((".", "~")):
        tries = [f"hf:{scheme}"]
    return next((found for found in tries if found != text and _is_source(found)), "")


def _is_source(text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a full git commit, which never moves."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def branch(reference: Reference) -> str:
    """Return the branch or tag that keeps this source apart from the repository's default one, '' for none.

    `main` and a commit give '': the first is the default, the second is a moment of a branch that it does not name.
    """
    revision = reference.revision
    if reference.scheme != "hf" or revision is None or revision == "main" or is_commit(revision):
        return ""
    return revision


def _parse_hub(source: str, rest: str) -> Reference:
    repository, at, revision = rest.partition("@")
    owner, slash, name = repository.partition("/")
    if not slash or not all(_HUB_NAME.fullmatch(part) for part in (owner, name)) or name.endswith(".git"):
        near = meant(source) if rest.startswith("/") else ""
        more = f"did you mean {near}?" if near else "expected hf:owner/repo[@revision]"
        raise ValueError(f"not a repository of the Hub: {source[:200]!r}; {more}")
    if at and not _REVISION.fullmatch(revision):
        raise ValueError(f"not a branch, tag or commit: {revision[:200]!r} in {source[:200]!r}")
    return Reference("hf", repository, revision if at else None)


def _parse_ollama(rest: str) -> Reference:
    name = names.parse(rest)
    repository = rest.removesuffix(f":{name.tag}")
    return Reference("ollama", repository, name.tag if repository != rest else None)


def _parse_civitai(source: str, rest: str) -> Reference:
    found = _CIVITAI.fullmatch(rest)
    if found is None:
        raise ValueError(f"not a Civitai model: {source[:200]!r}; expected civitai:model[@version][+file], in numbers")
    return Reference("civitai", found["model"], found["version"], found["file"] or "")


def _parse_air(source: str) -> Reference:
    found = air.parse(source)
    if found.ecosystem is None or found.type is None or source != source.strip():
        raise ValueError(f"not a whole AIR: {source[:200]!r}; expected {air.EXPECTED}")
    if why := air.refusal(found):
        raise ValueError(f"{why}; it cannot be a source here: {source[:200]!r}")
    if found.source == "civitai":
        return Reference("civitai", found.id, found.version, found.file_id or "")
    revision = f"@{found.revision}" if found.revision else ""
    return _parse_hub(source, f"{found.id}{revision}")._replace(path=found.path)


def _parse_url(source: str) -> Reference:
    try:
        parts = urlsplit(source)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {_shown(source)}: {str(error)[:60]}") from None
    path = unquote(parts.path).lstrip("/")
    # urlsplit drops line breaks and tabs without a word.
    if not host or not path or path.endswith("/") or not (source + path).isprintable() or " " in source:
        raise ValueError(f"not the URL of a file: {_shown(source)}; expected {parts.scheme}://host/path/file")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL must not hold a user name or password; tokens come from the environment")
    address = f"[{host}]" if ":" in host else host
    return Reference(parts.scheme, f"{address}:{port}" if port else address, parts.query or None, path)


def _shown(url: str) -> str:
    """Return a URL fit for a message: what may be a secret (user, password, query) is left out."""
    scheme, _, rest = url.partition("://")
    return repr(f"{scheme}://{re.split('[?#]', rest)[0].rpartition('@')[2]}"[:200])


def _parse_file(source: str, rest: str) -> Reference:
    path = rest
    if rest.startswith("//"):
        host, slash, tail = rest[2:].partition("/")
        if host not in ("", "localhost") or not slash:
            raise ValueError(f"a file of another machine: {source[:200]!r}; expected file:/path or file:///path")
        path = "/" + unquote(tail)
    if not path.strip("/") or "\0" in path:
        raise ValueError(f"not a file or directory: {source[:200]!r}; expected file:/path")
    return Reference("file", "", None, path)
