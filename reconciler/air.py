"""AIR, the names that Civitai gives to models: read, judged, printed. Pure.

    urn:air:{ecosystem}:{type}:{source}:{id}[@{version}][+{file id}][.{format}]

https://developer.civitai.com/site/guide/air. Ecosystem and type are hints: they differ between a page and the API for
the same file. What is meant stands behind them: source, id, version and file id. No published expression refuses
enough (`civitai:abc@def`, `main/../../etc/passwd`, a format that is taken for a part of the version), so the parts are
checked one by one.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple
from urllib.parse import unquote

Verdict = Literal["canonical", "lenient", "invalid"]

MAX_AIR = 2048
"""Characters."""

FETCHABLE = ("civitai", "huggingface")
"""Sources whose files we can fetch."""
SOURCES = frozenset(
    {
        *FETCHABLE, "civitai-r2", "orchestrator", "openai", "leonardo", "comfyregistry", "ghcr", "dockerhub", "ollama",
    }
)  # fmt: skip
"""Sources that have been seen in AIRs, documented or not."""

TYPES = frozenset(
    {
        "checkpoint", "lora", "embedding", "vae", "controlnet", "upscaler", "other", "diffusionmodel", "unet", "image",
        "dora", "lycoris", "hypernet", "ag", "motion", "text_encoders", "clip", "clipvision", "visionlanguage",
        "diffuser", "repository", "nodepack", "unknown", "diffusion_model", "model",
    }
)  # fmt: skip
"""Types that have been seen, documented or not; any other word is a type too, where its place says so."""
WEIGHTLESS = {"image": "a container image", "nodepack": "a pack of nodes, which is code"}
"""Types that name no weights, and what they name."""

EXPECTED = "urn:air:ecosystem:type:source:id[@version][+file][.format]"

_PREFIX = re.compile(r"(urn:)?air:", re.IGNORECASE | re.ASCII)
_HINT = re.compile(r"[A-Za-z0-9_/-]+")
_SOURCE = re.compile(r"[a-z0-9_.-]+")
_TEMPLATE = re.compile(r"_[A-Za-z]+_")
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_TAIL = re.compile(r"(?P<number>[0-9]+)(?:\+(?P<file>[0-9]+))?(?:\.(?P<format>[A-Za-z][A-Za-z0-9]{0,15}))?")
_OTHER_ID = re.compile(r"[\w.~/-]+", re.ASCII)
# https://huggingface.co/docs/hub/repositories-pull-requests-discussions, and the branches of its converters.
_HUB_REF = re.compile(r"refs/(?:pr/[0-9]+|convert/[^/]+)")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\\"'<>|?#*`{}]")


class Air(NamedTuple):
    """An AIR, taken apart. What it does not say is None; `type` and `source` are lower case.

    `version` of a Hugging Face AIR is `<revision>[/<path>]`, as written; `revision` and `path` take it apart.
    """

    ecosystem: str | None
    type: str | None
    source: str
    id: str
    version: str | None = None
    file_id: str | None = None
    """Civitai's number of one file of a version that has several."""
    format: str | None = None

    def __str__(self) -> str:
        """Print what there is; `parse` reads it back to the same value."""
        parts = [part for part in (self.ecosystem, self.type, self.source) if part is not None]
        tail = "".join(
            mark + text for mark, text in (("@", self.version), ("+", self.file_id), (".", self.format)) if text
        )
        return f"urn:air:{':'.join(parts)}:{self.id}{tail}"

    @property
    def identity(self) -> tuple[str, str, str | None, str | None]:
        """What is meant: (source, id, version, file id). Two AIRs with one identity are one thing."""
        return (self.source, self.id, self.version, self.file_id)

    @property
    def revision(self) -> str | None:
        """The branch, tag or commit of a Hugging Face AIR; of any other the version."""
        return _revision_and_path(self.version)[0] if self.source == "huggingface" else self.version

    @property
    def path(self) -> str:
        """The file inside the repository of a Hugging Face AIR, '' where none is named."""
        return _revision_and_path(self.version)[1] if self.source == "huggingface" else ""


def parse(text: str) -> Air:
    """Read an AIR, also one that is short, floating, or written with blanks around it.

    Raises ValueError, saying what is wrong, for what is none, and for one that ends before it names anything.
    """
    return _read(text)[0]


def verdict(text: str) -> Verdict:
    """Judge a text: `canonical` has all four parts and a version, `lenient` must be rewritten, `invalid` is none."""
    try:
        found, loose = _read(text)
    except _IncompleteError:
        return "lenient"
    except ValueError:
        return "invalid"
    full = found.ecosystem is not None and found.type is not None
    return "canonical" if full and not loose and found.version and not found.format else "lenient"


def canonical(air: Air) -> str:
    """Print an AIR in its full form, as `canonical` as it can be: all four parts, no format.

    An ecosystem or type that nobody told is `other` and `unknown`, the words of Civitai's own printer. One without a
    version stays floating.
    """
    known = air._replace(ecosystem=air.ecosystem or "other", type=air.type or "unknown", format=None)
    return str(known)


def refusal(air: Air) -> str | None:
    """Say why an AIR cannot be a source of weights here, None when it can."""
    if air.type in WEIGHTLESS:
        return f"an AIR of type {air.type!r} names {WEIGHTLESS[air.type]}, not weights"
    if air.source not in FETCHABLE:
        known = "is known and cannot be fetched" if air.source in SOURCES else "is no source that we know"
        return f"an AIR of {air.source!r}: it {known}; those of {' and '.join(FETCHABLE)} can"
    return None


