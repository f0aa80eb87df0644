"""Composing Ollama models: blobs and manifests with the bytes that a server would write, or a reason why not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.ollama import manifests, names
from reconciler.ollama.compose import Composed, cautions, compose
from reconciler.ollama.manifests import CONFIG_TYPE, LAYER_TYPE, Layer, blob_path
from reconciler.state import Artifact, Digest, Identity, Note, Pin, Wish
from reconciler.stores import store_of

COMMIT = "c" * 40
TINY = Digest("sha256:67f23b4df32f24939aefe797f4bb19bc2380fd2f5b913c63dd61d65c83504cb4")
"""Of a GGUF of two layers, as a server's `create` left it."""
TINY_HEADER = {"architecture": "llama", "file_type": 1, "parameters": 24736, "size_label": "0.01M", "type": "model"}
CONFIG = Digest("sha256:28e0692d957643da10cc27f263d31935a7a1435e19c4563a5c962ef0f8d8514f")


def digest(text: str) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")


def file(path: str, text: str | None = None, **more: Any) -> Artifact:
    content = path if text is None else text
    return Artifact(path, len(content), digest(content), **more)


def hub(*files: Artifact | str, headers: Mapping[str, Any] | None = None, source: str = "hf:acme/tiny") -> Pin:
    made = [file(each) if isinstance(each, str) else each for each in files]
    about = {"gguf": headers} if headers is not None else {}
    return Pin(source, COMMIT, tuple(sorted(made, key=lambda each: each.path)), about=about)


def tiny(**more: Any) -> Pin:
    return replace(hub(Artifact("tiny-f16.gguf", 53440, TINY), headers={"tiny-f16.gguf": TINY_HEADER}), **more)


def layer(kind: str, text: str, **rest: Any) -> Layer:
    media_type = CONFIG_TYPE if kind == "config" else LAYER_TYPE + kind
    return Layer(media_type, digest(text), len(text), tuple(rest.items()))


BASE_CONFIG = layer("config", '{"model_format":"gguf"}')
BASE_LAYERS = (
    layer("model", "weights"), layer("template", "{{ .Prompt }}"), layer("system", "You are a test"),
    layer("params", '{"stop":["</s>"],"temperature":0.1}'), layer("license", "MIT"),
)  # fmt: skip
BASE_PARAMS = {"stop": ["</s>"], "temperature": 0.1}


def registry(layers: Iterable[Layer] = BASE_LAYERS, source: str = "ollama:acme/tiny:v1", **about: Any) -> Pin:
    pin = manifests.pin_of(source, manifests.compact(BASE_CONFIG, layers).encode(), "mit")
    return replace(pin, about={**pin.about, **about})


def with_parameters(layers: Iterable[Layer] = BASE_LAYERS) -> Pin:
    return registry(layers, **{manifests.PARAMS: BASE_PARAMS})


def wish(variant: str = "tiny", **more: Any) -> Wish:
    said = {key: more.pop(key) for key in ("template", "system", "parameters", "adapters") if key in more}
    return Wish(variant, modelfile=said, **more)


def manifest_of(made: Composed) -> manifests.Manifest:
    return manifests.read(made.notes[-1].text.encode())


def kinds(made: Composed) -> list[str]:
    return [each.kind for each in manifest_of(made).layers]


def texts(made: Composed) -> dict[str, str]:
    """The texts of ours, by the kind of the layer that holds them."""
    by_path = {note.path: note.text for note in made.notes[:-1]}
    blobs = {blob_path(each.digest): each.kind for each in manifest_of(made).blobs}
    return {blobs[path]: text for path, text in by_path.items()}


# -- a GGUF from elsewhere ---------------------------------------------------------------------------------------------


