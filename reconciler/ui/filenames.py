"""Names of files beside each other in a folder: what upstream calls them, or a template; safe on every system. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from string import Formatter

from reconciler.paths import MAX_COMPONENT, check_component

FIELDS = ("stem", "model", "version", "name", "title", "base", "variant")
"""What a template may hold: the upstream name without its extension, Civitai's numbers of model and version, their
names (`name` of the model, `title` of the version), the base model, and the variant's own name."""

_FORBIDDEN = re.compile(r'[/:<>|?*"\\]+')
_BLANK = frozenset("\u034f\u115f\u1160\u3164\uffa0")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?=[ ]*(?:\.|$))", re.IGNORECASE)
_LONGEST = MAX_COMPONENT - 48
"""Bytes of a stem: previews, notes and partial files add to it."""

# https://github.com/DekoMoon/civitdl: the numbers stand at the end of the stem.
_CIVITDL = re.compile(r"-mid_(?P<model>\d+)-vid_(?P<version>\d+)$")


def check_template(template: str) -> str:
    """Return a template of file names; raise ValueError, with the reason, for one that cannot make any."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"not a template: {error} (for example {{stem}}-mid_{{model}}-vid_{{version}})") from None
    named = [field for _, field, _, _ in parts if field is not None]
    for _, field, spec, conversion in parts:
        if field is not None and (field not in FIELDS or spec or conversion):
            raise ValueError(f"`{{{field}}}` is not known in a template (there are {', '.join(FIELDS)})")
    if not {"stem", "variant"}.intersection(named) and "version" not in named:
        raise ValueError("every file would have one name; the template needs {stem}, {version} or {variant}")
    for text, _, _, _ in parts:
        if text and (_FORBIDDEN.search(text) or safe(f"x{text}x") != f"x{text}x"):
            raise ValueError(f"`{text}` cannot stand in a file name on every system")
    return template


def split(name: str) -> tuple[str, str]:
    """Return stem and extension, the dot with the extension: `a.b.safetensors` is `a.b`, `.safetensors`."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem and dot and 0 < len(suffix) < 16 else (name, "")


def safe(stem: str) -> str:
    """Return a stem that every system takes as a name: what some system refuses becomes `_`.

    It is the same for the same input everywhere: composed (NFC), without control and invisible characters, at most
    207 bytes, so that an extension and a preview's or partial file's endings still fit.
    """
    text = unicodedata.normalize("NFC", stem)
    text = "".join(c for c in text if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
    text = "".join(c for c in text if c not in _BLANK)
    text = " ".join(_FORBIDDEN.sub("_", text).split())
    while len(text.encode()) > _LONGEST:
        text = text[:-1]
    text = text.rstrip(". ").lstrip(" ")
    if not text or text[0] in "~.":
        text = "_" + text[1:]
    found = _DEVICE.match(text)
    return f"{text[: found.end()]}_{text[found.end() :]}" if found else text


def named(template: str, upstream: str, facts: Mapping[str, str]) -> str:
    """Return the file name that a template makes for a file called `upstream`, extension kept.

    Where the source knows no number or name that the template asks for, upstream's name stays: half a name would say
    something false. Raises ValueError when no safe name comes out.
    """
    stem, suffix = split(upstream.rpartition("/")[2])
    known = {**facts, "stem": stem}
    fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    if template and all(known.get(field) for field in fields):
        stem = "".join(
            text + (known[field] if field is not None else "") for text, field, _, _ in Formatter().parse(template)
        )
    return check_component(safe(stem) + suffix)


def civitdl_of(path: str) -> tuple[str, str] | None:
    """Return (model, version) that a file name of civitdl tells, None for any other name.

    The numbers are whole and at the end of the stem: `…-vid_1498986` is no file of version 149898.
    """
    found = _CIVITDL.search(split(path.rpartition("/")[2])[0])
    return (found["model"], found["version"]) if found else None
