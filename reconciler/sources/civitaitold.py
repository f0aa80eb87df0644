"""What Civitai says of models and versions: read from its JSON, and as the lock keeps it. Pure.

The shapes are those of https://developer.civitai.com/site/reference/model-versions; what is missing or of another type
is left out, unless nothing can be said without it. Counters and whatever else changes by itself is not read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from reconciler import air

_HASHES: Mapping[str, int] = {"sha256": 64, "autov1": 8, "autov2": 10, "autov3": 12, "blake3": 64, "crc32": 8}
"""Kind -> hexadecimal digits (some older AutoV3 have 64)."""
_HEX = re.compile(r"[0-9a-f]+")
NOTHING = hashlib.sha256().hexdigest()
"""What AutoV1 is made of where a file is too short for it: the same for all of them, and no identity of any."""
_WIDTH = re.compile(r"/width=\d+/")
"""What asks for a copy made to measure, which may be another one tomorrow; `original=true` is what was uploaded."""
_WORDS, _PREVIEWS, _TAGS = 64, 12, 24
_MARKUP = 50_000
"""Characters of HTML that are looked at."""
_TEXT, _WORD = 2000, 500
"""Characters of a description, and of a trigger text, that the lock keeps."""

_AIR_TYPES: Mapping[str, str] = {
    "TextualInversion": "embedding", "Hypernetwork": "hypernet", "AestheticGradient": "ag", "LoCon": "lycoris",
    "MotionModule": "motion",
}  # fmt: skip
"""Type of a model -> type in an AIR, where it is not the same word."""


class File(NamedTuple):
    """One public file of a version. `hashes` by kind, lower case; `size` in bytes, None when it is told rounded."""

    number: int
    name: str
    kind: str
    size: int | None
    near: int
    """Bytes, up to rounding."""
    hashes: Mapping[str, str]
    url: str
    primary: bool
    metadata: Mapping[str, str]
    danger: bool
    """A scan of Civitai's calls it dangerous."""


class Preview(NamedTuple):
    """A picture or video that shows what the model does. `level` is Civitai's nsfw level: 1, 2, 4, 8, 16 or 32."""

    url: str
    type: str
    level: int
    width: int
    height: int


class Version(NamedTuple):
    """One release. `until` is when early access ends, as Civitai writes it."""

    number: int
    model: int
    name: str
    model_name: str
    type: str
    base_model: str
    air: str | None
    files: tuple[File, ...]
    previews: tuple[Preview, ...]
    trained_words: tuple[str, ...]
    description: str
    published: str
    level: int
    mode: str
    early: bool
    until: str
    paid: bool
    usage: str


class Model(NamedTuple):
    """A model; `versions` are the numbers of those that are published, as Civitai orders them: newest first."""

    number: int
    name: str
    versions: tuple[int, ...]
    description: str
    creator: str
    tags: tuple[str, ...]
    permissions: str
    mode: str


def version(value: Any) -> Version:
    """Read the answer of `/model-versions/:id`. Raise ValueError, TypeError or KeyError when it is none."""
    owner = value["model"] if isinstance(value.get("model"), dict) else {}
    paid = value.get("paidAccess")
    gate = paid if isinstance(paid, dict) else {}
    early = value.get("availability") == "EarlyAccess" or bool(gate)
    return Version(
        _number(value["id"]),
        _number(value["modelId"]),
        _text(value.get("name")),
        _text(owner.get("name")),
        _text(owner.get("type")),
        _text(value.get("baseModel")),
        _air(value.get("air")),
        tuple(_file(file) for file in value.get("files") or ()),
        tuple(_preview(image) for image in value.get("images") or () if _is_shown(image)),
        tuple(word for text in value.get("trainedWords") or () if (word := _text(text, _WORD).strip(" ,"))),
        plain(value.get("description")),
        _text(value.get("publishedAt")),
        _level(value.get("nsfwLevel")),
        _text(owner.get("mode")),
        early,
        _text(value.get("earlyAccessEndsAt")) or _text(gate.get("endsAt")),
        gate.get("permanent") is True,
        _text(value.get("usageControl")) or "Download",
    )


