"""What the command line does, as functions that return values, raise the errors of `errors`, and print nothing.

They are meant to be imported from `reconciler` itself: `from reconciler import load_manifest, plan, apply`.
"""

from reconciler.api.acting import apply, forget, gc, plan_undo, repair, undo
from reconciler.api.auditing import diff_manifests, export, find_duplicates, history, stats
from reconciler.api.declaring import add, format_manifest, import_models, init, rename
from reconciler.api.ground import Event, ManifestLike, Progress
from reconciler.api.looking import (
    analyze,
    detect_model,
    list_generations,
    list_records,
    list_roles,
    load_settings,
    resolve_source,
    status,
    verify,
    why,
)
from reconciler.api.planning import load_manifest, load_plan, lock, outdated, plan, render_plan, save_plan, validate

__all__ = [
    "Event",
    "ManifestLike",
    "Progress",
    "add",
    "analyze",
    "apply",
    "detect_model",
    "diff_manifests",
    "export",
    "find_duplicates",
    "forget",
    "format_manifest",
    "gc",
    "history",
    "import_models",
    "init",
    "list_generations",
    "list_records",
    "list_roles",
    "load_manifest",
    "load_plan",
    "load_settings",
    "lock",
    "outdated",
    "plan",
    "plan_undo",
    "rename",
    "render_plan",
    "repair",
    "resolve_source",
    "save_plan",
    "stats",
    "status",
    "undo",
    "validate",
    "verify",
    "why",
]
