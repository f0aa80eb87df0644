"""Terraform for model weights: a manifest in git, a plan in review, an apply that never loses a byte.

What the command line does, programs do with the functions of this package:

    from reconciler import apply, load_manifest, plan

    manifest = load_manifest("workstation.yaml")
    reviewed = plan(manifest)
    if not reviewed.blocked:
        receipt = apply(reviewed)

`import reconciler` itself loads next to nothing; each name is fetched when it is first used.
"""

import sys as _sys
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.api import Event as Event
    from reconciler.api import ManifestLike as ManifestLike
    from reconciler.api import Progress as Progress
    from reconciler.api import add as add
    from reconciler.api import analyze as analyze
    from reconciler.api import apply as apply
    from reconciler.api import detect_model as detect_model
    from reconciler.api import diff_manifests as diff_manifests
    from reconciler.api import export as export
    from reconciler.api import find_duplicates as find_duplicates
    from reconciler.api import forget as forget
    from reconciler.api import format_manifest as format_manifest
    from reconciler.api import gc as gc
    from reconciler.api import history as history
    from reconciler.api import import_models as import_models
    from reconciler.api import init as init
    from reconciler.api import list_generations as list_generations
    from reconciler.api import list_records as list_records
    from reconciler.api import list_roles as list_roles
    from reconciler.api import load_manifest as load_manifest
    from reconciler.api import load_plan as load_plan
    from reconciler.api import load_settings as load_settings
    from reconciler.api import lock as lock
    from reconciler.api import outdated as outdated
    from reconciler.api import plan as plan
    from reconciler.api import plan_undo as plan_undo
    from reconciler.api import rename as rename
    from reconciler.api import render_plan as render_plan
    from reconciler.api import repair as repair
    from reconciler.api import resolve_source as resolve_source
    from reconciler.api import save_plan as save_plan
    from reconciler.api import stats as stats
    from reconciler.api import status as status
    from reconciler.api import undo as undo
    from reconciler.api import validate as validate
    from reconciler.api import verify as verify
    from reconciler.api import why as why
    from reconciler.errors import AccessError as AccessError
    from reconciler.errors import BusyError as BusyError
    from reconciler.errors import DigestError as DigestError
    from reconciler.errors import DiskError as DiskError
    from reconciler.errors import InputError as InputError
    from reconciler.errors import LockfileError as LockfileError
    from reconciler.errors import ManifestError as ManifestError
    from reconciler.errors import NotFoundError as NotFoundError
    from reconciler.errors import OfflineError as OfflineError
    from reconciler.errors import Problem as Problem
    from reconciler.errors import ReconcilerError as ReconcilerError
    from reconciler.errors import RegistryError as RegistryError
    from reconciler.errors import SourceError as SourceError
    from reconciler.errors import StaleError as StaleError
    from reconciler.errors import TransferError as TransferError
    from reconciler.errors import WorldError as WorldError
    from reconciler.manifest import Loaded as Loaded
    from reconciler.plan import Action as Action
    from reconciler.plan import Plan as Plan
    from reconciler.plan import Step as Step
    from reconciler.receipt import Outcome as Outcome
    from reconciler.receipt import Receipt as Receipt
    from reconciler.state import Address as Address
    from reconciler.state import Record as Record

__version__ = "0.1.0"

_VALUES = {
    "errors": (
        "AccessError", "BusyError", "DigestError", "DiskError", "InputError", "LockfileError", "ManifestError",
        "NotFoundError", "OfflineError", "Problem", "ReconcilerError", "RegistryError", "SourceError", "StaleError",
        "TransferError", "WorldError",
    ),
    "manifest": ("Loaded",),
    "plan": ("Action", "Plan", "Step"),
    "receipt": ("Outcome", "Receipt"),
    "state": ("Address", "Record"),
}  # fmt: skip
"""Room -> the classes of it that callers meet."""
_VERBS = (
    "Event", "ManifestLike", "Progress", "add", "analyze", "apply", "detect_model", "diff_manifests", "export",
    "find_duplicates", "forget", "format_manifest", "gc", "history", "import_models", "init",
    "list_generations", "list_records", "list_roles", "load_manifest", "load_plan", "load_settings", "lock",
    "outdated", "plan", "plan_undo", "rename", "render_plan", "repair", "resolve_source", "save_plan", "stats",
    "status", "undo", "validate", "verify", "why",
)  # fmt: skip
"""What `reconciler.api` has."""
_ROOM = {name: room for room, names in _VALUES.items() for name in names}

__all__ = [*_VERBS, *_ROOM]  # noqa: PLE0604


class _Verb(_ModuleType):
    """A room whose name is a verb of the API as well: `reconciler.plan` is the room, and can be called."""

    def __call__(self, *args: Any, **more: Any) -> Any:
        return self._function()(*args, **more)

    @property
    def __signature__(self) -> Any:
        """What `inspect.signature` says of it."""
        import inspect

        return inspect.signature(self._function())

    def _function(self) -> Any:
        from reconciler import api

        return getattr(api, self.__name__.rpartition(".")[2])


class _Package(_ModuleType):
    """The package: names come when they are asked for, and rooms that are verbs can be called."""

    def __getattr__(self, name: str) -> Any:
        from importlib import import_module
        from importlib.util import find_spec

        if name in _ROOM:
            found = getattr(import_module(f"reconciler.{_ROOM[name]}"), name)
        elif name not in _VERBS:
            raise AttributeError(f"module 'reconciler' has no attribute {name!r}")
        elif find_spec(f"reconciler.{name}") is not None:
            return import_module(f"reconciler.{name}")
        else:
            found = getattr(import_module("reconciler.api"), name)
        self.__dict__[name] = found
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        # Python's import sets a module as an attribute of its package: whichever comes first, both meanings hold.
        if name in _VERBS and type(value) is _ModuleType:
            value.__class__ = _Verb
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


_sys.modules[__name__].__class__ = _Package
