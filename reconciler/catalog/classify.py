"""What a page of a catalog is: its class by the syntax rules, the assets that it names, and how to mend it. Pure.

The syntax rules count `civitdl`, and `wget` with `-P` or `-O`, in fences of bash, and ask for an AIR in the front
matter. The thorough reading takes every command that can be told; both answers stand side by side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from reconciler import air as airs
from reconciler import links
from reconciler.air import Air
from reconciler.catalog.commands import Download, downloads
from reconciler.catalog.pages import Page, read
from reconciler.inert import few
from reconciler.secrets import redact
from reconciler.ui.kinds import kind_named, kind_of_folder

Class = Literal["CIVITDL_WITH_AIR", "WGET_WITH_AIR", "CIVITDL_NO_AIR", "WGET_NO_AIR", "NO_DOWNLOAD", "INVALID"]
CLASSES: tuple[Class, ...] = get_args(Class)
Pair = Literal["high", "low"]

_HALF = re.compile(r"(?<![A-Za-z])(high|low)(?:[ _-]?noise)?(?![A-Za-z])", re.IGNORECASE)
_NOISE = re.compile(r"(?<![A-Za-z])(high|low)[ _-]?noise(?![A-Za-z])", re.IGNORECASE)
_HINT = re.compile(r"[a-z0-9_-]+")

_AIR_TYPES = {
    "checkpoint": "checkpoint", "diffusion-model": "diffusion_model", "lora": "lora", "vae": "vae",
    "text-encoder": "text_encoders", "clip-vision": "clipvision", "controlnet": "controlnet",
    "embedding": "embedding", "upscaler": "upscaler", "hypernetwork": "hypernet", "motion-module": "motion",
}  # fmt: skip
"""Our word for a kind -> the type in an AIR."""


class Asset(NamedTuple):
    """One model that a page names. `source` is what a manifest would say, '' when nobody can tell; then `why`.

    `folder` is below `$UI_HOME` (`models/loras`), None where the page does not tell; `name` is the file's name as
    far as it is known. `pair` marks the halves of a model that comes as two files for high and low noise.
    """

    page: str
    line: int
    source: str
    url: str
    folder: str | None
    name: str
    file: str = ""
    """Path inside a repository of the Hub."""
    air: Air | None = None
    pair: Pair | None = None
    program: str = ""
    is_strict: bool = False
    why: str = ""
    notes: tuple[str, ...] = ()
    version: str = ""
    """Civitai's number of a version whose model nobody tells."""


@dataclass(frozen=True)
class Judged:
    """A page and what it is. `fixes` say what to change, ready to be pasted where that is possible."""

    page: Page
    syntax: Class
    is_valid: bool
    assets: tuple[Asset, ...]
    commands: int
    """Download commands, all that the thorough reading finds."""
    reasons: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def judge(data: bytes, path: str) -> Judged:
    """Read a page and say what it is. Never raises; a page that cannot be read is INVALID."""
    page = read(data, path)
    found = [each for block in page.blocks for each in downloads(block)]
    air, wrong = _air_of(page)
    assets = _paired(_distinct(_asset(each, page, air) for each in found))
    syntax = _class(page, found, air)
    reasons = tuple(_reasons(page, found, assets, air, wrong, syntax))
    return Judged(
        page, syntax, syntax in ("CIVITDL_WITH_AIR", "WGET_WITH_AIR") and not reasons, assets, len(found), reasons,
        tuple(_fixes(page, found, assets, air, wrong)), tuple(_notes(assets, air)),
    )  # fmt: skip


def unreadable(path: str, why: str) -> Judged:
    """Return what a page is that the caller could not read."""
    return Judged(Page(path, trouble=why), "INVALID", False, (), 0, (why,), (f"make the page readable: {why}",))


def _air_of(page: Page) -> tuple[Air | None, str]:
    """Return the AIR of the front matter, and what is wrong with the text that stands in its place."""
    if page.air is None:
        return None, ""
    if not re.match(r"(urn:)?air:", page.air, re.IGNORECASE):
        return None, f"{page.air[:120]!r} is a name of the page's own and no AIR"
    try:
        return airs.parse(page.air), ""
    except ValueError as error:
        return None, str(error)


