"""Take over what is there: one module a kind of place or list, and the table of them.

An importer is a module with `gather(request) -> Iterable[Found | Row | Table]`: it looks, and says what it found and
what it leaves out, and why. It changes nothing. `merge` turns that into the texts of a manifest and its lock, and
`write` writes them; both are the same for every importer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import NamedTuple, Protocol, cast

from reconciler.importing.found import Found, Kind, Request, Row, Table

__all__ = ["IMPORTERS", "Found", "Importer", "Kind", "Request", "Row", "Subject", "Table", "importer_of", "subjects"]


class Subject(NamedTuple):
    """What can be imported: the module that does it, what follows it on the command line, and a sentence."""

    module: str
    takes: str
    says: str


class Importer(Protocol):
    """One kind of thing to take over."""

    def gather(self, request: Request) -> Iterable[Found | Row | Table]:
        """Look, change nothing, and yield what was found and what is left out. Raise InputError for wrong arguments."""


IMPORTERS: Mapping[str, Subject] = MappingProxyType(
    {
        "ollama": Subject("reconciler.importing.ollama", "[URL]", "what an Ollama server or its store has"),
        "hf-cache": Subject("reconciler.importing.hf_cache", "[DIR]", "the cache of huggingface_hub"),
        "lmstudio": Subject("reconciler.importing.lmstudio", "[DIR]", "LM Studio's models"),
        "tree": Subject("reconciler.importing.tree", "DIR", "directories <owner>/<repo>, or loose files"),
        "imageworks": Subject("reconciler.importing.imageworks", "DIR", "a registry of the ImageWorks downloader"),
        "catalog": Subject("reconciler.importing.catalog", "DIR", "pages with download commands"),
        "comfyui": Subject("reconciler.importing.comfyui", "DIR...", "the models of a ComfyUI or A1111"),
        "list": Subject("reconciler.importing.listed", "FILE...", "a list of references, or a script of downloads"),
        "workflow": Subject("reconciler.importing.workflow", "FILE...", "what ComfyUI workflows need"),
    }
)
"""Subject -> importer. One whose module is not there yet is not offered."""


def subjects() -> tuple[str, ...]:
    """Return the subjects that can be imported, in the order of the table."""
    return tuple(name for name, subject in IMPORTERS.items() if find_spec(subject.module) is not None)


def importer_of(subject: str) -> Importer:
    """Return the importer of a subject; raise ValueError naming the ones there are."""
    if subject not in subjects():
        raise ValueError(f"cannot import {subject!r}; expected one of {', '.join(subjects())}")
    return cast("Importer", import_module(IMPORTERS[subject].module))
