"""`reconciler duplicates`: the same bytes kept more than once, and what linking them would free."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import session
from reconciler.errors import InputError

if TYPE_CHECKING:
    from reconciler.audit.duplicates import Duplicates
    from reconciler.content import Contents
    from reconciler.survey import Means


def command(
    manifest: session.Manifest = None,
    read: Annotated[
        bool, typer.Option("--read", help="Read files of equal size whose digest nobody knows; remembered.")
    ] = False,
    least: Annotated[
        str, typer.Option("--min-size", metavar="SIZE", help="Only count what is smaller, as 100MiB or 0.")
    ] = "1MiB",
    json: session.Json = False,
) -> int:
    """List what is kept twice, and what linking it would free.

    Over all locations, by content, whoever manages it. Names of one file are one copy. Nothing is changed: apply links
    what it places; `policy.duplicates: link` has plans join managed copies. Asks nobody on the network.

    \b
    Examples:
      reconciler duplicates
      reconciler duplicates workstation.yaml --read --min-size 100MiB
      reconciler duplicates --json

    \b
    Exit codes: 0 listed; 1 error.
    """
    from reconciler.audit import duplicates
    from reconciler.audit.knowing import contents_of
    from reconciler.manifest import load
    from reconciler.scalars import parse_size

    try:
        smallest = parse_size(least)
    except ValueError as error:
        raise InputError(f"--min-size: {error}") from None
    loaded = load(manifest)
    with session.means(loaded, offline=True) as means:
        contents = contents_of(loaded, session.open_registry(loaded), means)
        found = duplicates.find(contents, smallest)
        if read and found.unread:
            found = duplicates.find(_read(contents, found, means), smallest)
    if json:
        session.say_json(duplicates.as_value(found))
    else:
        session.say(_text(found, smallest))
    return 0


def _read(contents: Contents, found: Duplicates, means: Means) -> Contents:
    """Return contents that know the digests of what was unread; a file that cannot be read stays unknown."""
    from reconciler.digests import Question
    from reconciler.state import identity_key

    roots = {name: Path(place.root) for name, place in contents.locations.items()}
    asked = [Question(roots[each.location] / each.file.path, each.file, (each.algorithm,)) for each in found.unread]
    answers = means.digests.compute(asked, means.watch)
    known = dict(contents.known)
    for question in asked:
        key = identity_key(question.file)
        known[key] = {**known.get(key, {}), **answers[question.path].digests}
    return replace(contents, known=known)


def _text(found: Duplicates, smallest: int) -> Iterator[str]:
    from reconciler.inert import human_bytes
    from reconciler.render.lines import counted, name

    for each in found.groups:
        frees = f"linking frees {human_bytes(each.frees)}" if each.frees else "on several file systems"
        yield f"{human_bytes(each.size)}, kept {each.inodes} times, {frees}  {each.digest[:19]}"
        for copy in each.copies:
            who = ", ".join(copy.variants) or "not managed here"
            yield f"  {name(copy.location)}: {name(copy.path)}  ({name(who)})"
    if found.groups:
        yield ""
    told = (
        f"{counted(len(found.groups), 'content')} kept more than once; linking would free {human_bytes(found.frees)}."
    )
    yield told if found.groups else "Nothing that is known is kept more than once."
    if found.unread:
        size = human_bytes(sum(each.file.size for each in found.unread))
        yield f"{counted(len(found.unread), 'file')} of equal size not read ({size}): `--read` reads them."
    if any(small := found.smaller):
        more = f"{counted(small.contents, 'smaller content')}, which would free {human_bytes(small.frees)}"
        most = f"{counted(small.unread, 'smaller file')} of equal size not read" if small.unread else ""
        told = "; ".join(filter(None, (more if small.contents else "", most)))
        yield f"Below {human_bytes(smallest)}, not listed: {told}: `--min-size 0` lists them."
