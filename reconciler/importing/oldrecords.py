"""What one record of ImageWorks says, as a manifest would say it. Pure; nothing is believed before files agree."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from reconciler import references
from reconciler.detect import rules
from reconciler.importing.oldbooks import Entry, as_map, text
from reconciler.inert import few, inert
from reconciler.ollama import names
from reconciler.ollama.names import Name

PATTERNS = (
    r"^testmodel", r"^mini-test", r"^custom-family", r"^synthetic-test(-|$)", r"^logical-only-test", r"testzzz",
    r"^model-awq(-|_|$)", r"^model-fp16", r"^demo-model", r"^r(-|$)", r"^model-ollama-gguf",
)  # fmt: skip
"""Names that its tests gave to their records, which stayed in people's registries; case does not count."""
PATTERNS_KEY = "IMAGEWORKS_TEST_MODEL_PATTERNS"
INCLUDE_KEY = "IMAGEWORKS_IMPORT_INCLUDE_TESTING"

_LONGEST = 2000
"""Characters and things of a field that the manifest takes over: whole licences stand in these records."""
_DEEPEST = 16
"""Levels of objects and lists in a field that the manifest takes over."""
_OURS = frozenset({
    "registry_layer", "created_from_download", "files_downloaded", "verified_complete", "huggingface_id", "branch",
    "migrated", "registered_at", "cleaned_up", "testing",
})  # fmt: skip
"""Facts of its metadata that are the record's own, or that a source and a lock say better."""
_COLLECTED = frozenset({"collected_at", "field_sources", "sources", "warnings"})
"""How a group of facts came about, which stays in the registry."""
_KEPT = ("display_name", "generation_defaults", "backend_alternatives", "model_aliases", "chat_template", "probes")
_SHORT = ("text", "vision", "embedding", "audio", "thinking", "reasoning", "tools")
"""Capabilities; the other forty words of a record mean the same as these."""
_CONTAINERS = ("gguf", "safetensors")
_NOBODY = "existing"
"""The owner that the downloader made up for what was there before it."""
_LITTER = re.compile(
    r":[^/]*$|(^|/)(logs|__pycache__|\.[^/]*)/|\.(log|orig|old|bak|tmp|swp|copy)$|~$| - Copy\b"
    r"|(^|/)(\.DS_Store|Thumbs\.db|desktop\.ini)$",
    re.IGNORECASE,
)
"""Streams of Windows (`x.json:Zone.Identifier`), logs, copies made by hand, what the desktops of systems write."""


class Told(NamedTuple):
    """One record: where its model is from and lies, and what a manifest would take over. '' where it does not say."""

    name: str
    file: str
    model: Name | None
    """Of a model of Ollama."""
    repository: str
    branch: str
    path: str
    location: str
    variant: Mapping[str, Any]
    """Fields of the manifest besides the source."""
    files: tuple[str, ...]
    quant: str
    roles: tuple[str, ...]
    ranks: Mapping[str, int]
    notes: tuple[str, ...]
    deprecated: bool = False
    test: str = ""
    """Why it is taken for the record of a test."""
    oddities: tuple[str, ...] = ()
    """Fields that hold the word `None`."""
    reference: str = ""
    """What an exported record says of a model that is neither of the Hub nor of Ollama, as a manifest says it."""

    @property
    def source(self) -> str:
        """As a manifest says it; '' when nothing tells."""
        if self.reference:
            return self.reference
        if self.model is not None:
            return f"{names.SCHEME}{self.model.short}"
        return f"hf:{self.repository}" + (f"@{self.branch}" if self.branch else "") if self.repository else ""


