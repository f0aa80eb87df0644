"""`import workflow FILE…`: the models that workflows of ComfyUI need -> variants, and what the others lack."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from reconciler import links, workflows
from reconciler.errors import InputError, ReconcilerError
from reconciler.importing import images
from reconciler.importing.found import Found, Request, Row
from reconciler.inert import inert
from reconciler.oserrors import disk_error
from reconciler.secrets import redact
from reconciler.sources import civitai
from reconciler.workflows import Needed
from reconciler.workflows.needs import MAX_BYTES


def gather(request: Request) -> Iterable[Found | Row]:
    """Read workflows; nothing is written. Raises InputError for a file that is no workflow."""
    if not request.args:
        raise InputError(
            "expected a workflow", where="import workflow",
            hint="for example `reconciler import workflow portrait.json`",
        )  # fmt: skip
    needed: dict[tuple[str, str], tuple[Needed, str]] = {}
    for name in request.args:
        found = workflows.read(_bytes(Path(name)), name)
        yield from (Row("problem", name, warning, name) for warning in found.warnings)
        for need in found.models:
            key = (need.kind or need.folder, need.name)
            earlier = needed.get(key)
            if earlier is None or (need.url and not earlier[0].url):
                needed[key] = (need, name)
            elif need.url and need.url != earlier[0].url:
                why = f"another address than in {earlier[1]}, whose one is taken: {redact(need.url)}"
                yield Row("problem", need.name, why, f"{name}: {need.where}")
    by_hash = _by_hash([need for need, _ in needed.values()], request)
    founds = (_found(need, name, by_hash, request) for need, name in needed.values())
    yield from images.resolved(images.with_cautions(founds, request, "where ComfyUI is"), request)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        why = disk_error(error, str(path)).problems[0].summary
        raise InputError(why, where=inert(str(path)), hint="name a workflow that ComfyUI saved") from None


def _by_hash(needed: Iterable[Needed], request: Request) -> dict[str, str]:
    """Return hash -> source for models without an address, asked of Civitai in one go; nothing when it cannot be."""
    hashes = sorted({need.hash for need in needed if need.hash and not need.url})
    if not hashes or request.world.offline:
        return {}
    try:
        matches = civitai.by_hash(hashes, request.world)
    except ReconcilerError:
        return {}
    return {text: f"civitai:{match.model}@{match.version}" for text, match in matches.items()}


def _found(need: Needed, name: str, by_hash: dict[str, str], request: Request) -> Found | Row:
    where = f"{name}: {need.where}"
    what = f"{need.folder}/{need.name}" if need.folder else need.name
    base = need.name.rpartition("/")[2]
    link = links.read(need.url) if need.url else links.Source(by_hash.get(need.hash, ""))
    link = images.of_version(link, request)
    if holder := _holder(need, request):
        return Row("known", holder, f"{what}: declared already", where)
    if not link.source:
        return Row("left-out", what, f"unresolved: {_missing(need, link)}", where)
    folder = need.folder or _folder_of(link.file)
    if not folder:
        return Row("left-out", what, f"unresolved: no folder is told for a {need.where.rpartition('(')[2]}", where)
    try:
        subfolder = need.name.rpartition("/")[0]
        place = images.spot("/".join(part for part in ("models", folder, subfolder) if part), request, ui="comfyui")
        sha256 = need.hash if need.hash_type == "sha256" and len(need.hash) == 64 else ""
        said = images.variant(link.source, link.file, base, place, sha256)
        chosen = images.named(base.rpartition(".")[0], link.source, place.location[0])
    except ValueError as error:
        return Row("left-out", what, str(error), where)
    notes = [*link.notes]
    if need.how == "note":
        notes.append("the address is from a note in the workflow")
    return Found(said, named=chosen, location=place.location, notes=tuple(notes), where=where)


def _holder(need: Needed, request: Request) -> str | None:
    """Return the variant that is declared already and puts a file of this name where ComfyUI would find it."""
    if need.url:
        return None  # the same source is recognised by itself, and another one must be told
    return next((holder for path, holder in request.declared.items() if path.endswith(f"/{need.name}")), None)


def _missing(need: Needed, link: links.Source) -> str:
    if link.why:
        return link.why
    if need.hash:
        return f"no address, and nobody knows a file with the {need.hash_type or 'hash'} {need.hash[:16]}"
    return "the workflow names the file and no address; declare it by hand, or add an address to the node's models"


def _folder_of(path: str) -> str:
    """Return the folder that a path in a repository tells: `split_files/vae/x.safetensors` -> `vae`."""
    from reconciler.ui.kinds import kind_named

    return next((part for part in reversed(path.split("/")[:-1]) if kind_named(part)), "")
