"""The names that we make: `<family>-<backend>-<format>-<quant>`, and how two of them are told apart. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from reconciler.detect.tokens import quant_from_name
from reconciler.paths import check_component

# Letters that no decomposition takes apart (https://www.unicode.org/reports/tr15/ decomposes accents only).
_LETTERS = str.maketrans({"ø": "o", "đ": "d", "ð": "d", "ł": "l", "æ": "ae", "œ": "oe", "þ": "th", "ħ": "h"})

MAX_NAME = 128
"""Characters in a name; what the manifest allows."""

_MAX_LEVEL = 7  # four of them lengthen the digest
_MAX_BYTES = 255  # of a file's name
_FILLERS = "\u115f\u1160\u3164\uffa0"  # letters that show nothing

_MAIN = frozenset({"", "main", "master", "head"})


class Named(NamedTuple):
    """A variant that wants a name. `key` is what the caller knows it by; equal keys get equal names."""

    key: Hashable
    family: str
    backend: str = ""
    format: str = ""
    quant: str = ""
    owner: str = ""
    branch: str = ""
    location: str = ""


def variant_name(family: str, backend: str | None, format: str | None, quant: str | None) -> str:  # noqa: A002
    """Return `<family>-<backend>-<format>-<quant>`; parts that are empty or redundant are left out.

    Lower case; words are separated by `-`, and `_` stays inside quant tokens. Accents are taken off, letters of other
    scripts stay. A quant is redundant when its words stand one after another in the family (`…-q4-k-m` and `q4_k_m`);
    what only begins there is not repeated (`…-gptq` and `gptq-int4` give `…-gptq-…-int4`).
    """
    return _join(_slug(family), _tail(family, backend, format, quant))


def _tail(family: str, backend: str | None, format: str | None, quant: str | None) -> list[str]:  # noqa: A002
    """Return what follows the family."""
    words = re.split(r"[-_.]", _slug(family) or "model")
    container = _short(format, 16)
    if _stands_in(container, words):
        container = ""
    return [_short(backend, 16), container, _quant_part(_short(quant, 24, "_"), words)]


def _join(family: str, tail: Sequence[str]) -> str:
    """Join to a name that the manifest takes: long families are cut, and names that systems reserve are not used."""
    end = "".join(f"-{part}" for part in tail if part)
    name = (_cut(family or "model", MAX_NAME - len(end), _MAX_BYTES - len(end.encode())) + end).rstrip("-.")
    try:
        return check_component(name)
    except ValueError:
        return _cut(f"model-{name}", MAX_NAME, _MAX_BYTES)


def family_of(source: str) -> str:
    """Return the family that a source's name tells: `hf:Owner/Some-7B-GGUF@rev` -> `some-7b`.

    The container at the end is left out, because the name says it again; a quant stays, because it may be all that
    tells two repositories apart. `ollama:` sources keep their tag, unless it is `latest`
    or nothing but a quant.
    """
    scheme, _, rest = source.partition(":") if re.match(r"[a-z]+:", source) else ("", "", source)
    if scheme in ("http", "https", "file"):
        path = re.split(r"[?#]", rest)[0]
        return _without_container(re.sub(r"\.[A-Za-z0-9]{2,12}$", "", path.rstrip("/").rpartition("/")[2]))
    if scheme in ("urn", "air"):
        return _slug(rest.removeprefix("air:"))
    if scheme == "civitai":
        return _slug(f"civitai-{rest}")
    if scheme == "ollama":
        model, _, tag = rest.rpartition("/")[2].partition(":")
        told = tag.lower().replace("-", "_") == quant_from_name(tag) or tag in ("", "latest")
        return _without_container(model) if told else _slug(f"{_without_container(model)}-{tag}")
    return _without_container(re.split(r"[@#+]", rest)[0].rstrip("/").rpartition("/")[2])


def names(items: Sequence[Named]) -> Mapping[Hashable, str]:
    """Return a name for every key; two different keys never share one, whatever the order of `items`.

    Keys are plain values (text, tuples of text): two that only look alike by `repr` raise ValueError.

    Those that would share a name are told apart by owner, then by branch, then by location, all of them alike; what
    still cannot be told apart gets a digest of its key.
    """
    wanted: dict[Hashable, Named] = {}
    for item in sorted(items, key=repr):
        wanted.setdefault(item.key, item)
    levels = dict.fromkeys(wanted, 0)
    while True:
        groups: dict[str, list[Hashable]] = {}
        for key, item in wanted.items():
            groups.setdefault(_name_at(item, levels[key]), []).append(key)
        crowded = [keys for keys in groups.values() if len(keys) > 1]
        if not crowded:
            return {key: name for name, keys in groups.items() for key in keys}
        for keys in crowded:
            for key in keys:
                levels[key] += 1
                if levels[key] > _MAX_LEVEL:
                    raise ValueError(f"two keys that look alike: {key!r}")


def _name_at(item: Named, level: int) -> str:
    """Return the name with as much told as `level` asks: 0 nothing, 1 owner, 2 branch, 3 location, then a digest."""
    branch = item.branch if item.branch.lower() not in _MAIN else ""
    told = [item.owner if level >= 1 else "", item.family, branch if level >= 2 else ""]
    family = "-".join(slug for part in told if (slug := _slug(part)))
    tail = [*_tail(family, item.backend, item.format, item.quant), _short(item.location, 24) if level >= 3 else ""]
    if level >= 4:
        digest = hashlib.sha256(repr(item.key).encode("utf-8", "backslashreplace")).hexdigest()
        tail.append(digest[: min(32, 8 * (level - 3))])
    return _join(_slug(family), tail)


def _slug(text: str, keep: str = "") -> str:
    """Return lower-case words joined by `-`; accents are taken off, letters of any script stay, `keep` stays too."""
    letters: list[str] = []
    for mark in unicodedata.normalize("NFKD", text.casefold()).translate(_LETTERS):
        # An accent on a Latin letter goes; marks of other scripts make letters of their own, and NFC joins them again.
        if not unicodedata.combining(mark) or not letters or not letters[-1].isascii():
            letters.append(mark)
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", "".join(letters)).casefold())
    kept = "".join(
        letter if (letter.isalnum() and letter not in _FILLERS) or letter in ".-" + keep else "-" for letter in plain
    )
    return re.sub(r"-{2,}", "-", kept).strip("-._")


def _short(text: str | None, length: int, keep: str = "") -> str:
    return _cut(_slug(text or "", keep), length, length)


def _cut(text: str, letters: int, size: int) -> str:
    """Return the beginning of `text` that has at most so many letters and so many bytes of UTF-8."""
    return text[:letters].encode()[:size].decode(errors="ignore").strip("-._")


def _stands_in(part: str, words: Sequence[str]) -> bool:
    """Whether the words of `part` stand one after another among `words`."""
    wanted = re.split(r"[-_]", part)
    return bool(part) and any(list(words[at : at + len(wanted)]) == wanted for at in range(len(words)))


def _quant_part(quant: str, words: Sequence[str]) -> str:
    """Return what of `quant` the family does not say yet."""
    if not quant or _stands_in(quant, words):
        return ""
    head, _, rest = quant.partition("-")
    return rest if rest and _stands_in(head, words) else quant


def _without_container(name: str) -> str:
    return re.sub(r"(?:-(?:i1|imat))?-(?:gguf|safetensors)$", "", _slug(name)) or _slug(name)
