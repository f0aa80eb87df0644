"""Which models a workflow of ComfyUI needs, in either of its forms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import InputError
from reconciler.ui.kinds import DRAWERS
from reconciler.workflows import Needed, Needs, read
from reconciler.workflows.graph import MAX_NODES
from reconciler.workflows.loaders import LOADERS, WITHOUT_MODELS
from reconciler.workflows.needs import MAX_MODELS

URL = "https://huggingface.co/someone/x/resolve/main/detail.safetensors"


def node(type_: str, *values: Any, id_: int = 1, mode: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": id_, "type": type_, "mode": mode, "widgets_values": list(values), **more}


def models(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {"models": list(entries)}}


def entry(name: str = "detail.safetensors", url: str = URL, directory: str = "loras", **more: str) -> dict[str, Any]:
    return {"name": name, "url": url, "directory": directory, **more}


def needs(*nodes: dict[str, Any], **more: Any) -> Needs:
    return read(json.dumps({"nodes": list(nodes), "version": 0.4, **more}).encode(), "w.json")


def names(found: Needs) -> list[tuple[str, str]]:
    return [(model.folder, model.name) for model in found.models]


# -- loaders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "values", "wanted"),
    [
        ("CheckpointLoaderSimple", ["a.safetensors"], [("checkpoints", "a.safetensors")]),
        ("CheckpointLoader", ["v1.yaml", "a.ckpt"], [("configs", "v1.yaml"), ("checkpoints", "a.ckpt")]),
        ("UNETLoader", ["a.safetensors", "default"], [("diffusion_models", "a.safetensors")]),
        ("UnetLoaderGGUF", ["a.gguf"], [("diffusion_models", "a.gguf")]),
        ("DualCLIPLoader", ["a.pt", "b.pt", "flux"], [("text_encoders", "a.pt"), ("text_encoders", "b.pt")]),
        ("LoraLoader", ["a.safetensors", 1, 1], [("loras", "a.safetensors")]),
        ("VAELoader", ["a.pt"], [("vae", "a.pt")]),
        ("VAELoader", ["taesd"], []),
        ("LoraLoader", ["None", 1, 1], []),
        ("CLIPVisionLoader", ["a.safetensors"], [("clip_vision", "a.safetensors")]),
        ("UltralyticsDetectorProvider", ["bbox/face.pt"], [("ultralytics", "bbox/face.pt")]),
        ("CheckpointLoaderSimple", ["SDXL\\base\\a.safetensors"], [("checkpoints", "SDXL/base/a.safetensors")]),
    ],
)  # fmt: skip
def test_the_widgets_of_loaders_name_models_and_their_folder(
    type_: str, values: list[Any], wanted: list[tuple[str, str]]
) -> None:
    assert names(needs(node(type_, *values))) == wanted


def test_a_loader_that_nobody_knows_is_looked_through_for_names_of_files() -> None:
    found = needs(
        node("SomebodysLoraThing", "x.safetensors", 1.0),
        node("Whatever", "y.gguf", "no file", "https://example.org/z.gguf", id_=2),
    )

    assert names(found) == [("loras", "x.safetensors"), ("", "y.gguf")]


def test_rows_of_a_lora_list_count_when_they_are_switched_on() -> None:
    on = {"on": True, "lora": "on.safetensors", "strength": 1}
    off = {"on": False, "lora": "off.safetensors", "strength": 1}

    assert names(needs(node("Power Lora Loader (rgthree)", {}, on, off))) == [("loras", "on.safetensors")]


@pytest.mark.parametrize("type_", sorted(WITHOUT_MODELS))
def test_texts_for_people_and_names_of_outputs_are_no_models(type_: str) -> None:
    assert needs(node(type_, "a.safetensors")).models == ()


def test_widgets_by_name_are_read_too() -> None:
    found = needs({"id": 1, "type": "LoraLoader", "widgets_values": {"lora_name": "a.safetensors", "other": "b.pt"}})

    assert ("loras", "a.safetensors") in names(found)


def test_every_loader_leads_to_a_folder_and_the_usual_ones_to_a_kind() -> None:
    folders = {widget.folder for widgets in LOADERS.values() for widget in widgets}

    usual = {drawer.folder for kind, drawer in DRAWERS["comfyui"].items() if kind not in ("embedding", "detection")}

    assert all(folders)
    assert usual <= folders


# -- entries ----------------------------------------------------------------------------------------------------------


def test_an_entry_of_a_node_says_where_its_model_comes_from() -> None:
    [model] = needs(node("LoraLoader", "detail.safetensors", 1, 1, **models(entry()))).models

    assert model == Needed(
        "loras", "detail.safetensors", "lora", URL, node="1", where="nodes[0].properties.models[0]", how="properties"
    )


def test_models_of_the_root_are_needed() -> None:
    [model] = needs(models=[entry(hash="AB" * 32, hash_type="SHA256")]).models

    assert (model.how, model.hash, model.hash_type) == ("models", "ab" * 32, "sha256")


def test_an_entry_and_a_widget_of_one_model_are_one_need() -> None:
    found = needs(
        node("LoraLoader", "SDXL\\detail.safetensors", 1, 1, **models(entry())),
        node("LoraLoaderModelOnly", "SDXL/detail.safetensors", 1, id_=2),
        models=[entry()],
    )

    assert [(model.name, model.url) for model in found.models] == [("SDXL/detail.safetensors", URL)]
    assert found.warnings == ()


def test_one_name_in_two_folders_is_two_models() -> None:
    found = needs(node("VAELoader", "x.safetensors"), node("LoraLoader", "x.safetensors", id_=2))

    assert names(found) == [("vae", "x.safetensors"), ("loras", "x.safetensors")]


def test_one_name_in_two_subfolders_is_two_models() -> None:
    found = needs(node("LoraLoader", "a/x.safetensors"), node("LoraLoader", "b/x.safetensors", id_=2))

    assert names(found) == [("loras", "a/x.safetensors"), ("loras", "b/x.safetensors")]


def test_folders_that_are_one_to_comfyui_are_one_here() -> None:
    found = needs(node("UNETLoader", "x.safetensors", **models(entry("x.safetensors", URL, "unet"))))

    assert [model.kind for model in found.models] == ["diffusion-model"]


def test_an_entry_of_a_model_that_was_chosen_before_is_not_needed() -> None:
    found = needs(node("LoraLoader", "new.safetensors", 1, 1, **models(entry("old.safetensors"))))

    assert names(found) == [("loras", "new.safetensors")]


def test_two_addresses_of_one_model_are_told() -> None:
    found = needs(models=[entry(), entry(url="https://example.org/detail.safetensors")])

    assert [model.url for model in found.models] == [URL]
    assert "two addresses" in found.warnings[0]


def test_a_directory_may_hold_a_subfolder() -> None:
    assert names(needs(models=[entry(directory="models/loras/SDXL")])) == [("loras", "SDXL/detail.safetensors")]


def test_the_address_in_a_note_is_used_and_marked() -> None:
    note = node("MarkdownNote", f"- [detail.safetensors]({URL}?download=true)\n- https://example.org/other", id_=9)
    [model] = needs(node("LoraLoader", "detail.safetensors"), note).models

    assert (model.url, model.how) == (f"{URL}?download=true", "note")


def test_a_note_with_two_addresses_of_one_name_says_nothing() -> None:
    note = node("Note", f"{URL} https://example.org/detail.safetensors", id_=9)
    [model] = needs(node("LoraLoader", "detail.safetensors"), note).models

    assert (model.url, model.how) == ("", "widget")


@pytest.mark.parametrize("hash_", ["", "zz", "not a hash"])
def test_what_is_no_hash_is_none(hash_: str) -> None:
    [model] = needs(models=[entry(hash=hash_, hash_type="SHA256")]).models

    assert (model.hash, model.hash_type) == ("", "")


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.pt", "a/../../x.pt", "C:\\x.pt", "a\x00.pt", "con.pt"])
def test_a_name_that_leads_elsewhere_is_left_out_and_told(name: str) -> None:
    found = needs(node("LoraLoader", name), models=[entry(name)])

    assert found.models == ()
    assert all("left out" in warning for warning in found.warnings)
    assert found.warnings


# -- what runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "count"), [(0, 1), (1, 1), (3, 1), (2, 0), (4, 0)])
def test_muted_and_bypassed_nodes_need_nothing(mode: int, count: int) -> None:
    assert len(needs(node("LoraLoader", "detail.safetensors", 1, 1, mode=mode, **models(entry()))).models) == count


def subgraph(*inner: dict[str, Any], id_: str = "sub", **more: Any) -> dict[str, Any]:
    return {"id": id_, "name": "Sub", "inputs": [], "links": [], "nodes": list(inner), **more}


def test_models_in_a_subgraph_that_runs_are_needed_once() -> None:
    inner = subgraph(node("LoraLoader", "detail.safetensors", id_=7, **models(entry())))
    found = needs(node("sub", id_=3), node("sub", id_=4), definitions={"subgraphs": [inner]})

    assert [(model.node, model.where) for model in found.models] == [
        ("3:7", "definitions.subgraphs[0].nodes[0].properties.models[0]")
    ]


@pytest.mark.parametrize("outer", [[], [node("sub", mode=4)], [node("other")]])
def test_a_subgraph_that_nothing_runs_needs_nothing(outer: list[dict[str, Any]]) -> None:
    inner = subgraph(node("LoraLoader", "detail.safetensors"))

    assert needs(*outer, definitions={"subgraphs": [inner]}).models == ()


def test_subgraphs_inside_subgraphs_are_followed_and_muted_nodes_inside_are_not() -> None:
    inner = subgraph(node("LoraLoader", "in.safetensors"), node("VAELoader", "off.pt", id_=2, mode=2), id_="in")
    outer = subgraph(node("in", id_=5), id_="out")

    assert names(needs(node("out"), definitions={"subgraphs": [inner, outer]})) == [("loras", "in.safetensors")]


def shown(value: str, *, link: int | None = None) -> Needs:
    """A subgraph whose loader's widget is shown outside, with a value there."""
    loader = node("LoraLoader", "inside.safetensors", 1, 1, id_=7)
    loader["inputs"] = [{"name": "model"}, {"name": "lora_name", "widget": {"name": "lora_name"}, "link": 1}]
    inner = subgraph(
        loader, inputs=[{"name": "image"}, {"name": "lora_name"}],
        links=[{"id": 1, "origin_id": -10, "origin_slot": 1, "target_id": 7, "target_slot": 1}],
    )  # fmt: skip
    use = node("sub", value, id_=3, inputs=[{"name": "lora_name", "widget": {"name": "lora_name"}, "link": link}])
    return needs(use, definitions={"subgraphs": [inner]})


