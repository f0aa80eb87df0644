"""The house stands: pure rooms name no module that touches the world, and nothing points back up."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import reconciler

HOUSE = Path(reconciler.__file__).parent

OUTSIDE = {
    "asyncio", "concurrent", "ctypes", "fcntl", "ftplib", "glob", "http", "io", "mmap", "multiprocessing", "os",
    "platformdirs", "pty", "requests", "resource", "select", "selectors", "shelve", "shutil", "signal", "socket",
    "sqlite3",
    "ssl", "subprocess", "tempfile", "tty", "urllib.request", "urllib3", "huggingface_hub", "aria2p", "ruamel",
}  # fmt: skip
"""Modules that touch disk, network or processes."""

WORLDLY = {
    "apply", "beneath", "cli", "digests", "digeststore", "disk", "doctor", "download", "filesystems", "generations",
    "hashing", "hashpool", "house", "hub", "journal", "locking", "observe", "placing", "registry", "root", "sources",
    "spoilt", "survey", "syncing", "trash", "verify",
}  # fmt: skip
"""Rooms of ours that do."""

PURE = (
    "air", "approving", "apply.order", "catalog", "comfort", "content", "decide", "desired", "detect.rules", "diff",
    "facts", "globs", "inert", "leaving", "links", "naming", "obstacles", "plan", "planjson", "planread", "presence",
    "receipt", "references", "reuse", "rules", "safety", "selecting", "stale", "state", "wishes", "world",
    *(f"ollama.{room}" for room in ("compose", "configs", "crosscheck", "fitting", "gojson", "manifests", "modelfile")),
    "ollama.names",
    *(f"audit.{room}" for room in ("analysis", "because", "comparing", "duplicates", "inventory", "serving", "usage")),
    "exporting.cyclonedx", "exporting.table",
    *(
        f"{house}.{path.stem}"
        for house in ("catalog", "render", "stores", "ui", "workflows")
        for path in sorted((HOUSE / house).glob("[a-z]*.py"))
    ),
)  # fmt: skip

FLOORS = (
    ("errors", "state"),
    ("plan", "content"),
    ("world", "facts", "reuse"),
    ("leaving", "rules"),
    ("safety", "obstacles"),
    ("diff",),
    ("decide", "selecting", "stale"),
    ("survey",),
    ("back",),
    ("cli",),
)
"""From the ground up: a room imports rooms of lower floors, or of its own."""


def _module(path: Path) -> str:
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _file(room: str) -> Path:
    path = HOUSE.joinpath(*room.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """Yield the dotted names that a module imports, also inside functions; what is for the type checker left out."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not lazy:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        waiting += ast.iter_child_nodes(node)


def _is_in(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _rooms(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """Yield the modules of ours that a module imports."""
    for name in _imports(path, lazy=lazy):
        if name.startswith("reconciler."):
            room = name.removeprefix("reconciler.")
            while room and not _file(room).exists():
                room = room.rpartition(".")[0]
            yield room


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_names_no_module_that_touches_the_world(room: str) -> None:
    names = list(_imports(_file(room)))
    assert not [name for name in names if _is_in(name, OUTSIDE)]
    assert not [name for name in names if name.startswith("pathlib.") and "Pure" not in name]
    assert not [name for name in names if name.startswith("reconciler.") and _is_in(name[11:], WORLDLY - {"apply"})]


def test_a_module_that_opens_a_file_would_be_found(tmp_path: Path) -> None:
    """The control: what the rule forbids is seen, also inside a function and under another name."""
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from os import path as p\n    import urllib.request as u\n")
    assert [_is_in(name, OUTSIDE) for name in _imports(bad)] == [True, True]


def test_no_room_calls_open() -> None:
    for room in PURE:
        calls = [node for node in ast.walk(ast.parse(_file(room).read_text())) if isinstance(node, ast.Call)]
        assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "open"], room


def test_nothing_points_back_up() -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    for room, number in floor.items():
        below = _file(room) if room != "cli" else HOUSE / "cli" / "__init__.py"
        for other in _rooms(below):
            assert floor.get(other.partition(".")[0], 0) <= number, f"{room} imports {other}"


def test_nobody_but_the_command_line_imports_it() -> None:
    for path in HOUSE.rglob("*.py"):
        name = _module(path)
        if name.partition(".")[0] in ("cli", "__main__", "hub"):
            continue
        assert not [room for room in _rooms(path) if room.partition(".")[0] == "cli"], name


def test_imports_at_module_level_make_no_circle() -> None:
    graph = {
        _module(path): {room for room in _rooms(path, lazy=False) if room} - {_module(path)}
        for path in HOUSE.rglob("*.py")
    }
    done: set[str] = set()

    def visit(room: str, above: tuple[str, ...]) -> None:
        assert room not in above, " -> ".join((*above, room))
        if room not in done:
            for other in sorted(graph.get(room, ())):
                visit(other, (*above, room))
            done.add(room)

    for room in sorted(graph):
        visit(room, ())
