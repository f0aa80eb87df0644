"""Names as the embedded Ollama server reads, matches and files them. Pure.

Written down here a second time, apart from `reconciler.ollama.names`, so that each can test the other. The rules are
those of https://github.com/ollama/ollama/blob/main/types/model/name.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_FIRST = "[A-Za-z0-9_]"
_VALID = (
    re.compile(_FIRST + r"[A-Za-z0-9_.:-]{0,349}"),
    re.compile(_FIRST + r"[A-Za-z0-9_-]{0,79}"),
    re.compile(_FIRST + r"[A-Za-z0-9_.-]{0,79}"),
    re.compile(_FIRST + r"[A-Za-z0-9_.-]{0,79}"),
)
_MISSING = "!MISSING!"


class Name(NamedTuple):
    """A full name, valid or not."""

    host: str = "registry.ollama.ai"
    namespace: str = "library"
    model: str = ""
    tag: str = "latest"

    @property
    def is_valid(self) -> bool:
        """Whether every part is well-formed."""
        return all(rule.fullmatch(part) for rule, part in zip(_VALID, self, strict=True))

    @property
    def short(self) -> str:
        """As the server displays it: default host and namespace are left out, the tag never is."""
        parts = list(self[:3])
        if self.host.lower() == "registry.ollama.ai":
            parts = parts[2:] if self.namespace.lower() == "library" else parts[1:]
        return "/".join(parts) + f":{self.tag}"

    @property
    def path(self) -> str:
        """Where the manifest is, below `manifests/`."""
        return "/".join(self)


def parse(text: str) -> Name:
    """Read a name and fill in what is missing; ask `is_valid` what it is worth. A scheme is dropped."""
    tag = Name().tag
    if text.rfind(":") > text.rfind("/"):
        text, _, given = text.rpartition(":")
        tag = given or _MISSING
    parts = text.rsplit("/", 2)
    if len(parts) == 3:
        host, namespace, model = parts
        host = host.partition("://")[2] if "://" in host else host
        return Name(host or _MISSING, namespace or _MISSING, model, tag)
    if len(parts) == 2:
        return Name(namespace=parts[0] or _MISSING, model=parts[1], tag=tag)
    return Name(model=text, tag=tag)


def without_source(name: Name) -> Name:
    """Return what a name means to show, pull and delete: the tag `local` says where the model runs, nothing else."""
    return name._replace(tag=Name().tag) if name.tag.lower() == "local" else name


def is_cloud(name: Name) -> bool:
    """Whether the tag says that the model runs elsewhere."""
    return name.tag.lower() == "cloud" or name.tag.lower().endswith("-cloud")


def matched(name: Name, existing: Iterable[Name]) -> Name:
    """Return the name with the casing of what exists: each part by itself takes that of any equal part.

    So a copy to `Case:V1` becomes `Case:v1` because some other model has the tag `v1`.
    """
    parts = list(name)
    for other in existing:
        parts = [theirs if theirs.lower() == ours.lower() else ours for ours, theirs in zip(parts, other, strict=True)]
    return Name(*parts)