def model(value: Any) -> Model:
    """Read the answer of `/models/:id`. Raise ValueError, TypeError or KeyError when it is none."""
    listed = value["modelVersions"]
    owner = value.get("creator")
    return Model(
        _number(value["id"]),
        _text(value.get("name")),
        tuple(_number(each["id"]) for each in listed if each.get("status", "Published") == "Published"),
        plain(value.get("description")),
        _text(owner.get("username")) if isinstance(owner, dict) else "",
        tuple(sorted(tag for each in value.get("tags") or () if (tag := _text(each))))[:_TAGS],
        permissions(value),
        _text(value.get("mode")),
    )


def permissions(value: Mapping[str, Any]) -> str:
    """Return what a model's creator permits, in words.

    `allowCommercialUse` is a list, the text of a PostgreSQL array (`{Image,RentCivit}`), or one word of old.
    """
    uses = value.get("allowCommercialUse")
    listed = re.findall(r"\w+", uses) if isinstance(uses, str) else uses if isinstance(uses, list) else []
    commercial = sorted({use.lower() for use in listed if isinstance(use, str)} - {"none"})
    parts = [f"commercial use: {', '.join(commercial)}" if commercial else "no commercial use"]
    if value.get("allowNoCredit") is False:
        parts.append("credit required")
    if value.get("allowDerivatives") is False:
        parts.append("no derivatives")
    if value.get("allowDifferentLicense") is False:
        parts.append("same permissions when shared")
    return "; ".join(parts)


def license_of(found: Version, owner: Model | None) -> str | None:
    """Return the license that the lock names: that of the base model by its name, and what the creator permits."""
    parts = [f"as {found.base_model}"] if found.base_model else []
    if owner is not None:
        parts.append(owner.permissions)
    return f"civitai: {'; '.join(parts)}" if parts else None


def about(found: Version, owner: Model | None, files: Mapping[str, File], asked: air.Air | None) -> dict[str, Any]:
    """Return what the lock keeps of a version besides its files: what upstream may lose, and notes are made of.

    The same for the same version, whoever asks and when. What is empty is left out.
    """
    facts: dict[str, Any] = {
        "air": air_of(found, asked),
        "model": found.model_name or (owner.name if owner else ""),
        "model_id": found.model,
        "version": found.name,
        "version_id": found.number,
        "type": found.type,
        "base_model": found.base_model,
        "trained_words": list(found.trained_words[:_WORDS]),
        "published": found.published,
        "creator": owner.creator if owner else "",
        "tags": list(owner.tags) if owner else [],
        "nsfw_level": found.level,
        "previews": [
            {"url": p.url, "type": p.type, "nsfw_level": p.level, "width": p.width, "height": p.height}
            for p in found.previews[:_PREVIEWS]
        ],
        "description": owner.description if owner else "",
        "version_description": found.description,
        "files": [{"name": path, "id": f.number, "type": f.kind, **f.metadata} for path, f in sorted(files.items())],
    }
    return {key: value for key, value in facts.items() if value not in ("", [], {})}


def air_of(found: Version, asked: air.Air | None) -> str:
    """Return the AIR of a version: the API's own; where it names none, what can be said without it."""
    if found.air:
        return found.air
    kind = _AIR_TYPES.get(found.type, found.type.lower()) or (asked.type if asked else None)
    plain_air = air.Air(asked.ecosystem if asked else None, kind, "civitai", str(found.model), str(found.number))
    return air.canonical(plain_air)


