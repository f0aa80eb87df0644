"""The JSON Schema that editors use says what the loader says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from manifest_kit import HEAD, loaded, mistakes

from reconciler.declared import check_name
from reconciler.manifest import json_schema, load, schema_text
from reconciler.yamlread import read

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("manifests/**/*.yaml"), *ROOT.glob("examples/*.yaml")])


def valid(value: Any) -> bool:
    return jsonschema.Draft202012Validator(json_schema()).is_valid(value)


def test_the_copy_in_the_repository_is_what_the_code_prints() -> None:
    assert (ROOT / "schema/manifest.v1.json").read_text(encoding="utf-8") == schema_text()


def test_it_is_a_schema_of_draft_2020_12() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def _properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for owner in (schema, *schema["$defs"].values()):
        for name, said in owner["properties"].items():
            yield f"{owner['title']}.{name}", said


def test_every_key_is_described() -> None:
    silent = [name for name, said in _properties(json_schema()) if not said.get("description")]
    assert silent == []


def test_examples_in_the_schema_are_valid_themselves() -> None:
    schema = json_schema()
    for name, said in _properties(schema):
        for example in said.get("examples", ()):
            part = jsonschema.Draft202012Validator({**said, "$defs": schema["$defs"]})
            assert part.is_valid(example), f"{name}: {example!r}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_manifest_of_the_repository_loads_and_passes_the_schema(path: Path) -> None:
    assert load(path).warnings == ()
    text = path.read_text(encoding="utf-8")
    jsonschema.validate(read(text.encode(), path.name).value, json_schema())
    modeline = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert modeline is not None
    assert (path.parent / modeline[1]).resolve() == ROOT / "schema/manifest.v1.json"


def test_each_feature_has_its_example() -> None:
    names = {path.stem for path in FILES if path.parent.name == "examples"}
    assert names >= {
        "minimal", "routes", "pins-by-hand", "roles", "support-repository", "files-and-exclude", "hf-cache",
        "https-and-file", "policy", "many-locations", "branches", "ollama",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "version: 2",
        "version: 1\ncolour: blue",
        "version: 1\nlocations: {a: {store: ollama, root: ~/x}}",
        "version: 1\nlocations: {a: {store: flat}}",
        "version: 1\nlocations: {a: {store: flat, root: x}}",
        "version: 1\nlocations: {a@b: {store: flat, root: ~/x}}",
        HEAD + "variants: {v: {}}",
        HEAD + "variants: {v: {source: hf:o/r, protect: 1}}",
        HEAD + "variants: {v: {source: hf:o/r, files: x}}",
        HEAD + "variants: {v: {source: hf:o/r, lock: {sha256: abc}}}",
        HEAD + "policy: {max_remove: 30}",
        HEAD + "policy: {min_free: lots}",
        HEAD + "policy: {keep_trash: soon}",
        HEAD + "roles: {chat: x}",
    ],
)
def test_what_the_loader_refuses_for_its_shape_an_editor_marks_too(
    world: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    assert mistakes(monkeypatch, world, text)
    assert not valid(read(text.encode(), "m.yaml").value)


@pytest.mark.parametrize(
    "text",
    [
        "version: 1",
        HEAD + "variants:\nroles:\n",
        HEAD + "variants: {v: {source: hf:o/r, lock: {revision: 0123456}, quant: 4}}",
        HEAD + "variants: {v: {source: hf:o/r, backend: null}}",
        HEAD + "policy: {max_remove: 0.3, min_free: 20 GiB, keep_trash: 90}",
    ],
)
def test_what_the_loader_takes_an_editor_takes(world: Path, text: str) -> None:
    loaded(world, text)
    assert valid(read(text.encode(), "m.yaml").value)


@pytest.mark.parametrize(
    "name", ["a", "Qwen2.5-VL_7B+x", "b_(MXFP4)", "模型", "a@b", "a/b", "a b", "a:b", "-a", ".a", "_a", "a*", ""]
)
def test_the_pattern_of_names_agrees_with_the_rule(name: str) -> None:
    pattern = json.loads(schema_text())["properties"]["variants"]["anyOf"][0]["propertyNames"]["pattern"]
    try:
        check_name(name)
    except ValueError:
        assert not re.search(pattern, name)
    else:
        assert re.search(pattern, name)
