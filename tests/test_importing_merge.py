"""What was found joins a manifest: known, added, left out; never changed, never taken away."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from reconciler import lockfile
from reconciler.errors import InputError, ManifestError
from reconciler.importing import IMPORTERS, Found, Row, importer_of, report, subjects
from reconciler.importing.merge import Merged, merge
from reconciler.importing.target import open_target
from reconciler.importing.writing import write
from reconciler.manifest import load
from reconciler.state import Artifact, Digest, Pin

COMMIT = "a" * 40


def pin(source: str, *paths: str, seed: str = "1", revision: str | None = COMMIT) -> Pin:
    files = (Artifact(path, 10, Digest(f"sha256:{seed * 64}")) for path in sorted(paths))
    return Pin(source, revision, tuple(files))


def found(source: str, *paths: str, root: Path | None = None, store: str = "huggingface", **more: Any) -> Found:
    location = ("weights", {"store": store, "root": str(root)}) if root else None
    said = {"source": source, **({"files": list(paths)} if paths and more.pop("chosen", True) else {})}
    return Found(said, pin(source, *paths) if paths else None, location=location, **more)


def into(path: Path, *gathered: Found | Row) -> Merged:
    merged = merge(open_target(path), gathered)
    write(merged)
    return merged


def kinds(merged: Merged) -> list[str]:
    return [row.kind for row in merged.rows]


def test_a_manifest_is_made_when_it_is_not_there(world: Path) -> None:
    merged = into(world / "m.yaml", found("hf:o/r", "a.safetensors", root=world / "w", roles=("chat",)))

    assert (world / "m.yaml").read_text() == (
        "version: 1\n\n"
        f"locations:\n  weights:\n    store: huggingface\n    root: {world}/w\n\n"
        "variants:\n  r-safetensors:\n    source: hf:o/r\n    files: [a.safetensors]\n    location: weights\n\n"
        "roles:\n  chat: [r-safetensors]\n"
    )
    assert merged.names == ("r-safetensors",)
    lock = lockfile.read(world / "m.lock.json")
    assert lock is not None
    assert lock.pins["r-safetensors"].revision == COMMIT


def test_nothing_found_makes_nothing(world: Path) -> None:
    merged = into(world / "m.yaml", Row("left-out", "x", "y"))

    assert not merged.changed
    assert list(world.iterdir()) == []


def test_what_is_declared_stays_byte_for_byte(world: Path) -> None:
    text = f"""\
version: 1   # mine
locations: {{ w: {{ store: huggingface, root: {world}/w }} }}   # one line, as I like it
variants:
  mine: {{ source: hf:o/r, files: [a.safetensors] }}
