"""Catalog pages: their class by the syntax rules, what they really name, and how they are mended. Nothing is run."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import air
from reconciler.catalog import report
from reconciler.catalog.classify import CLASSES, Asset, Judged, judge
from reconciler.catalog.commands import MAX_COMMANDS, MAX_LINE, downloads
from reconciler.catalog.pages import MAX_PAGE, Block, read

PAGES = Path(__file__).parent / "catalog_pages"
RELEASE = "https://files.example.org/releases/download/v0.1.0"


NOT_TEXT = b'---\ntitle: na\xefve\n---\n```bash\nwget -P "$UI_HOME"/models/vae https://files.example.org/x.pt\n```\n'
ALL = {**{path.name: path.read_bytes() for path in PAGES.glob("*.md")}, "not-text.md": NOT_TEXT}


def page(name: str) -> Judged:
    return judge(ALL[f"{name}.md"], f"{name}.md")


def every() -> list[Judged]:
    return [judge(data, name) for name, data in ALL.items()]


def told(text: str) -> list[tuple[str, str | None, str]]:
    """Address, folder and name of every download in a block of bash."""
    return [(each.url, each.folder, each.name) for each in downloads(Block(text, 1, "fence", "bash"))]


def doubts(text: str) -> list[str]:
    return [each.why for each in downloads(Block(text, 1, "fence", "bash"))]


def of(judged: Judged) -> list[tuple[str, str | None, str]]:
    return [(asset.source, asset.folder, asset.file or asset.name) for asset in judged.assets]


# -- classes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "syntax", "is_valid", "commands"),
    [
        ("lora-detail", "CIVITDL_WITH_AIR", True, 1),
        ("lora-quoted-hyphen", "CIVITDL_WITH_AIR", True, 1),
        ("pair-civitdl", "CIVITDL_WITH_AIR", True, 2),
        ("many-tools", "CIVITDL_WITH_AIR", True, 2),
        ("other-model", "CIVITDL_WITH_AIR", False, 1),
        ("dangerous", "CIVITDL_WITH_AIR", False, 5),
        ("wget-with-air", "WGET_WITH_AIR", True, 1),
        ("civitdl-no-air", "CIVITDL_NO_AIR", False, 1),
        ("body-air", "CIVITDL_NO_AIR", False, 1),
        ("pair-wget", "WGET_NO_AIR", False, 2),
        ("wget-release", "WGET_NO_AIR", False, 1),
        ("workflow", "WGET_NO_AIR", False, 1),
        ("indented-curl", "NO_DOWNLOAD", False, 2),
        ("landing", "NO_DOWNLOAD", False, 0),
        ("not-closed", "INVALID", False, 1),
        ("not-text", "INVALID", False, 0),
    ],
)
def test_every_page_has_its_class_by_the_syntax_rules(name: str, syntax: str, is_valid: bool, commands: int) -> None:
    judged = page(name)

    assert (judged.syntax, judged.is_valid, judged.commands) == (syntax, is_valid, commands)


def test_the_pages_cover_every_class() -> None:
    assert {judged.syntax for judged in every()} == set(CLASSES)


NAIVE = re.compile(r"AIR:\s*urn:air:\w+:\w+:\w+:\d+@\d+")
"""The expression that pages were judged by before."""


def test_the_expression_of_old_misses_quoted_and_hyphenated_airs() -> None:
    text = (PAGES / "lora-quoted-hyphen.md").read_text()

    assert not NAIVE.search(text)
    assert page("lora-quoted-hyphen").is_valid
    assert NAIVE.search((PAGES / "other-model.md").read_text()), "and it takes the AIR of another model"
    assert not page("other-model").is_valid


@pytest.mark.parametrize(
    "text",
    [
        b"---\ntitle: a: b: c\n---\n", b"---\n- a\n- b\n---\n", b"---\nAIR: x\n", b"a\0b", b"\xff\xfe",
        b"x" * (MAX_PAGE + 1), b"---\nx: &a 1\ny: *a\n---\n", b"\n" * 20_001,
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_invalid_and_says_why(text: bytes) -> None:
    judged = judge(text, "p.md")

    assert judged.syntax == "INVALID"
    assert judged.reasons
    assert judged.fixes


def test_an_air_of_another_version_than_the_commands_is_told() -> None:
    text = (PAGES / "lora-detail.md").read_text().replace("@2202", "@2299")
    judged = judge(text.encode(), "p.md")

    assert judged.is_valid, "the rules ask for the model only"
    assert any("version 2299" in note for note in judged.notes)


def test_a_page_with_broken_front_matter_still_tells_its_air_and_its_assets() -> None:
    judged = judge(
        b'---\ntitle: one: two: three\nAIR: "urn:air:sdxl:lora:civitai:1@2"\n---\n```bash\n'
        b'civitdl "https://civitai.com/models/1?modelVersionId=2" "$UI_HOME"/models/Lora\n```\n',
        "p.md",
    )

    assert judged.syntax == "INVALID"
    assert judged.page.air == "urn:air:sdxl:lora:civitai:1@2"
    assert of(judged) == [("urn:air:sdxl:lora:civitai:1@2", "models/Lora", "")]


# -- assets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "assets"),
    [
        ("lora-detail", [("urn:air:sdxl:lora:civitai:1101@2202", "models/Lora", "")]),
        ("lora-quoted-hyphen", [("urn:air:some-video-22-i2v:lora:civitai:1102@2203", "models/loras", "")]),
        ("wget-with-air", [("hf:someone/base-1.0", "models/vae", "base_1.0.safetensors")]),
        ("civitdl-no-air", [("urn:air:sdxl:lora:civitai:1104@2206", "models/Lora", "")]),
        (
            "wget-release",
            [(f"{RELEASE}/upscaler_x4.pth", "models/upscale_models", "upscaler_x4.pth")],
        ),
        (
            "indented-curl",
            [
                ("hf:someone/easy", "models/embeddings", "easy.safetensors"),
                ("https://files.example.org/tiny_vae.pt", "models/vae", "tiny_vae.pt"),
            ],
        ),
        ("body-air", [("urn:air:other:lora:civitai:1109@2212", "models/Lora", "")]),
        ("landing", []),
        ("not-text", []),
    ],
)  # fmt: skip
def test_every_asset_of_a_page_is_found(name: str, assets: list[tuple[str, str, str]]) -> None:
    assert of(page(name)) == assets


@pytest.mark.parametrize("name", ["pair-civitdl", "pair-wget"])
def test_a_high_and_low_pair_is_two_assets(name: str) -> None:
    assert [asset.pair for asset in page(name).assets] == ["high", "low"]


def test_the_comment_behind_a_command_tells_the_halves_apart_as_well() -> None:
    address = "https://civitai.com/models/1003?modelVersionId="
    lines = [
        f'civitdl "{address}2003" "$UI_HOME"/models/loras  # high noise',
        f'civitdl "{address}2004#x" "$UI_HOME"/models/loras  # low noise',
    ]
    text = "---\ntitle: Pair\n---\n```bash\n" + "\n".join(lines) + "\n```\n"
    assert [asset.pair for asset in judge(text.encode(), "p.md").assets] == ["high", "low"]
    assert [asset.pair for asset in judge(text.replace("# low noise", "").encode(), "p.md").assets] == [None, None]


def test_half_a_pair_is_no_pair() -> None:
    text = (PAGES / "pair-civitdl.md").read_text().partition("# Low noise")[0] + "```\n"

    assert [asset.pair for asset in judge(text.encode(), "p.md").assets] == [None]


def test_one_model_with_commands_for_several_tools_is_one_asset() -> None:
    judged = page("many-tools")

    assert judged.commands == 2
    assert of(judged) == [("urn:air:sdxl:checkpoint:civitai:1105@2207", "models/Stable-diffusion", "")]


def test_the_name_that_wget_gives_is_kept_beside_the_one_of_the_hub() -> None:
    [asset] = page("wget-with-air").assets

    assert (asset.file, asset.name) == ("base_1.0.safetensors", "renamed.safetensors")


def test_assets_beyond_the_syntax_rules_are_marked() -> None:
    judged = page("indented-curl")

    assert not any(asset.is_strict for asset in judged.assets)
    assert any("2 more by the thorough reading" in note for note in judged.notes)


def test_a_bare_download_address_takes_its_model_from_the_page() -> None:
    text = '---\nurl: https://civitai.com/models/77/title\n---\n```\nwget -P "$UI_HOME"/models/Lora https://civitai.com/api/download/models/88\n```\n'

    assert of(judge(text.encode(), "p.md")) == [("urn:air:other:lora:civitai:77@88", "models/Lora", "")]


def test_a_bare_download_address_without_its_model_says_what_is_missing() -> None:
    text = '```\nwget -P "$UI_HOME"/models/Lora https://civitai.com/api/download/models/88\n```\n'
    judged = judge(text.encode(), "p.md")

    assert [(asset.source, asset.version) for asset in judged.assets] == [("", "88")]
    assert any("civitai:MODEL@88" in fix for fix in judged.fixes)


# -- what a shell would make of it ------------------------------------------------------------------------------------

URL = "https://files.example.org/x.pt"


@pytest.mark.parametrize(
    ("text", "folder", "name"),
    [
        (f'wget -P "$UI_HOME"/models/vae {URL}', "models/vae", ""),
        (f'wget -P "${{UI_HOME}}/models/vae/" {URL}', "models/vae", ""),
        (f'wget -P"$UI_HOME/models/vae" {URL}', "models/vae", ""),
        (f'wget -qcP "$UI_HOME/models/vae" {URL}', "models/vae", ""),
        (f'wget --directory-prefix="$UI_HOME/models/vae" {URL}', "models/vae", ""),
        (f'wget --directory-prefix "$UI_HOME/models/vae" {URL}', "models/vae", ""),
        (f'wget --progress=bar:force -nc --tries 3 -P "$UI_HOME/models/vae" {URL}', "models/vae", ""),
        (f'wget {URL} -O "$UI_HOME/models/vae/my vae.pt"', "models/vae", "my vae.pt"),
        (f'wget -O $UI_HOME/models/vae/a.pt {URL} # into the folder', "models/vae", "a.pt"),
        (f'mkdir -p "$UI_HOME/models/vae" && \\\nwget -P "$UI_HOME/models/vae" \\\n  {URL}', "models/vae", ""),
        (f'mkdir -p "$UI_HOME/models/vae" && \\ \nwget -P "$UI_HOME/models/vae" {URL}', "models/vae", ""),
        (f'cd "$UI_HOME/models/vae"; wget {URL}', "models/vae", ""),
        (f'cd "$UI_HOME/models"\nwget -P vae {URL}', "models/vae", ""),
        (f'curl -L -o "$UI_HOME/models/vae/a.pt" {URL}', "models/vae", "a.pt"),
        (f'curl -fsSL --create-dirs --output "$UI_HOME/models/vae/a.pt" --url {URL}', "models/vae", "a.pt"),
        (f'curl -L {URL} > "$UI_HOME/models/vae/a.pt"', "models/vae", "a.pt"),
        (f'curl --output-dir "$UI_HOME/models/vae" -o a.pt {URL}', "models/vae", "a.pt"),
        (f'aria2c -x 16 -s 16 -d "$UI_HOME/models/vae" -o a.pt {URL}', "models/vae", "a.pt"),
        (f'sudo nice wget -P "$UI_HOME/models/vae" {URL}', "models/vae", ""),
        (f'!wget -P "$UI_HOME/models/vae" {URL}', "models/vae", ""),
        (f'$ wget -P "$UI_HOME/models/vae" {URL}', "models/vae", ""),
        (f'HTTPS_PROXY=x wget -P "$UI_HOME/models/vae" {URL} || exit 1', "models/vae", ""),
        (f'if true; then wget -P "$UI_HOME/models/vae" {URL}; fi', "models/vae", ""),
        (f'(cd "$UI_HOME/models/vae" && curl -O {URL})', "models/vae", ""),
    ],
)  # fmt: skip
def test_a_command_is_read_as_a_shell_would_read_it(text: str, folder: str, name: str) -> None:
    assert told(text) == [(URL, folder, name)]
    assert doubts(text) == [""]


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ('civitdl 12 "$UI_HOME"/models/Lora', ["https://civitai.com/models/12"]),
        ('civitdl civitai.com/models/12 "$UI_HOME"/models/Lora', ["https://civitai.com/models/12"]),
        ('civitdl -i 3 -s basic 12,34 "$UI_HOME"/models/Lora', ["https://civitai.com/models/12", "https://civitai.com/models/34"]),
        ('civitdl https://civitai.com/models/1 https://civitai.com/models/2 "$UI_HOME/models/Lora" -k $KEY',
         ["https://civitai.com/models/1", "https://civitai.com/models/2"]),
    ],
)  # fmt: skip
def test_civitdl_takes_several_models_and_one_directory(text: str, urls: list[str]) -> None:
    assert told(text) == [(url, "models/Lora", "") for url in urls]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f'wget -P "$HOME/models" {URL}', r"\$HOME"),
        (f'wget -P "$UI_HOMES/models" {URL}', r"\$UI_HOMES"),
        (f'wget -P "$UI_HOME/$KIND" {URL}', r"\$KIND"),
        (f'wget -P "$UI_HOME/models/$(id)" {URL}', r"\$\("),
        (f'wget -P "$UI_HOME/models/`id`" {URL}', "`"),
        (f'wget -P "$UI_HOME/../etc" {URL}', r"\.\."),
        (f'wget -O "$UI_HOME/models/.." {URL}', r"\.\."),
        (f'wget -P /etc {URL}', r"not below \$UI_HOME"),
        (f'wget -P ~/models {URL}', r"not below \$UI_HOME"),
        (f'wget -P models/vae {URL}', r"not below \$UI_HOME"),
        (f"wget {URL}", "no directory"),
        ('wget -P "$UI_HOME/models" "https://example.org/$NAME"', "in the address"),
        ('wget -P "$UI_HOME/models"', "without an address"),
        ('civitdl "$UI_HOME"/models/Lora', "no address"),
        ('civitdl 12', "no directory"),
        (f'wget -P "$UI_HOME/models {URL}', "shell words"),
    ],
)  # fmt: skip
def test_what_cannot_be_believed_is_told_and_gets_no_folder(text: str, why: str) -> None:
    [doubt] = doubts(text)

    assert re.search(why, doubt)


@pytest.mark.parametrize(
    "text",
    [
        "# wget -P x https://example.org/y",
        "wget is a program",
        "civitdl gets models",
        "echo wget",
        "ls; cd /tmp",
        "",
        "'",
    ],
)
def test_what_is_no_download_is_none(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize("kept", ["0123456789abcdef", "canary"])
def test_a_key_on_a_page_is_told_and_never_repeated(kept: str) -> None:
    text = (
        f'---\nAIR: urn:air:sdxl:lora:civitai:1@2\n---\n```bash\ncivitdl https://civitai.com/models/1?modelVersionId=2 '
        f'"$UI_HOME"/models/Lora --api-key {kept}\n'
        f'wget -P "$UI_HOME/models/vae" "https://example.org/x.pt?v=1&token={kept}"\n'
        f'wget --header "Authorization: Bearer {kept}" -P "$UI_HOME/models/vae" https://example.org/y.pt\n```\n'
    )  # fmt: skip
    judged = judge(text.encode(), "p.md")
    rows = report.rows([judged])

    assert len([fix for fix in judged.fixes if "make it invalid" in fix]) == 3
    assert kept not in report.to_csv(rows) + report.to_json(rows) + repr(judged.assets)


def test_a_placeholder_of_a_key_is_no_key() -> None:
    civitdl = 'civitdl https://civitai.com/models/1?modelVersionId=2 "$UI_HOME"/x --api-key REDACTED'
    text = f'```bash\n{civitdl}\nwget -P "$UI_HOME/x" "https://example.org/x.pt?token=$TOKEN"\n```\n'

    assert not [fix for fix in judge(text.encode(), "p.md").fixes if "invalid" in fix]


def test_nothing_of_a_page_is_run(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import subprocess

    def run(*_: object, **__: object) -> None:
        raise AssertionError("a page was run")

    for module, name in ((os, "system"), (os, "execve"), (os, "posix_spawn"), (subprocess, "Popen")):
        monkeypatch.setattr(module, name, run)
    judged = page("dangerous")

    assert judged.commands == 5
    assert not any(asset.folder and ("etc" in asset.folder or ";" in asset.folder) for asset in judged.assets)


# -- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "```bash\nX\n```", "```\nX\n```", "```Bash title=x\nX\n```", "````bash\n```\nX\n````", "~~~bash\nX\n~~~",
        "```{bash}\nX\n```", "  ```bash\n  X\n  ```", "- item\n    ```bash\n    X\n    ```", "> ```bash\n> X\n> ```",
        "```bash\nX", "```bash\r\nX\r\n```\r\n",
    ],
)  # fmt: skip
def test_a_fence_is_found_however_it_stands(text: str) -> None:
    command = f'wget -P "$UI_HOME/models/vae" {URL}'
    judged = judge(text.replace("X", command).encode(), "p.md")

    assert [(asset.source, asset.folder, asset.is_strict) for asset in judged.assets] == [(URL, "models/vae", True)]


@pytest.mark.parametrize("text", ["    X\n", "\tX\n", "Run `X` now.\n", "- so:\n    X\n", "```sh\nX\n```\n"])
def test_code_that_is_no_fence_of_bash_is_for_the_thorough_reading(text: str) -> None:
    judged = judge(text.replace("X", f'wget -P "$UI_HOME/models/vae" {URL}').encode(), "p.md")

    assert judged.syntax == "NO_DOWNLOAD"
    assert [(asset.source, asset.is_strict) for asset in judged.assets] == [(URL, False)]


@pytest.mark.parametrize(
    ("line", "air_"),
    [
        ("AIR: urn:air:a:b:civitai:1@2", "urn:air:a:b:civitai:1@2"),
        ('AIR: "urn:air:a:b:civitai:1@2"', "urn:air:a:b:civitai:1@2"),
        ("air: 'urn:air:a:b:civitai:1@2'", "urn:air:a:b:civitai:1@2"),
        ("""AIR: '"urn:air:a:b:civitai:1@2"'""", "urn:air:a:b:civitai:1@2"),
        ("AIR: some_slug", "some_slug"),
        ("AIR:", None),
        ("AIR: [1]", None),
        ("title: x", None),
    ],
)
def test_the_air_of_the_front_matter_is_read_as_yaml_and_without_its_quotes(line: str, air_: str | None) -> None:
    assert read(f"---\n{line}\n---\n".encode(), "p.md").air == air_


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    [asset] = page("lora-detail").assets
    lines = (PAGES / "lora-detail.md").read_text().splitlines()

    assert lines[asset.line - 1].startswith("civitdl")
    assert lines[page("lora-detail").page.air_line - 1].startswith("AIR:")


# -- mending, and the report ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["civitdl-no-air", "pair-wget", "other-model", "body-air"])
def test_a_page_is_mended_by_the_line_that_the_report_gives(name: str) -> None:
    judged = page(name)
    [line] = [found[1] for fix in judged.fixes if (found := re.search(r"`(AIR: [^`]+)`", fix))]
    text = (PAGES / f"{name}.md").read_text()
    if judged.page.air_line:
        text = re.sub(r"^AIR:.*$", line, text, flags=re.MULTILINE)
    else:
        text = (
            f"---\n{line}\n{text.removeprefix('---' + chr(10)) if text.startswith('---') else '---' + chr(10) + text}"
        )
    mended = judge(text.encode(), f"{name}.md")

    assert air.verdict(line.removeprefix("AIR: ")) == "canonical"
    assert not judged.is_valid
    assert mended.is_valid


def test_every_page_that_is_not_valid_says_what_to_fix() -> None:
    judged = every()

    assert not [one.page.path for one in judged if not one.is_valid and one.commands and not one.fixes]


def test_the_report_has_the_columns_of_the_fixture_and_reads_back() -> None:
    judged = every()
    rows = report.rows(judged, tested={"lora-detail.md"})
    as_csv = list(csv.DictReader(io.StringIO(report.to_csv(rows))))

    assert list(as_csv[0]) == [
        "file_path", "syntax_type", "tested", "is_valid", "air", "download_count", "notes",
    ]  # fmt: skip
    assert [row["file_path"] for row in as_csv] == sorted(ALL)
    assert [row["file_path"] for row in as_csv if row["tested"] == "Yes"] == ["lora-detail.md"]
    assert {row["is_valid"] for row in as_csv} == {"True", "False"}
    assert json.loads(report.to_json(rows))["rows"] == [row._asdict() for row in rows]


def test_the_summary_adds_up() -> None:
    rows = report.rows(every())
    counts = report.summary(rows)

    assert counts["pages"] == len(rows) == sum(counts[name] for name in CLASSES)
    assert (counts["valid"], counts["INVALID"], counts["NO_DOWNLOAD"]) == (5, 2, 2)


def test_a_cell_is_no_formula_and_no_control_character() -> None:
    [row] = report.rows([judge(b"---\nAIR: '=1+1\x1b'\n---\n", "=cmd.md")])
    [cells] = csv.DictReader(io.StringIO(report.to_csv([row])))

    assert cells["file_path"] == "'=cmd.md"
    assert "\x1b" not in report.to_csv([row])


@pytest.mark.parametrize(
    "line",
    [
        "wget -P $UI_HOME/x " + "a" * 900_000, "civitdl 1," + "2," * 300_000 + " $UI_HOME/x",
        "wget -P $UI_HOME/x &&" * 40_000, 'wget "' * 150_000, "`" * 900_000, "> " * 400_000, "wget \\\n" * 19_000,
    ],
)  # fmt: skip
def test_a_page_that_is_made_to_be_slow_is_read_in_bounds(line: str) -> None:
    judged = judge(f"```bash\n{line}\n```\n".encode(), "p.md")

    assert judged.commands <= MAX_COMMANDS


def test_a_line_that_nobody_wrote_is_told() -> None:
    [doubt] = doubts('wget -P "$UI_HOME/x" ' + "a" * (MAX_LINE + 1))

    assert "characters in one line" in doubt


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.sampled_from(
            [
                "---", "AIR: urn:air:a:b:civitai:1@2", "```bash", "```", "> ```", "    ", "\\", '"', "'", "$(",
                "# High noise", 'wget -P "$UI_HOME"/models/x https://example.org/a?b&c',
                "civitdl 1,2 $UI_HOME/x", "curl -o", "&& \\", "`wget -P", "\u2028",
            ]
        )
        | st.text(max_size=12),
        max_size=14,
    )
)  # fmt: skip
def test_any_page_is_judged_and_every_folder_is_safe(lines: list[str]) -> None:
    judged = judge("\n".join(lines).encode("utf-8", "surrogatepass"), "p.md")

    assert judged.syntax in CLASSES
    for asset in judged.assets:
        assert isinstance(asset, Asset)
        assert asset.source or asset.why
        if asset.folder is not None:
            assert not {"..", "."} & set(asset.folder.split("/"))
            assert "$" not in asset.folder
            assert not asset.folder.startswith("/")
    report.to_csv(report.rows([judged]))
