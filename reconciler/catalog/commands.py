"""The downloads that a piece of shell text asks for: `wget`, `curl`, `aria2c`, `civitdl`. Pure; nothing is ever run.

Words are parted as a shell would part them, and no more: no variable but `$UI_HOME` has a meaning, no substitution is
made. A word that a shell would change is kept as it stands, with why it is not believed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from reconciler.catalog.pages import Block
from reconciler.paths import check_relative

HOME = "$UI_HOME"
"""The one variable that means something: where the web interface lives."""
MAX_LINE = 16_384
"""Characters of one line, continued ones joined; a longer one is no command that somebody wrote."""
MAX_COMMANDS = 1000
"""Downloads in one block."""


class _Grammar(NamedTuple):
    """The options of a program that matter here. `values` take the next word; all other options take none."""

    values: frozenset[str]
    folder: frozenset[str]
    output: frozenset[str]
    secret: frozenset[str]
    short: str
    """One-letter options that take a value; the rest of a cluster, or the next word, is it."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# https://www.gnu.org/software/wget/manual/wget.html, https://curl.se/docs/manpage.html,
# https://aria2.github.io/manual/en/html/aria2c.html, https://github.com/DekoMoon/civitdl
PROGRAMS: Mapping[str, _Grammar] = {
    "wget": _Grammar(
        _words(
            "--progress --tries --timeout --wait --user-agent --header --user --password --http-user --http-password "
            "--limit-rate --input-file --output-file --append-output --referer --load-cookies --post-data --quota "
            "--read-timeout --waitretry --cut-dirs --domains --execute --base --bind-address"
        ),
        _words("-P --directory-prefix"), _words("-O --output-document"),
        _words("--header --password --http-password --user --http-user"), "aoeiBtTwQUlARDIXOP",
    ),
    "curl": _Grammar(
        _words(
            "--header --user --user-agent --referer --retry --retry-delay --retry-max-time --max-time --proxy --cookie "
            "--connect-timeout --limit-rate --continue-at --data --request --range --max-redirs --oauth2-bearer --url"
        ),
        _words("--output-dir"), _words("-o --output"), _words("-H --header -u --user --oauth2-bearer -b --cookie"),
        "oHuAeCxdXmrbcTwKYyzE",
    ),
    "aria2c": _Grammar(
        _words(
            "--header --split --max-connection-per-server --min-split-size --user-agent --referer --checksum --timeout "
            "--max-tries --retry-wait --http-user --http-passwd --input-file --log --console-log-level "
            "--summary-interval --file-allocation --max-concurrent-downloads --max-overall-download-limit"
        ),
        _words("-d --dir"), _words("-o --out"), _words("--header --http-user --http-passwd"), "doxskjmtlUiTSM",
    ),
    "civitdl": _Grammar(
        _words(
            "-s --sorter -i --max-images -n --nsfw-mode -k --api-key -c --cache-mode -m --model-overwrite --limit-rate "
            "--retry-count --pause-time --strict-mode"
        ),
        frozenset(), frozenset(), _words("-k --api-key"), "sinkcm",
    ),
}  # fmt: skip
"""Program -> how its command line is read."""

_STARTERS = frozenset({"sudo", "env", "time", "nohup", "exec", "command", "nice", "!", "$", "%", "#!"})
_BREAKS = frozenset({"&&", "||", ";", ";;", "|", "|&", "&", "(", ")", "{", "}", "then", "do", "else"})
_PART = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.|(?<!\S)#.*|[^\s'\"\\]+|\s+|.", re.DOTALL)
_VARIABLE = re.compile(r"\$\{?[A-Za-z_(][A-Za-z0-9_]*\}?|`")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_SECRET_VALUE = re.compile(r"\$|\*{3}|<|xxx|your|redacted", re.IGNORECASE)
_SHORT_PAIRS = ("-nc", "-nv", "-nd", "-nH", "-np", "-nC")


@dataclass(frozen=True)
class Download:
    """One file or model that a command asks for. `folder` is below `$UI_HOME`, None where nobody can tell.

    `name` is the file name that the command gives, '' where it comes from upstream; `label` the comment behind it, or
    the one above.
    `why` says what cannot be believed, '' when all is well.
    """

    program: str
    url: str
    line: int
    folder: str | None = None
    name: str = ""
    label: str = ""
    heading: str = ""
    why: str = ""
    notes: tuple[str, ...] = ()
    is_strict: bool = False
    """Whether the syntax rules of catalogs count it: `civitdl`, or `wget` with `-P` or `-O`, in a fence of bash."""


class Simple(NamedTuple):
    """One simple command: its words, from the program on, and its line; no words where the line cannot be read."""

    words: tuple[str, ...]
    line: int
    why: str = ""


class Fetch(NamedTuple):
    """What the words of `wget`, `curl` or `aria2c` name: addresses, files, and whether a key stands among them."""

    urls: tuple[str, ...]
    outputs: tuple[str, ...]
    has_secret: bool


class _Line(NamedTuple):
    text: str
    line: int
    label: str


def downloads(block: Block) -> Iterator[Download]:
    """Yield what the commands of a block ask for, in their order."""
    yield from islice(_downloads(block), MAX_COMMANDS)