class _IncompleteError(ValueError):
    """The shape of an AIR that ends too early: nothing in it can be told apart."""


def _read(text: str) -> tuple[Air, bool]:
    """Return the AIR, and whether it had to be read loosely."""
    stripped = text.strip()
    if len(stripped) > MAX_AIR:
        raise ValueError(f"an AIR of {len(stripped)} characters; {MAX_AIR} are allowed")
    prefix = _PREFIX.match(stripped)
    rest = stripped[prefix.end() :] if prefix else stripped
    loose = stripped != text or prefix is None or prefix[1] is None
    if rest[:1] in "\"'" and rest:
        raise ValueError(f"quotation marks are no part of an AIR: {_shown(text)}")
    if found := _UNSAFE.search(rest):
        raise ValueError(f"{found.group()!r} in an AIR: {_shown(text)}; expected {EXPECTED}")
    head, at, version = rest.partition("@")  # a version may hold colons: `@sha256:…` of a registry of containers
    segments = head.split(":")
    segments[-1] += at + version
    if not 2 <= len(segments) <= 4 or not all(segments):
        raise ValueError(f"not an AIR: {_shown(text)}; expected {EXPECTED}")
    air = _placed(segments, text, named=prefix is not None)
    return air, loose


def _placed(segments: list[str], text: str, *, named: bool) -> Air:
    """Give two to four segments their places. `named`: the text says that it is an AIR."""
    *hints, source, identity = segments
    source = source.lower()
    if len(hints) < 2 and source not in SOURCES and (not named or not hints or source in TYPES):
        if named:
            raise _IncompleteError(f"an AIR that ends too early: {_shown(text)}; expected {EXPECTED}")
        raise ValueError(f"not an AIR: {_shown(text)}; expected {EXPECTED}")
    if not _SOURCE.fullmatch(source):
        raise ValueError(f"not the source of an AIR: {source[:80]!r} in {_shown(text)}")
    for hint in hints:
        if not _HINT.fullmatch(hint) or _TEMPLATE.fullmatch(hint):
            what = "a place that was never filled in" if _TEMPLATE.fullmatch(hint) else "not a part of an AIR"
            raise ValueError(f"{what}: {hint[:80]!r} in {_shown(text)}")
    ecosystem: str | None = None
    kind: str | None = None
    if len(hints) == 2:
        ecosystem, kind = hints[0], hints[1].lower()
    elif hints:  # one hint is a type where it is a word for one
        ecosystem, kind = (None, hints[0].lower()) if hints[0].lower() in TYPES else (hints[0], None)
    return _identified(Air(ecosystem, kind, source, identity), text)


def _identified(air: Air, text: str) -> Air:
    """Take the last segment apart as its source does, and check every part."""
    head, at, version = air.id.partition("@")
    if not head or (at and not version):
        raise ValueError(f"an AIR without {'a version behind the @' if head else 'an id'}: {_shown(text)}")
    match air.source:
        case "civitai":
            return _of_civitai(air, head, version, text)
        case "huggingface":
            return _of_hub(air, head, version, text)
        case _:
            _check_parts(head, text)
            _check_parts(version, text)
            if not _OTHER_ID.fullmatch(head):
                raise ValueError(f"not an id: {head[:80]!r} in {_shown(text)}")
            return air._replace(id=head, version=version or None)


def _of_civitai(air: Air, head: str, version: str, text: str) -> Air:
    """Numbers only: model, version, file; a format may follow the last of them."""
    last = _TAIL.fullmatch(version or head)
    model = head if version else last["number"] if last else head
    numbers = [model, last["number"], last["file"] or "1"] if last else [""]
    if last is None or not all(_NUMBER.fullmatch(number) for number in numbers):
        raise ValueError(f"not a Civitai model: {_shown(text)}; expected model[@version][+file], in numbers above 0")
    number = last["number"] if version else None
    kind = last["format"].lower() if last["format"] else None
    return air._replace(id=model, version=number, file_id=last["file"], format=kind)


def _of_hub(air: Air, head: str, version: str, text: str) -> Air:
    if not _HUB_ID.fullmatch(head) or ".." in head or "--" in head:
        raise ValueError(f"not a repository of the Hub: {head[:80]!r} in {_shown(text)}; expected owner/repo")
    _check_parts(version, text)
    if version:
        revision, path = _revision_and_path(version)
        if not revision or version.endswith("/") or ":" in version:
            raise ValueError(f"not a revision with a path: {version[:80]!r} in {_shown(text)}")
        _check_parts(unquote(path), text)
        _check_parts(unquote(revision or ""), text)
    return air._replace(id=head, version=version or None)


def _revision_and_path(version: str | None) -> tuple[str | None, str]:
    """Part `<revision>[/<path>]`. A revision may hold `/` when it is a ref of the Hub's own, or written as `%2F`."""
    if version is None:
        return None, ""
    if (ref := _HUB_REF.match(version)) and version[ref.end() : ref.end() + 1] in ("", "/"):
        return ref.group(), unquote(version[ref.end() + 1 :])
    revision, _, path = version.partition("/")
    return unquote(revision), unquote(path)


def _check_parts(path: str, text: str) -> None:
    """Refuse what could lead out of a directory, whoever decodes it."""
    for part in (path, unquote(path)):
        if part.startswith("/") or "//" in part or {".", ".."} & set(part.split("/")) or _CONTROL.search(part):
            raise ValueError(f"not a safe path: {path[:80]!r} in {_shown(text)}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:197] + "…")