def test_a_widget_that_is_shown_outside_a_subgraph_has_the_value_from_there() -> None:
    assert names(shown("outside.safetensors")) == [("loras", "outside.safetensors")]


def test_a_value_outside_is_old_when_another_node_gives_it() -> None:
    assert names(shown("outside.safetensors", link=4)) == [("loras", "inside.safetensors")]


def test_group_nodes_of_older_workflows_are_followed() -> None:
    group = {"groupNodes": {"Mine": {"nodes": [{"type": "VAELoader", "index": 0, "widgets_values": ["a.pt"]}]}}}

    assert names(needs(node("workflow/Mine"), extra=group)) == [("vae", "a.pt")]
    assert needs(extra=group).models == ()


def test_a_subgraph_that_holds_itself_is_an_error() -> None:
    with pytest.raises(InputError, match="holds itself"):
        needs(node("sub"), definitions={"subgraphs": [subgraph(node("sub"))]})


def test_subgraphs_that_multiply_are_bounded() -> None:
    subgraphs = [subgraph(*[node(f"s{level + 1}", id_=at) for at in range(30)], id_=f"s{level}") for level in range(6)]

    with pytest.raises(InputError, match=f"more than {MAX_NODES:,} nodes"):
        needs(node("s0"), definitions={"subgraphs": subgraphs})


