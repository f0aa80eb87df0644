"""`reconciler add`: put one more variant into the manifest and its lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import session
from reconciler.errors import InputError

if TYPE_CHECKING:
    from reconciler.importing.merge import Merged
    from reconciler.state import Pin


def command(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[MANIFEST] SOURCE", help="The manifest, then hf:owner/repo, or the address of a page."),
    ],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Its name; default: made by the rule.")] = None,
    location: Annotated[str | None, typer.Option(metavar="LOCATION", help="Where; default: by the routes.")] = None,
    files: Annotated[
        list[str] | None, typer.Option("--files", metavar="GLOB", help="Files to take; may stand several times.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Files to leave out.")] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", metavar="ROLE", help="A role that it serves, as the last choice.")
    ] = None,
    backend: Annotated[str | None, typer.Option(metavar="NAME", help="What serves it, as vllm.")] = None,
    served_as: Annotated[
        str | None, typer.Option("--served-as", metavar="NAME", help="The name under which it is served.")
    ] = None,
    support: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="A repository that lends missing config and tokenizer files.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow plain http, or an address in a private network.")
    ] = False,
    json: session.Json = False,
) -> int:
    """Declare one more variant, in the manifest and its lock.

    Its source is asked, and it is named. Comments and order of the manifest stay. Nothing is downloaded: `plan` shows
    what apply would do. A repository of several GGUF quants is refused until --files says which.

    \b
    Examples:
      reconciler add hf:Qwen/Qwen2.5-7B-Instruct-GGUF --files '*q4_k_m*.gguf'
      reconciler add workstation.yaml hf:Qwen/Qwen2.5-7B-Instruct --role chat
      reconciler add hf:owner/repo@branch --name mine --location weights
      reconciler add https://huggingface.co/owner/repo --backend vllm
    """
    from reconciler.adding import INTO, add
    from reconciler.importing.target import open_target
    from reconciler.importing.writing import write

    if len(words) > 2:
        raise InputError(f"unexpected {words[2]!r}", hint="one at a time: `reconciler add [MANIFEST] SOURCE`")
    source = words[-1]
    target = open_target(words[0] if len(words) == 2 else None, INTO)
    said: dict[str, Any] = {"source": source, **({"insecure": True} if insecure else {})}
    said |= {key: list(given) for key, given in (("files", files), ("exclude", exclude)) if given}
    more = {"location": location, "backend": backend, "served_as": served_as, "support": support}
    said |= {key: value for key, value in more.items() if value is not None}
    merged, pin = add(target, said, session.upstream(target.loaded, offline=False), name=name, roles=role or ())
    written = write(merged, "add")
    _tell(merged, pin, [str(path) for path in written], json)
    return 0


def _tell(merged: Merged, pin: Pin, written: Sequence[str], json: bool) -> None:
    from reconciler.inert import human_bytes, inert

    [row] = merged.rows
    known = row.kind == "known"
    if json:
        size = sum(file.size for file in pin.files)
        session.say_json({
            "variant": row.what, "known": known, "written": list(written), "revision": pin.revision,
            "files": len(pin.files), "bytes": size,
        })  # fmt: skip
        return
    if known and not written:
        session.say([f"{inert(row.what)} is that already; nothing changed."])
        return
    session.say([
        f"+ {inert(row.what)}  {inert(pin.source)}  {(pin.revision or '')[:7]}  "
        f"{human_bytes(sum(file.size for file in pin.files))}",
        f"Wrote {' and '.join(map(inert, written))}.",
    ])  # fmt: skip
