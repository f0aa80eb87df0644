"""Audit: what is there and what it costs, what is kept twice, why a variant is there; nothing is changed by asking."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import CHAT, Box, a_box

from reconciler.audit.analysis import analyze
from reconciler.audit.serving import expected, judge
from reconciler.render.chart import bars
from reconciler.render.lines import cells
from reconciler.state import GATED, Artifact, Digest, Pin, Record


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(tmp_path, monkeypatch, capsys) as made:
        yield made


def pin(source: str, *paths: str, about: dict[str, str] | None = None) -> Pin:
    files = [Artifact(path, 100, Digest(f"sha256:{number:064x}")) for number, path in enumerate(sorted(paths))]
    return Pin(source, "a" * 40, tuple(files), "mit", about=about or {})


def names(told: dict[str, list[dict[str, str]]]) -> list[str]:
    return sorted(each["address"].partition("@")[0] for each in told["variants"])


# -- list -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        (["--format", "GGUF"], ["tiny-gguf-iq4_xs", "tiny-gguf-q4_k_m"]),
        (["--quant", "q4*", "--quant", "fp16"], ["tiny-chat", "tiny-gguf-q4_k_m"]),
        (["--location", "weights"], ["tiny-chat"]),
        (["--backend", "-"], ["tiny-gguf-iq4_xs", "tiny-gguf-q4_k_m"]),
        (["--backend", "vllm", "--format", "gguf"], []),
        (["--role", "chat"], ["tiny-chat", "tiny-gguf-q4_k_m"]),
        (["--license", "apache-*"], ["tiny-chat", "tiny-gguf-iq4_xs", "tiny-gguf-q4_k_m"]),
        (["--license", "mit"], []),
    ],
)
def test_filters_of_one_kind_add_up_and_of_several_kinds_must_all_fit(
    box: Box, filters: list[str], wanted: list[str]
) -> None:
    box.apply()

    assert names(box.run("list", "box.yaml", "--json", *filters).json) == wanted


def test_what_is_only_declared_has_what_the_manifest_says_of_it_before_anybody_was_asked(box: Box) -> None:
    told = box.run("list", "box.yaml", "--state", "absent", "--backend", "vllm", "--role", "chat", "--json").json

    assert [(each["address"], each["served_as"]) for each in told["variants"]] == [("tiny-chat", "tiny")]


def test_a_filter_that_nothing_fits_is_told_with_what_there_is(box: Box) -> None:
    box.apply()

    told = box.run("list", "box.yaml", "--quant", "q5_k_m", "--format", "gguf").out

    assert told == "No variant is so.\n--quant q5_k_m: there are fp16, iq4_xs, q4_k_m\n"
    assert box.run("list", "box.yaml", "--quant", "q4*", "--backend", "vllm").out == "No variant is so.\n"
    assert "--role chta: there are chat, draft" in box.run("list", "box.yaml", "--role", "chta", "--details").out


def test_what_is_declared_and_not_here_is_not_forgotten(box: Box) -> None:
    box.apply()
    box.write({"variants:\n": "variants:\n  new:\n    source: hf:acme/Other\n    location: weights\n"})

    assert box.run("list", "box.yaml").out.endswith("; 1 declared and not recorded (`--state absent`).\n")


def test_one_long_name_takes_no_column_away(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.cli import session

    long = "a-very-long-name-of-a-variant-that-goes-on-and-on-for-ever-instruct-abliterated"
    box.write({"  tiny-chat:\n": f"  {long}:\n", "tiny-chat]": f"{long}]"})
    box.apply()
    monkeypatch.setattr(session, "width", lambda *_: 80)

    head, *rows = box.run("list", "box.yaml").out.split("\n\n")[0].splitlines()

    assert head.split()[:4] == ["variant", "format", "quant", "size"]
    assert all(cells(row) <= 80 for row in rows)
    assert any(row.startswith("a-very-long") and "..." in row for row in rows)


def test_each_variant_has_the_state_of_its_worst_file(box: Box) -> None:
    box.apply()
    box.without("tiny-gguf-iq4_xs")
    box.weight("Q4_K_M.gguf").unlink()
    weights = box.weight("model.safetensors")
    weights.write_bytes(b"x" * weights.stat().st_size)
    os.utime(weights, ns=(1, 1))  # as a later write would; a clock may not tick between two writes of a test
    box.manifest.write_text(
        box.manifest.read_text().replace(
            "variants:", "variants:\n  new:\n    source: hf:acme/Other\n    location: weights"
        )
    )

    told = box.run("list", "box.yaml", "--state", "*", "--json").json

    assert {each["address"].partition("@")[0]: each["state"] for each in told["variants"]} == {
        "tiny-chat": "modified",
        "tiny-gguf-q4_k_m": "missing",
        "tiny-gguf-iq4_xs": "undeclared",
        "new": "absent",
    }
    assert names(box.run("list", "box.yaml", "--state", "modified", "--json").json) == ["tiny-chat"]
    assert "acme/Tiny-Chat/model.safetensors" in box.run("list", "box.yaml", "--details").out


def test_the_details_say_what_template_and_readme_tell(box: Box) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}"
    readme = "---\nlicense: apache-2.0\n---\n# A model\n\nQuantised with AWQ, runs on vLLM.\n"
    box.hub.add(CHAT, {"README.md": readme.encode(), "chat_template.jinja": template.encode()})
    box.apply()

    details = box.run("list", "box.yaml", "--backend", "vllm", "--details").out
    columns = "chat_template,capabilities,license,readme"
    [row] = [line for line in box.run("list", "box.yaml", "--columns", columns).out.splitlines() if "jinja" in line]

    assert "  chat template  external chat_template.jinja\n" in details
    assert "  capabilities   text, tools\n" in details
    assert "  license        apache-2.0\n" in details
    assert "  readme         " in details
    assert "awq" in row.lower()
    assert box.run("list", "box.yaml", "--license", "apache-*", "--json").json["variants"] != []


def test_without_being_asked_for_states_nobody_looks_at_files(box: Box) -> None:
    box.apply()
    box.weight("Q4_K_M.gguf").unlink()

    told = box.run("list", "box.yaml", "--json").json

    assert {each["state"] for each in told["variants"]} == {None}


def test_columns_stand_in_the_order_in_which_they_are_asked_for(box: Box) -> None:
    box.apply()

    lines = box.run("list", "box.yaml", "--columns", "size, name,kind").out.splitlines()

    assert lines[0].split() == ["size", "name", "kind"]
    assert lines[1].split() == ["500.0", "KiB", "tiny-gguf-iq4_xs", "llm"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--columns", "sise"], "did you mean size?"),
        (["--columns", ","], "there are variant"),
        (["--state", "gone"], "there are unreadable, missing"),
    ],
)
def test_a_column_or_state_that_there_is_not_is_refused(box: Box, arguments: list[str], said: str) -> None:
    told = box.run("list", "box.yaml", *arguments)

    assert told.code == 1
    assert said in told.err


# -- stats and duplicates ---------------------------------------------------------------------------------------------


def test_a_file_with_two_names_is_counted_once_and_no_duplicate(box: Box) -> None:
    box.apply()
    gguf = box.weight("Q4_K_M.gguf")
    before = box.run("stats", "box.yaml", "--json").json
    os.link(gguf, box.here / "weights" / "again.gguf")

    after = box.run("stats", "box.yaml", "--json").json

    assert after["bytes"] == before["bytes"]
    assert after["shared"] == gguf.stat().st_size
    assert after["reclaimable"]["duplicates"] == 0
    assert box.run("duplicates", "box.yaml", "--min-size", "0", "--json").json["duplicates"] == []


def test_a_copy_is_a_duplicate_once_somebody_has_read_it(box: Box) -> None:
    box.apply()
    gguf = box.weight("Q4_K_M.gguf")
    (box.here / "weights" / "copy.gguf").write_bytes(gguf.read_bytes())
    (box.here / "weights" / "alike.gguf").write_bytes(b"\0" * gguf.stat().st_size)

    unread = box.run("duplicates", "box.yaml", "--min-size", "0", "--json").json
    read = box.run("duplicates", "box.yaml", "--min-size", "0", "--read", "--json").json

    assert unread["duplicates"] == []
    assert unread["unread"] == {"files": 2, "bytes": 2 * gguf.stat().st_size}
    [found] = read["duplicates"]
    assert (found["kept"], found["frees"], read["frees"]) == (2, gguf.stat().st_size, gguf.stat().st_size)
    assert [(copy["path"], copy["variants"]) for copy in found["copies"]] == [
        ("acme/Tiny-GGUF/Tiny-Q4_K_M.gguf", ["tiny-gguf-q4_k_m"]),
        ("copy.gguf", []),
    ]
    assert read["unread"] == {"files": 0, "bytes": 0}


def test_small_files_are_left_out_of_duplicates_unless_asked_for_and_told(box: Box) -> None:
    box.apply()
    chat = box.weight("model.safetensors")
    for copy in ("copy.safetensors", "again.safetensors"):
        (box.here / "weights" / copy).write_bytes(chat.read_bytes())
        os.utime(box.here / "weights" / copy, ns=(10**18, 10**18))  # what is too young is not remembered

    told = box.run("duplicates", "box.yaml").out
    assert told.startswith("Nothing that is known")
    assert "Below 1.0 MiB, not listed: 2 smaller files of equal size not read: `--min-size 0` lists them." in told
    box.run("duplicates", "box.yaml", "--min-size", "0", "--read")
    told = box.run("duplicates", "box.yaml").out
    assert "Below 1.0 MiB, not listed: 1 smaller content, which would free" in told
    smaller = box.run("duplicates", "box.yaml", "--json").json["smaller"]
    assert smaller == {"contents": 1, "frees": 2 * chat.stat().st_size, "unread": 0}
    assert box.run("duplicates", "box.yaml", "--min-size", "lots").code == 1


def test_stats_count_what_du_counts(box: Box) -> None:
    """Names of one file once, links not at all, and what lies beyond them neither."""
    box.apply()
    root, away = box.here / "weights", box.here / "away"
    away.mkdir()
    (away / "far.gguf").write_bytes(b"x" * 5000)
    (root / "far.gguf").symlink_to(away / "far.gguf")
    (root / "there").symlink_to(away)
    (root / "mine.gguf").write_bytes(b"y" * 7000)
    os.link(box.weight("Q4_K_M.gguf"), root / "again.gguf")

    told = box.run("stats", "box.yaml", "--json").json

    seen = [path.lstat() for place in (root, box.here / "lm studio") for path in place.rglob("*")
            if path.is_file() and not path.is_symlink() and ".reconciler" not in path.parts]  # fmt: skip
    assert told["bytes"] == sum({stat.st_ino: stat.st_size for stat in seen}.values())
    assert told["bytes"] + told["shared"] == sum(stat.st_size for stat in seen)
    assert told["locations"]["weights"]["unmanaged"] == 7000 + box.weight("Q4_K_M.gguf").stat().st_size


def test_the_largest_place_stands_first_and_numbered_models_have_their_title(box: Box) -> None:
    box.apply()

    rows = box.run("stats", "box.yaml").out.splitlines()
    assert [row.split()[0] for row in rows[1:3]] == ["lmstudio", "weights"]  # declared the other way round
    lock = box.here / "box.lock.json"
    told = json.loads(lock.read_text())
    told["variants"]["tiny-chat"]["about"] = {"civitai": {"model": "Detail Tweaker"}}
    lock.write_text(json.dumps(told))
    assert set(box.run("stats", "box.yaml", "--json").json["by"]["family"]) == {"Detail Tweaker", "tiny"}


def test_stats_tell_what_could_be_freed(box: Box) -> None:
    box.apply()
    size = box.weight("IQ4_XS.gguf").stat().st_size
    (box.here / "weights" / "broken.safetensors.aria2").write_bytes(b"x" * 77)
    box.without("tiny-gguf-iq4_xs")
    box.apply()

    told = box.run("stats", "box.yaml", "--json").json

    assert told["reclaimable"]["trash"] >= size
    assert told["reclaimable"]["partials"] == 77
    assert set(told["by"]) == {"location", "format", "family", "quant"}
    assert told["by"]["format"]["gguf"]["variants"] == 1
    assert "`reconciler gc`" in box.run("stats", "box.yaml").out


def test_a_place_that_cannot_be_read_is_not_counted_as_empty(box: Box) -> None:
    import shutil

    box.apply()
    shutil.rmtree(box.here / "weights")

    assert "unreadable, not counted: weights" in box.run("stats", "box.yaml").out


@pytest.mark.parametrize("width", [None, 30, 60, 200])
def test_bars_keep_to_the_width_of_the_terminal(width: int | None) -> None:
    rows = [("a-very-long-family-name-of-a-model-that-nobody-can-remember", 3 << 30), ("b", 1), ("c", 0)]

    lines = list(bars(rows, total=(3 << 30) + 1, width=width))

    assert all(cells(line) <= max(width or 999, 40) for line in lines)
    assert "█" in lines[0]
    assert "▏" in lines[1]
    assert "▏" not in lines[2]
    assert "#" in next(iter(bars(rows, total=1, width=width, ascii_only=True)))


# -- roles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "model", "warned"),
    [
        ("chat", pin("hf:o/Some-7B-Instruct-GGUF", "m-Q4_K_M.gguf"), ""),
        ("chat", pin("hf:BAAI/bge-small", "model.safetensors"), "an embedding model, where chat needs"),
        ("embedding", pin("hf:BAAI/bge-small", "model.safetensors"), ""),
        ("caption", pin("hf:o/Qwen2.5-VL-7B-GGUF", "m-Q4_K_M.gguf"), "without its projector"),
        ("caption", pin("hf:o/Qwen2.5-VL-7B-GGUF", "m-Q4_K_M.gguf", "mmproj-f16.gguf"), ""),
        ("caption", pin("hf:o/Qwen2.5-VL-7B", "model.safetensors"), ""),
        ("vision", pin("hf:o/Some-7B-Instruct", "model.safetensors"), "no projector"),
        ("my-own-role", pin("hf:BAAI/bge-small", "model.safetensors"), ""),
    ],
)
def test_a_role_is_served_by_the_kind_of_model_that_its_name_asks_for(role: str, model: Pin, warned: str) -> None:
    warning = judge(role, None, model).warning

    assert (warned in warning) if warned else warning == ""


def test_nothing_is_said_against_what_nobody_knows() -> None:
    assert judge("chat", None, None) == (None, "")
    assert expected("Image_Description") == {"vision-language"}


# -- why --------------------------------------------------------------------------------------------------------------


def test_why_names_the_line_the_route_the_role_and_the_plan(box: Box) -> None:
    box.apply()

    told = box.run("why", "box.yaml", "tiny-gguf-q4_k_m", "--json").json

    assert told["declared"].startswith("box.yaml:")
    assert told["declared"].count(":") == 2
    assert told["location"] == "lmstudio"
    assert told["place"].startswith("route 1 at box.yaml:8:")
    assert "format gguf" in told["place"]
    assert told["roles"] == [{"role": "chat", "position": 1, "of": 2}]
    assert [(step["action"], step["reason"]) for step in told["steps"]] == [("keep", "as declared")]


def test_why_tells_who_else_has_the_same_file(box: Box) -> None:
    box.write({
        "  tiny-gguf-iq4_xs:": '  twin:\n    source: hf:acme/Tiny-GGUF\n    files: ["*Q4_K_M.gguf"]\n'
        "    location: weights\n  tiny-gguf-iq4_xs:"
    })  # fmt: skip
    box.apply()
    gguf = next((box.here / "lm studio").rglob("*Q4_K_M.gguf"))
    os.link(gguf, box.here / "weights" / "mine.gguf")

    told = box.run("why", "box.yaml", "tiny-gguf-q4_k_m", "--json").json

    assert {(each["other"].partition(":")[0], each["who"]) for each in told["shared"]} == {
        ("weights", "twin@weights"),
        ("weights", ""),
    }
    assert "with files of nobody (weights:mine.gguf)" in box.run("why", "box.yaml", "tiny-gguf-q4_k_m").out


def test_why_knows_what_is_no_longer_declared_and_what_nobody_knows(box: Box) -> None:
    box.apply()
    box.without("tiny-chat")

    gone = box.run("why", "box.yaml", "tiny-chat", "--json").json
    unknown = box.run("why", "box.yaml", "tiny-gguf-q4_k_s")

    assert gone["declared"] is None
    assert [step["reason"] for step in gone["steps"]] == ["undeclared"]
    assert unknown.code == 1
    assert "did you mean tiny-gguf-q4_k_m?" in unknown.err


def test_why_tells_what_blocks(box: Box) -> None:
    box.write({"    backend: vllm": "    backend: vllm\n    format: gguf\n    location: weights"})

    told = box.run("why", "box.yaml", "tiny-chat")

    assert "named at box.yaml:" in told.out
    assert "the manifest claims format gguf, the files say safetensors" in told.out


# -- analyze ----------------------------------------------------------------------------------------------------------


def test_every_quant_is_a_build_with_lines_that_a_manifest_takes(box: Box) -> None:
    from reconciler.manifest import load

    told = box.run("analyze", "hf:acme/Tiny-GGUF", "--json").json
    text = "version: 1\nlocations: {w: {store: flat, root: /tmp/w}}\nvariants:\n"
    box.manifest.write_text(text + "\n".join(build["snippet"] for build in told["builds"]) + "\n")

    loaded = load(box.manifest)

    assert [build["quant"] for build in told["builds"]] == ["iq4_xs", "q4_k_m"]
    assert {name: each.files for name, each in loaded.manifest.variants.items()} == {
        "tiny-gguf-iq4_xs" if "tiny-gguf-iq4_xs" in loaded.manifest.variants else "tiny-iq4_xs": ("Tiny-IQ4_XS.gguf",),
        "tiny-gguf-q4_k_m" if "tiny-gguf-q4_k_m" in loaded.manifest.variants else "tiny-q4_k_m": ("Tiny-Q4_K_M.gguf",),
    }
    assert told["license"] == "apache-2.0"


def test_the_page_of_a_file_is_that_file(box: Box) -> None:
    page = "https://huggingface.co/acme/Tiny-GGUF/blob/main/Tiny-Q4_K_M.gguf?download=true"

    told = box.run("analyze", page, "--files", "--json").json

    assert [each["path"] for each in told["listing"]] == ["Tiny-Q4_K_M.gguf"]
    assert told["source"] == "hf:acme/Tiny-GGUF"


def test_shards_are_one_build_and_one_pattern() -> None:
    shards = [f"Q8_0/m-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]

    [build] = analyze(pin("hf:o/M-GGUF", *shards, "README.md")).builds

    assert "files: [Q8_0/m-Q8_0-*.gguf]" in build.snippet.replace('"', "")
    assert build.bytes == 300


def test_a_projector_goes_with_every_quant() -> None:
    found = analyze(pin("hf:o/Some-VL-GGUF", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"))

    assert [build.bytes for build in found.builds] == [200, 200]
    assert all("mmproj-F16.gguf" in build.snippet for build in found.builds)
    assert found.projectors == ("mmproj-F16.gguf", "mmproj-F32.gguf")


def test_active_content_and_gates_are_told() -> None:
    found = analyze(
        pin("hf:o/M", "model.safetensors", "pytorch_model.bin", "modeling_x.py", "config.json", about={GATED: "manual"})
    )

    assert (found.pickles, found.programs, found.gated) == (("pytorch_model.bin",), ("modeling_x.py",), "manual")
    assert 'exclude: ["*.bin"]' in found.builds[0].snippet


def test_what_is_no_source_is_one_clear_error(box: Box) -> None:
    for wrong in ("acme/Tiny", "https://ollama.com/search", "https://civitai.com/posts/1"):
        told = box.run("analyze", wrong)
        assert told.code == 1
        assert told.err.startswith("error: ")


def test_a_gated_repository_is_told_as_such(box: Box) -> None:
    box.hub.add("acme/Gated", {"model.safetensors": b"x" * 100}, gated="manual")

    told = box.run("analyze", "hf:acme/Gated", "--json").json

    assert told["gated"] == "manual"
    assert "the repository is gated, and no token is set" in told["refused"]


def test_a_model_of_an_ollama_registry_is_taken_whole(box: Box) -> None:
    from reconciler.hub.ollama_registry import Registry

    with Registry.start() as registry:
        registry.add("acme", "tiny", "v1", [("model", box_gguf()), ("template", b"{{ .Prompt }}")])
        told = box.run("analyze", f"ollama:{registry.host}/acme/tiny:v1", "--insecure", "--json")

    [build] = told.json["builds"]
    assert told.err == ""
    assert build["format"] == "gguf"
    assert build["snippet"].splitlines()[1:] == [
        f"    source: ollama:{registry.host}/acme/tiny:v1",
        "    insecure: true",
    ]


def test_an_address_of_civitai_is_its_version_and_its_secret_stays(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from civitai_kit import populate

    from reconciler.hub.civitai import Civitai

    with Civitai() as civitai:
        populate(civitai)
        monkeypatch.setenv("CIVITAI_ENDPOINT", civitai.url)
        told = box.run("analyze", "https://civitai.com/models/7?modelVersionId=71&token=canary")

    assert told.code == 0, told.err
    assert "civitai:7@71" in told.out
    assert "canary" not in told.out + told.err


def box_gguf() -> bytes:
    from reconciler.hub.ggufs import gguf_files

    return next(iter(content for name, content in gguf_files("T", ["Q4_K_M"], seed=1).items() if "gguf" in name))


@pytest.mark.parametrize(
    ("page", "source"),
    [
        ("https://ollama.com/library/llama3.2:3b", "ollama:llama3.2:3b"),
        ("https://ollama.com/library/llama3.2/tags", "ollama:llama3.2"),
        ("https://ollama.com/someone/model:q4_0", "ollama:someone/model:q4_0"),
        ("https://ollama.com/search?q=x", ""),
    ],
)
def test_a_page_of_ollamas_library_is_its_model(page: str, source: str) -> None:
    from reconciler import links

    assert links.read(page).source == source


def test_a_file_on_the_web_is_analyzed_without_its_body(box: Box) -> None:
    """The control: whoever declares it needs its digest, for which all of it is read."""
    url = box.hub.serve("/files/Tiny-Q4_K_M.gguf", b"GGUF" + b"x" * 3_000_000)
    box.hub.reset_log()

    [build] = box.run("analyze", url, "--insecure", "--json").json["builds"]

    assert (build["quant"], build["bytes"]) == ("q4_k_m", 3_000_004)
    assert box.hub.bytes_served() <= 1024
    box.run("add", "box.yaml", url, "--insecure", "--name", "web", "--location", "weights")
    assert box.hub.bytes_served() > 3_000_000


@pytest.mark.parametrize("form", ["{}", "file:{}", "./models/acme/Big"])
def test_a_directory_is_analyzed_by_names_and_sizes_however_large_it_is(box: Box, form: str) -> None:
    folder = box.here / "models" / "acme" / "Big"
    folder.mkdir(parents=True)
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(1 << 40)  # a tebibyte of nothing: reading it would take an hour

    told = box.run("analyze", form.format(folder), "--files", "--json")

    assert told.code == 0, told.err
    assert told.json["bytes"] == 1 << 40
    assert told.json["source"] == f"file:{folder}"
    assert [file["digest"] for file in told.json["listing"]] == [None]
    assert "1.0 TiB" in box.run("analyze", form.format(folder)).out


@pytest.mark.parametrize("kind", ["datasets", "spaces"])
@pytest.mark.parametrize("rest", ["", "/tree/main", "/blob/main/data.parquet"])
def test_datasets_and_spaces_are_told_to_be_none(box: Box, kind: str, rest: str) -> None:
    told = box.run("analyze", f"https://huggingface.co/{kind}/acme/things{rest}")

    assert told.code == 1
    assert f"one of the Hub's {kind}, and no model" in told.err


def test_what_needs_to_be_allowed_names_the_option_of_this_command(box: Box) -> None:
    assert "`--insecure` allows it here" in box.run("analyze", f"{box.hub.url}/files/x.gguf").err


# -- outdated, history ------------------------------------------------------------------------------------------------


def test_outdated_is_a_table_and_exit_2_once_upstream_has_moved(box: Box) -> None:
    box.run("lock", "box.yaml")
    before = box.run("outdated", "box.yaml")
    box.hub.add("acme/Tiny-Chat", {"config.json": b'{"model_type": "llama", "new": 1}\n'})

    after = box.run("outdated", "box.yaml")
    told = box.run("outdated", "box.yaml", "--json").json

    assert (before.code, after.code) == (0, 2)
    assert "1 of 3 variants moved" in after.out
    [moved] = told["moved"]
    assert moved["variant"] == "tiny-chat"
    assert moved["locked"] != moved["upstream"]


def test_what_one_source_does_not_answer_keeps_nothing_of_the_others_back(box: Box) -> None:
    box.run("lock", "box.yaml")
    box.hub.add("acme/Tiny-Chat", {"config.json": b'{"model_type": "llama", "new": 1}\n'})
    box.hub.remove("acme/Tiny-GGUF")

    text = box.run("outdated", "box.yaml")
    told = box.run("outdated", "box.yaml", "--json")

    assert (text.code, told.code) == (1, 1)
    assert "1 of 3 variants moved" in text.out
    assert text.err.count("error: ") == 2
    assert [each["variant"] for each in told.json["moved"]] == ["tiny-chat"]
    assert [each["variant"] for each in told.json["unknown"]] == ["tiny-gguf-iq4_xs", "tiny-gguf-q4_k_m"]


def test_on_a_narrow_terminal_what_an_apply_did_is_told_rather_than_its_plan(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reconciler.cli import session

    box.apply()
    wide = box.run("history", "box.yaml").out
    monkeypatch.setattr(session, "width", lambda *_: 80)

    told = box.run("history", "box.yaml").out

    assert "3 download, 1.0 MiB received" in told
    assert "plan" in wide.splitlines()[0]
    assert "plan" not in told.splitlines()[0]


def test_history_tells_each_apply_newest_first(box: Box) -> None:
    assert box.run("history", "box.yaml").out == "Nothing was applied yet.\n"
    box.apply()
    box.without("tiny-chat")
    box.apply()

    told = box.run("history", "box.yaml", "--json").json["generations"]

    assert [(each["generation"], each["done"], each["result"]) for each in told] == [
        (2, {"remove": 1}, "done"),
        (1, {"download": 3}, "done"),
    ]
    assert told[1]["bytes"]["received"] > 0
    assert told[0]["bytes"]["trash"] > 0
    assert all(each["when"].endswith("+00:00") and each["plan_id"].startswith("sha256:") for each in told)


def test_a_damaged_generation_is_told_and_hides_no_other(box: Box) -> None:
    box.apply()
    box.without("tiny-chat")
    box.apply()
    (box.here / "registry" / "generations" / "0000000001" / "generation.json").write_text("{")

    told = box.run("history", "box.yaml", "--json").json["generations"]

    assert [(each["generation"], each["result"]) for each in told] == [(2, "done"), (1, "unreadable")]


def test_asking_changes_nothing(box: Box) -> None:
    def everything() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.lstat().st_mtime_ns, path.lstat().st_size)
            for path in box.here.rglob("*")
            if path.is_file()
        }

    box.apply()
    before = everything()

    for command in ("list", "stats", "duplicates", "roles", "outdated", "history", "export"):
        assert box.run(command, "box.yaml").code == 0
    box.run("why", "box.yaml", "tiny-chat")
    box.run("diff", "box.yaml", "box.yaml")

    assert everything() == before


def test_a_record_is_judged_by_its_bytes_before_its_name() -> None:
    from reconciler.state import Address, Attributes

    model = pin("hf:o/Some-7B-Instruct", "model.safetensors")
    record = Record(Address("m", "w"), "box", model, "m", (), (), (), Attributes(), told={"kind": "embedding"})

    assert judge("chat", record, None).kind == "embedding"
