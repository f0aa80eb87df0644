"""What importers of image models share: where a folder leads, how a variant says it, and asking upstream for all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from reconciler import links, sources
from reconciler.abreast import abreast
from reconciler.detect.rules import is_pickle_name
from reconciler.errors import NotFoundError, ReconcilerError, UnseenError
from reconciler.globs import exact
from reconciler.importing.claims import request_of
from reconciler.importing.found import Found, Request, Row
from reconciler.inert import inert
from reconciler.naming import Named
from reconciler.references import parse
from reconciler.sources import civitaiapi
from reconciler.ui.kinds import DRAWERS, WEIGHTS, Kind, Ui, kind_named, ui_of

ROOTS: Mapping[Ui, str] = {
    "comfyui": "~/ComfyUI/models", "a1111": "~/stable-diffusion-webui", "forge": "~/stable-diffusion-webui-forge",
    "sdnext": "~/automatic",
}  # fmt: skip
"""Where a web interface is when the manifest does not say: where a clone of its repository in the home would be."""

_PICKLE = "a pickle, which can run code: the plan blocks it while `policy.pickle` is `deny`"
_WEB: tuple[Ui, ...] = ("a1111", "forge", "sdnext")
_THREADS = 8
_ASKED = ("hf", "civitai", "ollama")
"""Sources that say size and digest of a file without its bytes."""


class Spot(NamedTuple):
    """Where a model belongs: a location to suggest, and what a variant says of its folder."""

    location: tuple[str, Mapping[str, Any]]
    kind: Kind
    subfolder: str


def spot(folder: str, request: Request, *, ui: Ui | None = None) -> Spot:
    """Return where a folder below the home of a web interface leads: `models/loras/SDXL`, `embeddings`.

    The folder's name tells which interface is meant (`loras` is ComfyUI's, `Lora` A1111's); where the manifest has
    locations of one interface only, it is that one. Raises ValueError for a folder that is not for models.
    """
    head, _, rest = folder.partition("/")
    below = rest if head.lower() == "models" else folder
    name, _, subfolder = below.partition("/")
    if not name or (head.lower() != "models" and head.lower() != "embeddings"):
        raise ValueError(f"`{inert(folder)}` is no folder of models")
    chosen = ui or _ui(name, request, beside=head.lower() != "models")
    kind = kind_named(name)
    if kind is None or kind not in DRAWERS[chosen]:
        # No loader of the core looks there: the folder stays as it is called.
        kind, subfolder = "other", below if chosen == "comfyui" else folder
    declared = [root for root, store in request.arranged.items() if store == chosen]
    root = declared[0] if declared else ROOTS[chosen]
    return Spot((chosen, {"store": chosen, "root": root}), kind, subfolder)


def _ui(name: str, request: Request, *, beside: bool) -> Ui:
    """Return the web interface that a folder is of; `beside` the directory `models` only those of the web have one."""
    declared = {ui for store in request.arranged.values() if (ui := ui_of(store)) is not None}
    if len(declared) == 1:
        return next(iter(declared))
    web: Ui = next((ui for ui in _WEB if ui in declared), "a1111")
    return web if beside or (name in _folders(web) and name not in _folders("comfyui")) else "comfyui"


def _folders(ui: Ui) -> set[str]:
    return {folder.rpartition("/")[2] for drawer in DRAWERS[ui].values() for folder in drawer.searched}


def variant(source: str, file: str, name: str, place: Spot, sha256: str = "") -> dict[str, Any]:
    """Return what a manifest says of one model: `file` is its path in a repository, `name` what it must be called.

    Raises ValueError for what holds no weights.
    """
    if not file.endswith("/") and name and not name.lower().endswith(tuple(WEIGHTS)) and "." in name:
        raise ValueError(f"`{inert(name)}` is no file of weights")
    said: dict[str, Any] = {"source": source}
    if source.startswith("http:"):
        raise ValueError("plain http can be changed on its way; declare it by hand with `insecure: true`")
    if file:
        said["files"] = [exact(file)]
        if "/" not in file:
            said["exclude"] = ["*/**"]  # a bare name would mean every file of that name, in any directory
    said["kind"] = place.kind
    if place.subfolder:
        said["subfolder"] = place.subfolder
    upstream = file.rpartition("/")[2] or (links.read(source).name if source.startswith("https:") else "")
    if name and name != upstream and (upstream or parse(source).scheme == "civitai"):
        said["served_as"] = name  # what Civitai calls the file is known once it is asked
    if sha256:
        said["lock"] = {"sha256": sha256}
    return said


def named(family: str, source: str, location: str) -> Named:
    """Return what the rule makes a variant's name from; owner and version tell two of one family apart."""
    reference = parse(source)
    owner = reference.repository.partition("/")[0] if reference.scheme == "hf" else reference.scheme
    branch = reference.revision if reference.scheme in ("hf", "civitai") else ""
    return Named("", family, owner=owner, branch=branch or "", location=location)


