"""The page for those who come from ImageWorks: nothing of theirs is missing, and every example works as it stands."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from guide_kit import DIALO, DOCS, MANIFEST, VL, a_workstation, safetensors
from ollama_kit import install

from reconciler.cli import run
from reconciler.hub.ggufs import gguf
from reconciler.hub.ollama_server import OllamaServer
from reconciler.hub.server import Hub

PAGE = (DOCS / "from-imageworks.md").read_text(encoding="utf-8")

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "download": (
        "--format", "-f", "--location", "-l", "--include-optional", "-o", "-O", "--include-large-optional", "--force",
        "--non-interactive", "-y", "--weights", "-w", "--support-repo", "--no-aria2",
    ),
    "list": (
        "--format", "-f", "--location", "-l", "--backend", "-b", "--show-deprecated", "--details", "-d", "--json",
        "--include-logical", "--dedupe", "--show-internal-names", "--show-backend", "--show-installed",
        "--include-testing",
    ),
    "list-roles": ("--show-capabilities", "--json"),
    "stats": (),
    "analyze": ("--files",),
    "scan": (
        "--base", "--backend", "--location", "--dry-run", "-f", "--format", "--update-existing", "--include-testing",
    ),
    "normalize-formats": (
        "--base", "--dry-run", "--apply", "--rebuild", "--prune-missing", "--backup", "--no-backup",
    ),
    "migrate-architecture": ("--dry-run", "--limit"),
    "reconcile-architecture": ("--dry-run", "--limit"),
    "verify": ("--fix-missing",),
    "remove": ("--delete-files", "--purge", "--force"),
    "prune-duplicates": ("--dry-run", "-v", "--verbose", "--backend"),
    "purge-hf": ("--weights-root", "--backend", "--dry-run"),
    "purge-deprecated": ("--placeholders-only", "--dry-run"),
    "purge-logical-only": ("--include-curated", "--discovered-only", "--dry-run", "--apply"),
    "purge-tests": (),
    "prune-deprecated": (),
    "reset-discovered": ("--backend", "--dry-run", "--backup", "--no-backup"),
    "tidy-empty-dirs": (),
    "prune-no-chat-template": (),
    "restore-ollama": ("--backup", "--dry-run", "--include-deprecated"),
    "backfill-ollama-paths": ("--location", "--set-format", "--no-set-format", "--dry-run", "-v"),
    "import_ollama_models.py": (
        "--backend", "--location", "--dry-run", "--deprecate-placeholders", "--purge-existing",
    ),
    "preview-simple-slugs": ("--include-ollama", "--include-hf", "--json"),
    "apply-simple-slugs": (
        "--include-ollama", "--include-hf", "--disambiguate", "--rename-slugs", "--display-only",
        "--allow-skip-on-collision", "--no-skip-on-collision", "--dry-run", "--apply", "--backup", "--no-backup",
        "--json", "--tests-only",
    ),
    "config": (),
}  # fmt: skip
"""Every command of `imageworks-download` and its helper script, with its options."""

OTHERS = (
    "sync-downloader", "regenerate-discovered", "discover-local-hf", "ingest-local-hf", "discover-all",
    "purge-imported", "rebuild-ollama", "undeprecate-discovered", "show-backends", "select", "verify NAME --lock",
    "lock --set-expected", "unlock", "list --role", "probe-vision", "metrics", "activate-model", "current-model",
    "--root", "--hf-root", "--providers", "--require-vision", "--location", "list-roles", "REST service",
)  # fmt: skip
"""Of `imageworks-loader` and `imageworks-models`."""

TABS = ("Browse", "parameters", "roles", "Download", "Scan", "Ollama import", "Maintenance", "Backends", "Advanced")
"""Of the page of its web interface."""

NEVER = (
    "`--no-aria2`", "one thread", "dry run of `download`", "a plan", "a way back", "`list-roles --include-testing`",
    "`imageworks-loader reset-discovered`", "`imageworks-model-registry`", "diff viewer", "audit log", "lock toggle",
    "409", "CSV", "profile editor", "sparse overlay", "promotion", "`migrate.py`", "addresses of files",
    "80 characters", "Ollama's digests", "`schema_version`", "tokens", "gated", "two processes",
)  # fmt: skip
"""What its documents name and its code has not."""

VARIABLES = (
    "IMAGEWORKS_MODEL_ROOT", "IMAGEWORKS_LMSTUDIO_ROOT", "IMAGEWORKS_LOG_DIR", "IMAGEWORKS_DEBUG",
    "IMAGEWORKS_TEST_MODEL_PATTERNS", "IMAGEWORKS_IMPORT_INCLUDE_TESTING", "IMAGEWORKS_OLLAMA_HOST", "OLLAMA_MODELS",
    "OLLAMA_BASE_URL", "IMAGEWORKS_REGISTRY_DIR",
)  # fmt: skip
KEYS = (
    "linux_wsl_root", "windows_lmstudio_root", "max_connections", "max_connections_per_server",
    "max_concurrent_downloads", "enable_resume", "include_optional_files", "preferred_formats", "registry_path",
    "cache_path",
)  # fmt: skip
CALLS = (
    "ModelDownloader.download", "ModelDownloader.list_models", "ModelDownloader.remove_model",
    "ModelDownloader.verify_model", "ModelDownloader.get_stats", "FormatDetector", "URLAnalyzer", "record_download",
    "list_downloads", "remove_download", "load_registry", "get_entry", "select_model",
)  # fmt: skip


# -- nothing is missing -----------------------------------------------------------------------------------------------


def sections(text: str) -> dict[str, str]:
    """Heading -> what stands below it, down to the next heading."""
    parts = re.split(r"^##+ (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


SECTIONS = sections(PAGE)


def section_of(word: str) -> str:
    [found] = [text for title, text in SECTIONS.items() if f"`{word}`" in title]
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_old_command_and_option_has_its_new_way_with_an_example(command: str) -> None:
    text = section_of(command)
    titles = next(title for title, said in SECTIONS.items() if said is text)
    before = set(re.findall(r"[\w.-]+", " ".join(re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE))))
    missing = [option for option in COMMANDS[command] if option not in before]
    missing += [command] * (command not in before and titles.count("`") > 2 and len(before) > 0)
    assert not missing
    assert [example for example in steps_of(text) if isinstance(example, Shell)]


@pytest.mark.parametrize("word", OTHERS)
def test_the_other_tools_are_mapped_too(word: str) -> None:
    assert word in SECTIONS["Commands of `imageworks-loader` and `imageworks-models`"]


@pytest.mark.parametrize(
    ("words", "title"), [(TABS, "The Models page"), (NEVER, "Documented there, and missing")], ids=["tabs", "never"]
)
def test_what_was_seen_or_only_promised_has_a_row_with_an_example(words: tuple[str, ...], title: str) -> None:
    rows = re.findall(r"^\| (.+?) \| .+ \| `reconciler .+` \|$", SECTIONS[title], re.MULTILINE)
    assert not [word for word in words if not any(word in row for row in rows)]


@pytest.mark.parametrize(
    ("words", "title"), [(VARIABLES, "Environment variables"), (KEYS, "Configuration")], ids=["variables", "keys"]
)
def test_every_variable_and_key_has_a_row_with_an_example(words: tuple[str, ...], title: str) -> None:
    rows = re.findall(r"^\| (.+?) \| .+ \| `.*reconciler .+` \|$", SECTIONS[title], re.MULTILINE)
    assert not [word for word in words if not any(f"`{word}`" in row for row in rows)]


@pytest.mark.parametrize("call", CALLS)
def test_every_python_call_has_an_example(call: str) -> None:
    assert "```python\n" in section_of(call)


# -- every example works ----------------------------------------------------------------------------------------------


class Shell(NamedTuple):
    """A command line."""

    line: str


class Edit(NamedTuple):
    """A change to the manifest, as `diff` shows it."""

    text: str


class Program(NamedTuple):
    """A block of Python."""

    text: str


_STEP = re.compile(
    r"^```(?P<language>\w+)\n(?P<block>.*?)^```$|^\|(?:[^|\n]+\|)+ `(?P<cell>(?:[A-Z_]+=\S+ )?reconciler [^`|]+)` \|$",
    re.MULTILINE | re.DOTALL,
)


def steps_of(text: str) -> Iterator[Shell | Edit | Program]:
    """Yield what a page tells the reader to do, in its order."""
    for found in _STEP.finditer(text):
        match found["language"]:
            case None:
                yield Shell(found["cell"])
            case "sh":
                yield from (Shell(line) for line in found["block"].splitlines() if line)
            case "diff":
                yield Edit(found["block"])
            case "python":
                yield Program(found["block"])


def entry(name: str, path: Path, files: Mapping[str, bytes], **more: Any) -> dict[str, Any]:
    """A record as the downloader writes it."""
    hashed = [{"path": each, "sha256": hashlib.sha256(data).hexdigest()} for each, data in sorted(files.items())]
    return {
        "name": name, "display_name": name, "backend": "vllm",
        "backend_config": {"port": 24001, "model_path": str(path), "extra_args": []},
        "capabilities": {"text": True}, "artifacts": {"aggregate_sha256": "0" * 64, "files": hashed},
        "metadata": {"created_from_download": True}, "served_model_id": "None", "deprecated": False,
        "roles": [], "role_priority": {}, "download_format": "safetensors", "download_location": "linux_wsl",
        "download_path": str(path), "download_size_bytes": sum(map(len, files.values())),
        "download_files": sorted(files), "source_provider": "hf", **more,
    }  # fmt: skip


def old_registry() -> None:
    """Put a registry of ImageWorks into the home, and what it speaks of."""
    files = {"config.json": b'{"model_type": "gpt2", "torch_dtype": "float16"}\n', "model.safetensors": safetensors(2)}
    place = Path("~/old/weights").expanduser() / DIALO
    place.mkdir(parents=True)
    for name, data in files.items():
        (place / name).write_bytes(data)
    known = entry(
        "dialogpt-medium", place, files, source={"huggingface_id": DIALO}, roles=["chat"], role_priority={"chat": 10}
    )
    test = entry("testzzz-model", Path("/nowhere/pytest-of-me/pytest-3/weights/own/x"), {})
    configs = Path("~/imageworks/configs").expanduser()
    configs.mkdir(parents=True)
    for layer, entries in (("curated.", []), ("discovered.", [known, test]), ("", [known, test])):
        (configs / f"model_registry.{layer}json").write_text(json.dumps(entries, indent=2))


def its_registry() -> None:
    """Put what its other commands would mend where the manifest says that the registry is."""
    registry = Path("~/ai-models/registry").expanduser()
    weights = Path("~/ai-models/weights").expanduser()
    entries = [
        entry("logical", Path(), {}, download_path=None, backend_config={}),
        entry("twin-of-qwen", weights / VL, {}),
        entry("elsewhere", Path("/mnt/away/x/y"), {}),
        entry("old", weights / VL, {}, deprecated=True),
        entry("gone", weights / "acme/gone", {}),
    ]
    registry.mkdir(parents=True)
    (registry / "model_registry.discovered.json").write_text(json.dumps(entries, indent=2))


@pytest.fixture
def machine(world: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The machine of the page: the manifest, a hub, an Ollama, a registry of ImageWorks, its variables."""
    monkeypatch.setenv("COLUMNS", "200")
    with tempfile.TemporaryDirectory(prefix="home-of-") as home:  # records below pytest's own are taken for tests
        monkeypatch.setenv("HOME", home)
        yield from _furnished(world, home, monkeypatch)


