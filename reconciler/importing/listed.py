"""Import a list: references, a line each, or a shell script of downloads. It is read, and never run.

Commands that mean something are `hf download`, `huggingface-cli download`, `ollama pull` and `run`, `git clone` of the
Hub, `wget`, `curl` and `aria2c`, wherever they stand in a line (`docker exec ollama ollama pull …`). No variable is
replaced and no loop is walked: such a line is told and left out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from reconciler import links
from reconciler.catalog.commands import PROGRAMS, fetch_of, simple_commands
from reconciler.catalog.pages import Block
from reconciler.detect import rules
from reconciler.errors import InputError
from reconciler.globs import exact
from reconciler.home import expand
from reconciler.importing import images
from reconciler.importing.found import Found, Request, Row
from reconciler.inert import few, inert
from reconciler.ollama import names
from reconciler.oserrors import disk_error
from reconciler.references import parse
from reconciler.secrets import redact

LARGEST = 4 << 20
"""Bytes of one list."""
HOME = "~/ai-models/weights"
"""Where models go when the manifest has no location for them yet."""
GUESS = ("weights", {"store": "huggingface", "root": HOME})

_HUB = ("hf", "huggingface-cli")
_PAIRS = (*((program, "download") for program in _HUB), ("ollama", "pull"), ("ollama", "run"), ("git", "clone"))
_VALUES = frozenset({
    "--revision", "--repo-type", "--type", "--local-dir", "--cache-dir", "--token", "--max-workers", "--format",
    "--local-dir-use-symlinks", "--etag-timeout",
})  # fmt: skip
"""Options of `hf download` that take a word (https://huggingface.co/docs/huggingface_hub/guides/cli)."""
_UNKNOWN = re.compile(r"\$|`")
_BARE = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[^\s:]+)?")
_BULLET = re.compile(r"^[ \t]*(?:[-*+]|\d+[.)])[ \t]+", re.MULTILINE)
_ADDRESS = re.compile(r"^\s*(https?://\S+)", re.MULTILINE)


class _Wanted(NamedTuple):
    """One thing that a line asks for, as a manifest would say it."""

    said: dict[str, Any]
    notes: tuple[str, ...] = ()


def gather(request: Request) -> Iterator[Found | Row]:
    """Yield a variant for each reference in the files; raise InputError for a file that cannot be read."""
    if not request.args:
        raise InputError("expected a file", hint="`reconciler import list models.txt`")
    founds = [each for name in request.args for each in _of_file(name, request)]
    is_told = False
    for each in images.resolved(founds, request):
        cautioned = _cautioned(each)
        if not is_told and isinstance(cautioned, Found) and cautioned.location == GUESS:
            is_told, note = True, f"look at the root of `{GUESS[0]}`, {HOME}: where models go, nobody said"
            cautioned = _noted(cautioned, note)
        yield cautioned


def _of_file(name: str, request: Request) -> Iterator[Found | Row]:
    text = _text(Path(name))
    is_script = text.startswith("#!") or name.endswith((".sh", ".bash", ".zsh"))
    # In a list that no shell reads, `&` and `;` belong to the address.
    lines = text if is_script else _ADDRESS.sub(lambda found: shlex.quote(found[1]), _BULLET.sub("", text))
    for command in simple_commands(Block(lines, 1, "fence", "bash")):
        where = f"{name}:{command.line}"
        try:
            wanted = list(_read(command.words, is_script)) if command.words else []
        except ValueError as error:
            yield Row("left-out", inert(redact(" ".join(command.words)))[:120], str(error), where)
            continue
        if command.why:
            yield Row("problem", f"line {command.line}", command.why, where)
        for each in wanted:
            yield _found(each, where, request)


def _text(path: Path) -> str:
    try:
        with expand(str(path)).open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        why = disk_error(error, str(path)).problems[0].summary
        raise InputError(why, where=inert(str(path)), hint="name a list or a script") from None
    if len(data) > LARGEST or b"\0" in data:
        what = f"more than {LARGEST >> 20} MiB" if len(data) > LARGEST else "not text"
        raise InputError(f"{what}: this is no list", where=inert(str(path)), hint="name a list or a script")
    return data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n")


def _read(words: Sequence[str], is_script: bool) -> Iterator[_Wanted]:
    """Yield what one command asks for; raise ValueError with the reason when that cannot be told."""
    start = next((at for at in range(len(words) - 1) if (_base(words[at]), words[at + 1]) in _PAIRS), None)
    is_fetch = start is None and _base(words[0]) in PROGRAMS
    if start is None and not is_fetch:
        if _is_reference(words[0], is_script):
            yield _of_reference(words)
        elif not is_script or _is_download(words):
            raise ValueError("no reference and no download that is known here")
        return
    if any(_UNKNOWN.search(word) for word in words):
        raise ValueError("it holds a variable or a substitution, and nothing is run here; write it out")
    if start is None:
        yield from _of_fetch([_base(words[0]), *words[1:]])
    elif _base(words[start]) == "ollama":
        yield _of_ollama(words[start + 2 :])
    elif words[start + 1] == "clone":
        yield from _of_clone(words[start + 2 :])
    else:
        yield _of_hub(words[start + 2 :], several=_base(words[start]) == "huggingface-cli")


def _base(word: str) -> str:
    return word.rpartition("/")[2]


def _is_download(words: Sequence[str]) -> bool:
    return _base(words[0]) in ("hf", "lms", "ollama", "git", "huggingface-cli") and any(
        word in ("download", "get", "pull", "clone") for word in words
    )


