"""The chapters in which image models are looked for, refreshed, mended and taken over."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from reconciler.demo import evidence, pictures
from reconciler.demo.stage import Stage
from reconciler.hub import demo_images
from reconciler.hub.diffusion import image_model, png

_LORAS = "ComfyUI/models/loras"
_HIGH = f"{_LORAS}/camera_push_high_noise.safetensors"


def what_is_here(stage: Stage) -> None:
    """Detect; hide half a pair; rename a file; take a disk away."""
    stage.run("detect", "catalog", "--report", "pages.csv", means="told of every page")
    said = pictures.verdicts(stage)
    models = sum(verdict == "present" for verdict in said.values())
    stage.check(f"{models} pages of models are present, none absent", models == 9 and "absent" not in said.values())
    tested = sum(row["tested"] == "Yes" for row in pictures.report(stage).values())
    stage.check(f"the report says of {tested} pages that they were looked for", tested == 10)
    high, away = stage.directory / _HIGH, stage.directory / "away"
    high.rename(away)
    stage.did(f"{high.name} is moved away")
    stage.check("half a pair is no pair: absent", pictures.verdicts(stage)["Camera push"] == "absent")
    away.rename(high)
    mine = stage.directory / _LORAS / "mine.safetensors"
    (stage.directory / _LORAS / "ink.safetensors").rename(mine)
    story = stage.directory / _LORAS / "styles/storybook_v2.safetensors"
    other = story.with_name("renamed.safetensors")
    story.rename(other)
    stage.did("it is back; two other files are renamed")
    stage.check("under another name it is present, by its digest", pictures.verdicts(stage)["Storybook"] == "present")
    stage.run("status", means="what drifted, and where it lies now")
    mine.rename(mine.with_name("ink.safetensors"))
    other.rename(story)
    root = stage.directory / "ComfyUI"
    root.rename(stage.directory / "not mounted")
    stage.did("the names are back; the disk with ComfyUI is not mounted")
    seen = pictures.verdicts(stage)
    stage.check("nothing is absent because nobody could look", "absent" not in seen.values())
    stage.check("what A1111 has, too, is present all the same", seen["Detail tweaker"] == "present")
    (stage.directory / "not mounted").rename(root)
    stage.did("it is mounted again")
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do")


def a_new_word(stage: Stage) -> None:
    """Let upstream say more of one model; write a note of one's own beside another."""
    page, own = stage.directory / _LORAS / "detail_tweaker.md", stage.directory / _LORAS / "styles/storybook_v2.md"
    own.write_text("# Storybook\n\nBest at 0.7, with the ink.\n", "utf-8")
    stage.did(f"somebody writes {own.name} anew")
    demo_images.moves_on(pictures.civitai(stage))
    stage.did("upstream has one more trigger word and another picture of the detail tweaker")
    stage.run("plan", means="locked is locked")
    stage.run("lock", "--upgrade", "detail-tweaker", means="the lock has what upstream says now")
    pictures.reset(stage)
    stage.run("apply", "--yes", "--target", "detail-tweaker", means="picture and notes are new")
    stage.check(f"{page.name} has the new word", "- `add detail`" in page.read_text("utf-8"))
    shown = (stage.directory / _LORAS / "detail_tweaker.preview.png").read_bytes()
    stage.check("the picture is the new one", shown == png(5))
    stage.check("nobody sent any weights", pictures.weights_sent(stage) == 0)
    stage.run("apply", "--yes", means="what is left to record")
    stage.check(f"{own.name} is what somebody wrote", "Best at 0.7" in own.read_text("utf-8"))


