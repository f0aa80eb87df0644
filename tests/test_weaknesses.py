"""What went wrong with a downloader of models that people used, and why it cannot go wrong here.

One test for each weakness that was found in it by running or reading it. A test shows its case on the real program, in
a small world; where this program has nothing that could fail so, it shows that.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from importing_kit import CHAT, GGUF, Machine, a_machine, put
from ollama_kit import install
from registry_kit import files_of, somebody_elses
from takeover_kit import of_hub, record, registry

import reconciler
from reconciler import download
from reconciler.detect import detect_directory, rules
from reconciler.download import Limits
from reconciler.hub.checkpoints import llama_files
from reconciler.hub.ggufs import gguf
from reconciler.locking import exclusive_lock
from reconciler.registry import CURATED, DISCOVERED, MERGED

HOUSE = Path(reconciler.__file__).parent
QUICK = Limits(
    connections_per_file=4, files=2, small=256 * 1024, piece=1 << 20, retries=2, stall=2.0, floor=1024, patience=10,
    backoff=0.01, slowest=0.05, connect_timeout=3, read_timeout=2,
)  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    real = download.open_downloader
    monkeypatch.setattr(download, "open_downloader", lambda _limits, **more: real(QUICK, **more))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        yield made


def declare(machine: Machine, variants: Mapping[str, str], more: str = "", roles: str = "") -> None:
    """Write box.yaml: name -> what stands behind it, in flow style."""
    lines = [
        "version: 1", "name: box", f"registry: {machine.here}/registry", "locations:",
        f"  weights: {{ store: huggingface, root: {machine.here}/weights }}", *([more] if more else []),
        "variants:" if variants else "variants: {}", *(f"  {name}: {{ {said} }}" for name, said in variants.items()),
    ]  # fmt: skip
    machine.manifest.write_text("\n".join([*lines, roles, ""]))


def applied(machine: Machine, code: int = 0) -> str:
    told = machine.run("apply", "box.yaml", "--yes")
    assert told.code == code, told.out + told.err
    return told.out + told.err


def entries(machine: Machine) -> list[dict[str, Any]]:
    path = machine.here / "registry" / MERGED
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return found


def weight(machine: Machine, repository: str = CHAT) -> Path:
    return machine.here / "weights" / repository / "model.safetensors"


def online(machine: Machine) -> list[tuple[str, str, str | None]]:
    """Plan, asking the hub; return (action, reason, why blocked) of each step."""
    told = machine.run("plan", "box.yaml", "--json")
    return [(step["action"], step["reason"], step["blocked"]) for step in told.json["steps"]]


CHAT_VARIANT = {"chat": f"source: 'hf:{CHAT}', location: weights"}


def test_01_what_was_cut_off_goes_on_by_itself(machine: Machine) -> None:
    """There, a partial file was taken for a finished one, then refused, and had to be deleted by hand."""
    big = os.urandom(3 << 20)
    machine.hub.add("acme/big", {"big.gguf": big})
    declare(machine, {"big": "source: 'hf:acme/big', location: weights"})
    machine.hub.fault("truncate", times=-1, path="*big.gguf", after=1 << 20)
    applied(machine, 5)
    assert not (machine.here / "weights/acme/big/big.gguf").exists()
    machine.hub.clear_faults()

    applied(machine)

    assert (machine.here / "weights/acme/big/big.gguf").read_bytes() == big


def test_02_bytes_that_nobody_promised_never_get_a_name(machine: Machine) -> None:
    """There, a file was complete when it was there; digests were fetched from the Hub and not looked at."""
    declare(machine, CHAT_VARIANT)
    machine.hub.fault(
        "answer", times=-1, path="*model.safetensors", origin="any", code=200, body=b"CORRUPT", method="GET"
    )

    assert "Traceback" not in applied(machine, 5)

    assert not weight(machine).exists()
    assert entries(machine) == []


def test_02_what_changes_upstream_is_told_and_changes_nothing_here(machine: Machine) -> None:
    declare(machine, CHAT_VARIANT)
    applied(machine)
    machine.hub.add(CHAT, {**machine.chat, "model.safetensors": b"other" * 99})

    told = machine.run("lock", "box.yaml", "--check")

    assert told.code == 2
    assert weight(machine).read_bytes() == machine.chat["model.safetensors"]


def test_03_a_lock_covers_the_weights(machine: Machine) -> None:
    """There, a lock covered five small files: weights of equal size could be swapped and passed."""
    declare(machine, CHAT_VARIANT)
    applied(machine)
    size = weight(machine).stat().st_size
    weight(machine).write_bytes(os.urandom(size))

    assert machine.run("verify", "box.yaml").code == 8


def test_03_weights_that_keep_their_size_and_their_time_are_found_too(machine: Machine) -> None:
    """The control: size, time and inode are what they were."""
    declare(machine, CHAT_VARIANT)
    applied(machine)
    before = weight(machine).stat()
    with weight(machine).open("r+b") as file:
        file.seek(before.st_size - 1)
        file.write(b"\0" if machine.chat["model.safetensors"][-1] else b"\1")
    os.utime(weight(machine), ns=(before.st_atime_ns, before.st_mtime_ns))
    after = weight(machine).stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)

    assert machine.run("verify", "box.yaml", "--full").code == 8


def test_04_everything_that_looks_says_the_same(machine: Machine) -> None:
    """There, two programs kept two checksums of one model, and one called the other's lock a violation."""
    declare(machine, CHAT_VARIANT)
    applied(machine)

    assert machine.run("verify", "box.yaml", "--full").code == 0
    assert machine.run("verify", "box.yaml").code == 0
    assert machine.run("plan", "box.yaml", "--detailed-exitcode", "--locked").code == 0
    assert machine.run("status", "box.yaml", "--detailed-exitcode").code == 0