def test_a_gguf_becomes_a_model_with_the_config_and_manifest_that_create_would_write() -> None:
    made = compose(tiny(), wish("imp-tiny0"))
    assert str(made.name) == "registry.ollama.ai/library/imp-tiny0:latest"
    assert [(p.path, p.artifact.path) for p in made.files] == [(blob_path(TINY), "tiny-f16.gguf")]
    assert [note.path for note in made.notes] == [
        blob_path(CONFIG), "manifests/registry.ollama.ai/library/imp-tiny0/latest"
    ]  # fmt: skip
    assert made.notes[-1].text == (
        '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":'
        '"application/vnd.docker.container.image.v1+json","digest":'
        f'"{CONFIG}","size":147}},"layers":[{{"mediaType":"application/vnd.ollama.image.model","digest":"{TINY}",'
        '"size":53440}]}\n'
    )
    assert made.digest == digest(made.notes[-1].text)
    assert made.size == 53587  # as a server lists it
    assert made.derived


def test_texts_and_parameters_have_the_bytes_and_the_order_of_create() -> None:
    said = {"temperature": 0.5, "stop": ["a"], "num_ctx": 128}
    made = compose(tiny(), wish(template="{{ .Prompt }}", system="sys", parameters=said, license="MIT"))
    # Digests of the layers that `ollama create` 0.32.15 made of the same texts.
    assert [(each.kind, each.digest.partition(":")[2][:12], each.size) for each in manifest_of(made).layers] == [
        ("model", "67f23b4df32f", 53440), ("template", "b507b9c2f6ca", 13), ("system", "518b67e65253", 3),
        ("license", "e5dcffe836b6", 3), ("params", "60573771cd93", 47),
    ]  # fmt: skip
    assert texts(made)["params"] == '{"num_ctx":128,"stop":["a"],"temperature":0.5}\n'


def test_the_licence_of_upstream_is_told_where_the_manifest_says_none() -> None:
    assert texts(compose(tiny(license="apache-2.0"), wish()))["license"] == "apache-2.0"
    assert texts(compose(tiny(license="apache-2.0"), wish(license="llama3.2")))["license"] == "llama3.2"
    assert kinds(compose(tiny(), wish())) == ["model"]


def test_other_files_of_the_repository_stay_out_of_the_store() -> None:
    made = compose(hub("README.md", "config.json", "m-Q4_K_M.gguf", file("tokenizer.json", support=True)), wish())
    assert [p.artifact.path for p in made.files] == ["m-Q4_K_M.gguf"]


def test_a_projector_is_a_layer_beside_the_model() -> None:
    made = compose(hub("m-Q4_K_M.gguf", "mmproj-m-F16.gguf"), wish())
    assert kinds(made) == ["model", "projector"]
    assert {p.artifact.path for p in made.files} == {"m-Q4_K_M.gguf", "mmproj-m-F16.gguf"}


@pytest.mark.parametrize("header", [{"architecture": "clip"}, {"type": "mmproj"}, {"type": "projector"}])
def test_a_projector_is_known_by_its_header_where_its_name_is_silent(header: dict[str, str]) -> None:
    made = compose(hub("m-Q4_K_M.gguf", "vision.gguf", headers={"vision.gguf": header}), wish())
    assert [p.artifact.path for p in made.files] == ["m-Q4_K_M.gguf", "vision.gguf"]
    assert kinds(made) == ["model", "projector"]


def test_adapters_are_chosen_by_globs_and_follow_the_model() -> None:
    made = compose(hub("m.gguf", "lora/a.gguf", "lora/b.gguf"), wish(adapters=["lora/*"]))
    assert kinds(made) == ["model", "adapter", "adapter"]
    assert [p.artifact.path for p in made.files] == ["m.gguf", "lora/a.gguf", "lora/b.gguf"]


def test_one_part_of_one_is_a_whole_file() -> None:
    assert kinds(compose(hub("m-Q8_0-00001-of-00001.gguf"), wish())) == ["model"]


