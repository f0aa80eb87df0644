"""Save a plan and load it back equal, or say what is wrong with the file."""

from __future__ import annotations

from pathlib import Path

from reconciler.errors import InputError
from reconciler.plan import Plan
from reconciler.planjson import FORMAT_VERSION, dumps, plan_id, to_json
from reconciler.planread import read_document

__all__ = ["FORMAT_VERSION", "dumps", "loads", "plan_id", "read", "to_json", "write"]


def loads(text: str | bytes, name: str = "plan") -> Plan:
    """Return the plan that `dumps` wrote; `name` stands in messages.

    Raises InputError when it is damaged, was changed by hand, or is of another major version.
    """
    return read_document(text, name)


def write(path: str | Path, plan: Plan) -> None:
    """Save the plan at `path`, readable by its owner alone; the old file stays whole until the new one is."""
    from reconciler.disk import write_out

    path = Path(path)
    if write_out(path, dumps(plan).encode("ascii"), mode=0o600):
        path.chmod(0o600)  # a file that was there before kept its permissions


def read(path: str | Path) -> Plan:
    """Load the plan at `path`. Raises InputError when it cannot be read or taken."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        hint = "give the file that `reconciler plan -o FILE` wrote"
        raise InputError(f"cannot read the plan: {error.strerror}", where=str(path), hint=hint) from error
    return loads(text, str(path))