def test_05_what_is_protected_is_not_removed(machine: Machine) -> None:
    """There, `remove --force` deleted a locked model without a word."""
    declare(machine, {"chat": f"source: 'hf:{CHAT}', location: weights, protect: true"})
    applied(machine)
    declare(machine, {})

    told = applied(machine, 3)

    assert "protected" in told
    assert weight(machine).exists()


def test_06_content_is_told_by_content(machine: Machine) -> None:
    """There, a checksum of names and sizes was equal for different bytes, and for ("a1", 23) and ("a", 123)."""
    one, other = llama_files(seed=1), llama_files(seed=2)
    assert {path: len(data) for path, data in one.items()} == {path: len(data) for path, data in other.items()}
    put(machine.here / "w/me/one", one)
    put(machine.here / "w/me/other", other)
    machine.take("tree", "w", "--local", "--offline")

    first, second = ({file.path: file.digest for file in pin.files} for pin in machine.pins().values())
    assert first["model.safetensors"] != second["model.safetensors"]


def test_06_a_stray_file_beside_a_model_changes_nothing_about_it(machine: Machine) -> None:
    declare(machine, CHAT_VARIANT)
    applied(machine)
    (weight(machine).parent / ".DS_Store").write_bytes(b"junk")

    assert machine.run("verify", "box.yaml", "--full").code == 0
    assert machine.run("plan", "box.yaml", "--detailed-exitcode").code == 0


def test_07_owners_and_branches_and_namespaces_never_become_one(machine: Machine) -> None:
    """There, a name was made of the repository's tail: of two owners the first one's path was lost."""
    for number, owner in enumerate(("alice", "bob", "alice")):
        branch = "@dev" if number == 2 else ""
        files = llama_files(seed=number)
        machine.hub.add(f"{owner}/model", files, branch="dev" if branch else "main")
        put(machine.here / f"w/{owner}/model{branch}", files)
    for owner in ("alice", "bob"):
        layers = {"model": gguf("Q8_0", name=owner, seed=len(owner))}
        install(machine.here / "ollama", f"registry.ollama.ai/{owner}/model/latest", layers, b"{}")
    machine.manifest.write_text(f"version: 1\nregistry: {machine.here}/registry\n")
    machine.take("tree", "w")
    machine.take("ollama", "--offline")

    found = machine.loaded().manifest.variants
    assert {each.source for each in found.values()} == {
        "hf:alice/model", "hf:bob/model", "hf:alice/model@dev", "ollama:alice/model:latest", "ollama:bob/model:latest",
    }  # fmt: skip
    assert len(found) == len(machine.steps()) == 5
    applied(machine)
    assert len({entry["name"] for entry in entries(machine)} & found.keys()) == 5
    assert len({entry["download_path"] for entry in entries(machine)}) == 5