@pytest.mark.parametrize(
    ("pin", "said", "reason"),
    [
        (hub("README.md"), {}, "no GGUF file among what is locked: README.md"),
        (hub("model.safetensors", "config.json"), {}, "safetensors, and Ollama takes GGUF"),
        (hub("m-Q4_K_M.gguf", "m-Q8_0.gguf"), {}, "2 GGUF models.*choose it with `files`"),
        (hub("m-00001-of-00002.gguf", "m-00002-of-00002.gguf"), {}, "split GGUF.*llama-gguf-split"),
        (hub("m-00001-of-00002.gguf"), {}, "split GGUF"),
        (hub("mmproj-F16.gguf"), {}, "only projectors and adapters: mmproj-F16.gguf"),
        (hub("m.gguf", "mmproj-F16.gguf", "mmproj-BF16.gguf"), {}, "2 projectors"),
        (hub("m.gguf", headers={"m.gguf": {"type": "adapter"}}), {}, "is an adapter and no model"),
        (hub("m.gguf"), {"adapters": ["lora*"]}, "nothing matches 'lora\\*' among the GGUF files that are locked"),
        (hub("m.gguf"), {"adapters": ["*.gguf"]}, "only projectors and adapters: m.gguf; the model is missing"),
        (hub(file("m.gguf", support=True)), {}, "no GGUF file"),
        (hub(Artifact("m.gguf", 9, Digest("git-sha1:" + "0" * 40))), {}, "by its git digest.*`https:` source"),
    ],
)
def test_what_is_not_one_gguf_model_is_refused_with_the_way_out(pin: Pin, said: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        compose(pin, wish(**said))


def test_names_of_upstream_are_harmless_in_a_reason() -> None:
    with pytest.raises(ValueError, match="GGUF models") as caught:
        compose(hub("a\x1b[2J.gguf", "b.gguf"), wish())
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("about", [{}, {"gguf": None}, {"gguf": {"m.gguf": "x"}}, {"gguf": ["m.gguf"]}])
def test_a_lock_without_headers_is_no_obstacle(about: dict[str, Any]) -> None:
    made = compose(replace(hub("m.gguf"), about=about), wish())
    assert json.loads(texts(made)["config"])["file_type"] == "unknown"


# -- a model of a registry ---------------------------------------------------------------------------------------------


def test_a_locked_model_keeps_its_manifest_to_the_byte() -> None:
    pin = registry()
    made = compose(pin, wish())
    assert made.notes == (Note("manifests/registry.ollama.ai/acme/tiny/v1", manifests.text_of(pin)),)
    assert {p.artifact.path for p in made.files} == {file.path for file in pin.files}
    assert (made.digest, made.derived) == (pin.revision, False)
    assert made.size == sum(file.size for file in pin.files)


def test_another_name_changes_the_place_of_the_manifest_and_nothing_else() -> None:
    plain, named = compose(registry(), wish()), compose(registry(), wish(served_as="mine:q4"))
    assert named.notes[-1].path == "manifests/registry.ollama.ai/library/mine/q4"
    assert (named.files, named.digest, named.notes[-1].text) == (plain.files, plain.digest, plain.notes[-1].text)


def test_a_declared_licence_alone_makes_no_model_of_ours() -> None:
    assert not compose(registry(), wish(license="other")).derived


def test_a_layer_that_stands_twice_is_one_blob() -> None:
    made = compose(registry((*BASE_LAYERS, BASE_LAYERS[-1])), wish())
    assert len(made.files) == len({p.path for p in made.files}) == 6
    assert len(manifest_of(made).layers) == 6


def test_a_manifest_that_is_not_the_servers_own_form_is_kept_as_well() -> None:
    text = json.dumps(json.loads(manifests.compact(BASE_CONFIG, BASE_LAYERS)), indent=1)
    made = compose(manifests.pin_of("ollama:tiny", text.encode()), wish())
    assert made.notes[-1].text == text


def test_a_stub_of_a_model_that_runs_elsewhere_is_its_config_alone() -> None:
    made = compose(manifests.pin_of("ollama:far", manifests.compact(BASE_CONFIG, ()).encode()), wish())
    assert [p.artifact.path for p in made.files] == ["config"]


def test_a_lock_that_does_not_give_its_manifest_back_is_refused() -> None:
    pin = registry()
    with pytest.raises(ValueError, match="lock --upgrade"):
        compose(replace(pin, files=pin.files[1:]), wish())
    kept = manifests.pin_of("ollama:tiny", json.dumps(json.loads(manifests.text_of(pin))).encode())
    with pytest.raises(ValueError, match="not among its files"):
        compose(replace(kept, files=kept.files[1:]), wish())


# -- a model of a registry, with something of ours ---------------------------------------------------------------------


def test_texts_of_ours_replace_those_of_the_base_and_stand_last() -> None:
    made = compose(registry(), wish(system="hello", template="{{ .System }}"))
    assert kinds(made) == ["model", "params", "license", "template", "system"]
    assert texts(made) == {"template": "{{ .System }}", "system": "hello"}
    assert made.derived


def test_what_is_replaced_is_not_fetched() -> None:
    made = compose(registry(), wish(system="hello"))
    assert {p.artifact.path for p in made.files} == {"1.model", "2.template", "4.params", "5.license", "config"}


def test_the_config_of_the_base_stays() -> None:
    made = compose(registry(), wish(system="hello"))
    assert manifest_of(made).config.digest == BASE_CONFIG.digest
    assert "config" in {p.artifact.path for p in made.files}


def test_parameters_are_added_to_those_of_the_base_key_by_key() -> None:
    made = compose(with_parameters(), wish(parameters={"num_ctx": 64, "temperature": 1.0}))
    assert texts(made)["params"] == '{"num_ctx":64,"stop":["\\u003c/s\\u003e"],"temperature":1}\n'
    assert kinds(made) == ["model", "template", "system", "license", "params"]


def test_parameters_that_nobody_knows_are_not_thrown_away() -> None:
    with pytest.raises(ValueError, match="lock --upgrade tiny"):
        compose(registry(), wish(parameters={"num_ctx": 64}))


def test_a_base_without_parameters_needs_none_in_the_lock() -> None:
    layers = [each for each in BASE_LAYERS if each.kind != "params"]
    assert texts(compose(registry(layers), wish(parameters={"num_ctx": 64})))["params"] == '{"num_ctx":64}\n'


def test_a_licence_joins_those_of_the_base() -> None:
    made = compose(registry(), wish(system="x", license="house rules"))
    assert kinds(made) == ["model", "template", "params", "license", "system", "license"]
    assert kinds(compose(registry(), wish(system="x", license="MIT"))).count("license") == 1  # the same text
    assert kinds(compose(registry(), wish(system="x", license="mit"))).count("license") == 1  # what the lock calls it


def test_an_old_prompt_layer_gives_way_to_a_template() -> None:
    made = compose(registry((BASE_LAYERS[0], layer("prompt", "old"))), wish(template="{{ .Prompt }}"))
    assert kinds(made) == ["model", "template"]


def test_layers_of_other_kinds_and_their_names_stay() -> None:
    layers = (
        layer("tensor", "w", name="blk.0.weight"),
        layer("json", "{}", name="config.json"),
        layer("messages", "[]"),
    )
    made = compose(registry(layers), wish(system="x"))
    assert kinds(made) == ["tensor", "json", "messages", "system"]
    assert manifest_of(made).layers[0].rest == (("name", "blk.0.weight"),)


def test_no_digest_depends_on_the_local_name_of_a_base() -> None:
    plain = compose(registry(BASE_LAYERS), wish(system="x"))
    derived = compose(
        registry((layer("model", "weights", **{"from": "tiny:latest"}), *BASE_LAYERS[1:])), wish(system="x")
    )
    assert '"from"' not in derived.notes[-1].text
    assert derived.digest == plain.digest


def test_a_text_of_ours_with_the_bytes_of_a_layer_that_stays_is_one_blob() -> None:
    made = compose(registry(), wish(system="MIT"))
    assert texts(made) == {}
    assert [each.digest for each in manifest_of(made).layers].count(digest("MIT")) == 2
    assert blob_path(digest("MIT")) in {p.path for p in made.files}


def test_adapters_of_a_registry_model_are_refused() -> None:
    with pytest.raises(ValueError, match="`adapters` are files of the source"):
        compose(registry(), wish(adapters=["*"]))


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "source", "served_as", "short"),
    [
        ("Llama-3.2-3B-Q4_K_M", "hf:o/r", None, "llama-3.2-3b-q4_k_m:latest"),
        ("v", "hf:o/r", "llama3.2-3b:q4", "llama3.2-3b:q4"),
        ("v", "hf:o/r", "Me/Mine", "Me/Mine:latest"),
        ("v", "ollama:qwen3:8b", None, "qwen3:8b"),
        ("v", "ollama:hf.co/o/R-GGUF:Q4_K_M", None, "hf.co/o/R-GGUF:Q4_K_M"),
        ("v", "ollama:127.0.0.1:5000/me/m", None, "127.0.0.1:5000/me/m:latest"),
        ("v", "ollama:qwen3:8b", "coder", "coder:latest"),
        ("a+b", "ollama:qwen3:8b", None, "qwen3:8b"),
    ],
)
def test_a_model_is_served_as_declared_else_as_its_source_else_as_its_variant(
    variant: str, source: str, served_as: str | None, short: str
) -> None:
    assert names.wanted(variant, source, served_as).short == short


