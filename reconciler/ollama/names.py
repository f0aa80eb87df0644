"""Names of Ollama models: `[host/][namespace/]model[:tag]`, as the server reads, prints and files them. Pure.

The rules are those of https://github.com/ollama/ollama/blob/main/types/model/name.go.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SCHEME = "ollama:"
"""What a source begins with whose rest is a name."""

HOST = "registry.ollama.ai"
NAMESPACE = "library"
TAG = "latest"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_RULES = (_HOST, _NAMESPACE, _PART, _PART)


class Name(NamedTuple):
    """A full name. Case is kept, and means nothing: two names are one when their keys are equal."""

    host: str
    namespace: str
    model: str
    tag: str

    def __str__(self) -> str:
        return "/".join(self[:3]) + f":{self.tag}"

    @property
    def short(self) -> str:
        """As the server lists it: host and namespace are left out where they are the default ones, never the tag."""
        if self.host.lower() != HOST:
            return str(self)
        model = f"{self.model}:{self.tag}"
        return model if self.namespace.lower() == NAMESPACE else f"{self.namespace}/{model}"

    @property
    def key(self) -> str:
        """What two names that are one have in common."""
        return str(self).lower()

    @property
    def path(self) -> str:
        """Where the store keeps the manifest, relative to its directory."""
        return "/".join(("manifests", *self))


def parse(text: str) -> Name:
    """Read a name and fill in the defaults; raise ValueError saying what is wrong with it.

    A scheme is not part of a name (the server drops it), and a digest after `@` is refused by the server.
    """
    rest, _, tag = text.rpartition(":") if ":" in text.rpartition("/")[2] else (text, "", TAG)
    parts = rest.split("/")
    if len(parts) > 3:
        raise _wrong(text, "more than host, namespace and model")
    host, namespace, model = (HOST, NAMESPACE, "")[: 3 - len(parts)] + tuple(parts)
    for word, rule, part in zip(Name._fields, _RULES, (host, namespace, model, tag), strict=True):
        if not rule.fullmatch(part) or ".." in part:
            raise _wrong(text, f"{word} {part[:100]!r}")
    return Name(host, namespace, model, tag)


def wanted(variant: str, source: str, served_as: str | None) -> Name:
    """Return the name under which a variant is served: `served_as`, else that of an `ollama:` source, else its own.

    Raise ValueError for a name that no server takes, or that it could not show or delete any more.
    """
    if served_as is not None:
        name = parse(served_as)
    elif source.startswith(SCHEME):
        name = parse(source.removeprefix(SCHEME))
    else:
        try:
            name = parse(variant.lower())
        except ValueError:
            raise ValueError(f"`{variant}` is no Ollama name (say `served_as`)") from None
    if is_reserved(name.tag):
        raise ValueError(
            f"the tag `{name.tag}` tells a server where a model runs: it would list this one, and could neither show "
            "nor delete it (say `served_as` with another tag)"
        )
    return name


def from_path(path: str) -> Name | None:
    """Return the name of the manifest at a path relative to the store, the inverse of `Name.path`; None for others."""
    parts = path.split("/")
    if len(parts) != 5 or parts[0] != "manifests":
        return None
    name = Name(*parts[1:])
    return name if all(rule.fullmatch(part) for rule, part in zip(_RULES, name, strict=True)) else None


def is_reserved(tag: str) -> bool:
    """Whether the server takes a tag for a mark of where the model runs, since 0.17.6.

    It lists such a model and can neither show nor delete it.
    """
    return tag.lower() in ("local", "cloud") or tag.lower().endswith("-cloud")


def _wrong(text: str, what: str) -> ValueError:
    return ValueError(f"not an Ollama name: {text[:200]!r} ({what}); expected [host/][namespace/]model[:tag]")
