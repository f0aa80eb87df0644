"""The registry: other people's bytes stay as they are, ours come back as they went in, damage is never emptiness."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from registry_kit import CURATED_ENTRIES, DISCOVERED_ENTRIES, files_of, record, somebody_elses

from reconciler.errors import BusyError, RegistryError, StaleError
from reconciler.registry import (
    CURATED,
    DISCOVERED,
    MERGED,
    STATE,
    LocationId,
    load,
    locked,
    merged,
    records,
    save,
    with_locations,
    with_records,
)
from reconciler.state import Address, Artifact, Attributes, Digest, Link, Note, Record, Support

DISK = {"disk": LocationId("/srv/models", "id-1")}
STYLES: list[dict[str, Any]] = [
    {}, {"ensure_ascii": True}, {"indent": 4}, {"indent": "\t"}, {"indent": None},
    {"indent": None, "separators": (",", ":")},
]  # fmt: skip


def saved(path: Path, *put: Record) -> Path:
    save(with_records(with_locations(load(path), DISK), put))
    return path


def test_no_directory_is_an_empty_registry_and_reading_makes_none(world: Path) -> None:
    registry = load(world / "registry")
    assert (registry.serial, registry.lineage, records(registry), merged(registry)) == (0, "", (), ())
    assert not (world / "registry").exists()
    assert save(registry) == registry
    assert not (world / "registry").exists()


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_loading_then_saving_changes_no_byte(world: Path, style: dict[str, Any]) -> None:
    path = somebody_elses(world / "r", **style)
    before = files_of(path)
    assert save(load(path)).serial == 0
    assert files_of(path) == before


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_our_entries_come_and_go_and_leave_everybody_elses_to_the_letter(world: Path, style: dict[str, Any]) -> None:
    path = somebody_elses(world / "r", **style)
    before = (path / DISCOVERED).read_bytes()
    saved(path, record("m"))
    between = (path / DISCOVERED).read_bytes()
    dump = {"indent": 2, "ensure_ascii": False, **style}
    assert between.decode() == json.dumps(json.loads(between), **dump) + "\n"
    save(with_records(load(path), [], [("ws", Address("m", "disk"))]))
    assert (path / DISCOVERED).read_bytes() == before


def test_even_numbers_written_oddly_and_windows_line_ends_survive(world: Path) -> None:
    path = world / "r"
    path.mkdir()
    odd = b'[\r\n  {"name": "a", "t": 1.10e+2, "s": "\\u00e9\\ud800"},\r\n  { "name":"b" }\r\n]'
    (path / DISCOVERED).write_bytes(odd)
    saved(path, record("m"))
    now = (path / DISCOVERED).read_bytes()
    assert now.startswith(odd[:-3])
    assert [entry["name"] for entry in json.loads(now)] == ["a", "b", "m"]
    save(with_records(load(path), [], [("ws", Address("m", "disk"))]))
    assert (path / DISCOVERED).read_bytes() == odd


def test_what_was_recorded_comes_back_equal(world: Path) -> None:
    full = replace(
        record("full", backend="vllm", format="gguf", quant="q4_k_m", served_as="m:q4", license="mit", protect=True,
               roles=(("caption", 2), ("chat", 1)), metadata={"note": "größe", "n": [1.5, None]}),
        links=(Link("a/b", "../x"),), notes=(Note("refs/main", "c\n"),),
    )  # fmt: skip
    extra = Artifact("only-locked.json", 3, Digest("git-sha1:" + "0" * 40), support=True, url="https://example.org/x")
    pin = replace(full.pin, files=(*full.pin.files, extra), license="mit", support=Support("hf:o/s", "d" * 40))
    bare = replace(record("bare", files=0), attributes=Attributes(), pin=replace(pin, revision=None, support=None))
    both = (replace(full, pin=pin), bare)
    path = saved(world / "r", *both)
    assert sorted(records(load(path)), key=lambda r: r.address) == sorted(both, key=lambda r: r.address)


def test_serving_tools_find_what_they_look_for(world: Path) -> None:
    path = saved(
        world / "r", record("m", backend="vllm", quant="q4", format="gguf", roles=(("caption", 2), ("chat", 1)))
    )
    (entry,) = json.loads((path / MERGED).read_bytes())
    assert entry["download_path"] == "/srv/models/own/m"
    assert entry["backend_config"] == {"model_path": "/srv/models/own/m"}
    assert entry["download_files"] == ["f0.gguf", "f1.gguf"]
    assert entry["download_size_bytes"] == 21
    assert entry["source"] == {"huggingface_id": "own/m"}
    assert entry["roles"] == ["chat", "caption"]
    assert entry["role_priority"]["chat"] > entry["role_priority"]["caption"] > 0
    assert (entry["deprecated"], entry["capabilities"], entry["download_location"]) == (False, {}, "disk")
    assert "served_model_id" not in entry
    assert "downloaded_at" not in entry
    assert b"None" not in (path / MERGED).read_bytes()


def test_a_time_is_set_only_when_bytes_came_and_stays(world: Path) -> None:
    path = world / "r"
    registry = with_locations(load(path), DISK)
    save(with_records(registry, [record()], downloaded_at={Address("m", "disk"): "2026-01-02T03:04:05Z"}))
    save(with_records(load(path), [record(quant="q4")]))
    (entry,) = load(path).discovered
    assert (entry["downloaded_at"], entry["quantization"]) == ("2026-01-02T03:04:05Z", "q4")


def test_the_same_record_again_is_no_change(world: Path) -> None:
    path = saved(world / "r", record())
    before = files_of(path)
    registry = load(path)
    assert save(with_records(registry, [record()])).serial == 1
    assert files_of(path) == before


def test_what_others_add_to_our_entry_stays_and_what_we_no_longer_say_goes(world: Path) -> None:
    path = saved(world / "r", record(quant="q4", metadata={"mine": 1}))
    entries = json.loads((path / DISCOVERED).read_bytes())
    entries[0]["capabilities"] = {"vision": True}
    entries[0]["metadata"]["architecture"] = {"layers": 3}
    (path / DISCOVERED).write_text(json.dumps(entries, indent=2))
    save(with_records(load(path), [record()]))
    (entry,) = load(path).discovered
    assert entry["capabilities"] == {"vision": True}
    assert entry["metadata"]["architecture"] == {"layers": 3}
    assert "mine" not in entry["metadata"]
    assert "quantization" not in entry


def test_two_variants_of_one_name_get_two_entries_and_keep_them(world: Path) -> None:
    path = somebody_elses(world / "r")
    three = [record("twice"), record("twice", location="other"), record("twice", manifest="other")]
    saved(path, *three)
    names = [entry["name"] for entry in load(path).discovered[len(DISCOVERED_ENTRIES) :]]
    assert len(set(names)) == 3
    assert "twice" not in names  # that is somebody else's
    assert list(load(path).discovered[: len(DISCOVERED_ENTRIES)]) == DISCOVERED_ENTRIES
    dropped = next(
        e["name"]
        for e in load(path).discovered
        if e.get("metadata", {}).get("reconciler", {}).get("address") == "twice@disk"
    )
    save(with_records(load(path), [three[1]], [("other", three[0].address)]))
    assert [entry["name"] for entry in load(path).discovered[len(DISCOVERED_ENTRIES) :]] == [
        entry_name for entry_name in names if entry_name != dropped
    ]
    left = {(r.manifest, r.address) for r in records(load(path))}
    assert left == {("ws", three[0].address), ("ws", three[1].address)}


def test_an_entry_of_ours_that_somebody_copied_becomes_one_again(world: Path) -> None:
    path = saved(world / "r", record())
    entries = json.loads((path / DISCOVERED).read_bytes())
    (path / DISCOVERED).write_text(json.dumps([entries[0], {**entries[0], "name": "copy"}]))
    (path / STATE).unlink()
    assert len(records(load(path))) == 2
    save(with_records(load(path), [record(quant="q4")]))
    assert records(load(path)) == (record(quant="q4"),)


def test_curated_wins_field_by_field_and_is_never_written(world: Path) -> None:
    path = somebody_elses(world / "r")
    before = (path / CURATED).read_bytes()
    saved(path, record())
    both = {entry["name"]: entry for entry in merged(load(path))}
    assert list(both) == ["gemma_(Q3)", "twice", "größe-模型", "m", "only-people-know"]
    twice = both["twice"]
    assert twice["backend"] == "vllm"  # null never overrides
    assert (twice["license"], twice["roles"]) == ("mit", ["chat"])
    assert twice["generation_defaults"] == {"temperature": 0.5}
    assert twice["metadata"] == {"registry_layer": "old"}
    assert json.loads((path / MERGED).read_bytes()) == list(both.values())
    assert (path / CURATED).read_bytes() == before
    assert list(load(path).curated) == CURATED_ENTRIES


def test_a_serial_counts_the_saves_that_changed_something(world: Path) -> None:
    path = world / "r"
    for serial in range(1, 9):
        assert save(with_records(load(path), [record(f"m{serial}")])).serial == serial
        assert save(load(path)).serial == serial
    assert len({load(path).lineage}) == 1
    names = sorted(file.name for file in (path / "backups").iterdir())
    assert sorted({name[7:17] for name in names}) == [f"{n:010d}" for n in range(3, 8)]
    assert not any(name.endswith(".json") for name in names)


def test_what_people_curate_later_reaches_the_merged_layer_at_the_next_save(world: Path) -> None:
    path = saved(world / "r", record())
    (path / CURATED).write_text(json.dumps([{"name": "m", "license": "mit"}]))
    assert save(load(path)).serial == 2
    assert json.loads((path / MERGED).read_bytes())[0]["license"] == "mit"


def test_a_merged_layer_that_was_lost_is_made_again(world: Path) -> None:
    path = saved(world / "r", record())
    before = (path / MERGED).read_bytes()
    (path / MERGED).unlink()
    assert save(load(path)).serial == 1
    assert (path / MERGED).read_bytes() == before


@pytest.mark.parametrize("name", [DISCOVERED, STATE])
def test_cut_off_at_any_byte_it_is_refused_with_the_way_back(world: Path, name: str) -> None:
    path = saved(world / "r", record("first", files=0))
    save(with_records(load(path), [record("second", files=0)]))
    whole = (path / name).read_bytes()
    for length in range(len(whole)):
        if name == STATE and length == len(whole) - 1:
            continue  # only the newline at its end: nothing of it is lost
        (path / name).write_bytes(whole[:length])
        with pytest.raises(RegistryError, match=r"backups/serial-0000000001\.discovered\.bak"):
            load(path)
    (path / name).write_bytes(whole)
    assert len(records(load(path))) == 2


DAMAGE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "zeros": (b"\0" * 4096, "blank"),
    "a key twice": (b'[{"name": "a", "name": "b"}]', "twice"),
    "not a number": (b'[{"name": "a", "x": NaN}]', "NaN"),
    "an object": (b"{}", "expected an array"),
    "no name": (b'[{"backend": "vllm"}]', "expected a name"),
    "no objects": (b"[1]", "expected an object"),
    "not text": (b'[{"name": "\xff"}]', "UTF-8"),
    "too deep": (b"[" * 100_000, "deep"),
    "emptied": (b"[]\n", "another program changed what we recorded"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_never_taken_for_an_empty_registry(world: Path, damage: str) -> None:
    path = saved(world / "r", record())
    data, says = DAMAGE[damage]
    (path / DISCOVERED).write_bytes(data)
    with pytest.raises(RegistryError, match=says):
        load(path)


def test_the_naive_reader_takes_a_missing_or_emptied_file_for_nothing(world: Path) -> None:
    path = saved(world / "r", record())
    (path / DISCOVERED).write_bytes(b"[]\n")
    assert json.loads((path / DISCOVERED).read_bytes()) == []
    (path / DISCOVERED).unlink()
    with pytest.raises(RegistryError, match="missing, though serial 1 was saved here"):
        load(path)


@pytest.mark.parametrize("change", [{"version": 2}, {"version": "1"}, {"files": {}}, {"address": "m"}, {"more": 1}])
def test_a_damaged_or_newer_block_is_refused_by_name(world: Path, change: dict[str, Any]) -> None:
    path = saved(world / "r", record())
    entries = json.loads((path / DISCOVERED).read_bytes())
    entries[0]["metadata"]["reconciler"].update(change)
    (path / DISCOVERED).write_text(json.dumps(entries))
    (path / STATE).unlink()
    with pytest.raises(RegistryError, match=r"discovered\.json: m: metadata\.reconciler"):
        records(load(path))


def test_what_damages_every_entry_alike_is_told_by_a_few(world: Path) -> None:
    path = saved(world / "r", *(record(f"m{number}") for number in range(40)))
    entries = json.loads((path / DISCOVERED).read_bytes())
    for entry in entries:
        entry["metadata"]["reconciler"]["version"] = 99
    (path / DISCOVERED).write_text(json.dumps(entries))
    (path / STATE).unlink()
    with pytest.raises(RegistryError) as caught:
        records(load(path))
    assert len(caught.value.problems) == 5
    assert "and 35 more entries are damaged" in caught.value.problems[-1].summary


def test_a_state_of_the_future_is_refused(world: Path) -> None:
    path = saved(world / "r", record())
    (path / STATE).write_text((path / STATE).read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(RegistryError, match="a newer one wrote it") as caught:
        load(path)
    assert "upgrade reconciler" in caught.value.problems[0].hint
    assert "backup" not in caught.value.problems[0].hint


def test_what_another_program_does_to_its_own_entries_is_accepted(world: Path) -> None:
    path = saved(somebody_elses(world / "r"), record())
    entries = json.loads((path / DISCOVERED).read_bytes())
    entries[0]["roles"] = ["chat"]
    (path / DISCOVERED).write_text(json.dumps(entries[:1] + entries[2:], indent=2))
    assert records(load(path)) == (record(),)
    assert save(with_records(load(path), [record("n")])).serial == 2


def test_the_second_writer_sees_that_the_registry_moved(world: Path) -> None:
    path = saved(world / "r", record())
    early = load(path)
    save(with_records(load(path), [record("n")]))
    with pytest.raises(StaleError, match="not as it was"):
        save(with_records(early, [record("o")]))
    assert len(records(load(path))) == 2


def test_a_locked_registry_names_its_holder(world: Path) -> None:
    with (
        locked(world / "r", holder="reconciler apply"),
        pytest.raises(BusyError, match="reconciler apply"),
        locked(world / "r"),
    ):
        pass


def test_locations_are_remembered(world: Path) -> None:
    path = saved(world / "r", record())
    save(with_locations(load(path), {"ollama": LocationId("/o", "id-2")}))
    assert load(path).locations == {**DISK, "ollama": LocationId("/o", "id-2")}
    assert load(path).serial == 2


def test_the_digest_tells_registries_apart(world: Path) -> None:
    path = saved(world / "r", record())
    first = load(path)
    assert load(path).digest == first.digest
    assert save(with_records(first, [record("n")])).digest == load(path).digest != first.digest