def plain(markup: Any) -> str:
    """Return the text of a description, which Civitai keeps as HTML: no tags, one line a paragraph, cut to a length."""
    if not isinstance(markup, str):
        return ""
    markup = markup[:_MARKUP]
    reader = _Text()
    try:
        reader.feed(markup)
        reader.close()
        shown = "".join(reader.parts)
    except AssertionError:  # what html.parser answers to declarations that are none, such as `<![if`
        shown = re.sub(r"<[^>]*>?", "\n", markup)
    lines = (" ".join(line.split()) for line in shown.split("\n"))
    text = "\n".join(line for line in lines if line)
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1].rstrip()}…"


class _Text(HTMLParser):
    """Collects the text of an HTML fragment."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:
        """Begin a line where a block begins."""
        self._hidden += tag in ("script", "style")
        if tag in ("p", "br", "li", "div", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote"):
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """End what is hidden."""
        self._hidden -= tag in ("script", "style") and self._hidden > 0

    def handle_data(self, data: str) -> None:
        """Keep what is shown."""
        if not self._hidden:
            self.parts.append(data)


def _file(value: Any) -> File:
    metadata = value.get("metadata")
    hashes = value.get("hashes")
    size, near = _size(value.get("sizeKB"))
    scans = [_text(value.get(key)) for key in ("virusScanResult", "pickleScanResult")]
    return File(
        _number(value["id"]),
        _text(value["name"], 1000),
        _text(value.get("type")) or "Model",
        size,
        near,
        dict(_hashes(hashes if isinstance(hashes, dict) else {})),
        _text(value.get("downloadUrl"), 4096),
        value.get("primary") is True,
        {
            key: text
            for key in ("format", "fp", "size")
            if isinstance(metadata, dict) and (text := _text(metadata.get(key)))
        },
        "Danger" in scans,
    )


def _size(kilobytes: Any) -> tuple[int | None, int]:
    """Return the exact size in bytes, and the near one.

    `sizeKB` is bytes / 1024 as stored; some answers round it to two decimals, which shows when it has no more of them.
    """
    if isinstance(kilobytes, bool) or not isinstance(kilobytes, int | float) or not 0 <= kilobytes < 1 << 40:
        return None, 0
    size = kilobytes * 1024
    is_whole = size == int(size)
    is_rounded = kilobytes * 100 == int(kilobytes * 100)
    return (int(size) if is_whole and not is_rounded else None), round(size)


def _hashes(value: Mapping[Any, Any]) -> Iterable[tuple[str, str]]:
    for kind, text in value.items():
        if isinstance(kind, str) and isinstance(text, str):
            name, digits = kind.lower(), text.strip().lower()
            if digits and NOTHING.startswith(digits):
                continue
            if _HEX.fullmatch(digits) and len(digits) in (_HASHES.get(name, 0), 64 if name == "autov3" else 0):
                yield name, digits


def _preview(value: Mapping[str, Any]) -> Preview:
    kind = value.get("type")
    sides = [side if isinstance(side := value.get(key), int) and side > 0 else 0 for key in ("width", "height")]
    url = _WIDTH.sub("/original=true/", value["url"], count=1)
    return Preview(url, kind if kind in ("image", "video") else "image", _level(value.get("nsfwLevel")), *sides)


def _is_shown(value: Any) -> bool:
    """Whether an entry of `images` has an address that we would open."""
    url = value.get("url") if isinstance(value, dict) else None
    if not isinstance(url, str) or len(url) > 2048 or not url.isascii() or not url.isprintable():
        return False
    parts = urlsplit(url)
    return parts.scheme in ("https", "http") and bool(parts.hostname) and "@" not in parts.netloc


def _air(value: Any) -> str | None:
    """Return the API's AIR when it is one of Civitai's, in its canonical form."""
    try:
        found = air.parse(_text(value))
    except ValueError:
        return None
    return str(found) if found.source == "civitai" and found.version else None


def _level(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 16 else 0


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 63:
        raise ValueError("not a number of Civitai's")
    return value


def _text(value: Any, most: int = 300) -> str:
    return value[:most] if isinstance(value, str) else ""