def _is_reference(word: str, is_script: bool) -> bool:
    """Whether a word names something to fetch; in a script only what nobody could take for a command."""
    if _UNKNOWN.search(word):
        return False
    try:
        parse(word)
    except ValueError:
        return "://" in word or (not is_script and _BARE.fullmatch(word) is not None)
    return True


def _of_reference(words: Sequence[str]) -> _Wanted:
    """`hf:owner/repo[@revision] [FILE…]`, `owner/repo`, an address, an AIR, `ollama:model`."""
    first, *files = words
    if first.startswith(("http://", "https://")):
        return _of_url(first)
    source = first if ":" in first.split("@")[0] else f"hf:{first}"
    parse(source)
    return _Wanted({"source": source, **({"files": files} if files else {})})


def _of_url(url: str, output: str = "") -> _Wanted:
    link = links.read(url)
    if not link.source:
        raise ValueError(link.why or "the address names nothing that a manifest could")
    said: dict[str, Any] = {"source": link.source}
    if link.file:
        said["files"] = [links.pattern_of(link.file)]
    notes = list(link.notes)
    if link.has_secret:
        notes.append("a key stands in the address: it is not taken over; take it off the list, and make it invalid")
    name = _base(output)
    if name and link.name and name != link.name:
        notes.append(f"saved there as {inert(name)}; here files keep the names that they have upstream")
    return _Wanted(said, tuple(notes))


def _of_fetch(words: Sequence[str]) -> Iterator[_Wanted]:
    fetch = fetch_of(words)
    if not fetch.urls and any(word.startswith(("-i", "--input-file", "-K", "--config")) for word in words[1:]):
        raise ValueError("it reads its addresses from another file; import that one")
    if not fetch.urls:
        raise ValueError("no address in it")
    for at, url in enumerate(fetch.urls):
        wanted = _of_url(url, fetch.outputs[at] if at < len(fetch.outputs) else "")
        notes = ("a key stands in the command: it is not taken over; make it invalid",) if fetch.has_secret else ()
        yield wanted._replace(notes=(*wanted.notes, *notes))


def _of_clone(words: Sequence[str]) -> Iterator[_Wanted]:
    url = next((word for word in words if "://" in word), "")
    if not url:
        raise ValueError("no address in it")
    if (link := links.read(url.removesuffix(".git"))).source.startswith("hf:"):
        yield _Wanted({"source": link.source})
    # any other repository is a program's, and no model


def _of_ollama(words: Sequence[str]) -> _Wanted:
    loose = [word for word in words if not word.startswith("-")]
    if not loose:
        raise ValueError("no model is named")
    name = names.parse(loose[0])
    said: dict[str, Any] = {"source": f"{names.SCHEME}{name.short}"}
    return _Wanted({**said, "insecure": True} if "--insecure" in words else said)


def _of_hub(words: Sequence[str], *, several: bool) -> _Wanted:
    """`hf download REPO [FILE…] [--include GLOB] [--exclude GLOB] [--revision R]`.

    With `several`, as the older program has it, all words behind `--include` belong to it.
    """
    loose: list[str] = []
    globs: dict[str, list[str]] = {"--include": [], "--exclude": []}
    single: dict[str, str] = {}
    rest, into = list(words), loose
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", "")
        if option in globs:
            if equals or rest:
                globs[option].append(value if equals else rest.pop(0))
            into = globs[option] if several and not equals else loose
        elif option in _VALUES:
            single[option] = value if equals else rest.pop(0) if rest else ""
            into = loose
        elif word.startswith("-"):
            into = loose
        else:
            into.append(word)
    kind = single.get("--repo-type") or single.get("--type") or "model"
    if kind != "model" or not loose:
        raise ValueError(f"a {inert(kind)}, and no model" if kind != "model" else "no repository is named")
    revision = single.get("--revision", "main")
    source = f"hf:{loose[0]}" + (f"@{revision}" if revision != "main" else "")
    parse(source)
    files = [*map(exact, loose[1:]), *globs["--include"]]
    said: dict[str, Any] = {"source": source, **({"files": files} if files else {})}
    said |= {"exclude": globs["--exclude"]} if globs["--exclude"] else {}
    notes = ["a token stands in the command: it is not taken over; make it invalid"] if "--token" in single else []
    if "--local-dir" in single:
        notes.append(f"fetched into {inert(single['--local-dir'])} there; here its location says where")
    return _Wanted(said, tuple(notes))


def _found(wanted: _Wanted, where: str, request: Request) -> Found:
    source = str(wanted.said["source"])
    if source.startswith(names.SCHEME):
        return Found(wanted.said, location=("ollama", {"store": "ollama"}), notes=wanted.notes, where=where)
    places = [(root, store) for root, store in request.arranged.items() if store != "ollama"]
    if places:
        root, store = max(places, key=lambda each: each[1] == "huggingface")
        place = None if request.has_routes else ("weights", {"store": store, "root": root})
        return Found(wanted.said, location=place, notes=wanted.notes, where=where)
    return Found(wanted.said, location=GUESS, notes=wanted.notes, where=where)


def _cautioned(each: Found | Row) -> Found | Row:
    """Say what else people should know before they apply it."""
    if isinstance(each, Row) or each.pin is None:
        return each
    quants: Iterable[str] = rules.quants_of(file.path for file in each.pin.files)
    several = [quant or "?" for quant in quants]
    if len(several) > 1:
        return _noted(each, f"{len(several)} quants side by side, {few(several)}: choose with `files`")
    return each


def _noted(found: Found, note: str) -> Found:
    return replace(found, notes=(*found.notes, note))
