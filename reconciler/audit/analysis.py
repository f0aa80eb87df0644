"""What a source holds before anybody declares it: builds, sizes, licence, access, active content; text for a manifest.

Pure over a pin: whoever asks the source does so with `resolve.ask`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from reconciler.detect import is_pickle_name, rules
from reconciler.globs import MAX_STARS, exact, matches
from reconciler.naming import family_of, variant_name
from reconciler.state import GATED, UNREAD, Artifact, Pin
from reconciler.yamlwrite import flow, scalar

_SHARD = re.compile(r"[0-9]{5,6}-of-[0-9]{5,6}")


class Build(NamedTuple):
    """One thing that a variant could be. `files` are its weights, `bytes` what declaring it would take."""

    name: str
    format: str | None
    quant: str | None
    files: tuple[str, ...]
    bytes: int
    snippet: str
    """Lines for `variants:` of a manifest."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a source holds now."""

    source: str
    revision: str | None
    license: str | None
    gated: str
    """`auto` or `manual` where everybody must agree to something first; '' for open, or nobody tells."""
    kind: str | None
    files: tuple[Artifact, ...]
    builds: tuple[Build, ...]
    pickles: tuple[str, ...]
    programs: tuple[str, ...]
    projectors: tuple[str, ...]
    """Vision halves of GGUF models; a variant that is to see needs one of them."""
    refused: str = ""
    """Why the bytes could not be fetched with these credentials; '' when they could, or when nobody was asked."""

    @property
    def size(self) -> int:
        """Bytes of everything."""
        return sum(file.size for file in self.files)


def analyze(pin: Pin, refused: str = "", *, insecure: bool = False) -> Analysis:
    """Take apart what a source answered; `insecure` is what a manifest must say to ask it."""
    paths = [file.path for file in pin.files]
    projectors = tuple(sorted(path for path in paths if rules.is_mmproj(path)))
    return Analysis(
        pin.source,
        pin.revision,
        pin.license,
        str(pin.about.get(GATED, "")),
        rules.kind_of(paths, source=pin.source.partition(":")[2].partition("@")[0]),
        pin.files,
        tuple(_allowed(build, insecure) for build in _builds(pin, projectors)),
        tuple(sorted(path for path in paths if is_pickle_name(path))),
        tuple(sorted(path for path in paths if rules.is_program(path))),
        projectors,
        refused,
    )


def as_value(found: Analysis, *, files: bool) -> dict[str, Any]:
    """Return an analysis as programs read it; with `files`, every file too."""
    value: dict[str, Any] = {
        "source": found.source,
        "revision": found.revision,
        "license": found.license,
        "gated": found.gated or None,
        "refused": found.refused or None,
        "kind": found.kind,
        "files": len(found.files),
        "bytes": found.size,
        "builds": [{**build._asdict(), "files": list(build.files)} for build in found.builds],
        "active_content": {"pickle": list(found.pickles), "programs": list(found.programs)},
        "projectors": list(found.projectors),
    }
    if files:
        value["listing"] = [
            {"path": file.path, "size": file.size, "digest": None if file.digest == UNREAD else file.digest}
            for file in found.files
        ]
    return value


def _allowed(build: Build, insecure: bool) -> Build:
    return build._replace(snippet=f"{build.snippet}\n    insecure: true") if insecure else build


def _builds(pin: Pin, projectors: Sequence[str]) -> Iterable[Build]:
    size = {file.path: file.size for file in pin.files}
    quants = rules.quants_of(size)
    if any(file.media_type for file in pin.files):  # layers of an Ollama model have no names, and are taken whole
        yield _whole(pin, "gguf" if any(f.media_type.endswith(".model") for f in pin.files) else None, (), size)
        return
    own = [path for path in size if rules.container_of([path]) and not path.lower().endswith(".gguf")]
    if own:
        yield _whole(pin, rules.container_of(own), tuple(sorted(own)), size, exclude="*.gguf" if quants else "")
    chosen = _projector(projectors)
    for quant, paths in quants.items():
        globs = _globs(paths, size)
        lent = [chosen] if chosen and chosen not in paths else []
        taken = {path for path in size if any(matches(glob, path) for glob in globs)} | set(lent)
        name = variant_name(family_of(pin.source), None, "gguf", quant or None)
        text = _snippet(name, pin.source, [*globs, *lent])
        yield Build(name, "gguf", quant or None, paths, sum(size[path] for path in taken), text)
    if not own and not quants:
        yield _whole(pin, rules.container_of(size), (), size)


def _whole(
    pin: Pin, format_: str | None, weights: tuple[str, ...], size: Mapping[str, int], *, exclude: str = ""
) -> Build:
    from reconciler.detect import told_by_names

    quant = told_by_names(pin.source, weights)[1] if weights else None
    redundant = format_ == "safetensors" and any(is_pickle_name(path) for path in size)
    left_out = [glob for glob in (exclude, "*.bin" if redundant else "") if glob]
    taken = [path for path in size if not any(matches(glob, path) for glob in left_out)]
    shown = "safetensors" if format_ == "safetensors" else None
    name = variant_name(family_of(pin.source), None, shown, quant)
    text = _snippet(name, pin.source, (), left_out)
    return Build(name, format_, quant, weights, sum(size[path] for path in taken), text)


def _projector(paths: Sequence[str]) -> str | None:
    """Return the projector to lend: the one of half precision where there are several; all fit all quants."""
    order = {"f16": 0, "fp16": 0, "bf16": 1}
    return min(paths, key=lambda path: (order.get(rules.quant_of_path(path) or "", 2), path), default=None)


def _globs(paths: Sequence[str], everything: Iterable[str]) -> list[str]:
    """Return patterns that mean these files and no others: one for numbered shards, else a name each."""
    names = [exact(path) for path in paths]
    short = sorted({_SHARD.sub("*", path) for path in names})
    meant = {path for path in everything if any(matches(glob, path) for glob in short)}
    return short if meant == set(paths) and all(glob.count("*") <= MAX_STARS for glob in short) else names


def _snippet(name: str, source: str, files: Sequence[str], exclude: Sequence[str] = ()) -> str:
    lines = [f"  {scalar(name)}:", f"    source: {scalar(source)}"]
    lines += [f"    {key}: {flow(list(globs))}" for key, globs in (("files", files), ("exclude", exclude)) if globs]
    return "\n".join(lines)
