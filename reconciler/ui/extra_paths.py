"""`extra_model_paths.yaml`, read as ComfyUI reads it and never written. Pure.

https://github.com/Comfy-Org/ComfyUI/blob/master/utils/extra_config.py, and `add_model_folder_path` of its
`folder_paths.py`: what crashes ComfyUI is an error here, what it takes silently and people did not mean is a caution.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reconciler.errors import ManifestError, Problem
from reconciler.inert import inert, suggest
from reconciler.ui.kinds import DRAWERS

MAX_BYTES = 1 << 20
"""Of the file; real ones have a few kilobytes."""

LEGACY = {"unet": "diffusion_models", "clip": "text_encoders"}
"""Older names of folder types, as ComfyUI's `map_legacy` has them."""

TYPES = frozenset(drawer.type for drawer in DRAWERS["comfyui"].values()) | {
    "diffusers", "classifiers", "background_removal", "frame_interpolation", "geometry_estimation", "optical_flow",
    "custom_nodes", "datasets", "fonts",
}  # fmt: skip
_READ_BY_OTHERS = frozenset({"download_model_base"})
_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})", re.ASCII)


class ExtraPath(NamedTuple):
    """One folder that the file adds: ComfyUI's type of it, the absolute path, and where it is said."""

    type: str
    path: str
    is_default: bool
    section: str
    line: int


@dataclass(frozen=True, slots=True)
class ExtraPaths:
    """What a file adds, in its order; `cautions` say what ComfyUI takes and people hardly meant."""

    file: str
    paths: tuple[ExtraPath, ...]
    cautions: tuple[str, ...] = ()


class _Place(NamedTuple):
    """Positions of a section's keys in the text: key -> line and column, 1 first."""

    keys: Mapping[str, tuple[int, int]]


def parse(text: str, file: str, *, home: str, environ: Mapping[str, str]) -> ExtraPaths:
    """Read the text of `file` (absolute). `home` is what `~` means; `environ` what `$NAME` means in `base_path`.

    Raises ManifestError with every place that would make ComfyUI stop, at `file:line:column`.
    """
    import yaml  # type: ignore[import-untyped, unused-ignore]

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        why = inert(str(getattr(error, "problem", None) or error))[:200]
        raise ManifestError(f"not YAML that ComfyUI can read: {why}", where=where) from None
    if not isinstance(value, dict):
        hint = "see ComfyUI's extra_model_paths.yaml.example"
        raise ManifestError(f"expected sections with folders, found {_kind(value)}", where=f"{file}:1:1", hint=hint)
    reading = _Reading(posixpath.normpath(file), home, environ, _sections(node))
    reading.cautions.extend(_doubled(file, node))
    return reading.read(value)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One reading of a file: problems and cautions are gathered while its sections are taken."""

    file: str
    home: str
    environ: Mapping[str, str]
    places: Mapping[str, _Place]
    problems: list[Problem] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)

    def read(self, value: Mapping[Any, Any]) -> ExtraPaths:
        found = [each for name, section in value.items() for each in self._section(str(name), section)]
        if self.problems:
            raise ManifestError(self.problems)
        return ExtraPaths(self.file, tuple(found), tuple(self.cautions))

    def _at(self, section: str, key: str = "") -> str:
        place = self.places.get(section)
        line, column = (place.keys.get(key) if place else None) or (1, 1)
        return f"{self.file}:{line}:{column}"

    def _section(self, name: str, section: Any) -> Iterator[ExtraPath]:
        if section is None:
            return
        if not isinstance(section, dict):
            self._refuse(name, "", f"the section `{inert(name)}` holds {_kind(section)}; expected folders by type")
            return
        base = section.get("base_path")
        if "base_path" in section and not isinstance(base, str):
            self._refuse(name, "base_path", f"`base_path` is {_kind(base)}; expected a directory")
            return
        is_default = section.get("is_default", False)
        if "is_default" in section and not isinstance(is_default, bool):
            self.cautions.append(
                f"{self._at(name, 'is_default')}: `is_default: {inert(str(is_default))[:40]}` counts as "
                f"{'true' if is_default else 'false'}; write true or false"
            )
        for key, said in section.items():
            if key not in ("base_path", "is_default"):
                yield from self._folders(name, str(key), said, self._base(base), bool(is_default))

    def _base(self, base: str | None) -> str | None:
        """Expand `~`, then `$NAME`, then make it absolute beside the file, in ComfyUI's order."""
        if base is None:
            return None
        if base == "~" or base.startswith("~/"):
            base = self.home.rstrip("/") + base[1:]
        base = _VARIABLE.sub(lambda found: self.environ.get(found[1].strip("{}"), found[0]), base)
        return base if base.startswith("/") else posixpath.normpath(posixpath.join(posixpath.dirname(self.file), base))

    def _folders(self, section: str, key: str, said: Any, base: str | None, is_default: bool) -> Iterator[ExtraPath]:
        where = self._at(section, key)
        if not isinstance(said, str):
            shape = "several folders stand on lines of one text, after `|`" if isinstance(said, list) else ""
            self._refuse(section, key, f"`{inert(key)}` is {_kind(said)}; expected text", shape)
            return
        if key in _READ_BY_OTHERS:
            return
        type_ = LEGACY.get(key, key)
        if type_ not in TYPES:
            near = suggest(key.lower(), TYPES)
            case = " Case counts" if near == key.lower() else ""
            meant = f"; did you mean `{near}`?{case}" if near else ": only a custom node can read it"
            self.cautions.append(f"{where}: ComfyUI has no folder type `{inert(key)}`{meant}")
        line = int(where.rsplit(":", 2)[1])
        for path in said.split("\n"):
            if path:
                if path != path.strip():
                    self.cautions.append(f"{where}: `{inert(path)}` begins or ends with a space, which ComfyUI keeps")
                whole = posixpath.join(base if base is not None else posixpath.dirname(self.file), path)
                yield ExtraPath(type_, posixpath.normpath(whole), is_default, section, line)

    def _refuse(self, section: str, key: str, summary: str, hint: str = "") -> None:
        self.problems.append(Problem(self._at(section, key), summary, hint or "ComfyUI does not start with it"))


