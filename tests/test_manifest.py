"""What a manifest says, and every mistake in it at once."""

from __future__ import annotations

import hashlib
import os
import time
import tracemalloc
from pathlib import Path

import pytest
from manifest_kit import HEAD, loaded, mistakes, refusal
from syrupy.assertion import SnapshotAssertion

from reconciler.manifest import load

FULL = """\
version: 1
name: workstation
registry: ~/ai/registry
locations:
  weights: { store: huggingface, root: ~/ai/weights }
  lmstudio: { store: lmstudio, root: "/mnt/d/ai stuff/models" }
routes:
  - { format: gguf, location: lmstudio }
  - { location: weights }
variants:
  qwen-awq:
    source: hf:Qwen/Qwen2.5-VL-7B-Instruct-AWQ
    backend: vllm
    served_as: 0.10
  llama-(Q4_K_M):
    source: hf:bartowski/Llama-3.2-3B-Instruct-GGUF@0123456
    files: ["*Q4_K_M.gguf"]
    exclude: [old/**]
    support: hf:meta-llama/Llama-3.2-3B-Instruct
    license: llama3.2
    protect: true
    lock: { revision: 0123456, sha256: { a/b.gguf: 0000000000000000000000000000000000000000000000000000000000000000 } }
    metadata: { note: [1, 2.5, true, null, x] }
roles:
  chat: [llama-(Q4_K_M), qwen-awq]
policy: { max_remove: 25%, min_free: 20GiB, pickle: allow, keep_trash: 2w }
"""


def test_a_full_manifest_is_read_as_it_is_written(world: Path) -> None:
    found = loaded(world, FULL)
    manifest = found.manifest
    assert list(manifest.variants) == ["qwen-awq", "llama-(Q4_K_M)"]
    assert manifest.locations["weights"].root == str(Path("~/ai/weights").expanduser())
    assert manifest.locations["lmstudio"].root == "/mnt/d/ai stuff/models"
    assert [(route.format, route.location) for route in manifest.routes] == [("gguf", "lmstudio"), (None, "weights")]
    llama = manifest.variants["llama-(Q4_K_M)"]
    assert llama.files == ("*Q4_K_M.gguf",)
    assert llama.exclude == ("old/**",)
    assert llama.protect
    assert llama.metadata == {"note": [1, 2.5, True, None, "x"]}
    assert llama.lock is not None
    assert llama.lock.sha256 == {"a/b.gguf": "0" * 64}
    assert manifest.roles == {"chat": ["llama-(Q4_K_M)", "qwen-awq"]}
    policy = manifest.policy
    assert (policy.max_remove, policy.min_free, policy.pickle, policy.keep_trash) == (
        0.25,
        20 * 2**30,
        "allow",
        14 * 86400,
    )
    assert (found.name, found.identity) == ("workstation", "workstation")
    assert found.registry == Path("~/ai/registry").expanduser()
    assert found.warnings == ()
    assert found.path == world / "m.yaml"
    assert found.files == (world / "m.yaml",)


def test_what_looks_like_a_number_stays_text_where_text_is_wanted(world: Path) -> None:
    variants = loaded(world, FULL).manifest.variants
    lock = variants["llama-(Q4_K_M)"].lock
    assert lock is not None
    assert lock.revision == "0123456"
    assert variants["qwen-awq"].served_as == "0.10"


def test_what_is_not_said_has_its_default(world: Path) -> None:
    found = loaded(world, "version: 1\n", "box.yaml")
    manifest = found.manifest
    assert (manifest.name, manifest.variants, manifest.locations, manifest.routes, manifest.roles) == (
        None,
        {},
        {},
        [],
        {},
    )
    policy = manifest.policy
    assert (policy.max_remove, policy.min_free, policy.pickle, policy.keep_trash) == (0.3, 0, "deny", 14 * 86400)
    assert (found.name, found.identity) == ("box", str(world / "box.yaml"))
    assert found.registry == Path(os.environ["XDG_DATA_HOME"]) / "reconciler/registry"


def test_the_registry_falls_back_to_the_home_directory(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "relative/ignored")
    assert loaded(world, "version: 1\n").registry == Path("~/.local/share/reconciler/registry").expanduser()


def test_sections_whose_entries_are_commented_out_are_empty(world: Path) -> None:
    assert loaded(world, HEAD + "variants:\n  # a: {}\nroles:\nroutes:\npolicy:\n").manifest.variants == {}