def tell(entry: Entry, environ: Mapping[str, str]) -> Told:
    """Return what a record says."""
    said = entry.said
    source, metadata, config = as_map(said, "source"), as_map(said, "metadata"), as_map(said, "backend_config")
    path = _path(text(said, "download_path") or text(source, "path") or text(config, "model_path"))
    model = _model(said, path)
    reference = "" if model else text(source, "reference")
    repository, branch = ("", "") if model or reference else _repository(source, metadata, said, path)
    served = text(said, "served_model_id")
    listed = dict.fromkeys(role for role in _list(said, "roles") if isinstance(role, str) and role.strip())
    roles = tuple(role for role in listed if _is_name(role))
    ranks = {
        role: number
        for role, number in as_map(said, "role_priority").items()
        if isinstance(number, int) and role in roles
    }
    variant: dict[str, Any] = {}
    if (backend := text(said, "backend")) and backend not in ("unassigned", "ollama"):
        variant["backend"] = backend
    if served and served != entry.name and not (model and _is_name_of(served, model)):
        variant["served_as"] = served
    if license_ := text(said, "license"):
        variant["license"] = license_
    if as_map(said, "version_lock").get("locked") is True:
        variant["protect"] = True
    extras, notes = _extras(said, metadata, config)
    if odd := [inert(role) for role in listed if role not in roles]:
        notes = (*notes, f"no name that a role can have: {few(odd)}")
    if extras:
        variant["metadata"] = extras
    files = repository_files(name for name in _list(said, "download_files") if isinstance(name, str) and name)
    return Told(
        entry.name, entry.file, model, repository, branch, path, text(said, "download_location"), variant, files,
        _quant(said), roles, ranks, notes, said.get("deprecated") is True,
        _test(entry.name, metadata, environ), _oddities(said), reference,
    )  # fmt: skip


