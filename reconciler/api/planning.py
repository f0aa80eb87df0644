"""Manifest, lock and plan: what should be, exactly, and what would change."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from reconciler.api.ground import Flags, ManifestLike, Progress, loaded_of, many, means, settings_of, telling, upstream

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.pinning import Locked
    from reconciler.plan import Plan
    from reconciler.resolve import Moved
    from reconciler.validate import Validation


def load_manifest(path: str | os.PathLike[str] | None = None) -> Loaded:
    """Load a manifest from a file or a directory; None means `manifests/` if it is there, else `reconciler.yaml`.

    Raise ManifestError with every mistake at once, each at `file:line:column`.
    """
    return loaded_of(path)


def validate(path: str | os.PathLike[str] | None = None) -> Validation:
    """Judge a manifest and its lock by what they say, asking nobody. Raise nothing for what is wrong with them."""
    from reconciler.validate import validate as judged

    return judged(None if path is None else os.fspath(path))


def lock(
    manifest: ManifestLike = None,
    *,
    upgrade: bool | str | Iterable[str] = False,
    offline: bool = False,
    settings: Flags = None,
    progress: Progress | None = None,
) -> Locked:
    """Write down exactly which bytes a manifest means, beside it; what is locked stays, however upstream moves.

    `upgrade` moves to what upstream has now: True for all, or the names of variants. Raise SourceError when a variant
    cannot be resolved; what could be is written all the same.
    """
    from reconciler.errors import SourceError
    from reconciler.pinning import pin

    loaded = loaded_of(manifest)
    names = () if isinstance(upgrade, bool) else many(upgrade)
    world = upstream(loaded, settings_of(loaded, settings), progress, offline=offline)
    locked = pin(loaded, world, upgrade=upgrade is True or bool(names), names=names)
    if locked.problems:
        raise SourceError(locked.problems)
    return locked


def outdated(
    manifest: ManifestLike = None, *, settings: Flags = None, progress: Progress | None = None
) -> tuple[Moved, ...]:
    """Return the variants for which upstream has moved away from the lock. Writes nothing. Raise SourceError."""
    from reconciler import lockfile, resolve

    loaded = loaded_of(manifest)
    world = upstream(loaded, settings_of(loaded, settings), progress, offline=False)
    return resolve.check(loaded, lockfile.read(lockfile.path_for(loaded.path)), world)


def plan(
    manifest: ManifestLike = None,
    *,
    target: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    allow_remove: str | Iterable[str] = (),
    base: ManifestLike = None,
    locked: bool = False,
    offline: bool = False,
    settings: Flags = None,
    progress: Progress | None = None,
) -> Plan:
    """Say what apply would do, and touch nothing.

    `target`, `exclude` and `allow_remove` are globs over VARIANT or VARIANT@LOCATION. With `base`, another manifest,
    the plan is made as if that one had been applied, and no disk is looked at. `locked` refuses an incomplete or
    outdated lock (LockfileError) instead of resolving. Raise InputError, SourceError for what makes any plan
    impossible; what concerns one variant stands in the plan as blocked.
    """
    from reconciler.holding import open_registry
    from reconciler.plan import Selection
    from reconciler.survey import survey

    loaded = loaded_of(manifest)
    wanted = Selection(many(target), many(exclude), many(allow_remove))
    chosen = settings_of(loaded, settings)
    if base is not None:
        from reconciler.supposed import plan_from

        world = upstream(loaded, chosen, progress, offline=offline)
        return plan_from(loaded, loaded_of(base), world, wanted, locked=locked)
    with means(loaded, chosen, progress, offline=offline) as given:
        registry = open_registry(loaded, telling(progress))
        return survey(loaded, registry, given, wanted, locked=locked).plan


def render_plan(plan: Plan, form: Literal["text", "markdown", "json"] = "text", *, verbose: bool = False) -> str:
    """Return a plan as text for people, as Markdown for a pull request, or as the one strict JSON document.

    Raise InputError for another form.
    """
    from reconciler.errors import InputError

    match form:
        case "json":
            from reconciler.planfile import dumps

            return dumps(plan)
        case "markdown":
            from reconciler.render.markdown import plan_markdown

            return plan_markdown(plan)
        case "text":
            from reconciler.render.text import plan_text

            return "\n".join(plan_text(plan, width=None, colour=False, verbose=verbose)) + "\n"
    raise InputError(f"expected text, markdown or json, found {form!r}", where="form")


def save_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Save a plan for `load_plan` and `reconciler apply FILE`, readable by its owner alone. Raise DiskError."""
    from reconciler import planfile

    planfile.write(os.fspath(path), plan)


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Load a saved plan. Raise InputError when it is damaged, was changed by hand, or is of another version."""
    from reconciler import planfile

    return planfile.read(os.fspath(path))
