"""The documentation is a promise: what the program can do stands in it, and what stands in it the program can do."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from reconciler import cli, settings
from reconciler.errors import ReconcilerError
from reconciler.manifest import json_schema, load
from reconciler.plan import Action, Plan
from reconciler.planjson import to_json
from reconciler.registry import MERGED
from reconciler.render import lines
from reconciler.sources import SOURCES
from reconciler.state import Digest
from reconciler.stores import STORES

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
HOUSE = ROOT / "reconciler"

FENCE = re.compile(r"^ *(```+)([a-z]*)\n(.*?)^ *\1 *$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")

INPUTS = (
    "HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE", "NO_COLOR", "FORCE_COLOR", "TERM", "SSL_CERT_FILE", "XDG_CONFIG_HOME", "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
)  # fmt: skip
OF_OTHERS = {"HOME", "LANG", "PATH", "PYDANTIC_DISABLE_PLUGINS", "PYTHONPATH"}
"""Variables that every program has, or that we set for libraries."""


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """What stands below a heading, down to the next one of its level."""
    found = re.search(rf"^(#+) `?{re.escape(title)}`?\n(.*?)(?=^\1 |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {title!r}"
    return found[2]


# -- commands ---------------------------------------------------------------------------------------------------------


class Option(NamedTuple):
    names: tuple[str, ...]
    takes_value: bool


def options() -> dict[str, list[Option]]:
    """Every command with its options, as the parser knows them."""
    built: Any = typer.main.get_command(cli.app())
    return {
        name: [
            Option((*parameter.opts, *parameter.secondary_opts), not parameter.is_flag)
            for parameter in command.params
            if parameter.param_type_name == "option"
        ]
        for name, command in built.commands.items()
    }


OPTIONS = options()


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_and_every_flag_of_it_is_documented(command: str) -> None:
    said = section(page("commands"), command)
    flags = {name for option in OPTIONS[command] for name in option.names} - {"--help", "-h"}

    assert not [flag for flag in sorted(flags) if not re.search(rf"`{re.escape(flag)}[` ]", said)]


def test_the_options_of_the_program_itself_are_documented() -> None:
    built: Any = typer.main.get_command(cli.app())
    names = {name for parameter in built.params for name in parameter.opts}

    assert {"--version", "--install-completion"} <= names
    assert not [name for name in sorted(names) if f"`{name}`" not in page("commands")]


def test_every_command_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert not [command for command in cli.COMMANDS if f"`{command}`" not in readme]


def test_no_command_is_documented_that_is_not_there() -> None:
    titles = re.findall(r"^## ([a-z]+)$", page("commands"), re.MULTILINE)

    assert titles == list(cli.COMMANDS)


def exit_codes() -> set[int]:
    """The codes of the errors, of verify, and those that commands return by number."""
    waiting, found = [ReconcilerError], {8, 16, 32}
    while waiting:
        error = waiting.pop()
        found.add(error.exit_code)
        waiting += error.__subclasses__()
    for path in [*(HOUSE / "cli").glob("*.py"), HOUSE / "receipt.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and ast.unparse(node.returns or ast.Constant(None)) == "int":
                returns = [each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value]
                numbers = [each for value in returns for each in ast.walk(value) if isinstance(each, ast.Constant)]
                found |= {each.value for each in numbers if type(each.value) is int}
    return found


def test_every_exit_code_is_documented() -> None:
    codes = exit_codes()
    said = section(page("commands"), "Exit codes")

    assert {0, 1, 2, 3, 4, 5, 6, 7, 130} <= codes
    assert not [code for code in sorted(codes) if not re.search(rf"(\| {code} \||\b{code} \()", said)]


# -- the manifest, the plan, the lock, the registry -------------------------------------------------------------------


def test_every_key_of_the_manifest_has_a_row() -> None:
    text, schema = page("manifest"), json_schema()
    sections = {
        "Location": "locations",
        "Route": "routes",
        "Variant": "variants",
        "Policy": "policy",
        "Parameters": "parameters",
        "Rule": "policy.rules",
    }
    missing = [key for key in schema["properties"] if f"| `{key}` |" not in section(text, "Top level")]
    for title, part in schema["$defs"].items():
        said = section(text, sections.get(title, "`lock`: pins by hand"))
        missing += [f"{title}.{key}" for key in part["properties"] if f"| `{key}` |" not in said]

    assert not missing


def test_every_key_of_the_manifest_stands_in_an_example() -> None:
    shown = "".join(found[3] for found in FENCE.finditer(page("manifest")) if found[2] == "yaml")
    schema = json_schema()
    keys = {key for part in (schema, *schema["$defs"].values()) for key in part["properties"]}

    assert not [key for key in sorted(keys) if not re.search(rf"\b{key}:", shown)]


def test_every_word_that_the_manifest_chooses_from_is_documented() -> None:
    text = page("manifest")
    words = [
        word
        for part in json_schema()["$defs"].values()
        for p in part["properties"].values()
        for word in p.get("enum", ())
    ]

    assert set(STORES) < set(words)
    assert not [word for word in words if f"`{word}`" not in text]


@pytest.mark.parametrize("scheme", SOURCES)
def test_every_kind_of_source_is_documented(scheme: str) -> None:
    assert f"`{scheme}:" in page("sources")


@pytest.mark.parametrize("store", STORES)
def test_every_store_is_documented(store: str) -> None:
    assert f"## `{store}`: " in page("stores")


def reasons() -> set[str]:
    """Every reason that a step can have: what the rooms that make steps say in its place."""
    found: set[str] = set()
    for name in ("diff", "leaving"):
        tree = ast.parse((HOUSE / f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Step" and len(node.args) > 2:
                found |= _texts(node.args[2])
            if isinstance(node, ast.Assign) and any("reason" in ast.unparse(each) for each in node.targets):
                found |= _texts(node.value)
            if isinstance(node, ast.Tuple) and len(node.elts) == 2 and "Action." in ast.unparse(node.elts[0]):
                found |= _texts(node.elts[1])
            if isinstance(node, ast.FunctionDef) and node.name in ("_why_download", "_why_placed", "_record_differs"):
                for part in ast.walk(node):
                    found |= _texts(part.value) if isinstance(part, ast.Return) and part.value else set()
    return found


def _texts(value: ast.AST) -> set[str]:
    """The texts that an expression may be; those that it is compared with, or indexed by, are none."""
    if isinstance(value, ast.Constant):
        return {value.value} if isinstance(value.value, str) else set()
    if isinstance(value, ast.IfExp):
        return _texts(value.body) | _texts(value.orelse)
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "next":
        return {each.value for each in ast.walk(value) if isinstance(each, ast.Constant)}
    return set()


def test_every_action_and_reason_is_documented() -> None:
    found, text = reasons(), section(page("plan"), "Actions and reasons")

    assert found >= {
        "missing", "new-revision", "corrupt", "incomplete", "adopt", "link", "copy", "move", "rename", "record",
        "metadata", "role", "undeclared", "superseded", "stale-record", "duplicate-record", "partial", "as declared",
        "unreadable", "undecided",
    }  # fmt: skip
    assert not [action for action in Action if f"| `{action}` |" not in text]
    assert not [reason for reason in sorted(found) if f"| `{reason}` |" not in text]


def test_no_reason_is_documented_that_no_step_has() -> None:
    said = set(
        re.findall(r"^\| (?:`[a-z]+` )?\| `([a-z -]+)` \|", section(page("plan"), "Actions and reasons"), re.MULTILINE)
    )

    assert said == reasons()


def test_every_symbol_is_explained() -> None:
    said = section(page("plan"), "Symbols")
    symbols = {*lines.SYMBOLS.values(), lines.BLOCKED, "-+", "-~"}

    assert not [symbol for symbol in symbols if f"| `{symbol}` |" not in said]


def test_every_key_of_a_plan_is_documented() -> None:
    plan = Plan("m", "m", Digest("sha256:" + "0" * 64), "l", None, "r", 0, {}, ())
    said = section(page("plan"), "The JSON document")
    tree = ast.parse((HOUSE / "planjson.py").read_text())
    [step] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "_step"]
    keys = {key.value for node in ast.walk(step) if isinstance(node, ast.Dict) for key in node.keys if key}
    keys |= {
        node.slice.value
        for node in ast.walk(step)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
    }

    assert {"address", "blocked", "renamed_from", "unlinks"} <= keys
    assert not [key for key in sorted({*to_json(plan), *keys}) if f"`{key}`" not in said]


def test_the_files_of_the_registry_are_documented() -> None:
    assert MERGED in page("registry")
    for name in ("curated", "discovered", "state.json", "backups", "generations", "journal", "lock"):
        assert name in page("registry")


def test_every_field_that_we_write_into_an_entry_is_documented() -> None:
    from reconciler.registry import block, entry

    said = page("registry")

    assert not [field for field in sorted(entry._FIELDS) if f"`{field}" not in said]
    assert not [
        key for key in sorted(block._KNOWN) if f"`{key}`" not in section(said, "`metadata.reconciler`".strip("`"))
    ]


# -- settings ---------------------------------------------------------------------------------------------------------


def test_every_setting_with_its_variables_is_documented() -> None:
    rows = {row.split("|")[1].strip(" `"): row for row in page("settings").splitlines() if row.startswith("| `")}
    wanted = {name: setting.variables for name, setting in settings._SETTINGS.items()}

    assert not [name for name in settings.Settings.__dataclass_fields__ if name != "origins" and name not in rows]
    assert not [
        (name, each) for name, variables in wanted.items() for each in variables if f"`{each}`" not in rows[name]
    ]


def test_every_environment_variable_that_is_read_is_documented() -> None:
    read_by_name: set[str] = set()
    for path in HOUSE.rglob("*.py"):
        if path.parent.name in ("demo", "hub"):
            continue
        text = path.read_text()
        read_by_name |= set(re.findall(r'environ(?:\.get\(|\[|\.setdefault\()"([A-Z_]+)"', text))
    unsaid = {name for name in {*read_by_name, *INPUTS} - OF_OTHERS if f"`{name}`" not in page("settings")}

    assert "SSL_CERT_FILE" in read_by_name
    assert not unsaid


# -- what stands in the pages -----------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as the usual viewers make them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    text = INLINE.sub("", FENCE.sub("", path.read_text(encoding="utf-8")))
    broken = []
    for target in LINK.findall(text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)

    assert not broken


def manifests() -> Iterator[Any]:
    for path in PAGES:
        for number, found in enumerate(FENCE.finditer(path.read_text(encoding="utf-8"))):
            if found[2] == "yaml":
                yield pytest.param(found[3], id=f"{path.name}-{number}")


@pytest.mark.parametrize("text", list(manifests()))
def test_every_manifest_in_the_pages_is_valid(text: str, world: Path) -> None:
    indent = len(text) - len(text.lstrip())
    text = re.sub(rf"^ {{{indent}}}", "", text, flags=re.MULTILINE)
    (world / "m.yaml").write_text(text, encoding="utf-8")

    assert load(world / "m.yaml").warnings == ()


def test_a_lock_that_is_shown_can_be_read() -> None:
    from reconciler import lockfile

    [shown] = [found[3] for found in FENCE.finditer(page("lock")) if found[2] == "json"]
    lock = lockfile.loads(shown, "lock.md")

    assert lockfile.dumps(lock) == shown


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_json_that_is_shown_is_json(path: Path) -> None:
    for found in FENCE.finditer(path.read_text(encoding="utf-8")):
        if found[2] == "json":
            json.loads(found[3])


def command_lines(path: Path) -> Iterator[str]:
    """Every command line of ours in a page: in blocks at the beginning of a line, in running text between backticks."""
    text = path.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        for line in found[3].splitlines():
            if begins := re.match(r"\s*(?:\$ |- run: |ExecStart=\S*/)?(reconciler\s.*)", line):
                yield begins[1]
    for found in INLINE.finditer(FENCE.sub("", text)):
        if re.match(r"reconciler [a-z-]", found[1]):
            yield found[1]


def complaint(line: str) -> str:
    """Say what the parser would not take in a command line, '' for nothing."""
    words = shlex.split(re.split(r"\s[|>&;#]", line)[0], comments=True)[1:]
    command, *rest = [word.strip("[]") for word in words]
    if command.startswith("-"):
        return "" if command in ("--help", "--version", "--install-completion", "--show-completion") else command
    if command == "COMMAND":
        return ""
    if command not in OPTIONS:
        return f"no command {command}"
    known = {name: option for option in OPTIONS[command] for name in option.names} | {"--help": None, "-h": None}
    while rest:
        word, *rest = rest
        option = known.get(word.partition("=")[0])
        if word.startswith("-") and word.partition("=")[0] not in known:
            return f"{command} has no {word}"
        if option is not None and option.takes_value and "=" not in word:
            if not rest:
                return f"{word} takes a value"
            rest = rest[1:]
    return ""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_line_in_the_pages_parses(path: Path) -> None:
    assert not [f"{line}: {wrong}" for line in command_lines(path) if (wrong := complaint(line))]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("reconciler plan -o plan.json --json | jq .", ""),
        ("reconciler plna", "no command plna"),
        ("reconciler plan --dry-run", "plan has no --dry-run"),
        ("reconciler undo --to", "--to takes a value"),
    ],
)
def test_a_command_line_that_does_not_parse_would_be_found(line: str, wrong: str) -> None:
    assert complaint(line) == wrong


def test_command_lines_are_found_at_all() -> None:
    assert sum(1 for path in PAGES for _ in command_lines(path)) > 60


def test_every_room_of_the_house_stands_in_the_architecture() -> None:
    rooms = {f"{path.name}/" for path in HOUSE.iterdir() if (path / "__init__.py").exists()}
    rooms |= {path.stem for path in HOUSE.glob("*.py")} - {"__init__", "__main__"}
    said = page("architecture")

    assert not [room for room in sorted(rooms) if not re.search(rf"^\| [^|]*`{room}`", said, re.MULTILINE)]


def test_no_room_stands_in_the_architecture_that_is_not_there() -> None:
    cells = re.findall(r"^\| ((?:`[a-z_/]+`,? ?)+) \|", section(page("architecture"), "Rooms"), re.MULTILINE)
    rooms = [room for cell in cells for room in re.findall(r"`([a-z_/]+)`", cell)]

    assert len(rooms) > 50
    assert not [room for room in rooms if not (HOUSE / room).is_dir() and not (HOUSE / f"{room}.py").is_file()]


def test_every_member_of_the_ports_is_explained_to_contributors() -> None:
    from reconciler.sources import Source
    from reconciler.stores import Store

    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    members = [name for port in (Source, Store) for name in vars(port) if not name.startswith("_")]

    assert not [name for name in members if f"| `{name}(" not in text]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_names_a_host_of_a_package_registry(path: Path) -> None:
    hosts = r"pypi\.org|pythonhosted\.org|npmjs\.|crates\.io|rubygems\.org|proxy\.golang\.org|conda\.anaconda\.org"

    assert not re.search(hosts, path.read_text(encoding="utf-8"))
