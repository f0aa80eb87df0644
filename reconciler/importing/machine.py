"""Take over a whole machine: the usual places of every tool, or those that are named, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from reconciler.errors import InputError
from reconciler.importing import importer_of
from reconciler.importing.ask import request_of
from reconciler.importing.found import Found, Row, Table
from reconciler.importing.usual import TOOLS, Usual, find
from reconciler.inert import inert, suggest

if TYPE_CHECKING:
    from reconciler.digests import Digests, Watch
    from reconciler.importing.fresh import Draft
    from reconciler.sources import World


def places(environ: Mapping[str, str]) -> list[Usual]:
    """Return the usual places that hold weights, and the Ollama of this machine."""
    return [*find(environ), *_an_ollama(environ)]


def named(given: Iterable[str], environ: Mapping[str, str]) -> list[Usual]:
    """Return the places that `KIND` or `KIND=DIR` means; raise InputError for a kind that is none, or has no place."""
    found: list[Usual] = []
    usual: list[Usual] | None = None
    for text in given:
        kind, _, where = text.partition("=")
        if kind != "tree" and kind not in TOOLS:
            near = suggest(kind, [*TOOLS, "tree"])
            hint = f"did you mean `{near}`?" if near else f"one of {', '.join([*TOOLS, 'tree'])}"
            raise InputError(f"no kind of place: `{inert(kind)}`", where="--from", hint=hint)
        if where or kind == "ollama":
            found.append(Usual("vllm" if kind == "tree" else kind, where))
            continue
        usual = list(find(environ)) if usual is None else usual  # it walks every place: once, and only when needed
        there = [each for each in usual if each.kind == kind]
        if not there:
            raise InputError(
                f"no usual place of `{kind}` holds weights", where="--from", hint=f"name it: `--from {kind}=DIR`"
            )
        found += there
    return found


def take(
    draft: Draft,
    chosen: Iterable[Usual],
    environ: Mapping[str, str],
    world: World,
    digests: Digests,
    watch: Watch | None = None,
    *,
    online: bool = False,
    must: bool = False,
) -> None:
    """Take over one place after the other; the later ones know what the earlier ones hold.

    A place that cannot be read is told, and raises InputError where the user named it (`must`).
    """
    # As the table has them: those that know their digests come first.
    ordered = sorted(chosen, key=lambda each: list(TOOLS).index(each.kind))
    for group in [[each] for each in ordered] if must else _together(ordered):
        place = group[0]
        args = [each.path for each in group if each.path]
        request = request_of(draft.now, args, environ, world, digests, watch, local=True, online=online)
        try:
            gathered = [
                _called(each, place)
                for each in importer_of(place.tool.subject).gather(request)
                if not isinstance(each, Table)
            ]
        except InputError as error:
            if must:
                raise
            gathered = [Row("problem", place.kind, error.problems[0].summary, place.path)]
        draft.take(gathered)


def _an_ollama(environ: Mapping[str, str]) -> Iterator[Usual]:
    """Yield the Ollama of this machine, if its server answers or its store is there."""
    from reconciler.ollama.look import look

    seen = look("ollama", None, None, environ)
    stored = seen.stored.models if seen.stored else ()
    if stored or seen.listed:
        size = sum(model.size for model in seen.listed) or sum(
            layer.size for model in stored for layer in model.manifest.layers
        )
        yield Usual("ollama", "", len(stored) or len(seen.listed), size)


def _together(chosen: Sequence[Usual]) -> list[list[Usual]]:
    """Return the places in groups that are looked at at once: all web interfaces, so that Civitai is asked once."""
    groups = [(subject, list(held)) for subject, held in groupby(chosen, key=lambda each: each.tool.subject)]
    return [part for subject, held in groups for part in ([held] if subject == "comfyui" else [[one] for one in held])]


def _called(each: Found | Row, place: Usual) -> Found | Row:
    """Call the location of a tool that keeps its models in a directory `models` as the tool is called."""
    if isinstance(each, Row) or each.location is None or place.kind == "vllm" or each.location[0] != "models":
        return each
    return replace(each, location=(place.kind, each.location[1]))
