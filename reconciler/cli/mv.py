"""`reconciler mv`: give a variant another name."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import completing, session
from reconciler.errors import InputError


def command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[MANIFEST] OLD NEW",
            help="The manifest, then both names.",
            autocompletion=completing.variants,
        ),
    ],
    json: session.Json = False,
) -> int:
    """Rename a variant in the manifest and its lock.

    Its roles follow; comments and order stay, and nothing on disk is touched. The next plan recognises what was placed
    under the old name: `normalize`, reason `rename`. Cut short between two files, the same again finishes it.

    \b
    Examples:
      reconciler mv llama chat-llama
      reconciler mv workstation.yaml qwen2.5-vl-7b caption-vllm-awq
    """
    from reconciler import renaming
    from reconciler.inert import inert

    if not 2 <= len(words) <= 3:
        raise InputError("expected two names", hint="`reconciler mv [MANIFEST] OLD NEW`")
    old, new = words[-2:]
    loaded = renaming.load(words[0] if len(words) == 3 else None, old, new)
    written = [str(path) for path in renaming.write(renaming.rename(loaded, old, new))]
    if json:
        session.say_json({"from": old, "to": new, "written": written})
    else:
        session.say([f"~ {inert(old)} -> {inert(new)}", f"Wrote {' and '.join(map(inert, written))}."])
    return 0