@pytest.mark.parametrize(
    ("variant", "source", "served_as", "reason"),
    [
        ("a+b", "hf:o/r", None, "`a\\+b` is no Ollama name"),
        ("v", "hf:o/r", "x y", "not an Ollama name"),
        ("v", "hf:o/r", "x@sha256:" + "0" * 64, "not an Ollama name"),
        ("v", "hf:o/r", "x:local", "the tag `local`"),
        ("v", "hf:o/r", "x:7B-Cloud", "the tag `7B-Cloud`"),
        ("v", "ollama:gpt-oss:20b-cloud", None, "say `served_as` with another tag"),
    ],
)
def test_a_name_that_a_server_could_not_use_is_refused(
    variant: str, source: str, served_as: str | None, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        names.wanted(variant, source, served_as)


# -- what people should know -------------------------------------------------------------------------------------------


def test_a_model_without_a_template_is_a_caution_that_names_the_source_which_has_one() -> None:
    [said] = cautions(hub("Llama-3.2-3B-Instruct-Q4_K_M.gguf", source="hf:bartowski/L@main"), wish())
    assert said.startswith("no `template`")
    assert "`source: ollama:hf.co/bartowski/L:Q4_K_M`" in said
    [said] = cautions(hub("m.gguf", source="https://example.org/m.gguf"), wish())
    assert "ollama:hf.co/OWNER/REPO:QUANT" in said


@pytest.mark.parametrize(
    ("pin", "said"),
    [
        (registry(), {}), (registry(), {"system": "x"}), (hub("m.gguf"), {"template": "{{ .Prompt }}"}),
        (hub("nomic-embed-text-v1.5.Q8_0.gguf"), {}),
        (hub("m.gguf", headers={"m.gguf": {"architecture": "nomic-bert"}}), {}),
    ],
)  # fmt: skip
def test_no_caution_where_there_is_a_template_or_none_is_needed(pin: Pin, said: dict[str, Any]) -> None:
    assert list(cautions(pin, wish(**said))) == []


def test_a_name_that_contradicts_the_header_is_a_caution() -> None:
    pin = hub("m-Q4_K_M.gguf", headers={"m-Q4_K_M.gguf": {"file_type": 7}})
    assert list(cautions(pin, wish(template="x"))) == ["m-Q4_K_M.gguf: the name says Q4_K_M, the header Q8_0"]


# -- always ------------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
SAID = st.fixed_dictionaries(
    {},
    optional={
        "template": TEXTS,
        "system": TEXTS,
        "parameters": st.dictionaries(st.sampled_from(["num_ctx", "seed", "top_k"]), st.integers(0, 9), min_size=1),
    },
)
PINS = st.sampled_from([
    tiny(), tiny(license="mit"), hub("m.gguf", "mmproj.gguf"), with_parameters(), registry((), manifests="x"),
    with_parameters((layer("tensor", "w", name="t"), *BASE_LAYERS)),
])  # fmt: skip


@given(PINS, SAID, st.none() | TEXTS)
def test_every_blob_that_a_manifest_names_is_there_once_and_before_it(
    pin: Pin, said: dict[str, Any], license_: str | None
) -> None:
    made = compose(pin, wish(license=license_, **said))
    paths = [*(p.path for p in made.files), *(note.path for note in made.notes)]
    assert len(set(paths)) == len(paths)
    assert paths[-1] == made.name.path
    blobs = manifest_of(made).blobs
    assert set(paths[:-1]) == {blob_path(each.digest) for each in blobs}
    sizes = {p.path: p.artifact.size for p in made.files} | {n.path: len(n.text.encode()) for n in made.notes}
    assert all(sizes[blob_path(each.digest)] == each.size for each in blobs)
    assert all(note.path == blob_path(digest(note.text)) for note in made.notes[:-1])
    assert made.digest == digest(made.notes[-1].text)
    assert made.size == manifest_of(made).size


@given(PINS, SAID, st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_said_changes_nothing(pin: Pin, said: dict[str, Any], random: Any) -> None:
    def shuffled(value: Any) -> Any:
        items = list(value.items())
        random.shuffle(items)
        return dict(items)

    again = {key: shuffled(value) if isinstance(value, dict) else value for key, value in shuffled(said).items()}
    assert compose(pin, wish(**said)) == compose(pin, wish(**again))


# -- the store ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pin", [tiny(), registry(), registry(source="ollama:hf.co/o/R-GGUF:Q4_K_M")])
def test_the_home_of_a_layout_is_its_manifest_and_identify_is_the_inverse(pin: Pin) -> None:
    store = store_of("ollama")
    layout = store.layout(pin, wish())
    assert layout.home == layout.notes[-1].path
    identity = store.identify(layout.home)
    assert identity is not None
    assert names.parse(f"{identity.repository}:{identity.branch}").path == layout.home
    assert all(store.identify(p.path) is None for p in layout.files)


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        ("manifests/registry.ollama.ai/library/qwen3/8b", Identity("qwen3", "8b", "")),
        ("manifests/registry.ollama.ai/me/m/latest", Identity("me/m", "latest", "")),
        ("manifests/127.0.0.1:5000/me/m/v1", Identity("127.0.0.1:5000/me/m", "v1", "")),
        ("manifests/registry.ollama.ai/library/qwen3/.hidden", None),
        ("manifests/registry.ollama.ai/library/qwen3", None),
        ("blobs/sha256-" + "0" * 64, None),
        ("README.txt", None),
    ],
)
def test_a_manifest_says_name_and_tag_and_nothing_else_says_anything(path: str, identity: Identity | None) -> None:
    assert store_of("ollama").identify(path) == identity


def test_two_names_of_one_model_share_every_blob() -> None:
    one, two = (store_of("ollama").layout(tiny(), wish(served_as=name)) for name in ("a", "b"))
    assert one.files == two.files
    assert one.notes[:-1] == two.notes[:-1]
    assert one.home != two.home
