"""What the patterns of a rule can mean: what matches nothing is refused, what looks misspelt is told. Pure.

A `deny` that matches nothing lets everything pass, and nobody would notice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from reconciler import licenses
from reconciler.errors import Problem
from reconciler.globs import matches_text
from reconciler.inert import inert, suggest

if TYPE_CHECKING:
    from reconciler.declared import Manifest
    from reconciler.rulefields import Rule

Where = Callable[..., str]
"""Steps of a key path -> `file:line:column`."""

SCHEMES = ("hf:", "ollama:", "civitai:", "urn:air:", "https:", "http:", "file:")
"""What a source may begin with."""
FORMATS = ("gguf", "safetensors", "onnx", "pickle", "h5", "msgpack", "unknown")
"""The formats that names of files tell, see `detect.rules.container_of`."""

_WILD = re.compile(r"[*?\[]")
_OWNER = re.compile(r"[\w.-]+(/.*)?")
_SUFFIXES = {"bin": "pickle", "ckpt": "pickle", "pt": "pickle", "pth": "pickle", "pkl": "pickle", "hdf5": "h5"}


def of_rules(manifest: Manifest, where: Where) -> Iterator[Problem]:
    """Yield the patterns over sources that no source can match."""
    for number, key, index, pattern in _patterns(manifest, "namespace"):
        wrong = _no_source(pattern)
        if wrong is not None:
            summary, hint = wrong
            yield Problem(where("policy", "rules", number, key, index), inert(summary), inert(hint))


def rule_cautions(manifest: Manifest, where: Where) -> Iterator[str]:
    """Yield the patterns that are probably misspelt, as warnings: of licences, formats and variants."""
    stated = {variant.license.lower() for variant in manifest.variants.values() if variant.license}
    for number, key, index, pattern in _patterns(manifest, "license"):
        meant = None if pattern.lower() in stated else licenses.meant(pattern)
        if meant is not None:
            yield _doubt(where("policy", "rules", number, key, index), pattern, "no licence that is known", meant)
    claimed = {variant.format for variant in manifest.variants.values() if variant.format}
    for number, key, index, pattern in _patterns(manifest, "format"):
        if not any(matches_text(pattern, each) for each in (*FORMATS, *claimed)):
            bare = pattern.strip("*.").lower()
            near = _SUFFIXES.get(bare) or suggest(bare, FORMATS)
            told = f"no format that is told ({', '.join(FORMATS)})"
            yield _doubt(where("policy", "rules", number, key, index), pattern, told, near)
    for number, rule in enumerate(manifest.policy.rules):
        yield from _nobody(manifest, number, rule, where)


def _patterns(manifest: Manifest, kind: str) -> Iterator[tuple[int, str, int, str]]:
    """Yield (number of the rule, key, index, pattern) of every pattern of the rules of a kind."""
    for number, rule in enumerate(manifest.policy.rules):
        if rule.rule == kind:
            for key, patterns in (("allow", rule.allow), ("deny", rule.deny)):
                for index, pattern in enumerate(patterns):
                    yield number, key, index, pattern


def _no_source(pattern: str) -> tuple[str, str] | None:
    """Return what is wrong with a pattern that matches no source, and what to write; None where it may match one."""
    literal = _WILD.split(pattern, maxsplit=1)[0].lower()
    if not any(scheme.startswith(literal) or literal.startswith(scheme) for scheme in SCHEMES):
        summary = f"`{pattern[:120]}` matches no source: each begins with {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}"
        owner = pattern if "/" in pattern else f"{pattern}/*"
        known = _OWNER.fullmatch(pattern) and "." not in pattern.partition("/")[0]
        return summary, f"did you mean `hf:{owner[:120]}`?" if known else "begin it with the kind of source"
    if literal.startswith("hf:") and literal == pattern.lower() and not literal.partition("/")[2]:
        return (
            f"`{pattern[:120]}` names no repository",
            f"for all that an owner has, say `{pattern[:120].rstrip('/')}/*`",
        )
    return None


def _nobody(manifest: Manifest, number: int, rule: Rule, where: Where) -> Iterator[str]:
    """Yield the names, globs apart, under `only` and `exempt` that no variant or location has."""
    for key, patterns in (("only", rule.only), ("exempt", rule.exempt)):
        for index, pattern in enumerate(patterns):
            variant, _, location = pattern.partition("@")
            for word, kind, known in (
                (variant, "variant", manifest.variants),
                (location, "location", manifest.locations),
            ):
                if word and not _WILD.search(word) and word not in known:
                    place = where("policy", "rules", number, key, index)
                    yield _doubt(place, pattern, f"no {kind}", suggest(word, known))


def _doubt(place: str, pattern: str, what: str, near: str | None) -> str:
    told = f"{place}: `{inert(pattern)[:120]}` names {what}"
    return f"{told}; did you mean `{inert(near)}`?" if near else told
