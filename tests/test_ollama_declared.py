"""What a manifest may say of Ollama models and their locations, and what becomes of it on the way to a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from manifest_kit import loaded, mistakes

from reconciler.desired import Desires, desire
from reconciler.ollama import manifests
from reconciler.ollama.manifests import CONFIG_TYPE, LAYER_TYPE, Layer
from reconciler.ollama.modelfile import LARGEST, check_template, check_text, parameters_of, parameters_text
from reconciler.plan import Action
from reconciler.render import lines
from reconciler.state import Pin
from reconciler.validate import validate
from tests.world_kit import artifact, digest, have, note, plan, recorded, told, want

COMMIT = "c" * 40
HEAD = """\
version: 1
locations:
  o: { store: ollama }
  f: { store: flat, root: ~/models/flat }
"""


def pin(source: str, *paths: str) -> Pin:
    return Pin(source, COMMIT, tuple(artifact(path, path) for path in sorted(paths)))


def registry(source: str, *kinds: str) -> Pin:
    layers = (Layer(LAYER_TYPE + kind, digest(kind), len(kind)) for kind in kinds)
    text = manifests.compact(Layer(CONFIG_TYPE, digest("config"), 6), layers)
    return manifests.pin_of(source, text.encode())


def desired(world: Path, text: str, **pins: Pin) -> Desires:
    return desire(loaded(world, text), pins, {})


# -- the fields --------------------------------------------------------------------------------------------------------


def test_texts_may_have_many_lines_and_parameters_keep_their_types(world: Path) -> None:
    variant = loaded(
        world,
        HEAD + "variants:\n"
        "  v:\n"
        "    source: hf:o/r\n"
        "    location: o\n"
        "    template: |\n"
        "      {{ .System }}\n"
        "\n"
        "      {{ .Prompt }}\n"
        '    system: "tab\\there"\n'
        "    parameters: { num_ctx: 8192, temperature: 0.7, top_p: 1, stop: [a, '1'], use_mmap: false, seed: -1 }\n"
        "    adapters: ['lora*']\n",
    ).manifest.variants["v"]
    assert variant.template == "{{ .System }}\n\n{{ .Prompt }}\n"
    assert variant.system == "tab\there"
    assert variant.parameters is not None
    assert variant.parameters.said() == {
        "num_ctx": 8192, "temperature": 0.7, "seed": -1, "top_p": 1.0, "stop": ["a", "1"], "use_mmap": False,
    }  # fmt: skip


def test_one_stop_text_needs_no_list(world: Path) -> None:
    text = HEAD + "variants: { v: { source: hf:o/r, location: o, parameters: { stop: '###' } } }\n"
    parameters = loaded(world, text).manifest.variants["v"].parameters
    assert parameters is not None
    assert parameters.said() == {"stop": ["###"]}


def test_a_variant_may_be_called_parameters_and_its_texts_stay_texts(world: Path) -> None:
    text = HEAD + "variants: { parameters: { source: hf:o/r, location: f, quant: 0123 } }\n"
    assert loaded(world, text).manifest.variants["parameters"].quant == "0123"


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("parameters: { numctx: 1 }", "m.yaml:6:51: unknown key `numctx` (did you mean `num_ctx`?)"),
        ("parameters: { num_ctx: 1.5 }", "m.yaml:6:51: `num_ctx`: expected a whole number, found the number 1.5"),
        ("parameters: { num_ctx: '1' }", "m.yaml:6:51: `num_ctx`: expected a whole number, found `1`"),
        ("parameters: { num_ctx: true }", "m.yaml:6:51: `num_ctx`: expected a whole number, found true"),
        ("parameters: { temperature: hot }", "m.yaml:6:51: `temperature`: expected a number, found `hot`"),
        ("parameters: { temperature: .inf }", "m.yaml:6:51: `temperature`: expected a number, found `inf`"),
        ("parameters: { use_mmap: 1 }", "m.yaml:6:51: `use_mmap`: expected true or false, found the number 1"),
        (
            "parameters: { stop: [1] }",
            "m.yaml:6:51: `stop`: expected texts of 1 to 1024 characters, found `1`; quote it",
        ),
        ("parameters: { stop: [] }", "m.yaml:6:51: `stop`: expected a text, or a list of 1 to 64 texts"),
        ("parameters: { mirostat: 1 }", "m.yaml:6:37: `parameters`: `mirostat` means nothing to Ollama any more"),
        ("parameters: {}", "m.yaml:6:37: `parameters`: holds no parameter"),
        ("parameters: { num_ctx: null }", "m.yaml:6:37: `parameters`: holds no parameter"),
        ("parameters: 7", "m.yaml:6:37: `parameters`: expected a map, found the number 7"),
        ("template: '{{ .Prompt'", "m.yaml:6:37: `template`: `{{ .Prompt` opens what is never closed"),
        (
            "template: '{{ if .System }}x'",
            "m.yaml:6:37: `template`: an `if`, `range` or `with` without its `{{ end }}`",
        ),
        ("template: ' '", "m.yaml:6:37: `template`: expected text, found nothing"),
        ('system: "a\\e[2Jb"', "m.yaml:6:37: `system`: holds the control character `\\x1b`"),
        ("adapters: lora.gguf", "m.yaml:6:37: `adapters`: expected a list, found `lora.gguf`"),
        ("adapters: ['../x']", "m.yaml:6:37: `adapters`: `../x`: a pattern must not hold"),
    ],
)
def test_what_a_model_cannot_have_is_told_where_it_stands(
    world: Path, monkeypatch: pytest.MonkeyPatch, said: str, problem: str
) -> None:
    [found] = mistakes(monkeypatch, world, HEAD + f"variants:\n  v: {{ source: hf:o/r, location: o, {said} }}\n")
    assert found.startswith(problem)


def test_a_text_is_as_long_as_64_kib() -> None:
    assert check_text("é" * (LARGEST // 2))
    with pytest.raises(ValueError, match="65538 bytes; 65536 are allowed"):
        check_text("é" * (LARGEST // 2 + 1))


@pytest.mark.parametrize(
    "text",
    [
        "{{ .Prompt }}", "no action", "}} {", '{{ "}}" }}', "{{ `}}` }}", "{{/* {{ if */}}x", "{{- /* end */ -}}x",
        "{{- if .A -}}{{ else if .B }}{{- end -}}", "{{ range $i, $_ := .Messages }}{{ with .A }}{{ end }}{{end}}",
        "{{ .Iffy }}{{ .ending }}", '{{ if eq .Role "it\'s" }}{{ end }}', "{{ if eq .A '\"' }}{{ end }}",
    ],
)  # fmt: skip
def test_a_template_whose_actions_are_closed_is_taken(text: str) -> None:
    assert check_template(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{", "never closed"), ('{{ "}}', "never closed"), ("{{ `}}", "never closed"), ("{{/* }}", "never closed"),
        ('{{ "a\n" }}', "never closed"), ("{{ end }}", "ends nothing"), ("{{ if .A }}{{ end }}{{end}}", "ends nothing"),
        ("{{ with .A }}{{ if .B }}{{ end }}", "without its"),
    ],
)  # fmt: skip
def test_a_template_that_no_server_could_parse_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_template(text)


@pytest.mark.parametrize(
    "text", ["{{" * 30_000, '{{ "' * 15_000, "{{/*" * 15_000, '{{ "a\\' * 10_000, "{{ `a` " * 9_000]
)
def test_a_hostile_template_takes_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="never closed"):
        check_template(text)


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", b"\xff", b"{" * 70_000])
def test_parameters_that_are_no_object_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no parameters"):
        parameters_of(data)


def test_parameters_of_a_base_are_read_and_written_again() -> None:
    base = parameters_of(b'{"stop": ["</s>"], "temperature": 0.10, "odd_one": 1e3}')
    assert parameters_text({"temperature": 2}, base) == '{"odd_one":1000,"stop":["\\u003c/s\\u003e"],"temperature":2}\n'


# -- locations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("https://ollama.internal:8443/prefix/", "https://ollama.internal:8443/prefix"),
        ("http://[::1]:11434", "http://[::1]:11434"),
    ],
)
def test_a_server_is_named_by_its_url(world: Path, url: str, kept: str) -> None:
    found = loaded(world, f"version: 1\nlocations: {{ o: {{ store: ollama, url: '{url}' }} }}\n")
    assert found.manifest.locations["o"].url == kept


@pytest.mark.parametrize(
    "url", ["127.0.0.1:11434", "ftp://h", "http://user:canary@h", "http://h?x=1", "http://h#x", "http://", "http://h:x"]
)
def test_what_is_no_url_of_a_server_is_refused(world: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    [found] = mistakes(monkeypatch, world, f"version: 1\nlocations:\n  o: {{ store: ollama, url: '{url}' }}\n")
    assert found.startswith("m.yaml:3:23: `url`: ")
    assert "canary" not in found


@pytest.mark.parametrize(
    ("one", "other", "problem"),
    [
        ("", "", "`b` and `a` are one place, the server on this machine"),
        (", url: 'http://h:1/'", ", url: 'http://h:1'", "`b` and `a` are one place, the server at http://h:1"),
        (", models: ~/m", ", models: ~/m", "`b` and `a` are one directory"),
        (", models: ~/m", ", models: ~/m/in", "the root of `b` lies inside the one of `a`"),
    ],
)
def test_one_server_or_directory_is_one_location(
    world: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str, problem: str
) -> None:
    text = f"version: 1\nlocations:\n  a: {{ store: ollama{one} }}\n  b: {{ store: ollama{other} }}\n"
    [found] = mistakes(monkeypatch, world, text)
    assert found.startswith("m.yaml:4:")
    assert problem in found


def test_two_servers_and_two_directories_are_two_locations(world: Path) -> None:
    text = "version: 1\nlocations:\n  a: { store: ollama, url: 'http://h:1' }\n  b: { store: ollama, models: ~/m }\n"
    assert loaded(world, text + "  c: { store: ollama, models: ~/n }\n  d: { store: ollama }\n")


# -- where a field means something -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "column"),
    [("template: x", 37), ("system: x", 37), ("parameters: { num_ctx: 1 }", 37), ("adapters: [x]", 37)],
)
def test_what_is_said_of_an_ollama_model_belongs_to_an_ollama_location(
    world: Path, monkeypatch: pytest.MonkeyPatch, field: str, column: int
) -> None:
    [found] = mistakes(monkeypatch, world, HEAD + f"variants:\n  v: {{ source: hf:o/r, location: f, {field} }}\n")
    assert found.startswith(f"m.yaml:6:{column}: `{field.partition(':')[0]}`: of Ollama models only")
    assert "`f`, a `flat` location" in found


def test_a_route_that_is_certain_counts_like_a_location(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    routes = "routes: [{ source: 'hf:o/*', location: f }, { location: o }]\n"
    variants = "variants:\n  v: { source: hf:o/r, system: x }\n  w: { source: hf:p/r, system: x }\n"
    [found] = mistakes(monkeypatch, world, HEAD + routes + variants)
    assert "`v` goes to `f`" in found


def test_where_only_files_can_tell_the_plan_says_it(world: Path) -> None:
    text = (
        HEAD
        + "routes: [{ format: gguf, location: o }, { location: f }]\nvariants:\n  v: { source: hf:o/r, system: x }\n"
    )
    [wanted] = desired(world, text, v=pin("hf:o/r", "m.gguf")).variants
    assert wanted.address.location == "o"
    [undecided] = desired(world, text, v=pin("hf:o/r", "m.bin")).undecided
    assert undecided.location == "f"
    assert undecided.why.startswith("`system`: of Ollama models only")


def test_a_model_of_a_registry_belongs_to_an_ollama_location(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [found] = mistakes(monkeypatch, world, HEAD + "variants:\n  v: { source: 'ollama:qwen3', location: f }\n")
    assert found.startswith("m.yaml:6:8: `source`: a model of an Ollama registry is layers and no files")


@pytest.mark.parametrize("key", ["files: [x]", "exclude: [x]", "support: hf:o/r", "adapters: [x]"])
def test_a_model_of_a_registry_is_taken_whole(world: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    text = HEAD + f"variants:\n  v: {{ source: 'ollama:qwen3', location: o, {key} }}\n"
    [found] = mistakes(monkeypatch, world, text)
    assert f"`{key.partition(':')[0]}` does not go with an `ollama:` source: a model is taken whole" in found


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a: { source: hf:o/a, served_as: M:Q4 }", "b: { source: hf:o/b, served_as: m:q4 }"),
        ("a: { source: 'ollama:qwen3' }", "b: { source: hf:o/b, served_as: qwen3:latest }"),
        ("a: { source: 'ollama:qwen3:8b' }", "b: { source: 'ollama:Qwen3:8B' }"),
        ("Qwen3: { source: hf:o/a }", "b: { source: 'ollama:qwen3' }"),
    ],
)
def test_two_models_of_one_location_cannot_have_one_name(
    world: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    text = HEAD + f"routes: [{{ location: o }}]\nvariants:\n  {one}\n  {other}\n"
    [found] = mistakes(monkeypatch, world, text)
    assert found.startswith("m.yaml:8:")
    assert "would be served as" in found
    assert "m.yaml:7:3; case does not count" in found


@pytest.mark.parametrize(
    "routes", ["[{ location: o }]", "[{ source: 'ollama:*', location: o }]", "[{ format: gguf, location: o }]"]
)
def test_one_model_may_be_served_under_two_names_and_with_two_texts(world: Path, routes: str) -> None:
    text = HEAD + (
        f"routes: {routes}\n"
        "variants:\n  a: { source: 'ollama:qwen3' }\n"
        "  b: { source: 'ollama:qwen3', served_as: coder }\n"
        "  c: { source: 'ollama:qwen3', served_as: poet, system: You rhyme. }\n"
    )
    assert len(loaded(world, text).manifest.variants) == 3


def test_the_same_build_twice_in_a_directory_is_told_whatever_it_is_called(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = HEAD + (
        "routes: [{ source: 'hf:*', location: f }]\n"
        "variants:\n  a: { source: hf:o/r, served_as: one }\n  b: { source: hf:o/r, served_as: two }\n"
    )
    [found] = mistakes(monkeypatch, world, text)
    assert "`b` is the same build in the same place as `a`" in found


@pytest.mark.parametrize(
    ("variant", "problem"),
    [
        ("v: { source: hf:o/r, location: o, served_as: x y }", "6:37: `served_as`: not an Ollama name: 'x y'"),
        (
            "v: { source: hf:o/r, location: o, served_as: 'x:cloud' }",
            "6:37: `served_as`: the tag `cloud` tells a server",
        ),
        ("a+b: { source: hf:o/r, location: o }", "6:3: `served_as`: `a+b` is no Ollama name (say `served_as`)"),
    ],
)
def test_a_name_that_no_server_takes_is_told(
    world: Path, monkeypatch: pytest.MonkeyPatch, variant: str, problem: str
) -> None:
    [found] = mistakes(monkeypatch, world, HEAD + f"variants:\n  {variant}\n")
    assert found.startswith(f"m.yaml:{problem}")


def test_a_name_may_be_anything_where_no_ollama_serves_it(world: Path) -> None:
    assert loaded(world, HEAD + "variants:\n  v: { source: hf:o/r, location: f, served_as: My Model }\n")


def test_two_models_that_turn_out_to_have_one_name_are_blocked(world: Path) -> None:
    text = HEAD + (
        "routes: [{ format: gguf, location: o }, { location: f }]\n"
        "variants:\n  a: { source: hf:o/a, served_as: m }\n  b: { source: hf:o/b, served_as: M }\n"
    )
    made = desired(world, text, a=pin("hf:o/a", "a.gguf"), b=pin("hf:o/b", "b.gguf"))
    assert all("another `served_as`" in str(wanted.blocked) for wanted in made.variants)
    assert all(wanted.layout.notes[-1].path == wanted.layout.home for wanted in made.variants)


# -- on the way to a plan ----------------------------------------------------------------------------------------------


def test_what_is_said_reaches_layout_and_record_in_json_values(world: Path) -> None:
    text = HEAD + (
        "variants:\n  v: { source: hf:o/r, location: o, system: hi, parameters: { num_ctx: 1, stop: x }, "
        "adapters: [lora.gguf] }\n"
    )
    [wanted] = desired(world, text, v=pin("hf:o/r", "m.gguf", "lora.gguf")).variants
    assert wanted.attributes.modelfile == {
        "system": "hi", "parameters": {"num_ctx": 1, "stop": ["x"]}, "adapters": ["lora.gguf"]
    }  # fmt: skip
    assert wanted.layout.home == "manifests/registry.ollama.ai/library/v/latest"
    assert {"hi", '{"num_ctx":1,"stop":["x"]}\n'} <= {each.text for each in wanted.layout.notes}


def test_a_variant_that_says_nothing_has_an_empty_modelfile(world: Path) -> None:
    text = HEAD + "variants:\n  v: { source: hf:o/r, location: f }\n"
    assert desired(world, text, v=pin("hf:o/r", "m.gguf")).variants[0].attributes.modelfile == {}


def test_a_gguf_without_a_template_is_one_warning(world: Path) -> None:
    text = HEAD + (
        "variants:\n  v: { source: hf:o/r, location: o }\n  w: { source: hf:o/r, location: o, template: x }\n"
        "  x: { source: hf:o/r, location: f }\n  y: { source: 'ollama:qwen3', location: o }\n"
    )
    files = pin("hf:o/r", "m-Q4_K_M.gguf")
    [said] = desired(world, text, v=files, w=files, x=files, y=registry("ollama:qwen3", "model")).warnings
    assert said.startswith("v@o: no `template`")
    assert "\n" not in said


def test_what_ollama_cannot_hold_is_undecided_with_the_way_out(world: Path) -> None:
    text = HEAD + "variants:\n  v: { source: hf:o/r, location: o }\n"
    [undecided] = desired(world, text, v=pin("hf:o/r", "a-Q4_K_M.gguf", "a-Q8_0.gguf")).undecided
    assert "choose it with `files`" in undecided.why


@pytest.mark.parametrize(
    ("kinds", "expected"), [(("model", "license"), "gguf"), (("tensor", "json"), "safetensors"), ((), None)]
)
def test_the_format_of_a_registry_model_is_told_by_its_layers(
    world: Path, kinds: tuple[str, ...], expected: str | None
) -> None:
    text = HEAD + "variants:\n  v: { source: 'ollama:me/m:8b-q4_K_M', location: o }\n"
    [wanted] = desired(world, text, v=registry("ollama:me/m:8b-q4_K_M", *kinds)).variants
    assert (wanted.format, wanted.quant) == (expected, "q4_k_m")


def test_validate_tells_what_a_locked_source_cannot_become(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler import lockfile

    monkeypatch.chdir(world)
    (world / "m.yaml").write_text(HEAD + "variants:\n  v: { source: hf:o/r, location: o }\n")
    locked = replace(pin("hf:o/r", "a-00001-of-00002.gguf"), about={"gguf": {"a-00001-of-00002.gguf": {}}})
    (world / "m.lock.json").write_text(lockfile.dumps(lockfile.Lock(pins={"v": locked})))
    [problem] = validate("m.yaml").problems
    assert "one part of a split GGUF" in problem.summary


def changed(**said: Any) -> dict[str, str]:
    before = want("m", "weights", modelfile={"system": "hi", "parameters": {"num_ctx": 64}})
    after = replace(before, attributes=replace(before.attributes, modelfile=said))
    steps = plan([after], [have(files={"m.gguf": "weights"})], [recorded(before)])
    assert told(steps) in ({"m@disk": "normalize metadata"}, {"m@disk": "keep as declared"})
    [step] = steps.values()
    if step.action is Action.KEEP:
        return {}
    return {change.name: f"{change.old} -> {change.new}" for change in lines.changes(step)}


def test_a_changed_text_or_parameter_alone_is_a_change_that_shows() -> None:
    assert changed(system="ho", parameters={"num_ctx": 64, "seed": 1}) == {
        "modelfile.parameters.seed": "(none) -> 1",
        "modelfile.system": "hi -> ho",
    }
    assert changed(system="hi", parameters={"num_ctx": 64}) == {}


def test_a_note_of_a_model_that_two_variants_want_is_written_for_both() -> None:
    shared = note("blobs/sha256-1", "{}")
    one = want("a", {"blobs/w": "w"}, home="manifests/a", notes=(shared, note("manifests/a", "A")))
    two = want("b", {"blobs/w": "w"}, home="manifests/b", notes=(shared, note("manifests/b", "B")))
    steps = plan([one, two])
    assert [step.notes[0] for step in steps.values()] == [shared, shared]
    assert not any(step.blocked for step in steps.values())