def test_more_models_than_a_workflow_needs_are_refused() -> None:
    with pytest.raises(InputError, match="a workflow needs fewer"):
        needs(node("Whatever", *[f"{number}/x.safetensors" for number in range(MAX_MODELS)]))


# -- the form of the API ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_form_of_the_api_is_read(wrapped: bool) -> None:
    prompt: dict[str, Any] = {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
        "5": {"class_type": "LoraLoader", "inputs": {"lora_name": "b\\c.safetensors", "model": ["4", 0]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0]}, "is_changed": [float("nan")]},
        "7": {"class_type": "Unknown", "inputs": {"vae_file": "d.pt"}},
    }
    found = read(json.dumps({"prompt": prompt} if wrapped else prompt).encode(), "api.json")

    assert names(found) == [("checkpoints", "a.safetensors"), ("loras", "b/c.safetensors"), ("vae", "d.pt")]
    assert found.models[0].where == f"{'prompt.' * wrapped}4 (CheckpointLoaderSimple, ckpt_name)"


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        (b"", "w.json:1:1", "not JSON"),
        (b'{"nodes": [\n  {"id": 1,}\n]}', "w.json:2:12", "not JSON"),
        (b"[]", "w.json", "found a list"),
        (b"{}", "w.json", "no workflow"),
        (b'{"a": {"class_type": "x"}, "b": 1}', "w.json", "no workflow"),
        (b'{"nodes": {}}', "w.json: nodes", "found an object"),
        (b'{"nodes": [1]}', "w.json: nodes[0]", "expected a node"),
        (b'{"nodes": [{"id": 1}]}', "w.json: nodes[0]", "expected a node"),
        (b'{"nodes": [{"type": "x", "properties": {"models": {}}}]}', "w.json: nodes[0].properties.models", "a list"),
        (b'{"nodes": [], "models": [{"url": "x"}]}', "w.json: models[0]", "with a `name`"),
        (b'{"nodes": [], "models": [{"name": "x", "url": 1}]}', "w.json: models[0].url", "expected text"),
        (b'{"nodes": [], "definitions": {"subgraphs": [1]}}', "w.json: definitions.subgraphs[0]", "a subgraph"),
        (b'{"a": {"class_type": 1}}', "w.json: a", "class_type"),
        (b"[" * 100_000, "w.json", "nested too deeply"),
        (b"\x89PNG\r\n\x1a\n\x00", "w.json", "no text"),
        (b'{"nodes": ' + b"1" * 5000 + b"}", "w.json", ""),
    ],
)
def test_a_damaged_workflow_is_one_error_with_its_place(text: bytes, where: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text, "w.json")

    [problem] = caught.value.problems
    assert problem.where == where
    assert why in problem.summary


WORDS = ("id", "type", "mode", "widgets_values", "properties", "models", "name", "url", "inputs", "links", "nodes")
TEXTS = st.text(max_size=8) | st.sampled_from(["a.pt", "sub", "LoraLoader"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=150)
@given(JSON, JSON, JSON)
def test_any_json_is_a_workflow_or_one_error(nodes: Any, subgraphs: Any, extra: Any) -> None:
    value = {"nodes": nodes, "definitions": {"subgraphs": subgraphs}, "extra": extra, "models": extra}
    for each in (value, nodes, {"prompt": nodes}):
        try:
            found = read(json.dumps(each).encode(), "w.json")
        except InputError:
            continue
        for model in found.models:
            assert model.name
            assert not model.name.startswith("/")
            assert ".." not in model.name.split("/")