def search(extra: ExtraPaths, own: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return type -> absolute folders in the order in which ComfyUI looks, `own` being its folders without the file.

    A folder of a section with `is_default: true` goes to the front, so the last such line of the file comes first.
    """
    found = {type_: list(paths) for type_, paths in own.items()}
    for each in extra.paths:
        paths = found.setdefault(each.type, [])
        if each.path in paths:
            if each.is_default:
                paths.remove(each.path)
                paths.insert(0, each.path)
        elif each.is_default:
            paths.insert(0, each.path)
        else:
            paths.append(each.path)
    return {type_: tuple(paths) for type_, paths in found.items()}


def own_models(file: str) -> str:
    """Return ComfyUI's own directory of models: the file lies beside its `main.py`."""
    return posixpath.join(posixpath.dirname(posixpath.normpath(file)), "models")


def _sections(node: Any) -> dict[str, _Place]:
    """Return where each section and each of its keys stands; the last of equal keys counts, as when they are read."""
    found: dict[str, _Place] = {}
    for key, value in getattr(node, "value", ()) if getattr(node, "id", "") == "mapping" else ():
        keys = {"": (key.start_mark.line + 1, key.start_mark.column + 1)}
        if getattr(value, "id", "") == "mapping":
            for inner, _ in value.value:
                keys[str(inner.value)] = (inner.start_mark.line + 1, inner.start_mark.column + 1)
        found[str(key.value)] = _Place(keys)
    return found


def _doubled(file: str, node: Any, *, above: str = "") -> Iterator[str]:
    """Say which keys stand twice: YAML lets the last win without a word."""
    seen: set[str] = set()
    for key, value in getattr(node, "value", ()) if getattr(node, "id", "") == "mapping" else ():
        name = str(key.value)
        if name in seen:
            where = f"{file}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
            yield f"{where}: `{inert(name)}` stands twice{above}; the last one counts"
        seen.add(name)
        if not above:
            yield from _doubled(file, value, above=f" in `{inert(name)}`")


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    return f"`{inert(str(value))[:80]}`"