def _furnished(world: Path, home: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    models = world / "ollama"
    config = json.dumps({"model_format": "gguf", "model_family": "llama", "model_type": "8M", "file_type": "Q4_K_M"})
    install(models, "registry.ollama.ai/library/tiny/latest", {"model": gguf("Q4_K_M", name="tiny")}, config.encode())
    old_registry()
    its_registry()
    with a_workstation(world, monkeypatch) as hub, OllamaServer.start(models) as server:
        given = {
            "OLLAMA_HOST": server.host, "OLLAMA_MODELS": str(models), "OLLAMA_BASE_URL": server.url,
            "IMAGEWORKS_MODEL_ROOT": f"{home}/ai-models/weights",
            "IMAGEWORKS_LMSTUDIO_ROOT": f"{home}/lm studio/models",
            "IMAGEWORKS_REGISTRY_DIR": f"{home}/imageworks/configs", "IMAGEWORKS_LOG_DIR": f"{home}/log",
        }  # fmt: skip
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        yield hub


def shell(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command line of the page as a shell would, in this process."""
    words = [os.path.expanduser(os.path.expandvars(word)) for word in shlex.split(line)]
    with monkeypatch.context() as patch:
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            patch.setenv(name, value)
        assert words.pop(0) == "reconciler"
        return run(words)


def test_every_example_of_the_page_works_where_it_stands(
    machine: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = Path("workstation.yaml")
    assert MANIFEST in PAGE, "the page shows the manifest that the examples are run with"
    names: dict[str, Any] = {}
    done = 0
    for step in steps_of(PAGE):
        match step:
            case Shell(line):
                capsys.readouterr()
                code = shell(line, monkeypatch)
                assert code == 0, f"{line}\n{capsys.readouterr()}"
            case Edit(text):
                lines = [(line[:1], f"{line[1:]}\n") for line in text.splitlines()]
                before, after = ("".join(line for sign, line in lines if sign != other) for other in "+-")
                assert manifest.read_text().count(before) == 1, manifest.read_text()
                manifest.write_text(manifest.read_text().replace(before, after))
            case Program(text):
                exec(compile(text, f"docs/from-imageworks.md: {text.splitlines()[0]}", "exec"), names)
        done += 1
    assert done > 130
    left = json.loads((Path("~/ai-models/registry").expanduser() / "model_registry.discovered.json").read_text())
    theirs = [entry["name"] for entry in left if "reconciler" not in entry.get("metadata", {})]
    assert theirs == ["elsewhere"], "the rest was pruned, or taken over"
