"""Manifests for tests: write one, load it, list what was wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.errors import ManifestError
from reconciler.manifest import Loaded, load

HEAD = "version: 1\nlocations:\n  here: {store: flat, root: ~/models}\n"


def loaded(directory: Path, text: str | bytes, name: str = "m.yaml") -> Loaded:
    """Write a manifest into `directory` and load it."""
    path = directory / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(path)


def mistakes(monkeypatch: pytest.MonkeyPatch, directory: Path, text: str | bytes, name: str = "m.yaml") -> list[str]:
    """Write a manifest that must be refused, and return its problems, each in one line."""
    (directory / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    monkeypatch.chdir(directory)
    return refusal(name)


def refusal(argument: str | None) -> list[str]:
    """Load what must be refused, and return its problems, each in one line."""
    with pytest.raises(ManifestError) as caught:
        load(argument)
    assert caught.value.problems
    return [str(problem) for problem in caught.value.problems]