def _class(page: Page, found: Sequence[Download], air: Air | None) -> Class:
    if page.trouble:
        return "INVALID"
    strict = {each.program for each in found if each.is_strict}
    if "civitdl" in strict:
        return "CIVITDL_WITH_AIR" if air else "CIVITDL_NO_AIR"
    if "wget" in strict:
        return "WGET_WITH_AIR" if air else "WGET_NO_AIR"
    return "NO_DOWNLOAD"


def _asset(found: Download, page: Page, air: Air | None) -> Asset:
    told = str(page.front.get("url", ""))
    link = links.read(found.url, _model(found.url, air, told)) if found.url else links.Source(why="")
    why = "; ".join(filter(None, (found.why, link.why if found.url else "")))
    asset = Asset(
        page.path, found.line, link.source, redact(found.url) if link.source else "", found.folder,
        found.name or link.name, link.file, link.air, _half(found, link.name or link.file), found.program,
        found.is_strict, why, tuple(f"line {found.line}: {note}" for note in link.notes), link.version,
    )  # fmt: skip
    asset = asset._replace(air=_with_hints(asset, page, air) if asset.air else None)
    if asset.air is not None and asset.air.source == "civitai" and asset.air.version:
        asset = asset._replace(source=airs.canonical(asset.air))
    return asset


def _model(url: str, air: Air | None, told: str) -> str:
    """Return Civitai's number of the model, where the page's AIR or `url` tells it for a bare download address."""
    bare = links.read(url)
    if not bare.version:
        return ""
    if air is not None and air.source == "civitai" and air.version == bare.version:
        return air.id
    other = links.read(told).air if told else None
    return other.id if other is not None and other.source == "civitai" else ""


def _with_hints(asset: Asset, page: Page, air: Air | None) -> Air:
    """Return the AIR of an asset with ecosystem and type: the page's where it is of the same model, else a guess."""
    assert asset.air is not None
    if air is not None and (air.source, air.id) == (asset.air.source, asset.air.id):
        return asset.air._replace(ecosystem=air.ecosystem, type=air.type)
    told = page.front.get("ecosystem") or page.front.get("basemodel") or (air.ecosystem if air else "")
    ecosystem = str(told or "").strip().lower()
    kind = kind_of_folder(f"{asset.folder or ''}/x") or kind_named(str(page.front.get("type", ""))) or ""
    return asset.air._replace(
        ecosystem=ecosystem if _HINT.fullmatch(ecosystem) else "other", type=_AIR_TYPES.get(kind, "other")
    )


def _half(found: Download, name: str) -> Pair | None:
    """Say which half of a pair a download is: by its own name, by the comment above it, by the heading."""
    for pattern, text in ((_HALF, name), (_HALF, found.name), (_HALF, found.label), (_NOISE, found.heading)):
        halves = {half.lower() for half in pattern.findall(text)}
        if len(halves) == 1:
            return "high" if "high" in halves else "low"
    return None


def _paired(assets: Sequence[Asset]) -> tuple[Asset, ...]:
    """Keep the halves of pairs only where both are there."""
    halves = [asset.pair for asset in assets if asset.pair]
    if {"high", "low"} <= set(halves) and halves.count("high") == halves.count("low"):
        return tuple(assets)
    return tuple(asset._replace(pair=None) for asset in assets)


def _distinct(assets: Iterable[Asset]) -> tuple[Asset, ...]:
    """Return every asset once: pages give one model several commands, for several tools."""
    kept: dict[object, Asset] = {}
    for asset in assets:
        key = (_identity(asset), asset.folder, asset.why if not asset.source else "")
        first = kept.get(key)
        if first is None:
            kept[key] = asset
        else:
            kept[key] = first._replace(
                is_strict=first.is_strict or asset.is_strict, pair=first.pair or asset.pair,
                name=first.name or asset.name, notes=tuple(dict.fromkeys((*first.notes, *asset.notes))),
            )  # fmt: skip
    return tuple(kept.values())


def _identity(asset: Asset) -> object:
    if asset.air is not None and asset.air.source == "civitai":
        return asset.air.identity
    return (asset.source, asset.file) if asset.source else (asset.line, asset.version)


