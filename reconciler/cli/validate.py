"""`reconciler validate`: say whether manifest and lock are sound, without asking anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.cli import session
from reconciler.errors import InputError

if TYPE_CHECKING:
    from reconciler.validate import Validation


def command(manifest: session.Manifest = None, json: session.Json = False) -> int:
    """Check a manifest and its lock, with every mistake at once.

    Needs neither network nor disks. A lock, where there is one, must be whole and answer the manifest; a manifest
    that was never locked is valid.

    \b
    Examples:
      reconciler validate
      reconciler validate workstation.yaml
      reconciler validate manifests/ --json

    \b
    Exit codes: 0 valid; 1 not valid.
    """
    from reconciler.validate import validate

    found = validate(manifest)
    if json:
        session.say_json(_document(found, manifest))
        return 0 if found.is_valid else 1
    from reconciler.render.lines import name

    for warning in found.warnings:
        session.tell(f"warning: {name(warning)}")
    if not found.is_valid:
        raise InputError(found.problems)
    session.say([_sentence(found)])
    return 0


def _sentence(found: Validation) -> str:
    from reconciler.manifestfiles import command, typed
    from reconciler.render.lines import counted, name

    assert found.loaded is not None
    said = found.loaded.manifest
    shown = name(typed(found.loaded.path))
    counts = f"{counted(len(said.variants), 'variant')} in {counted(len(said.locations), 'location')}"
    if said.roles:
        counts += f", {counted(len(said.roles), 'role')}"
    if found.lock is None:
        how = name(command("lock", found.loaded.path))
        return f"{shown} is valid: {counts}; there is no lock yet (`{how}` writes it)"
    return f"{shown} is valid: {counts}; the lock has all of them"


def _document(found: Validation, manifest: str | None) -> dict[str, Any]:
    loaded, said = found.loaded, found.loaded.manifest if found.loaded else None
    return {
        "valid": found.is_valid,
        "problems": [problem._asdict() for problem in found.problems],
        "warnings": list(found.warnings),
        "manifest": {
            "path": str(loaded.path) if loaded else manifest,
            "name": loaded.name if loaded else None,
            "digest": loaded.digest if loaded else None,
        },
        "lock": {
            "path": str(found.lock_path) if found.lock_path else None,
            "exists": found.lock_path is not None and found.lock_path.exists(),
        },
        "variants": len(said.variants) if said else None,
        "locations": len(said.locations) if said else None,
        "roles": len(said.roles) if said else None,
    }