def repository_files(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that a repository may hold: not what systems, editors and servers leave beside its files.

    The downloader recorded whatever lay in a directory; asked for by a manifest, no repository has it.
    """
    return tuple(path for path in paths if not _LITTER.search(path))


def container(said: Mapping[str, Any]) -> str:
    """Return the format that a record claims: early ones wrote the quantisation into that field."""
    told = text(said, "download_format") or text(as_map(said, "source"), "format")
    return told.lower() if told.lower() in _CONTAINERS else ""


def _path(told: str) -> str:
    if told.startswith("ollama:"):
        return "" if told.removeprefix("ollama:").strip("/") in ("", "None") else told
    path = os.path.expanduser(told)  # noqa: PTH111  as text: it may be of another machine
    return path.rstrip("/") if path.startswith("/") else ""


def _model(said: Mapping[str, Any], path: str) -> Name | None:
    """Return Ollama's name: behind `ollama://`, of which a path made `ollama:/`; else what is served."""
    of_ollama = path.startswith("ollama:") or "ollama" in (text(said, "backend"), text(said, "source_provider"))
    if not of_ollama:
        return None
    written = path.removeprefix("ollama:").lstrip("/") if path.startswith("ollama:") else ""
    for told in (written, text(said, "served_model_id"), text(as_map(said, "source"), "huggingface_id")):
        if told in ("", "None"):
            continue
        try:
            return names.parse(told)
        except ValueError:
            continue
    return None


def _is_name(role: str) -> bool:
    from reconciler.declared import check_name

    try:
        return bool(check_name(role))
    except ValueError:
        return False


def _is_name_of(served: str, model: Name) -> bool:
    """Whether a text names a model of Ollama, which has several ways to write one name."""
    try:
        return names.parse(served).key == model.key
    except ValueError:
        return False


def _repository(
    source: Mapping[str, Any], metadata: Mapping[str, Any], said: Mapping[str, Any], path: str
) -> tuple[str, str]:
    """Return the repository and branch: as said, else as the aliases or the last two directories name them."""
    told = [text(source, "huggingface_id"), text(metadata, "huggingface_id")]
    told += [alias for alias in _list(said, "model_aliases") if isinstance(alias, str) and alias.count("/") == 1]
    branch = text(metadata, "branch")
    owner, model = path.rpartition("/")[0].rpartition("/")[2], path.rpartition("/")[2]
    if owner and model:
        told.append(f"{owner}/{model.partition('@')[0]}")
        branch = branch or model.partition("@")[2]
    for repository in told:
        if repository.startswith(f"{_NOBODY}/"):
            continue
        name, _, given = repository.partition("@")
        try:
            references.parse(f"hf:{name}")
        except ValueError:
            continue
        chosen = given or (branch if branch != "main" else "")
        return name, chosen if _is_branch(name, chosen) else ""
    return "", ""


def _is_branch(repository: str, branch: str) -> bool:
    try:
        references.parse(f"hf:{repository}@{branch}")
    except ValueError:
        return False
    return True


def _quant(said: Mapping[str, Any]) -> str:
    claimed = text(said, "quantization") or text(said, "download_format")
    return rules.quant_from_name(claimed) or ""


def _extras(
    said: Mapping[str, Any], metadata: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what the manifest has no field for, and a note on what is too long for it."""
    facts = {key: _trimmed(value) for key, value in metadata.items() if key not in _OURS}
    own = {key: _trimmed(said.get(key)) for key in _KEPT}
    own["backend_config"] = {key: value for key, value in config.items() if key != "model_path" and _says(value)}
    own["capabilities"] = [word for word in _SHORT if as_map(said, "capabilities").get(word) is True]
    if _slug(own.get("display_name")) == _slug(said.get("name")):
        del own["display_name"]
    if not as_map(said, "chat_template").get("path"):
        del own["chat_template"]
    told = {("metadata", key): value for key, value in facts.items() if _says(value)}
    own = {**as_map(facts, "imageworks"), **own}  # of a record that came from a manifest
    told.pop(("metadata", "imageworks"), None)
    told |= {("", key): value for key, value in own.items() if _says(value)}
    refused = {name: why for name, value in told.items() if (why := _why_not({name[1]: value}))}
    kept = {name: _plain(value) for name, value in told.items() if name not in refused}
    held = {key: value for (group, key), value in kept.items() if not group}
    whole = {key: value for (group, key), value in kept.items() if group} | ({"imageworks": held} if held else {})
    return whole, tuple(
        f"{why}, and left in its registry: {few(fields)}" for why, fields in sorted(_by_reason(refused).items())
    )


def _by_reason(refused: Mapping[tuple[str, str], str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for (group, key), why in sorted(refused.items()):
        found.setdefault(why, []).append(inert(f"{group}.{key}" if group else key))
    return found


def _why_not(value: object, depth: int = 0) -> str:
    """Say why a manifest does not take a value over, '' when it does."""
    if not depth and _length(value) > _LONGEST:
        return "too long for a manifest"
    inner: Iterable[object] = ()
    if isinstance(value, str):
        is_text = "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
        return "" if is_text else "no text that a manifest can hold"
    if isinstance(value, Mapping):
        keys = {unicodedata.normalize("NFKC", key) for key in value}
        if "" in value or len(keys) < len(value) or depth > _DEEPEST:
            return "no object that a manifest can hold"
        inner = (*value, *value.values())
    elif isinstance(value, list):
        inner = value if depth <= _DEEPEST else ("\0",)
    return next((why for each in inner if (why := _why_not(each, depth + 1))), "")


def _slug(value: object) -> str:
    return re.sub(r"[^a-z0-9]+", "-", str(value or "").lower())


def _trimmed(value: object) -> object:
    """Return a map without what says nothing."""
    if isinstance(value, Mapping):
        told = {key: each for key, each in value.items() if key not in _COLLECTED}
        return {key: inner for key, each in told.items() if _says(inner := _trimmed(each))}
    return value


def _says(value: object) -> bool:
    return value not in (None, "", "None", [], {})


def _length(value: object) -> int:
    """Return how much a value is: its characters, and one for each thing in it."""
    if isinstance(value, str):
        return len(value)
    inner = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return len(inner) + sum(map(_length, inner))


def _plain(value: Any) -> Any:
    """Return JSON's values with keys that are texts; what a manifest cannot hold (an infinity) becomes text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124  NaN
        return str(value)
    return value


def _test(name: str, metadata: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    if metadata.get("testing") is True:
        return "it says so itself (metadata.testing)"
    own = [word.strip() for word in re.split(r"[,;\n]", environ.get(PATTERNS_KEY, "")) if word.strip()]
    for pattern in (*PATTERNS, *own):
        try:
            if re.search(pattern, name, re.IGNORECASE):
                return f"its name matches `{pattern}`"
        except re.error:
            continue
    return ""


def _oddities(said: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        sorted(key for key, value in said.items() if value in ("None", "null", "ollama:/None", "ollama://None"))
    )


def _list(said: Mapping[str, Any], key: str) -> list[Any]:
    value = said.get(key)
    return value if isinstance(value, list) else []