def of_version(link: links.Source, request: Request) -> links.Source:
    """Return what an address means that names Civitai's version and not its model: Civitai is asked for that."""
    if link.source or not link.version or request.world.offline:
        return link
    try:
        found = civitaiapi.version(link.version, request.world)
    except (ReconcilerError, ValueError) as error:
        why = error.problems[0].summary if isinstance(error, ReconcilerError) else str(error)
        return link._replace(why=f"version {link.version} of Civitai: {why}")
    return links.read(f"https://civitai.com/models/{found.model}?modelVersionId={link.version}")


def with_cautions(gathered: Iterable[Found | Row], request: Request, what: str) -> Iterator[Found | Row]:
    """Yield everything with what people should know: pickles that the policy denies, roots that are a guess.

    The first variant of each location says that its root is one; `what` nobody told.
    """
    told = set(request.arranged.values())
    for each in gathered:
        if isinstance(each, Found) and request.pickle == "deny" and _is_pickle(each):
            each = replace(each, notes=(*each.notes, _PICKLE))  # noqa: PLW2901
        if isinstance(each, Found) and each.location is not None and (store := each.location[1]["store"]) not in told:
            told.add(store)
            note = f"look at the root of `{each.location[0]}`, {each.location[1]['root']}: {what}, nobody said"
            yield replace(each, notes=(*each.notes, note))
        else:
            yield each


def _is_pickle(found: Found) -> bool:
    name = str((found.variant.get("files") or [found.variant["source"]])[0])
    return is_pickle_name(name.partition("?")[0])


def resolved(gathered: Iterable[Found | Row], request: Request) -> Iterator[Found | Row]:
    """Yield everything, with pins for what upstream tells of; in their order.

    What upstream does not have, or does not show, becomes a problem. What cannot be asked now (no network, no access)
    stays without a pin; so does a file of the web, which would have to be read whole.
    """
    everything = list(gathered)
    if request.world.offline:
        yield from everything
        return
    yield from abreast(lambda each: _resolved(each, request), everything, _THREADS, "resolve")


def _resolved(each: Found | Row, request: Request) -> Found | Row:
    if isinstance(each, Row) or each.pin is not None or not _is_asked(each):
        return each
    source = str(each.variant["source"])
    try:
        pin = sources.resolve(request_of("", each.variant), request.world)
    except (NotFoundError, UnseenError) as error:
        problem = error.problems[0]
        hint = f" ({problem.hint})" if isinstance(error, UnseenError) and problem.hint else ""
        return Row("problem", source, f"upstream does not have it: {problem.summary}{hint}", each.where)
    except ReconcilerError as error:
        problem = error.problems[0]
        hint = f" ({problem.hint})" if problem.hint else ""
        return replace(each, notes=(*each.notes, f"not locked: {problem.summary}{hint}"))
    except ValueError as error:
        return Row("problem", source, str(error), each.where)
    weights = [file.path for file in pin.files if file.path.lower().endswith(tuple(WEIGHTS))]
    if weights == [each.variant.get("served_as")]:
        return replace(each, pin=pin, variant={k: v for k, v in each.variant.items() if k != "served_as"})
    return replace(each, pin=pin)


def _is_asked(found: Found) -> bool:
    try:
        return parse(str(found.variant["source"])).scheme in _ASKED
    except ValueError:
        return False