def test_every_key_path_has_a_place(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "m.yaml").write_text(FULL)
    monkeypatch.chdir(world)
    found = load("m.yaml")
    assert found.where("variants", "qwen-awq") == "m.yaml:11:3"
    assert found.where("variants", "qwen-awq", "backend") == "m.yaml:13:5"
    assert found.where("roles", "chat", 1) == "m.yaml:25:26"
    assert found.where("variants", "qwen-awq", "quant") == "m.yaml:11:3"
    assert found.where() == "m.yaml:1:1"


MANY_MISTAKES = """\
version: 2
name: work@station
colour: blue
locations:
  weights: { store: huggingface, root: ~/weights }
  inside: { store: flat, root: ~/weights/in }
  typo: { store: lmstdio, root: /etc }
  later: { store: ollama, url: http://127.0.0.1:11434 }
  bare: { store: flat }
routes:
  - { format: gguf, location: wieghts }
  - { formt: gguf, location: weights }
variants:
  good: { source: hf:owner/good, location: weights }
  twin: { source: hf:owner/good, location: weights }
  lost: { source: hf:owner/lost, location: weighs }
  bad@name: { source: hf:owner/x, location: weights }
  empty:
  sourceless: { location: weights }
  short:
    source: owner/repo
    bakend: vllm
    protect: yes
    files: "*.gguf"
    exclude: ["../x", "!y"]
    lock: { revision: 0123456, sha265: x }
  digest: { source: hf:owner/y, location: weights, lock: { sha256: abc } }
  pinless: { source: hf:owner/z, location: weights, lock: {} }
  strange: { source: hf:owner/w, location: weights, backend: "a\\e[2Kb", metadata: { x: .nan } }
roles:
  chat: [good, good, goood]
policy: { max_remove: 30, min_free: lots, pickle: alow, keep_trash: 14 days }
"""


def test_a_manifest_with_many_mistakes_tells_them_all_in_one_run(
    world: Path, monkeypatch: pytest.MonkeyPatch, snapshot: SnapshotAssertion
) -> None:
    told = "\n".join(mistakes(monkeypatch, world, MANY_MISTAKES))
    assert told.replace(str(Path("~").expanduser()), "~") == snapshot


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("  l2: {store: flat, root: ~/models}\n", "m.yaml:4:21: `l2` and `here` are one directory"),
        ("  l2: {store: flat, root: ~/models/x}\n", "m.yaml:4:21: the root of `l2` lies inside the one of `here`"),
        ("  l2: {store: flat, root: ~/link}\n", "m.yaml:4:21: `l2` and `here` are one directory"),
        ("  l2: {store: flat, root: ~/link/x}\n", "m.yaml:4:21: the root of `l2` lies inside the one of `here`"),
        ("registry: ~/models\n", "m.yaml:3:23: the root of `here` is the registry"),
        ("registry: ~/models/r\n", "m.yaml:3:23: the root of `here` holds the registry"),
        ("registry: ~/link/r\n", "m.yaml:3:23: the root of `here` holds the registry"),
    ],
)
def test_places_that_touch_are_refused_through_links_too(
    world: Path, monkeypatch: pytest.MonkeyPatch, more: str, told: str
) -> None:
    home = Path("~").expanduser()
    (home / "models").mkdir()
    (home / "link").symlink_to(home / "models")
    assert [line.startswith(told) for line in mistakes(monkeypatch, world, HEAD + more)] == [True]


def test_a_root_inside_the_registry_is_refused(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "version: 1\nregistry: ~/r\nlocations: {a: {store: flat, root: ~/r/weights}, b: {store: flat, root: ~/rest}}\n"
    )
    assert len(mistakes(monkeypatch, world, text)) == 1


TWO = "version: 1\nlocations: {a: {store: flat, root: ~/a}, b: {store: flat, root: ~/b}}\n"


@pytest.mark.parametrize(
    ("route", "variant", "fits"),
    [
        ("{format: gguf, location: a}", "{source: hf:o/r}", True),
        ("{format: GG*, location: a}", "{source: hf:o/r, format: gguf}", True),
        ("{format: gguf, location: a}", "{source: hf:o/r, format: safetensors}", False),
        ("{backend: vllm, location: a}", "{source: hf:o/r}", False),
        ("{backend: VLLM, location: a}", "{source: hf:o/r, backend: vllm}", True),
        ("{quant: q4*, location: a}", "{source: hf:o/r, quant: q8_0}", False),
        ("{source: 'hf:other/*', location: a}", "{source: hf:o/r}", False),
        ("{source: 'hf:O/*', location: a}", "{source: hf:o/r}", True),
        ("{location: a}", "{source: hf:o/r}", True),
    ],
)
def test_a_variant_that_no_route_can_match_has_nowhere_to_go(
    world: Path, monkeypatch: pytest.MonkeyPatch, route: str, variant: str, fits: bool
) -> None:
    text = f"{TWO}routes: [{route}]\nvariants:\n  v: {variant}\n"
    if fits:
        assert loaded(world, text).manifest.variants["v"].location is None
    else:
        [line] = mistakes(monkeypatch, world, text)
        assert line.startswith("m.yaml:5:3: `v` has no location, and no route can match it")