def simple_commands(block: Block) -> Iterator[Simple]:
    """Yield every simple command of a block, whatever its program is."""
    for line in _logical(block):
        try:
            if len(line.text) > MAX_LINE:
                raise ValueError(f"{len(line.text):,} characters in one line; {MAX_LINE:,} are read")
            for words, _ in list(_commands(line.text, whole=True)):
                yield Simple(tuple(words), line.line)
        except ValueError as error:
            yield Simple((), line.line, f"the line cannot be read as shell words: {str(error).lower()}")


def fetch_of(words: Sequence[str]) -> Fetch:
    """Return what a command of a program in PROGRAMS asks for."""
    parsed = _parsed(list(words))
    urls = (*parsed.urls, *(word for word in parsed.loose if "://" in word))
    return Fetch(urls, tuple(name for name in parsed.outputs if name != "-"), parsed.secret)


def _downloads(block: Block) -> Iterator[Download]:
    cwd: str | None = None
    for line in _logical(block):
        try:
            if len(line.text) > MAX_LINE:
                raise ValueError(f"{len(line.text):,} characters in one line; {MAX_LINE:,} are read")
            commands = list(_commands(line.text))
        except ValueError as error:
            if any(re.search(rf"\b{program}\b", line.text) for program in PROGRAMS):
                yield Download(
                    "", "", line.line, label=line.label, heading=block.heading,
                    why=f"the line cannot be read as shell words: {str(error).lower()}",
                )  # fmt: skip
            continue
        for words, redirect in commands:
            if words[0] == "cd" and len(words) > 1:
                cwd = words[1]
            elif words[0] in PROGRAMS:
                for found in _of_command(words, redirect, cwd):
                    strict = block.is_bash and found.is_strict
                    yield replace(found, line=line.line, label=line.label, heading=block.heading, is_strict=strict)


def _logical(block: Block) -> Iterator[_Line]:
    """Yield the lines of a block with continued ones joined and comments taken off.

    A backslash with blanks behind it continues nothing in a shell; whoever wrote it meant that it should.
    """
    label, label_line = "", -2
    pending, start = "", 0
    for number, raw in enumerate(block.text.split("\n"), start=block.line):
        if not pending:
            start = number
            if raw.strip().startswith("#"):
                label, label_line = raw.strip().lstrip("# \t"), number
                continue
            if not raw.strip():
                continue
        body = raw.rstrip()
        if body.endswith("\\"):
            pending += body[:-1] + " "
            continue
        text, pending = pending + body, ""
        yield _Line(_uncommented(text), start, _comment(text) or (label if label_line == start - 1 else ""))
        if label_line == start - 1:
            label_line = number  # one comment may stand above several commands
    if pending.strip():
        yield _Line(_uncommented(pending), start, _comment(pending) or (label if label_line == start - 1 else ""))


def _comment(text: str) -> str:
    """Return the comment at the end of a line, '' when there is none."""
    return next((part.lstrip("# \t") for part in _PART.findall(text) if part[0] == "#"), "")


def _uncommented(text: str) -> str:
    return "".join(part for part in _PART.findall(text) if part[0] != "#")


