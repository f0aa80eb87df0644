"""`import list`: references and scripts of downloads become variants; nothing in them is ever run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from importing_kit import CHAT, GGUF, Machine, a_machine, manifest_text, whys


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        yield made


def said(machine: Machine, text: str, name: str = "models.txt", *flags: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Import a list and return (source -> variant as declared, the report)."""
    (machine.here / name).write_text(text)
    report = machine.take("list", name, *(flags or ("--offline",)))
    if not machine.manifest.exists():
        return {}, report
    return {each.source: each for each in machine.loaded().manifest.variants.values()}, report


def test_a_plain_list_becomes_variants_that_are_locked(machine: Machine) -> None:
    found, report = said(machine, f"# mine\n- {CHAT}\n* hf:{GGUF} *Q4_K_M.gguf   # the small one\n", "models.txt", "-v")

    assert set(found) == {f"hf:{CHAT}", f"hf:{GGUF}"}
    assert found[f"hf:{GGUF}"].files == ("*Q4_K_M.gguf",)
    assert {pin.revision for pin in machine.pins().values()} == {machine.chat_commit, machine.gguf_commit}
    assert report["summary"]["imported"] == 2


def test_a_second_run_changes_no_byte(machine: Machine) -> None:
    said(machine, f"{CHAT}\nollama:qwen3:8b\n", "models.txt", "-v")
    before = manifest_text(machine.here)

    report = machine.take("list", "models.txt")

    assert report["written"] == []
    assert manifest_text(machine.here) == before


def test_offline_everything_is_declared_and_nobody_is_asked(machine: Machine) -> None:
    found, report = said(machine, f"{CHAT}\n")

    assert set(found) == {f"hf:{CHAT}"}
    assert machine.asked() == 0
    assert all("not locked" in row["why"] for row in report["rows"])


SCRIPT = """\
#!/bin/bash
set -euo pipefail
mkdir -p ~/models
export HF_HUB_ENABLE_HF_TRANSFER=1
HF_TOKEN=hf_secretsecretsecretsecretsecret hf download acme/Tiny-Chat --revision dev --local-dir ~/models/tiny
huggingface-cli download acme/Tiny-GGUF --include "*Q4_K_M.gguf" "*.json" --exclude "*.bin" --quiet
hf download acme/Tiny-GGUF \\
    Tiny-IQ4_XS.gguf
docker exec -it ollama ollama pull qwen3:8b && sudo ollama run hf.co/acme/x:Q4_K_M "hello"
wget -c "https://huggingface.co/acme/Other/resolve/main/sub/x.gguf?download=true" -O x.gguf
curl -L -o lora.safetensors 'https://civitai.com/models/12?modelVersionId=34'
git clone https://huggingface.co/acme/Cloned
git clone https://github.com/acme/program
ARRAY=(
  "https://huggingface.co/acme/InArray/resolve/main/y.gguf"
)
for m in a b; do ollama pull $m; done
hf download acme/data --repo-type dataset
lms get acme/thing
"""


def test_a_script_is_read_command_by_command(machine: Machine) -> None:
    found, report = said(machine, SCRIPT, "fetch.sh")

    assert set(found) == {
        "hf:acme/Tiny-Chat@dev", "hf:acme/Tiny-GGUF", "ollama:qwen3:8b", "ollama:hf.co/acme/x:Q4_K_M", "hf:acme/Other",
        "civitai:12@34", "hf:acme/Cloned", "hf:acme/InArray",
    }  # fmt: skip
    assert found["hf:acme/Other"].files == ("sub/x.gguf",)
    both = [each for each in machine.loaded().manifest.variants.values() if each.source == "hf:acme/Tiny-GGUF"]
    assert {(each.files, each.exclude) for each in both} == {
        (("*Q4_K_M.gguf", "*.json"), ("*.bin",)), (("Tiny-IQ4_XS.gguf",), ()),
    }  # fmt: skip
    out = whys(report, "left-out")
    assert "variable" in out["ollama pull $m"]
    assert "dataset" in out["hf download acme/data --repo-type dataset"]
    assert "lms get acme/thing" in out
    assert len(out) == 3


def test_nothing_of_a_script_is_run(machine: Machine) -> None:
    said(machine, f"touch {machine.here}/ran\n$(touch {machine.here}/ran)\nhf download `touch ran`/x\n", "fetch.sh")

    assert not (machine.here / "ran").exists()