def test_08_to_import_an_ollama_twice_changes_no_byte(machine: Machine) -> None:
    """There, names flipped on every run, and the second run died of a tag that held a slash."""
    for path in ("registry.ollama.ai/library/qwen3/8b", "hf.co/acme/Tiny-GGUF/Q4_K_M"):
        layers = {"model": gguf("Q4_K_M", name=path, seed=len(path))}
        install(machine.here / "ollama", path, layers, b'{"model_family":"qwen3","model_type":"8.2B"}')
    machine.take("ollama", "--offline")
    before = {path.name: path.read_bytes() for path in machine.here.glob("box.*")}

    assert machine.take("ollama", "--offline")["summary"]["known"] == 2
    assert {path.name: path.read_bytes() for path in machine.here.glob("box.*")} == before


def test_09_nothing_changed_is_no_byte_written(machine: Machine) -> None:
    """There, to load and save without a change made thousands of lines of difference, and to load wrote again."""
    somebody_elses(machine.here / "registry")
    declare(machine, CHAT_VARIANT)
    applied(machine)
    layers = [machine.here / "registry" / name for name in (CURATED, DISCOVERED, MERGED)]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in layers]

    applied(machine)
    machine.run("plan", "box.yaml")

    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in layers] == before


def test_10_what_was_removed_stays_removed(machine: Machine) -> None:
    """There, a purged record came back from another layer, and a deleted one from the merged file."""
    declare(machine, CHAT_VARIANT)
    applied(machine)
    declare(machine, {})
    applied(machine)

    for name in (DISCOVERED, MERGED):
        assert CHAT not in (machine.here / "registry" / name).read_text()
    assert machine.run("plan", "box.yaml", "--detailed-exitcode").code == 0
    assert entries(machine) == []


def test_10_what_somebody_deletes_by_hand_stays_deleted(machine: Machine) -> None:
    somebody_elses(machine.here / "registry")
    path = machine.here / "registry" / DISCOVERED
    left = [entry for entry in json.loads(path.read_text()) if not entry["name"].startswith("gemma")]
    gone = {entry["name"] for entry in json.loads(path.read_text())} - {entry["name"] for entry in left}
    path.write_text(json.dumps(left, indent=2))
    declare(machine, CHAT_VARIANT)

    applied(machine)

    assert gone
    for name in (DISCOVERED, MERGED):
        assert not gone & {entry["name"] for entry in json.loads((path.parent / name).read_text())}


def test_11_a_disk_that_is_away_is_not_an_empty_one(machine: Machine) -> None:
    """There, pruning took an unmounted drive for deleted models, and purging wiped what people had written."""
    declare(machine, CHAT_VARIANT)
    applied(machine)
    (machine.here / "weights").rename(machine.here / "unplugged")

    [(action, _, blocked)] = machine.steps().values()
    assert blocked is not None
    applied(machine, 3)

    assert entries(machine)
    (machine.here / "unplugged").rename(machine.here / "weights")
    assert machine.run("plan", "box.yaml", "--detailed-exitcode").code == 0
    assert action not in ("remove", "prune")


def test_11_what_people_wrote_is_never_rewritten(machine: Machine) -> None:
    somebody_elses(machine.here / "registry")
    written = (machine.here / "registry" / CURATED).read_bytes()
    declare(machine, CHAT_VARIANT)
    applied(machine)
    declare(machine, {})
    applied(machine)

    assert (machine.here / "registry" / CURATED).read_bytes() == written


@pytest.mark.parametrize(
    "token",
    ["Q4_K_S", "Q5_K_S", "Q6_K_L", "Q2_K_L", "Q3_K_XL", "UD-Q4_K_XL", "IQ3_M", "F16", "BF16", "MXFP4"],
)
def test_12_the_common_quantisations_are_known(token: str) -> None:
    """There, ten of the usual names were unknown, headers were never read, and the order of a directory decided."""
    found = rules.quant_from_name(f"Model-7B-{token}.gguf")
    assert found is not None
    assert found.replace("fp16", "f16") == token.lower()
    assert rules.quant_from_name("Model-7B.gguf") is None