def _commands(text: str, *, whole: bool = False) -> Iterator[tuple[list[str], str]]:
    """Yield the simple commands of a line as (words, target of `>`); raise ValueError where quotes do not match."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    redirect, after = "", ""
    for word in [*lexer, ";"]:
        if after:
            redirect, after = (word if after in (">", ">>") else redirect), ""
        elif word in _BREAKS:
            if plain := _plain(words, whole=whole):
                yield plain, redirect
            words, redirect = [], ""
        elif re.fullmatch(r"[<>&]+", word):
            after = word
        else:
            words.append(word)


def _plain(words: Sequence[str], *, whole: bool) -> list[str]:
    """Return a command without what stands before its program: `sudo`, a prompt, assignments; `!wget` of a notebook.

    With `whole` the first word stays as it is; otherwise the program's directory is left out.
    """
    left = list(words)
    while left and (left[0] in _STARTERS or _ASSIGNMENT.fullmatch(left[0])):
        left.pop(0)
    if left:
        left[0] = left[0].lstrip("!") if whole else left[0].lstrip("!").rpartition("/")[2]
    return left if left and left[0] else []


class _Parsed(NamedTuple):
    loose: list[str]
    folder: str | None
    outputs: list[str]
    urls: list[str]
    secret: bool


def _of_command(words: list[str], redirect: str, cwd: str | None) -> Iterator[Download]:
    program, parsed = words[0], _parsed(words)
    notes = ("a key stands in the command: take it off the page, and make it invalid",) if parsed.secret else ()
    if program == "civitdl":
        yield from (replace(found, notes=notes + found.notes) for found in _of_civitdl(parsed))
        return
    urls = [*parsed.urls, *(word for word in parsed.loose if "://" in word or "civitai.com/" in word)]
    outputs = [name for name in (*parsed.outputs, redirect) if name and name != "-"]
    strict = program == "wget" and (parsed.folder is not None or bool(parsed.outputs))
    if not urls:
        if parsed.outputs or parsed.folder:  # otherwise it is a sentence that begins with a program
            yield Download(program, "", 0, why=f"{program} without an address", is_strict=False)
        return
    for at, url in enumerate(urls):
        output = outputs[at] if at < len(outputs) else ""
        found = _placed(Download(program, url, 0, notes=notes, is_strict=strict), parsed.folder, output, cwd)
        yield found


def _parsed(words: list[str]) -> _Parsed:
    grammar = PROGRAMS[words[0]]
    loose: list[str] = []
    outputs: list[str] = []
    urls: list[str] = []
    folder: str | None = None
    secret = False
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        option, value = _option(word, rest, grammar)
        if option == "":
            loose.append(word)
        elif option in grammar.folder:
            folder = value
        elif option in grammar.output:
            outputs.append(value)
        elif option == "--url":
            urls.append(value)
        elif option in grammar.secret and value and not _SECRET_VALUE.search(value):
            secret = secret or option not in ("-H", "--header") or value.lower().startswith(("authorization", "cookie"))
    return _Parsed(loose, folder, outputs, urls, secret)


def _option(word: str, rest: list[str], grammar: _Grammar) -> tuple[str, str]:
    """Return (option, its value) of a word, taking the next one where it is the value; ('', '') for no option."""
    if word == "--" or not word.startswith("-") or word == "-":
        return "", ""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        takes = name in grammar.values | grammar.folder | grammar.output | grammar.secret
        if not equals and takes and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        return name, value
    if word in _SHORT_PAIRS:
        return word, ""
    for at, letter in enumerate(word[1:], start=1):
        if letter in grammar.short:
            value = word[at + 1 :] or (rest.pop(0) if rest else "")
            return f"-{letter}", value.removeprefix("=")
    return word, ""


def _of_civitdl(parsed: _Parsed) -> Iterator[Download]:
    """`civitdl SOURCE… ROOT`: several sources also with commas between them; a bare number is a model."""
    *sources, root = parsed.loose or [""]
    if not any("://" in word or "civitai." in word or word[:1].isdigit() or _is_rooted(word) for word in parsed.loose):
        return  # a sentence that begins with the program's name
    if not sources:
        one = root if "://" in root or root.isdigit() else ""
        yield _placed(Download("civitdl", _civitai_url(one), 0, is_strict=True), None, "", None)
        return
    for source in (part for word in sources for part in word.split(",") if part):
        yield _placed(Download("civitdl", _civitai_url(source), 0, is_strict=True), root, "", None)


def _civitai_url(text: str) -> str:
    if text.isdigit():
        return f"https://civitai.com/models/{text}"
    return f"https://{text}" if text.startswith(("civitai.com/", "www.civitai.com/")) else text


def _placed(found: Download, folder: str | None, output: str, cwd: str | None) -> Download:
    """Say where the file goes, or why that cannot be told."""
    url_why = _variable(re.sub(r"([?&](?:token|api_key|key)=)[^&]*", r"\1", found.url))
    if url_why or not found.url:
        found = replace(found, why=f"{url_why} in the address" if url_why else "no address: nothing to fetch")
    name = ""
    if output:
        head, slash, name = output.rpartition("/")
        # wget takes no notice of -P when -O is there; curl and aria2c put -o below their directory.
        under = folder if found.program != "wget" else None
        folder = (
            f"{under}/{head}".rstrip("/") if under is not None and not _is_rooted(output) else head if slash else under
        )
    if folder is None or not _is_rooted(folder):
        base = cwd if cwd is not None and _is_rooted(cwd) else None
        folder = "/".join(part for part in (base, folder) if part) if base is not None else folder
    return _checked(replace(found, name=name), folder)


def _is_rooted(path: str) -> bool:
    return path.startswith((HOME, "${UI_HOME}", "/", "~"))


def _checked(found: Download, folder: str | None) -> Download:
    if folder is None:
        return _doubt(found, f"no directory is told; expected {HOME}/models/…")
    if bad := _variable(f"{folder}/{found.name}"):
        return _doubt(found, f"{bad} in the path; only {HOME} means something")
    for home in (HOME, "${UI_HOME}"):
        rest = folder.removeprefix(home)
        if folder.startswith(home) and rest[:1] in ("", "/"):
            break
    else:
        return _doubt(found, f"the directory {folder[:120]!r} is not below {HOME}")
    inner = "/".join(part for part in rest.split("/") if part not in ("", "."))
    try:
        for path in filter(None, (inner, found.name)):
            check_relative(path)
    except ValueError as error:
        return _doubt(found, f"not a safe path: {error}")
    return replace(found, folder=inner)


def _doubt(found: Download, why: str) -> Download:
    return replace(found, why=f"{found.why}; {why}" if found.why else why)


def _variable(text: str) -> str:
    """Return what a shell would replace in a text, other than `$UI_HOME`; '' for nothing."""
    rest = re.sub(r"^\$(?:UI_HOME(?![A-Za-z0-9_])|\{UI_HOME\})", "", text)
    found = _VARIABLE.search(rest)
    return f"the variable or substitution {found.group()[:40]!r}" if found else ""