def test_no_token_of_a_script_reaches_manifest_or_report(machine: Machine) -> None:
    token = "hf_" + "canary" * 6
    text = f"hf download {CHAT} --token {token}\nwget --header 'Authorization: Bearer {token}' https://example.org/a.gguf\n"
    _, report = said(machine, text + f"https://civitai.com/models/1?token={token}\n", "fetch.sh")

    assert token not in manifest_text(machine.here)
    assert token not in str(report)
    assert sum("invalid" in row["why"] for row in report["rows"]) == 3


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("qwen3:8b", "no reference"),
        ("hf:not-a-repository", "no reference"),
        ("hf:a/b c'd", "shell words"),
        ("hf download", "no repository"),
        ("ollama pull UPPER/", "ollama"),
        ("wget -i list.txt", "another file"),
        ("https://civitai.com/api/download/models/9", "page"),
    ],
)
def test_what_names_nothing_is_told_with_its_line(machine: Machine, line: str, why: str) -> None:
    _, report = said(machine, f"# head\n{line}\n")

    [row] = report["rows"]
    assert row["kind"] in ("left-out", "problem")
    assert why.lower() in row["why"].lower() or why in row["what"]
    assert row["where"] == "models.txt:2"


def test_an_address_in_a_list_keeps_what_a_shell_would_split(machine: Machine) -> None:
    found, _ = said(machine, "https://example.org/x.gguf?a=1&b=2\n")

    assert set(found) == {"https://example.org/x.gguf?a=1&b=2"}


def test_places_that_are_declared_decide_where_a_list_goes(machine: Machine) -> None:
    places = "version: 1\nlocations:\n  mine: { store: huggingface, root: /srv/models }\n"
    machine.manifest.write_text(places)
    found, _ = said(machine, f"{CHAT}\nollama:qwen3:8b\n")

    assert found[f"hf:{CHAT}"].location == "mine"
    assert set(machine.loaded().manifest.locations) == {"mine", "ollama"}

    machine.manifest.write_text(f"{places}routes:\n  - {{ location: mine }}\n")
    found, _ = said(machine, f"{CHAT}\n")

    assert found[f"hf:{CHAT}"].location is None


def test_without_places_one_is_suggested_and_said_to_be_a_guess(machine: Machine) -> None:
    _, report = said(machine, f"{CHAT}\n")

    assert machine.loaded().manifest.locations["weights"].root == str(Path("~/ai-models/weights").expanduser())
    assert "nobody said" in report["rows"][0]["why"]


def test_that_the_root_is_a_guess_is_told_once(machine: Machine) -> None:
    _, report = said(machine, f"{CHAT}\n{GGUF} *Q4_K_M.gguf\nollama:qwen3:8b\n")

    assert len(report["rows"]) == 3
    assert ["nobody said" in row["why"] for row in report["rows"]] == [True, False, False]


def test_several_quants_side_by_side_are_told(machine: Machine) -> None:
    _, report = said(machine, f"{GGUF}\n", "models.txt", "-v")

    assert "2 quants side by side" in report["rows"][0]["why"]


def test_what_upstream_does_not_have_is_a_problem_and_not_declared(machine: Machine) -> None:
    found, report = said(machine, f"{CHAT}@nowhere\n{CHAT}\n", "models.txt", "-v")

    assert set(found) == {f"hf:{CHAT}"}
    assert report["summary"]["problem"] == 1


@pytest.mark.parametrize("data", [b"a\0b", b"x" * ((4 << 20) + 1)])
def test_what_is_no_list_is_refused(machine: Machine, data: bytes) -> None:
    (machine.here / "list").write_bytes(data)

    told = machine.run("import", "list", "list", "--manifest", "box.yaml")

    assert told.code == 1
    assert "this is no list" in told.err
    assert not machine.manifest.exists()


def test_a_repository_that_is_not_there_is_a_problem_and_no_variant(machine: Machine) -> None:
    found, report = said(machine, f"{CHAT}\nacme/NoSuch\n", "models.txt", "-v")

    assert set(found) == {f"hf:{CHAT}"}
    why = whys(report, "problem")["hf:acme/NoSuch"]
    assert why.startswith("upstream does not have it: there is no such repository, or it is private")
    assert "HF_TOKEN" in why


def test_a_gated_repository_is_declared_since_the_hub_shows_what_it_holds(machine: Machine) -> None:
    machine.hub.add("acme/Gated", {"model.safetensors": b"x"}, gated="manual")

    found, _ = said(machine, "acme/Gated\n", "models.txt", "-v")

    assert set(found) == {"hf:acme/Gated"}


def test_what_is_not_locked_names_lock_as_the_next_command(machine: Machine) -> None:
    (machine.here / "models.txt").write_text(f"{CHAT}\n")

    told = machine.run("import", "list", "models.txt", "--manifest", "box.yaml", "--offline")
    assert "Next: `reconciler lock box.yaml`, online: 1 variant is not locked" in told.out
    assert told.out.count("not locked") == 2

    assert machine.run("lock", "box.yaml").code == 0
    told = machine.run("import", "list", "models.txt", "--manifest", "box.yaml")
    assert "Next:" not in told.out