def test_the_only_location_takes_what_names_none(world: Path) -> None:
    assert loaded(world, HEAD + "variants: {v: {source: hf:o/r}}\n").manifest.variants["v"].location is None


def test_without_any_location_a_variant_has_nowhere_to_go(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = mistakes(monkeypatch, world, "version: 1\nvariants: {v: {source: hf:o/r}}\n")
    assert "declare a location in `locations`" in line


@pytest.mark.parametrize(
    ("one", "other", "twins"),
    [
        ("{source: hf:o/r}", "{source: hf:o/r}", True),
        ("{source: hf:o/r}", "{source: hf:o/r, location: here, backend: vllm}", True),
        ("{source: hf:o/r, files: [a, b]}", "{source: hf:o/r, files: [b, a]}", True),
        ("{source: hf:o/r, files: [a]}", "{source: hf:o/r, files: [b]}", False),
        ("{source: hf:o/r, exclude: [a]}", "{source: hf:o/r}", False),
        ("{source: hf:o/r@dev}", "{source: hf:o/r}", False),
        ("{source: hf:o/r, lock: {revision: 1}}", "{source: hf:o/r, lock: {revision: 01}}", False),
    ],
)
def test_the_same_build_in_the_same_place_twice_is_refused(
    world: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str, twins: bool
) -> None:
    text = f"{HEAD}variants:\n  one: {one}\n  other: {other}\n"
    if twins:
        [line] = mistakes(monkeypatch, world, text)
        assert line.startswith("m.yaml:6:3: `other` is the same build in the same place as `one` at m.yaml:5:3")
    else:
        assert len(loaded(world, text).manifest.variants) == 2


def test_the_same_build_in_two_places_is_what_locations_are_for(world: Path) -> None:
    text = f"{TWO}variants:\n  v1: {{source: hf:o/r, location: a}}\n  v2: {{source: hf:o/r, location: b}}\n"
    assert len(loaded(world, text).manifest.variants) == 2


def test_names_that_look_alike_and_hidden_characters_are_warned_of(world: Path) -> None:
    text = (
        HEAD + "variants:\n  paypal: {source: hf:o/a}\n  \u0440\u0430ypal: {source: hf:o/b} # \u202e\n"
        "  PayPal: {source: hf:o/c}\n"
    )
    found = loaded(world, text).warnings
    assert len(found) == 3
    assert ":6:30: the invisible character U+202E" in found[0]
    assert ":6:3: " in found[1]
    assert "is confusable with `paypal`" in found[1]
    assert "differs from `paypal` only in case" in found[2] or "is confusable with" in found[2]


def test_a_route_behind_one_that_takes_everything_is_warned_of(world: Path) -> None:
    found = loaded(world, HEAD + "routes: [{location: here}, {format: gguf, location: here}]\n")
    assert len(found.warnings) == 1
    assert "never reached" in found.warnings[0]


def test_a_directory_is_one_manifest_of_many_files(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = world / "parts"
    (parts / "sub").mkdir(parents=True)
    (parts / "a.yaml").write_text(
        "version: 1\nname: box\nlocations: {one: {store: flat, root: ~/one}}\nroutes: [{format: gguf, location: one}]\n"
    )
    (parts / "b.yml").write_text(
        "version: 1\nlocations: {two: {store: flat, root: ~/two}}\nroutes:\n- {location: two}\n"
    )
    (parts / "c.yaml").write_text("variants:\n  v: {source: hf:o/r}\nroles: {chat: [v]}\npolicy: {pickle: allow}\n")
    (parts / "sub" / "d.yaml").write_text("not: read")
    (parts / ".hidden.yaml").write_text("not: read")
    (parts / "e.lock.json").write_text("{}")
    monkeypatch.chdir(world)
    found = load("parts")
    assert list(found.manifest.locations) == ["one", "two"]
    assert [route.location for route in found.manifest.routes] == ["one", "two"]
    assert found.manifest.policy.pickle == "allow"
    assert [path.name for path in found.files] == ["a.yaml", "b.yml", "c.yaml"]
    assert (found.path, found.name) == (world / "parts", "box")
    assert found.where("routes", 1, "location") == "parts/b.yml:4:4"
    assert found.where("variants", "v", "source") == "parts/c.yaml:2:7"
    assert found.where("policy", "pickle") == "parts/c.yaml:4:10"


def test_a_name_stands_once_over_all_files(
    world: Path, monkeypatch: pytest.MonkeyPatch, snapshot: SnapshotAssertion
) -> None:
    (world / "p").mkdir()
    (world / "p/a.yaml").write_text(
        HEAD + "name: a\nvariants: {v: {source: hf:o/r}}\nroles: {chat: [v]}\npolicy: {pickle: deny}\n"
    )
    (world / "p/b.yaml").write_text(
        "version: 1\nname: b\nvariants: {v: {source: hf:o/s}, w: {source: x}}\nroles: {chat: [w]}\n"
        "policy: {pickle: deny}\n"
    )
    monkeypatch.chdir(world)
    assert "\n".join(refusal("p")) == snapshot


def test_mistakes_in_the_yaml_of_all_files_are_told_at_once(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "p").mkdir()
    (world / "p/a.yaml").write_text("version: 1\nversion: 1\n")
    (world / "p/b.yaml").write_text("a: *x\n")
    monkeypatch.chdir(world)
    assert [line.split(": ")[0] for line in refusal("p")] == ["p/a.yaml:2:1", "p/b.yaml:1:4"]


def test_the_digest_is_of_the_bytes_wherever_they_lie(world: Path) -> None:
    text = HEAD.encode()
    for place in ("here", "there"):
        (world / place).mkdir()
        (world / place / "a.yaml").write_bytes(text)
    digests = {load(world / "here").digest, load(world / "there").digest, load(world / "there/a.yaml").digest}
    assert digests == {"sha256:" + hashlib.sha256(text).hexdigest()}
    (world / "here" / "b.yaml").write_bytes(b"")
    assert load(world / "here").digest not in digests


def test_without_an_argument_the_directory_comes_first(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    assert refusal(None) == [
        "there is no manifest here "
        "(looked for `manifests/` and `reconciler.yaml`; name another, or: `reconciler init` writes one of what is on "
        "this machine (the README shows one to write by hand))"
    ]
    (world / "reconciler.yaml").write_text("version: 1\nname: file\n")
    assert load(None).name == "file"
    (world / "manifests").mkdir()
    assert refusal(None) == ["manifests: no `*.yaml` or `*.yml` in this directory (name one of: reconciler.yaml)"]
    (world / "manifests/box").mkdir()
    (world / "manifests/box/reconciler.yaml").write_text("version: 1\n")
    assert "name one of: manifests/box, reconciler.yaml" in refusal(None)[0]
    assert load("manifests/box").name == "box"
    (world / "manifests/m.yaml").write_text("version: 1\n")
    assert load(None).name == "manifests"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "m.yaml: there is nothing in it (a minimal manifest: `version: 1`"),
        ("# nothing\n", "m.yaml: there is nothing in it (a minimal manifest: `version: 1`"),
        ("variants: {}\n", "m.yaml:1:1: `version: 1` is missing (a minimal manifest: `version: 1`"),
        ("just words\n", "m.yaml:1:1: this is plain text; a manifest is a map"),
        ("- name: x\n", "m.yaml:1:1: this is a list; a manifest is a map"),
        ("services: {web: {}}\nvolumes: {}\n", "m.yaml:1:1: this is no manifest: it begins with `services`, `volumes`"),
        (
            '{"version": 1, "variants": {"v": {"source": "x", "files": [{"path": "a", "size": 1, "digest": "x"}]}}}',
            "m.yaml:1:1: this is a lock file (name the manifest that it stands beside)",
        ),
        ('version: "1"\n', "m.yaml:1:1: expected `version: 1`"),
        ("version: true\n", "m.yaml:1:1: expected `version: 1`"),
    ],
)
def test_what_is_no_manifest_is_told_what_it_is(
    world: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    [line] = mistakes(monkeypatch, world, text)
    assert line.startswith(told)


def test_what_cannot_be_opened_is_told(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    (world / "workstation.yaml").write_text("version: 1\n")
    os.mkfifo(world / "pipe.yaml")
    (world / "gone.yaml").symlink_to("nowhere")
    assert refusal("workstaton.yaml") == [
        "workstaton.yaml: there is no such file or directory (did you mean `workstation.yaml`?)"
    ]
    assert refusal("pipe.yaml") == ["pipe.yaml: not a regular file (name a manifest file or directory)"]
    assert refusal("gone.yaml")[0].startswith("gone.yaml: cannot be read")
    assert refusal("a\x1b[2K.yaml")[0].startswith("a\\x1b[2K.yaml: there is no such file")


def test_a_link_that_leaves_the_directory_of_manifests_is_refused(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "p").mkdir()
    (world / "secret").write_text("version: 1\n")
    (world / "p/real").write_text("version: 1\n")
    (world / "p/a.yaml").symlink_to("real")
    assert load(world / "p").manifest.version == 1
    (world / "p/b.yaml").symlink_to("../secret")
    monkeypatch.chdir(world)
    assert refusal("p") == ["p/b.yaml: a symbolic link that leaves the directory of manifests"]


@pytest.mark.parametrize("name", ["a", "0", "Qwen2.5-VL_7B+x", "gpt-oss-20b_(MXFP4)", "模型-7b", "é", "x" * 128])
def test_names_of_variants(world: Path, name: str) -> None:
    assert name in loaded(world, f"{HEAD}variants:\n  {name}: {{source: hf:o/r}}\n").manifest.variants


@pytest.mark.parametrize(
    "name",
    [
        "a@b",
        "a/b",
        "a b",
        "a:b",
        "a*",
        "-a",
        ".a",
        "_a",
        "a.",
        "con",
        "'a\\b'",
        "e\u0301",
        '"a\\e"',
        "x" * 129,
        "a\u200bb",
    ],
)
def test_names_that_mean_something_elsewhere_are_refused(
    world: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for text in (f"variants:\n  {name}: {{source: hf:o/r}}\n", f"roles:\n  {name}: []\n"):
        lines = mistakes(monkeypatch, world, HEAD + text)
        assert all(line.startswith("m.yaml:5:3: ") for line in lines if ":5:" in line)
        assert lines


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1024", 1024),
        ("20GiB", 20 * 2**30),
        ("1.5 TiB", 3 * 2**39),
        ("20GB", 20 * 10**9),
        ("5k", 5000),
        ("7 B", 7),
    ],
)
def test_sizes(world: Path, text: str, value: int) -> None:
    assert loaded(world, f"version: 1\npolicy: {{min_free: {text}}}\n").manifest.policy.min_free == value


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0.0), ("0%", 0.0), ("100%", 1.0), ("0.25", 0.25), ("12.5 %", 0.125), ("1", 1.0)]
)
def test_shares(world: Path, text: str, value: float) -> None:
    assert loaded(world, f"version: 1\npolicy: {{max_remove: {text}}}\n").manifest.policy.max_remove == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("90", 90), ("30s", 30), ("5 min", 300), ("12h", 43200), ("14d", 1209600), ("1w", 604800)],
)
def test_times(world: Path, text: str, value: int) -> None:
    assert loaded(world, f"version: 1\npolicy: {{keep_trash: {text}}}\n").manifest.policy.keep_trash == value


