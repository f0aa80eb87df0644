"""The shelf of a source, `<publisher>/<model>`, in stores that name directories; and where their house stands. Pure."""

from __future__ import annotations

import posixpath
from hashlib import sha256

from reconciler.paths import check_relative
from reconciler.references import Reference, branch, parse
from reconciler.state import Identity, Pin
from reconciler.stores import HOUSE

_SKIPPED = frozenset({HOUSE, ".git"})


def shelf(pin: Pin) -> str:
    """Return the two directories, `<publisher>/<model>`, in which the files of a pin stand.

    | source | shelf |
    |---|---|
    | `hf:owner/repo[@branch]` | `owner/repo[@branch]`, `/` of a branch as `_`; none for `main` and for a commit |
    | `civitai:model@version+file`, its AIR | `civitai/model@version+file` |
    | `https://host/a/b/file.ext` | `host/a--b--file`, and `+` 8 hex digits of its sha256 where there is a query |
    | `file:/a/b/dir`, `file:/a/b/file.ext` | `local/dir`, `local/file` |

    Two sources may still meet on one shelf (branches `a/b` and `a_b`, two local directories of one name): the caller
    compares destinations, as it must for two variants of one repository anyway. Raises ValueError for a source or
    name that may not become a path.
    """
    refuse_layers(pin)
    reference = parse(pin.source)
    match reference.scheme:
        case "hf":
            name = reference.repository + _marked("@", branch(reference).replace("/", "_"))
        case "civitai":
            name = f"civitai/{reference.repository}{_marked('@', reference.revision)}{_marked('+', reference.path)}"
        case "file":
            name = "local/" + _local_name(reference, pin)
        case _:
            name = _web_name(reference)
    return placed(name)


def at_home(pin: Pin, root: str) -> str | None:
    """Return the directory, relative to `root`, of a `file:` source that lies below it; None for any other source.

    It is in its place already: what has no other known origin is declared so where it lies, and nothing is copied onto
    itself. `''` is the root itself.
    """
    if not root or not pin.source.startswith("file:"):
        return None
    path = parse(pin.source).path.rstrip("/")
    above = root.rstrip("/")
    if path != above and not path.startswith(f"{above}/"):
        return None
    inside = path[len(above) + 1 :]
    name = inside.rpartition("/")[2]
    alone = [artifact.path for artifact in pin.files if not artifact.support] == [name]
    return inside.rpartition("/")[0] if alone else inside


def refuse_layers(pin: Pin) -> None:
    """Raise ValueError for a model of an Ollama registry: it is layers, and no files that anybody could name."""
    if pin.source.startswith("ollama:"):
        raise ValueError(
            f"{pin.source[:200]} is layers and no files, and only an `ollama` location holds those (give it one; where "
            "the same GGUF is declared from its own source, the bytes are shared)"
        )


def placed(path: str) -> str:
    """Return a path that may be placed; raise ValueError for an unsafe one, and for one that no observer would see."""
    if not _SKIPPED.isdisjoint(path.split("/")):
        raise ValueError(f"{path[:200]!r} leads into a directory that is ours or git's; nothing is placed there")
    return check_relative(path)


def parts_of(path: str) -> Identity | None:
    """Return what `<publisher>/<model>[@branch]/<path>` says, or None for a path that is not as deep as that."""
    publisher, _, rest = path.partition("/")
    model, slash, inside = rest.partition("/")
    if not (publisher and model and slash and inside) or publisher in _SKIPPED or model in _SKIPPED:
        return None
    name, _, kept = model.partition("@")
    return Identity(f"{publisher}/{name}", kept, inside)


def house(root: str) -> str:
    """Return `<root>/.reconciler`: most programs pass over what starts with a dot."""
    return posixpath.join(posixpath.normpath(root), HOUSE)


def skip(name: str) -> bool:
    """Our own house and git's are nobody's models."""
    return name in _SKIPPED


def _marked(mark: str, text: str | None) -> str:
    return f"{mark}{text}" if text else ""


def _stem(name: str) -> str:
    return name[: name.rfind(".")] if "." in name[1:] else name


def _local_name(reference: Reference, pin: Pin) -> str:
    name = reference.path.rstrip("/").rpartition("/")[2]
    # One file that is named like the source is the source itself; otherwise the source is a directory.
    alone = [artifact.path for artifact in pin.files if not artifact.support] == [name]
    return _stem(name) if alone else name


def _web_name(reference: Reference) -> str:
    folders, _, name = reference.path.rpartition("/")
    names = [*filter(None, folders.split("/")), _stem(name)]
    query = sha256(reference.revision.encode()).hexdigest()[:8] if reference.revision else ""
    return reference.repository.replace(":", "_") + "/" + "--".join(names) + _marked("+", query)