def _reasons(
    page: Page, found: Sequence[Download], assets: Sequence[Asset], air: Air | None, wrong: str, syntax: Class
) -> Iterable[str]:
    """Yield why a page is not valid for the detection of downloads."""
    if page.trouble:
        yield page.trouble
        return
    if syntax == "NO_DOWNLOAD":
        return
    if air is None:
        yield wrong or "no AIR in the front matter"
    elif why := airs.refusal(air):
        yield why
    elif air.source == "civitai" and not any(_is_of(asset, air) for asset in assets):
        named = few([asset.air.id for asset in assets if asset.air and asset.air.source == "civitai"])
        if named or syntax == "CIVITDL_WITH_AIR":
            yield f"the AIR is of model {air.id}, the commands of {named or 'none'}"
    elif air.source != "civitai" and syntax == "CIVITDL_WITH_AIR":
        yield f"the command is civitdl, the AIR one of {air.source}"
    yield from (f"line {each.line}: {each.why}" for each in found if each.is_strict and each.why)


def _is_of(asset: Asset, air: Air) -> bool:
    """Whether an asset is of the model of an AIR; an address that names a version only is, when the version is."""
    if asset.air is not None and (asset.air.source, asset.air.id) == (air.source, air.id):
        return True
    return asset.version != "" and asset.version == air.version


def _version(asset: Asset) -> str | None:
    return asset.version or (asset.air.version if asset.air else None)


def _fixes(
    page: Page, found: Sequence[Download], assets: Sequence[Asset], air: Air | None, wrong: str
) -> Iterable[str]:
    """Yield what to change, most telling first; a line to paste where the page itself gives it."""
    if page.trouble:
        at = f"line {page.trouble_line}: " if page.trouble_line else ""
        yield f"{at}mend the page: {page.trouble}"
    known = [asset for asset in assets if asset.air is not None]
    if air is None and found and not (page.trouble and page.air_line == 0 and not page.front):
        where = f"line {page.air_line}: replace it by" if wrong else "add to the front matter"
        if known:
            yield f"{where} `AIR: {airs.canonical(known[0].air)}`"  # type: ignore[arg-type]
        elif page.body_air is not None and airs.verdict(page.body_air[0]) != "invalid":
            yield f"move `AIR: {page.body_air[0]}` of line {page.body_air[1]} to the front matter"
        else:
            yield from _without_air(assets)
    elif air is not None and page.air is not None and airs.verdict(page.air) == "lenient":
        yield f"line {page.air_line}: write `AIR: {airs.canonical(air)}`"
    if air is not None and known and not any(_is_of(asset, air) for asset in assets):
        yield f"line {page.air_line}: the commands ask for `AIR: {airs.canonical(known[0].air)}`"  # type: ignore[arg-type]
    for asset in assets:
        if asset.why:
            yield f"line {asset.line}: {asset.why}"
    for each in found:
        yield from (f"line {each.line}: {note}" for note in each.notes)
        if links.read(each.url).has_secret:
            yield f"line {each.line}: a token stands in the address: take it off the page, and make it invalid"
    if found and not any(each.is_strict for each in found):
        yield f"line {found[0].line}: put the command into a fence of bash, as `wget -P` or `civitdl`"


def _without_air(assets: Sequence[Asset]) -> Iterable[str]:
    versions = [asset.version for asset in assets if asset.version]
    if versions:
        yield f"add `AIR: urn:air:ECOSYSTEM:TYPE:civitai:MODEL@{versions[0]}`, MODEL from the page of the model"
    elif any(asset.source for asset in assets):
        yield "no AIR can name a file of this host; the address itself is its identity"


def _notes(assets: Sequence[Asset], air: Air | None) -> Iterable[str]:
    """Yield what people should know beside that."""
    if beyond := [asset for asset in assets if not asset.is_strict and asset.source]:
        yield f"{len(beyond)} more by the thorough reading: " + few(
            [f"{asset.program or 'a command'} at line {asset.line}" for asset in beyond]
        )
    if pairs := [asset for asset in assets if asset.pair]:
        yield f"{len(pairs)} halves for high and low noise; the model is there when both are"
    elif air is not None and (others := [a for a in assets if a.air and a.air.identity[:3] != air.identity[:3]]):
        yield f"{len(others)} beside the one of the AIR"
    of_model = [asset for asset in assets if air is not None and _is_of(asset, air)]
    if air is not None and of_model and air.version not in {None, *(_version(asset) for asset in of_model)}:
        yield f"the AIR names version {air.version}, and no command does"
    for asset in assets:
        yield from asset.notes
    if air is not None and air.version is None:
        yield "the AIR names no version: it floats"