def _large(count: int) -> str:
    lines = [HEAD, "variants:\n"]
    for n in range(count):
        lines.append(
            f"  model-{n}-vllm-awq:\n    source: hf:owner{n}/model-{n}\n    files: ['*.gguf']\n"
            f"    backend: vllm\n    quant: {n}\n"
        )
    return "".join(lines)


def test_ten_thousand_variants_load_in_little_time(world: Path) -> None:
    loaded(world, HEAD)
    text = _large(10_000)
    start = time.process_time()
    found = loaded(world, text)
    assert len(found.manifest.variants) == 10_000
    places = [found.where("variants", name) for name in found.manifest.variants]
    assert time.process_time() - start < 5  # about 0.5 s on the machine it was written on
    assert places[9_999].endswith(f":{5 + 5 * 9_999}:3")


def test_a_variant_takes_little_memory(world: Path) -> None:
    loaded(world, HEAD)
    tracemalloc.start()
    try:
        loaded(world, _large(2_000))
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_stores_and_sources_of_later_versions_are_valid_so_that_the_rest_of_a_manifest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "version: 1\n"
        "locations:\n"
        "  server: { store: ollama, url: http://127.0.0.1:11434 }\n"
        "  images: { store: comfyui, root: ~/ComfyUI/models }\n"
        "variants:\n"
        "  a: { source: 'ollama:llama3.2:3b', location: server }\n"
        "  b: { source: 'urn:air:sdxl:lora:civitai:1327644@1498986', location: images }\n"
    )
    loaded = load(path)
    assert loaded.manifest.locations["server"].root is None
    assert loaded.manifest.variants["a"].source == "ollama:llama3.2:3b"


def test_the_default_registry_is_the_one_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("version: 1\n")
    assert load(path).registry == Path(os.environ["XDG_DATA_HOME"]) / "reconciler" / "registry"
    monkeypatch.setenv("RECONCILER_REGISTRY", str(tmp_path / "elsewhere"))
    assert load(path).registry == tmp_path / "elsewhere"
