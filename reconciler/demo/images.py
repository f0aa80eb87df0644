"""The tour of image models: from a catalog of pages to the folders of two web interfaces, each promise checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from reconciler.demo import manifest, pages, pictures
from reconciler.demo.keeping import a_new_word, a_stranger, broken_companions, gone, what_is_here
from reconciler.demo.stage import Stage
from reconciler.demo.tours import Chapter, Props, Tour
from reconciler.hub import demo_images
from reconciler.hub.civitai import Civitai
from reconciler.hub.server import Hub
from reconciler.inert import human_bytes

MANIFEST = """\
version: 1
name: studio

locations:
  comfy:
    store: comfyui
    root: {directory}/ComfyUI/models
    companions: [preview, civitai-info, markdown]
    rating: pg-13             # what a picture may show at most
  webui:
    store: a1111
    root: {directory}/webui
    names: "{{stem}}-mid_{{model}}-vid_{{version}}"
"""

LINKED = """\
  detail-tweaker-webui:
    source: urn:air:sdxl:lora:civitai:1001@2001
    location: webui
  allround-xl-webui:
    source: hf:acme/Image-Parts
    files: [checkpoints/allround_xl.safetensors]
    location: webui
"""

CLASSES = {"CIVITDL_WITH_AIR": 6, "WGET_WITH_AIR": 1, "WGET_NO_AIR": 2, "NO_DOWNLOAD": 2, "INVALID": 1}
"""What the twelve pages are, counted by hand."""


def a_catalog(stage: Stage) -> None:
    """Import the pages."""
    stage.print_file("catalog/loras/Camera push.md")
    stage.run("import", "catalog", "catalog", "--report", "pages.csv", means="variants for what the pages name")
    rows = pictures.report(stage)
    found = Counter(row["syntax_type"] for row in rows.values())
    stage.check(f"{len(rows)} pages, classified as a person would: {_listed(found)}", dict(found) == CLASSES)
    halves = [name for name in pictures.variants(stage) if name.startswith("camera-push")]
    stage.check(f"a pair for high and low noise is two variants: {' and '.join(halves)}", len(halves) == 2)
    stage.check("no command of any page was run", not list(stage.directory.rglob(pages.PROOF)))
    told = [name for name in ("reconciler.yaml", "reconciler.lock.json", "pages.csv") if _holds(stage, name)]
    stage.check("a key that stands on a page is told, and repeated nowhere", not told)
    stage.check("no weights were fetched", pictures.weights_sent(stage) == 0)


def the_manifest(stage: Stage) -> None:
    """Show what was written."""
    stage.print_manifest()
    stage.run("validate", means="manifest and lock are sound")


def a_plan(stage: Stage) -> None:
    """Plan; one model may not be had yet."""
    stage.run("plan", exit=3, means="one step is blocked, with the date when it is not any more")


def an_apply(stage: Stage) -> None:
    """Carry it out, and look at what came."""
    pictures.reset(stage)
    stage.run("apply", "--yes", exit=3, means="all but the blocked step is done")
    count, right = pictures.matching(stage)
    stage.check(f"{right} of {count} files hold the bytes that the lock names (hashed by the demo)", right == count > 0)
    twice = pictures.sent_twice(stage)
    stage.check("no file of weights was sent twice", not twice)
    loras = stage.directory / "ComfyUI/models/loras"
    shown = (loras / "detail_tweaker.preview.png").read_bytes()
    stage.check("the preview is a picture, and the first that the rating allows", shown == pictures.rated_pg())
    stage.check("the page beside it names its words", "- `detailed`" in (loras / "detail_tweaker.md").read_text())
    stage.check("`.civitai.info` is JSON and holds no picture", pictures.is_plain_info(loras / "detail_tweaker"))
    pictures.check_token(stage)


def early_access(stage: Stage) -> None:
    """Let the time pass."""
    civitai = cast("Civitai", stage.servers["civitai"])
    civitai.advance((demo_images.EARLY_DAYS + 1) * 86_400)
    stage.did(f"{demo_images.EARLY_DAYS + 1} days pass at Civitai")
    stage.run("apply", "--yes", means="the last one came")
    depth = stage.directory / "ComfyUI/models/controlnet/depth.safetensors"
    stage.check(f"depth.safetensors is here ({human_bytes(depth.stat().st_size)})", depth.stat().st_size > 0)
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do")


def one_copy(stage: Stage) -> None:
    """Want in A1111 what ComfyUI has."""
    stage.edit("two of the models for the A1111 beside it, too", stage.manifest + LINKED, plus=LINKED)
    pictures.reset(stage)
    stage.run("plan", means="links, nothing to download")
    stage.run("apply", "--yes", means="all of it is done")
    stage.check("nobody sent any weights", pictures.weights_sent(stage) == 0)
    for one, other in (
        ("loras/detail_tweaker.safetensors", "models/Lora/detail_tweaker-mid_1001-vid_2001.safetensors"),
        ("checkpoints/allround_xl.safetensors", "models/Stable-diffusion/allround_xl.safetensors"),
    ):
        here, there = stage.directory / "ComfyUI/models" / one, stage.directory / "webui" / other
        if here.samefile(there):
            stage.check(f"{there.name}: both names are inode {here.stat().st_ino}, the bytes are there once", True)
        else:  # a file system that clones files
            stage.check(f"{there.name} is a clone with the same bytes", here.read_bytes() == there.read_bytes())


def a_page_mended(stage: Stage) -> None:
    """Paste the line that the report gives."""
    path = "catalog/vae/Wan 2.1 VAE.md"
    notes = pictures.report(stage)["vae/Wan 2.1 VAE.md"]["notes"]
    stage.check("the report has a line to paste, ready", f"`{pages.MEND}`" in notes)
    whole = stage.directory / path
    whole.write_text(whole.read_text("utf-8").replace(pages.SLUG, pages.MEND), "utf-8")
    stage.did(f"{path}: line 5 is replaced by the one that the report gives")
    stage.teller.shows([f"-{pages.SLUG}", f"+{pages.MEND}"])
    before = stage.manifest
    stage.run("import", "catalog", "catalog", "--report", "pages.csv", means="every model is known already")
    row = pictures.report(stage)["vae/Wan 2.1 VAE.md"]
    fit = (row["syntax_type"], row["is_valid"]) == ("WGET_WITH_AIR", "True")
    stage.check("the page is WGET_WITH_AIR now, and valid", fit)
    stage.check("the manifest is the same, to the byte", stage.manifest == before)


def a_workflow(stage: Stage) -> None:
    """Import what a workflow needs."""
    (stage.directory / "portrait.json").write_text(pages.workflow(), "utf-8")
    stage.did("a friend sends portrait.json, a workflow of ComfyUI")
    stage.run("import", "workflow", "portrait.json", means="one new model; what nobody can resolve is told")
    named = pictures.variants(stage)
    stage.check("the muted node needs nothing", not any("muted" in name for name in named))
    pictures.reset(stage)
    stage.run("apply", "--yes", means="it came")
    here = stage.directory / "ComfyUI/models/loras/ink.safetensors"
    stage.check(f"{here.name} lies where the workflow looks for it ({human_bytes(here.stat().st_size)})", True)
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do")


def _holds(stage: Stage, name: str) -> bool:
    return pages.SECRET in (stage.directory / name).read_text("utf-8")


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


CHAPTERS = (
    Chapter(
        "A catalog",
        "People keep pages on their models: an AIR in the front matter, the command that fetches it, `$UI_HOME` for "
        "the directory of the web interface. Twelve such pages are here, some of them wrong, one of them malicious. "
        "`import catalog` parts their commands into words and never runs one.",
        a_catalog,
    ),
    Chapter(
        "The manifest that came of it",
        "Every asset is a variant in the folder of its kind; each is locked, with size and SHA256, as Civitai and the "
        "Hub tell them. Both are small servers on loopback here.",
        the_manifest,
    ),
    Chapter("The plan", "Nothing is downloaded before somebody has seen this.", a_plan),
    Chapter(
        "The apply",
        "Redirects to signed addresses are resolved here, so the token stays with Civitai. Pictures and notes come to "
        "lie beside the models.",
        an_apply,
    ),
    Chapter("Early access ends", "What was blocked is still declared, and comes as soon as it may.", early_access),
    Chapter(
        "One copy for two web interfaces",
        "A1111 has other folders, and its users like the names that civitdl gives. The bytes are on this machine "
        "already.",
        one_copy,
    ),
    Chapter(
        "A page is mended",
        "The report says of every page that is not valid why, and what to write instead.",
        a_page_mended,
    ),
    Chapter(
        "A workflow", "A workflow names the files that its loaders want; some of them with an address.", a_workflow
    ),
    Chapter(
        "What is here",
        "`detect` says of every page whether its model is here: by digest, whatever the file is called; by record; by "
        "the name that civitdl gives. A pair is here when both halves are, and nothing is absent because somebody "
        "could not look.",
        what_is_here,
    ),
    Chapter(
        "News from upstream",
        "Pictures, words and notes are locked like the weights. They follow upstream when told to, and never write "
        "over what somebody wrote there.",
        a_new_word,
    ),
    Chapter(
        "A broken note, a lost picture",
        "`verify` looks at companions, too: what is gone or damaged comes back, what somebody changed stays.",
        broken_companions,
    ),
    Chapter(
        "A ComfyUI of somebody else",
        "Files under names of their own, with notes of other programs: `import comfyui` knows them by their bytes.",
        a_stranger,
    ),
    Chapter(
        "Upstream is gone",
        "Models leave Civitai. The lock keeps what it said of them, and this machine keeps the bytes.",
        gone,
    ),
)


@contextmanager
def furnish(directory: Path, hub: Hub) -> Iterator[Props]:
    """Fill both servers, write pages and manifest."""
    with Civitai(token=pictures.TOKEN) as civitai:
        demo_images.populate(hub, civitai)
        for path, text in pages.PAGES.items():
            whole = directory / "catalog" / path
            whole.parent.mkdir(parents=True, exist_ok=True)
            whole.write_text(text, "utf-8")
        (directory / manifest.FILE).write_text(MANIFEST.format(directory=directory), "utf-8")
        variables = {"CIVITAI_ENDPOINT": civitai.url, "CIVITAI_TOKEN": pictures.TOKEN}
        yield Props({"civitai": civitai}, variables)


def serve(hub: Hub, props: Props) -> str:
    """Return the options that bring hub and Civitai back, as they were at the end."""
    civitai = cast("Civitai", props.servers["civitai"])
    ports = [urlsplit(url).port for url in (hub.url, hub.cdn_url, civitai.url, civitai.cdn_url)]
    return (
        f"--demo-images --token {pictures.TOKEN} --port {ports[0]} \\\n"
        f"    --cdn-port {ports[1]} --civitai-port {ports[2]} --civitai-cdn-port {ports[3]}"
    )


TOUR = Tour(CHAPTERS, furnish, serve, "The pages are in `catalog`.")