def test_12_a_header_is_read_without_any_library_and_in_any_order(machine: Machine) -> None:
    put(machine.here / "m", {"plain.gguf": gguf("Q4_K_M", name="x", seed=1)})
    assert detect_directory(machine.here / "m", ["plain.gguf"]).quant == "q4_k_m"
    files = llama_files(seed=1, quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128})
    put(machine.here / "awq", files)

    found = {detect_directory(machine.here / "awq", order).quant for order in (sorted(files), sorted(files)[::-1])}

    assert len(found) == 1
    assert "awq" in str(found)


def test_12_several_quants_in_one_directory_are_several_variants(machine: Machine) -> None:
    put(machine.here / "w" / GGUF, machine.ggufs)

    machine.take("tree", "w")

    assert len(machine.loaded().manifest.variants) == 2


def test_13_a_new_name_or_place_continues_the_old_record(machine: Machine) -> None:
    """There, detection changed the quantisation and not the name, and the next scan added a second record."""
    declare(machine, CHAT_VARIANT)
    applied(machine)
    before = weight(machine).stat().st_ino
    declare(machine, {"renamed": CHAT_VARIANT["chat"]})

    assert online(machine) == [("normalize", "rename", None)]
    applied(machine)

    assert [entry["name"] for entry in entries(machine)] == ["renamed"]
    assert weight(machine).stat().st_ino == before


def test_13_a_directory_that_was_moved_leaves_no_record_behind(machine: Machine) -> None:
    declare(machine, CHAT_VARIANT)
    applied(machine)
    (machine.here / "other/acme").mkdir(parents=True)
    (machine.here / "weights" / CHAT).rename(machine.here / "other" / CHAT)
    moved = f"  other: {{ store: huggingface, root: {machine.here}/other }}"
    declare(machine, {"chat": f"source: 'hf:{CHAT}', location: other"}, moved)
    machine.hub.reset_log()

    applied(machine)

    [entry] = entries(machine)
    assert entry["download_path"] == str(machine.here / "other" / CHAT)
    assert machine.hub.bytes_served("cdn") == 0
    assert machine.run("plan", "box.yaml", "--detailed-exitcode").code == 0


def test_13_nested_paths_are_recorded_whole(machine: Machine) -> None:
    machine.hub.add("acme/nested", {"config.json": b"{}", "onnx/deep/model.onnx": b"weights"})
    declare(machine, {"nested": "source: 'hf:acme/nested', location: weights"})
    applied(machine)

    [entry] = entries(machine)
    assert "onnx/deep/model.onnx" in entry["download_files"]


def test_14_an_empty_file_is_a_file(machine: Machine) -> None:
    """There, a file of no bytes was a failed download; an empty `__init__.py` was enough."""
    machine.hub.add("acme/empty", {**llama_files(seed=5), "code/__init__.py": b""})
    declare(machine, {"empty": "source: 'hf:acme/empty', location: weights"})

    applied(machine)

    assert (machine.here / "weights/acme/empty/code/__init__.py").read_bytes() == b""
    assert machine.run("verify", "box.yaml", "--full").code == 0


def test_15_to_look_writes_nothing(machine: Machine) -> None:
    """There, to load the registry wrote it, templates of chats too, and null became the word None on each round."""
    declare(machine, CHAT_VARIANT)
    applied(machine)
    before = {**files_of(machine.here / "registry"), **files_of(machine.here / "weights")}

    for command in ("plan", "status", "list", "roles", "validate", "verify", "stats", "duplicates", "history"):
        assert machine.run(command, "box.yaml").code == 0, command
    machine.run("import", "imageworks", "registry", "--manifest", "other.yaml", "--offline")

    assert {**files_of(machine.here / "registry"), **files_of(machine.here / "weights")} == before
    assert '"None"' not in (machine.here / "registry" / MERGED).read_text()


def test_16_a_model_in_shards_comes_whole(machine: Machine) -> None:
    """There, the page for choosing files chose the first one, so that a sharded model came as one shard."""
    files = llama_files(seed=6, shards=3)
    shards = {path for path in files if path.endswith(".safetensors")}
    machine.hub.add("acme/sharded", files)
    declare(machine, {"sharded": "source: 'hf:acme/sharded', location: weights"})
    applied(machine)

    assert len(shards) == 3
    assert shards <= {path.name for path in (machine.here / "weights/acme/sharded").iterdir()}
    next(iter(sorted((machine.here / "weights/acme/sharded").glob("*.safetensors")))).unlink()
    [(action, reason, _)] = machine.steps().values()
    assert (action, reason) == ("download", "incomplete")