def broken_companions(stage: Stage) -> None:
    """Damage a note, lose a picture, and have both mended."""
    folder = stage.directory / _LORAS
    info, picture = folder / "detail_tweaker.civitai.info", folder / "detail_tweaker.preview.png"
    before = {path: evidence.print_of(path).sha256 for path in (info, picture)}
    info.write_bytes(info.read_bytes()[:100])
    picture.unlink()
    stage.did(f"{info.name} is cut off, {picture.name} is lost")
    stage.run("verify", exit=24, means="one is corrupt (8), one is missing (16)")
    stage.run("verify", "--repair", means="both were brought back")
    same = all(evidence.print_of(path).sha256 == digest for path, digest in before.items())
    stage.check("both have the bytes that they had", same)
    own = stage.directory / _LORAS / "styles/storybook_v2.md"
    stage.check(f"{own.name} is what somebody wrote", "Best at 0.7" in own.read_text("utf-8"))


def a_stranger(stage: Stage) -> None:
    """Take over a second ComfyUI."""
    root = stage.directory / "old/ComfyUI/models"
    _furnish(root)
    stage.did("old/ComfyUI: three LoRAs, with notes of other programs beside them")
    before = evidence.prints(root)
    stage.run("import", "comfyui", "old/ComfyUI", "--manifest", "old.yaml", means="each is known, or told why not")
    entries = json.loads((stage.directory / "old.lock.json").read_bytes())["variants"]
    sources = sorted(entry["source"].partition(":")[0] for entry in entries.values())
    stage.check("one is known by its bytes; two are files of this machine, for nothing confirms their notes",
                sources == ["civitai", "file", "file"])  # fmt: skip
    pictures.reset(stage)
    stage.run("plan", "old.yaml", means="adopted where they lie, or linked to the copy that is there")
    stage.run("apply", "old.yaml", "--yes", means="all of it is recorded")
    stage.check(
        "nothing was sent, and no file has other bytes", pictures.weights_sent(stage) == 0 and _same(root, before)
    )
    stage.run("plan", "old.yaml", "--detailed-exitcode", means="there is nothing to do")


def gone(stage: Stage) -> None:
    """Let a model leave Civitai; lose its file; bring it back."""
    pictures.civitai(stage).models[demo_images.DETAIL].gone = 404
    stage.did("Civitai takes the detail tweaker down")
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do: the lock knows it")
    lost = stage.directory / _LORAS / "detail_tweaker.safetensors"
    note = stage.directory / _LORAS / "detail_tweaker.md"
    whole, text = evidence.print_of(lost).sha256, note.read_text("utf-8")
    lost.unlink()
    note.unlink()
    stage.did(f"{lost.name} and its page are deleted by accident")
    stage.run("apply", "--yes", means="both are back")
    stage.check(f"{lost.name} has its sha256, from the copy of A1111", evidence.print_of(lost).sha256 == whole)
    stage.check("the page says what it said", note.read_text("utf-8") == text)
    stage.run("verify", means="every managed file is as it should be")


def _furnish(root: Path) -> None:
    folder = root / "loras"
    folder.mkdir(parents=True)
    (root / "checkpoints").mkdir()
    detail = demo_images.detail()
    (folder / "more_detail_please.safetensors").write_bytes(detail)
    length = int.from_bytes(detail[:8], "little")
    header = json.loads(detail[8 : 8 + length])
    header["__metadata__"] = {**header.get("__metadata__", {}), "modelspec.title": "mine"}
    written = json.dumps(header).encode()
    (folder / "titled.safetensors").write_bytes(len(written).to_bytes(8, "little") + written + detail[8 + length :])
    (folder / "unknown.safetensors").write_bytes(image_model("lora", 999))
    tensors = hashlib.sha256(detail[8 + length :]).hexdigest()
    claimed = {"SHA256": hashlib.sha256(detail).hexdigest(), "AutoV3": tensors[:12]}
    info = {"id": 2001, "modelId": 1001, "files": [{"hashes": claimed}]}
    for name in ("titled", "unknown"):
        (folder / f"{name}.civitai.info").write_text(json.dumps(info), "utf-8")


def _same(root: Path, before: dict[str, evidence.Print]) -> bool:
    after = evidence.prints(root)
    return all(after[path].sha256 == one.sha256 for path, one in before.items())
