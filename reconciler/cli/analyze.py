"""`reconciler analyze`: what a source holds, before one declares it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import session
from reconciler.errors import InputError
from reconciler.home import expand

if TYPE_CHECKING:
    from reconciler.audit.analysis import Analysis

_FEW = 5


def command(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="hf:owner/repo, ollama:model, civitai:model, a web address, or a path."),
    ],
    files: Annotated[bool, typer.Option("--files", help="List every file, too.")] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow plain http, or an address in a private network.")
    ] = False,
    json: session.Json = False,
) -> int:
    """Show what a source holds: builds, sizes, licence, access.

    Active content is told: pickles and programs that run when a model is loaded. For each build there are lines that
    fit below `variants:` of a manifest. Web addresses of models of the Hub, Civitai and Ollama work too. Names and
    sizes are asked; nothing is downloaded or written.

    \b
    Examples:
      reconciler analyze hf:bartowski/Llama-3.2-3B-Instruct-GGUF
      reconciler analyze https://huggingface.co/Qwen/Qwen2.5-7B-Instruct --files
      reconciler analyze https://ollama.com/library/llama3.2:3b --json

    \b
    Exit codes: 0 shown; 1 error.
    """
    from reconciler import resolve, sources
    from reconciler.audit.analysis import analyze, as_value
    from reconciler.importing.claims import request_of

    said, notes = _meant(source)
    world = session.upstream(None, offline=False)
    try:
        host = _host(said["source"]) if insecure else ""
        sources.check(said["source"], insecure=insecure)
        request = request_of("", {**said, "insecure": insecure})._replace(listing=True)
        pin = resolve.ask(request, world)
        refused = sources.access(pin, world.trusting({host} - {""})) or ""
    except ValueError as error:
        hint = "`--insecure` allows it here" if "`insecure: true`" in str(error) else ""
        raise InputError(str(error), where=source, hint=hint) from None
    found = analyze(pin, refused, insecure=insecure)
    if json:
        session.say_json(as_value(found, files=files))
        return 0
    for each in notes:
        session.caution(each)
    session.say(_text(found, files=files))
    return 0


def _meant(source: str) -> tuple[dict[str, Any], Sequence[str]]:
    """Return what a manifest would say, and what people should know of the address.

    A path means the file or directory there, as shells give it: absolute, or from here.
    """
    from reconciler import links

    if source.startswith(("/", "./", "../", "~/")):
        return {"source": f"file:{expand(source).resolve()}"}, ()
    try:
        return links.fields_of(source)
    except ValueError as error:
        raise InputError(str(error), where=source.partition("?")[0]) from None


def _host(source: str) -> str:
    """Return the host that a source names, '' where it names none."""
    from reconciler.sources import scheme_of
    from reconciler.sources.ollama import host_of
    from reconciler.sources.urls import origin

    return host_of(source) if scheme_of(source) == "ollama" else origin(source)[1] if "://" in source else ""


def _text(found: Analysis, *, files: bool) -> Iterator[str]:
    from reconciler.inert import human_bytes
    from reconciler.render.lines import counted, name
    from reconciler.render.tables import table
    from reconciler.state import UNREAD

    width, colour = session.width(), session.colour(session.settings())
    yield name(f"{found.source}{f' at {found.revision}' if found.revision else ''}")
    yield f"  {counted(len(found.files), 'file')}, {human_bytes(found.size)}"
    facts = {"kind": found.kind, "license": found.license or "not said", "access": _access(found)}
    yield from (name(f"  {label:<9}{value}") for label, value in facts.items() if value)
    for label, paths in (("pickle", found.pickles), ("program", found.programs), ("mmproj", found.projectors)):
        if paths:
            more = f" and {len(paths) - _FEW} more" if len(paths) > _FEW else ""
            yield name(f"  {label:<9}{', '.join(paths[:_FEW])}{more}")
    yield ""
    rows = [
        (each.name, each.format, each.quant, len(each.files) or None, human_bytes(each.bytes)) for each in found.builds
    ]
    yield from table(rows, ("build", "format", "quant", "weights", "size"), width=width, colour=colour)
    if files:
        yield ""
        listing = [
            (file.path, human_bytes(file.size), "-" if file.digest == UNREAD else file.digest[:19])
            for file in found.files
        ]
        yield from table(listing, ("file", "size", "digest"), width=width, colour=colour)
    yield ""
    yield "For `variants:` of a manifest:"
    for build in found.builds:
        yield ""
        yield from map(name, build.snippet.splitlines())


def _access(found: Analysis) -> str:
    if found.refused:
        return f"refused: {found.refused}"
    return f"gated ({found.gated}); it may be downloaded with this token" if found.gated else "open"