def test_17_no_clock_runs_over_a_whole_download() -> None:
    """There, whatever took longer than an hour was killed. Here each limit of time is on silence, not on length."""
    seconds = {each.name for each in dataclasses.fields(Limits) if each.type in ("float", float)}

    assert seconds == {"stall", "patience", "backoff", "slowest", "connect_timeout", "read_timeout"}
    assert "without a byte" in inspect.getsource(Limits)


def test_18_files_in_directories_are_listed_too(machine: Machine) -> None:
    """There, only the top of a repository was listed."""
    nested = {f"part-{number}/{name}/x.json": b"{}" for number in range(20) for name in "ab"}
    machine.hub.add("acme/deep", {**llama_files(seed=7), **nested})
    declare(machine, {"deep": "source: 'hf:acme/deep', location: weights"})

    applied(machine)

    assert all((machine.here / "weights/acme/deep" / path).exists() for path in nested)


def test_19_a_gated_repository_comes_with_a_token_and_is_told_without(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was no way to say who one is."""
    machine.hub.add("acme/gated", llama_files(seed=8), gated="auto")
    declare(machine, {"gated": "source: 'hf:acme/gated', location: weights"})

    told = machine.run("plan", "box.yaml")
    assert told.code == 3
    assert "gated" in told.out

    machine.hub.token = "hf_atokenforthistestonly"
    monkeypatch.setenv("HF_TOKEN", "hf_atokenforthistestonly")
    assert "hf_atoken" not in applied(machine)
    assert weight(machine, "acme/gated").exists()


def test_20_what_is_here_is_not_fetched_again(machine: Machine) -> None:
    """There, the check for an earlier download looked for a repository among names, and never found one."""
    put(machine.here / "weights" / CHAT, machine.chat)
    declare(machine, CHAT_VARIANT)

    assert online(machine) == [("normalize", "adopt", None)]
    machine.hub.reset_log()
    applied(machine)
    applied(machine)

    assert machine.hub.bytes_served("cdn") == 0


def test_21_one_format_comes_and_no_pickle_beside_it(machine: Machine) -> None:
    """There, every format of the weights came, and the choice of one only chose the directory."""
    machine.hub.add("acme/both", {**llama_files(seed=9), "pytorch_model.bin": b"\x80\x02pickle"})
    declare(machine, {"both": "source: 'hf:acme/both', location: weights"})

    applied(machine)

    assert weight(machine, "acme/both").exists()
    assert not (machine.here / "weights/acme/both/pytorch_model.bin").exists()


def test_22_what_people_wrote_of_a_model_is_what_servers_read(machine: Machine) -> None:
    """There, arguments for a server that people had set were ignored, and nobody found out why."""
    declare(machine, CHAT_VARIANT)
    mine = {"name": "chat", "backend_config": {"extra_args": ["--max-model-len", "4096"]}, "served_model_id": "mine"}
    registry(machine.here / "registry", curated=[mine])
    applied(machine)

    [entry] = entries(machine)

    assert entry["backend_config"]["extra_args"] == ["--max-model-len", "4096"]
    assert entry["served_model_id"] == "mine"
    assert CHAT in entry["download_path"]


def test_23_a_record_of_what_is_gone_goes_with_a_plan(machine: Machine) -> None:
    """There, records of models that had been removed elsewhere stayed until somebody purged them."""
    declare(machine, CHAT_VARIANT)
    applied(machine)
    for path in (machine.here / "weights" / CHAT).iterdir():
        path.unlink()
    declare(machine, {})

    assert {(action, reason) for action, reason, _ in machine.steps().values()} == {("prune", "stale-record")}
    applied(machine)

    assert entries(machine) == []


def test_24_nothing_depends_on_where_one_stands_or_whose_machine_it_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, paths of one machine and a directory `configs` below the current one stood in the code."""
    declare(machine, CHAT_VARIANT)
    elsewhere = machine.here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    assert machine.run("apply", str(machine.manifest), "--yes").code == 0

    assert weight(machine).exists()
    assert list(elsewhere.iterdir()) == []


def test_25_the_first_of_an_order_has_the_highest_number_everywhere(machine: Machine) -> None:
    """There, the documents said that the lower number wins, and the code that the higher one does."""
    variants = {**CHAT_VARIANT, "small": f"source: 'hf:{GGUF}', files: ['*Q4_K_M.gguf'], location: weights"}
    declare(machine, variants, roles="roles: { chat: [small, chat] }")
    applied(machine)

    priorities = {entry["name"]: entry["role_priority"]["chat"] for entry in entries(machine)}

    assert priorities["small"] > priorities["chat"]
    told = machine.run("roles", "box.yaml").out
    assert told.index("small") < told.index("chat", told.index("small"))


def test_26_two_that_write_at_once_do_not_meet(machine: Machine) -> None:
    """There, two processes wrote the same JSON, and the last one won."""
    declare(machine, CHAT_VARIANT)
    (machine.here / "registry").mkdir()

    with exclusive_lock(machine.here / "registry/lock", holder="another"):
        told = machine.run("apply", "box.yaml", "--yes")

    assert told.code == 6
    assert not weight(machine).exists()


def test_27_a_damaged_registry_is_never_taken_for_an_empty_one(machine: Machine) -> None:
    """There, handlers that caught everything and said nothing hid all of this."""
    declare(machine, CHAT_VARIANT)
    applied(machine)
    (machine.here / "registry" / DISCOVERED).write_text('[{"name": ')

    told = machine.run("plan", "box.yaml")

    assert told.code == 1
    assert DISCOVERED in told.err


def test_27_nothing_swallows_every_error(machine: Machine) -> None:
    silent = []
    for path in HOUSE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and _catches_all(node.type) and _says_nothing(node.body):
                silent.append(f"{path.name}:{node.lineno}")
    assert silent == []


def _catches_all(caught: ast.expr | None) -> bool:
    return caught is None or (isinstance(caught, ast.Name) and caught.id in ("Exception", "BaseException"))


def _says_nothing(body: list[ast.stmt]) -> bool:
    return all(isinstance(line, ast.Pass | ast.Continue) for line in body)


def test_28_a_test_or_an_absent_program_never_puts_anything_into_a_registry(machine: Machine) -> None:
    """There, a test suite wrote into its user's registry, and without a server a model was made up to be shown."""
    registry(machine.here / "old", discovered=[
        record("model-awq_(AWQ)", source={"huggingface_id": "r/x"}),
        of_hub("custom-family-x", "/tmp/pytest-of-x/w", "a/b"),
    ])  # fmt: skip

    report = machine.take("imageworks", "old", "--offline")
    told = machine.run("import", "ollama", "http://127.0.0.1:9", "--manifest", "none.yaml")

    assert report["summary"]["imported"] == 0
    assert told.code == 1
    assert not (machine.here / "none.yaml").exists()
    assert not machine.manifest.exists()


def test_28_nothing_that_somebody_writes_is_silently_ignored(machine: Machine) -> None:
    """There, options, commands and keys were documented that did not exist, and keys that existed were not read."""
    (machine.here / "pyproject.toml").write_text("[tool.reconciler]\nmax_connections = 3\n")
    setting = machine.run("config")
    (machine.here / "pyproject.toml").unlink()
    option = machine.run("plan", "--no-aria2")
    command = machine.run("prune-deprecated")
    declare(machine, {"chat": f"source: 'hf:{CHAT}', location: weights, formats: [awq]"})
    key = machine.run("plan", "box.yaml")

    assert [each.code for each in (setting, option, command, key)] == [1, 1, 1, 1]
    assert "max_connections" in setting.err
    assert "--no-aria2" in option.err
    assert "prune-deprecated" in command.err
    assert "box.yaml:" in key.err
    assert "format" in key.err


def test_every_number_has_its_test() -> None:
    tests = {name for name in globals() if name.startswith("test_")}

    assert {match[1] for name in tests if (match := re.match(r"test_(\d\d)_", name))} == {
        f"{number:02}" for number in range(1, 29)
    }