"""
    (world / "m.yaml").write_text(text)

    merged = into(
        world / "m.yaml", found("hf:o/r", "a.safetensors", root=world / "w"), found("hf:o/s", root=world / "w")
    )

    assert kinds(merged) == ["known", "imported"]
    assert (world / "m.yaml").read_text() == text + "  s:\n    source: hf:o/s\n    location: w\n"


def test_a_declared_variant_gets_the_pin_that_it_lacks_and_a_pin_never_changes(world: Path) -> None:
    (world / "m.yaml").write_text(
        f"version: 1\nlocations: {{ w: {{ store: huggingface, root: {world}/w }} }}\nvariants:\n"
        "  one: { source: hf:o/r, files: [a.safetensors] }\n  two: { source: hf:o/s, files: [a.safetensors] }\n"
    )
    old = pin("hf:o/s", "a.safetensors", seed="2")
    lockfile.write(world / "m.lock.json", lockfile.Lock(pins={"two": old}))

    into(
        world / "m.yaml",
        found("hf:o/r", "a.safetensors", root=world / "w"),
        found("hf:o/s", "a.safetensors", root=world / "w"),
    )

    lock = lockfile.read(world / "m.lock.json")
    assert lock is not None
    assert lock.pins == {"one": pin("hf:o/r", "a.safetensors"), "two": old}


def test_the_same_thing_found_twice_is_one_variant(world: Path) -> None:
    one = found("hf:o/r", "a.gguf", root=world / "w")

    merged = into(world / "m.yaml", one, one)

    assert sorted(kinds(merged)) == ["imported", "known"]
    assert {row.what for row in merged.rows} == {"r-gguf"}


def test_main_and_no_revision_are_one_source(world: Path) -> None:
    merged = into(world / "m.yaml", found("hf:o/r", root=world / "w"), found("hf:o/r@main", root=world / "w"))

    assert sorted(kinds(merged)) == ["imported", "known"]


def test_two_owners_two_branches_and_two_places_never_share_a_name(world: Path) -> None:
    merged = into(
        world / "m.yaml",
        *(found(source, root=world / "w") for source in ("hf:a/r", "hf:b/r", "hf:b/r@dev")),
        found("hf:a/r", root=world / "x"),
    )

    assert len(set(merged.names)) == 4
    assert list(load(world / "m.yaml").manifest.locations) == ["weights", "weights-2"]


def test_a_name_that_is_taken_is_told_apart_and_stays_so(world: Path) -> None:
    (world / "m.yaml").write_text(
        f"version: 1\nlocations: {{ w: {{ store: huggingface, root: {world}/w }} }}\n"
        "variants:\n  r: { source: hf:other/r }\n"
    )

    merged = into(world / "m.yaml", found("hf:o/r", root=world / "w"))

    assert merged.names == ("o-r",)
    assert kinds(into(world / "m.yaml", found("hf:o/r", root=world / "w"))) == ["known"]


def test_a_chosen_name_is_kept_and_one_that_no_manifest_takes_is_made_fit(world: Path) -> None:
    chosen = [found("hf:o/r", root=world / "w", name="Mine"), found("hf:o/s", root=world / "w", name="a/b: c")]

    assert into(world / "m.yaml", *chosen).names == ("Mine", "a-b-c")


def test_a_location_is_used_again_whatever_its_name_and_however_it_is_written(world: Path) -> None:
    (world / "real").mkdir()
    (world / "link").symlink_to(world / "real")
    (world / "m.yaml").write_text(f"version: 1\nlocations: {{ mine: {{ store: huggingface, root: {world}/link }} }}\n")

    into(world / "m.yaml", found("hf:o/r", root=world / "real"))

    assert load(world / "m.yaml").manifest.variants["r"].location == "mine"
    assert list(load(world / "m.yaml").manifest.locations) == ["mine"]


@pytest.mark.parametrize(("root", "said"), [("w/inside", "lies inside"), (".", "holds"), ("w", "is")])
def test_a_place_that_touches_another_location_is_left_out_with_the_reason(world: Path, root: str, said: str) -> None:
    (world / "m.yaml").write_text(f"version: 1\nlocations: {{ w: {{ store: flat, root: {world}/w }} }}\n")

    merged = into(world / "m.yaml", found("hf:o/r", root=(world / root).resolve()))

    assert kinds(merged) == ["left-out"]
    assert said in merged.rows[0].why


def test_a_place_that_holds_the_registry_is_left_out(world: Path) -> None:
    (world / "m.yaml").write_text(f"version: 1\nregistry: {world}/w/registry\n")

    assert kinds(into(world / "m.yaml", found("hf:o/r", root=world / "w"))) == ["left-out"]


def test_what_a_manifest_cannot_say_is_a_problem_and_the_rest_goes_on(world: Path) -> None:
    merged = into(
        world / "m.yaml",
        found("nonsense", root=world / "w"),
        Found({"source": "hf:o/r", "colour": "red"}),
        found("hf:o/s", root=world / "w"),
    )

    assert sorted(kinds(merged)) == ["imported", "problem", "problem"]


def test_a_pin_that_does_not_answer_the_variant_is_not_locked(world: Path) -> None:
    wrong = Found({"source": "hf:o/r", "files": ["*.gguf"]}, pin("hf:o/r", "a.safetensors"), location=(
        "w", {"store": "huggingface", "root": str(world / "w")}))  # fmt: skip

    merged = into(world / "m.yaml", wrong)

    assert "not locked" in merged.rows[0].why
    assert not (world / "m.lock.json").exists()


def test_a_variant_that_has_no_place_at_all_fails_before_anything_is_written(world: Path) -> None:
    with pytest.raises(ManifestError, match="no location"):
        into(world / "m.yaml", found("hf:o/r"))

    assert list(world.iterdir()) == []


def test_a_directory_takes_new_entries_in_a_file_of_its_own_and_roles_where_they_stand(world: Path) -> None:
    folder = world / "manifests"
    folder.mkdir()
    (folder / "a.yaml").write_text("version: 1\nroles:\n  chat: []   # best first\n")

    into(folder, found("hf:o/r", root=world / "w", roles=("chat", "draft")))

    assert (folder / "a.yaml").read_text() == "version: 1\nroles:\n  chat: [r]   # best first\n"
    assert "draft: [r]" in (folder / "imported.yaml").read_text()
    assert load(folder).manifest.roles == {"chat": ["r"], "draft": ["r"]}
    assert not (world / "manifests.lock.json").exists()


def test_an_empty_directory_is_a_manifest_to_be(world: Path) -> None:
    (world / "manifests").mkdir()

    into(world / "manifests", found("hf:o/r", root=world / "w"))

    assert list(load(world / "manifests").manifest.variants) == ["r"]


def test_variants_without_a_place_go_by_the_routes_and_are_known_the_second_time(world: Path) -> None:
    (world / "m.yaml").write_text(
        "version: 1\nlocations:\n"
        f"  a: {{ store: huggingface, root: {world}/a }}\n  b: {{ store: lmstudio, root: {world}/b }}\n"
        "routes:\n  - { format: gguf, location: b }\n  - { location: a }\n"
    )

    first = into(world / "m.yaml", found("hf:o/r", "r-Q4_K_M.gguf"))
    second = into(world / "m.yaml", found("hf:o/r", "r-Q4_K_M.gguf"))

    assert first.names == ("r-lmstudio-gguf-q4_k_m",)
    assert kinds(second) == ["known"]
    assert not second.changed


def test_a_path_that_cannot_be_a_manifest_is_refused(world: Path) -> None:
    with pytest.raises(InputError, match="none can be made"):
        open_target(world / "m.json")


def test_what_somebody_changed_while_we_looked_is_not_overwritten(world: Path) -> None:
    (world / "m.yaml").write_text("version: 1\n")
    merged = merge(open_target(world / "m.yaml"), [found("hf:o/r", "a.gguf", root=world / "w")])
    (world / "m.yaml").write_text("version: 1   # meanwhile\n")

    with pytest.raises(InputError, match="changed while we looked"):
        write(merged)

    assert (world / "m.yaml").read_text() == "version: 1   # meanwhile\n"
    assert not (world / "m.lock.json").exists()


def test_snapshots_that_share_every_blob_are_variants_of_their_own(world: Path) -> None:
    old = Found({"source": f"hf:o/r@{COMMIT}"}, pin(f"hf:o/r@{COMMIT}", "a.gguf"), location=(
        "c", {"store": "hf-cache", "root": str(world / "c")}))  # fmt: skip
    new = Found({"source": "hf:o/r"}, pin("hf:o/r", "a.gguf", revision="b" * 40), location=old.location)

    assert kinds(into(world / "m.yaml", new, old)) == ["imported", "imported"]


# -- the report and the table -----------------------------------------------------------------------------------------

ROWS = (
    Row("imported", "a", "b, c", "/x", "lock"),
    Row("left-out", "=cmd()", 'says "no"', "/y\x1b[31m"),
    Row("known", "k"),
)


def test_csv_has_a_row_for_each_and_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(report.to_csv(ROWS))))

    assert rows[0] == ["kind", "what", "why", "where", "identified"]
    assert rows[1] == ["imported", "a", "b, c", "/x", "lock"]
    assert rows[2][1] == "'=cmd()"
    assert "\x1b" not in report.to_csv(ROWS)


def test_json_counts_the_kinds() -> None:
    value = json.loads(report.to_json(ROWS))

    assert value["summary"] == {"imported": 1, "known": 1, "left-out": 1, "problem": 0, "finding": 0}
    row = {"kind": "imported", "what": "a", "why": "b, c", "where": "/x", "identified": "lock"}
    assert value["rows"][0] == row


def test_on_a_terminal_the_account_is_folded_and_nothing_of_it_is_cut() -> None:
    path = "acme/Big-GGUF/Big-Q4_K_M.gguf.part"
    row = Row("left-out", path, "a half download", f"/srv/m/{path}")
    (whole,) = report.account([row])
    assert whole == "left-out  acme/Big-GGUF/Big-Q4_K_M.gguf.part: a half download  [/srv/m]"
    narrow = list(report.account([row], width=40))
    assert all(len(line) <= 40 or len(line.split()) == 1 for line in narrow)
    assert " ".join(" ".join(narrow).split()) == " ".join(whole.split())


def test_people_see_what_is_known_only_when_they_ask_for_it() -> None:
    assert not [line for line in report.account(ROWS) if line.startswith("known")]
    assert [line for line in report.account(ROWS, verbose=True) if line.startswith("known")]


def test_a_long_report_is_counted_and_not_poured_out() -> None:
    lines = list(report.account([Row("left-out", str(n)) for n in range(100)]))

    assert len(lines) == 61
    assert "and 40 more" in lines[-1]


def test_every_subject_that_is_offered_is_an_importer() -> None:
    assert set(subjects()) <= set(IMPORTERS)
    assert {"ollama", "hf-cache", "lmstudio", "tree"} <= set(subjects())
    for subject in subjects():
        assert callable(importer_of(subject).gather)


def test_a_subject_that_nobody_knows_names_the_ones_there_are() -> None:
    with pytest.raises(ValueError, match="hf-cache"):
        importer_of("hf_cache")


def test_two_names_that_differ_in_case_only_are_never_both_declared(world: Path) -> None:
    upper = Pin("file:/w/Acme/Tail", None, (Artifact("a.gguf", 10, Digest(f"sha256:{'1' * 64}")),))
    lower = Pin("file:/w/acme/Tail", None, (Artifact("a.gguf", 10, Digest(f"sha256:{'2' * 64}")),))
    place = ("weights", {"store": "huggingface", "root": "/w"})

    merged = into(world / "m.yaml", *(Found({"source": pin.source}, pin, location=place) for pin in (upper, lower)))

    assert kinds(merged) == ["left-out", "imported"]
    assert "acme/Tail/a.gguf and Acme/Tail/a.gguf, which is declared, are one file where case" in merged.rows[0].why
    assert [variant.source for variant in load(world / "m.yaml").manifest.variants.values()] == ["file:/w/Acme/Tail"]


@pytest.mark.parametrize("name", ["star*.safetensors", "back\\slash.safetensors", 'quote".safetensors'])
def test_what_lies_here_under_a_name_that_no_lock_may_hold_is_left_out(world: Path, name: str) -> None:
    path = f"/w/loras/{name}"
    here = Pin(f"file:{path}", None, (Artifact(name, 10, Digest(f"sha256:{'1' * 64}"), url=Path(path).as_uri()),))
    place = ("comfyui", {"store": "comfyui", "root": "/w"})

    merged = into(world / "m.yaml", Found({"source": f"file:{path}", "kind": "lora"}, here, location=place))

    assert kinds(merged) == ["left-out"]
    assert "rename it" in merged.rows[0].why
    assert not (world / "m.yaml").exists()
