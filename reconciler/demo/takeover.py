"""The tour of taking over: a messy home becomes a manifest, findings, a clean machine; each promise is checked."""

from __future__ import annotations

import csv
import json
import re
import site
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.demo import blobs, evidence, mess
from reconciler.demo.evidence import told
from reconciler.demo.stage import TOKEN, Stage
from reconciler.demo.tours import Chapter, Props, Tour
from reconciler.hub import demo_takeover as world
from reconciler.hub.civitai import Civitai
from reconciler.hub.ggufs import gguf
from reconciler.hub.ollama_registry import Registry
from reconciler.hub.ollama_server import OllamaServer
from reconciler.hub.server import Hub
from reconciler.inert import human_bytes
from reconciler.ollama.api import Api

_STORES = (mess.TREE, mess.CACHE, mess.LMSTUDIO, mess.COMFYUI, mess.OLLAMA)
_INK, _Q8 = "ink-copy", "tinyllama-chat-gguf-q8_0"
_FIRST = "home.json"
"""Where the fingerprints of the home, as it was found, are kept."""

CLASSIFY = """\
  tinyllama-classify:
    source: hf:acme/TinyLlama-Classify
    location: weights
"""

ROLES = {
    "chat": ["tinyllama-chat-safetensors", "assistant-ollama-gguf-q4_k_m"],
    "caption": ["tinyllama-chat-safetensors"],
    "rerank": ["reranker-safetensors"],
}
"""As the old registry has them, the highest priority first."""


def the_home(stage: Stage) -> None:
    """Look at the home, and have it written down."""
    before = _first(stage)
    stage.did(f"{len(before)} files in {len(_STORES)} places; two are half downloads, two are copies, one is damaged")
    stage.hub.reset_log()
    stage.run("init", "--yes", "--report", "found.csv", means="what is here is declared, and what is not is told")
    same = _prints(stage.directory) == before
    stage.check(f"all {len(before)} files are what they were: bytes, inode and time of change", same)
    got = evidence.weights_sent(stage)
    stage.check(f"the hub was asked {evidence.asked(stage)} questions, and sent {got} bytes of weights", got == 0)
    rows = _rows(stage, "found.csv")
    halves = [row for row in rows if row["kind"] == "left-out" and "half download" in row["why"]]
    stage.check(f"{len(halves)} half downloads are left out", len(halves) == len(mess.HALVES))
    damaged = [row["what"] for row in rows if row["kind"] == "problem"]
    stage.check("the damaged file is told, and not taken", damaged == [f"hf:{world.CLASSIFY}"])
    copies = sum("the same bytes at two places" in row["why"] for row in rows)
    stage.check(f"{copies} contents are here twice", copies == 2)
    stage.says("This is the manifest. It goes into git, with the lock beside it, and is changed by pull request.")
    stage.print_manifest()


def only_adopt(stage: Stage) -> None:
    """Plan, apply and plan again; nothing moves."""
    before = _prints(stage.directory)
    stage.hub.reset_log()
    stage.run("plan", means="adopt, adopt, adopt")
    steps = told(stage, "plan")["steps"]
    plain = all((step["action"], step["reason"], step["blocked"]) == ("normalize", "adopt", None) for step in steps)
    stage.check(f"{len(steps)} steps, each of them adopts: no download, no removal", plain and len(steps) == 11)
    stage.run("apply", "--yes", means="recorded", ending=2)
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do")
    stage.check("no file has another inode, time or byte", _prints(stage.directory) == before)
    stage.run("undo", "--yes", means="the takeover is taken back")
    listed = sorted(blobs.listed(stage))
    stage.check(
        f"every file is there as it was, and Ollama lists {', '.join(listed)}",
        _prints(stage.directory) == before and len(listed) == 1,
    )
    stage.run("apply", "--yes", means="and done again", ending=2)
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do")
    stage.check("nobody sent any weights", evidence.weights_sent(stage) == 0)


def an_old_registry(stage: Stage) -> None:
    """Read the registry of another program."""
    folder = stage.directory / mess.REGISTRY
    before, text = evidence.prints(folder), stage.manifest
    stage.run("import", "imageworks", mess.REGISTRY, "--report", "registry.csv", means="every record is told")
    rows = _rows(stage, "registry.csv")
    said = "\n".join(f"{row['what']} {row['why']} {row['where']}" for row in rows)
    records = [record["name"] for record in json.loads((folder / "model_registry.discovered.json").read_bytes())]
    known = sum(row["kind"] == "known" for row in rows)
    roles = {role: [each["variant"] for each in held] for role, held in told(stage, "roles")["roles"].items()}
    left = [row["what"] for row in rows if row["kind"] == "left-out"]
    double = [row["what"] for row in rows if "a second record" in row["why"]]
    stage.check(
        f"of {len(records)} records {known} are of models that init found, {len(left)} are left out with the reason, "
        f"{len(double)} is there twice",
        known + len(left) + len(double) == len(records),
    )
    stage.check("the word None where nothing was meant is told", "is the word None" in said)
    stage.check("roles are in the manifest, in the order of the registry's priorities", roles == ROLES)
    kept = set(text.splitlines()) <= set(stage.manifest.splitlines())
    stage.check("no line of the manifest is gone, and no byte of the registry is another",
                kept and evidence.prints(folder) == before)  # fmt: skip
    stage.run("apply", "--yes", means="recorded")


def findings(stage: Stage) -> None:
    """Let a byte rot; list what is wrong."""
    bad = _cached(stage)
    offset = evidence.flip(bad)
    stage.did(f"byte {offset} of {mess.WEIGHTS} in the cache of huggingface_hub rots")
    stage.run("duplicates", means="what is kept twice, and what it costs")
    stage.run("stats", means="where the bytes are, and what could be freed")
    halves, copies = (
        sum((stage.directory / path).stat().st_size for path in paths) for paths in (mess.HALVES, _dropped())
    )
    free = told(stage, "stats")["reclaimable"]
    claim = f"the half downloads are {human_bytes(halves)} on the disk, the copies {human_bytes(copies)}: as it says"
    stage.check(claim, (free["partials"], free["duplicates"]) == (halves, copies))
    stage.run("verify", exit=8, means="one file is corrupt")
    stage.run("list", "--state", "modified", "--columns", "variant,state,source", means="whose it is")
    variants = [row["address"] for row in told(stage, "list", "--state", "modified")["variants"]]
    stage.check(f"{', '.join(variants)}, no other", variants == ["tinyllama-embed-safetensors@hf_cache"])
    said = stage.run("lock", "--check", means="the lock is what upstream has", ending=9)
    stage.check(f"{world.OLD} has another name now, {world.NEW}: it is told", f"now called hf:{world.NEW}" in said)


def a_clean_up(stage: Stage) -> None:
    """Repair the rotten file; edit the manifest; apply."""
    stage.hub.reset_log()
    bad = _cached(stage)
    stage.run("verify", "--repair", means="it was brought back")
    size, came = bad.stat().st_size, evidence.weights_sent(stage)
    stage.check(f"the hub sent that file, {human_bytes(size)}, and no other", size <= came < 1.5 * size)
    for path in mess.HALVES:
        (stage.directory / path).unlink()
    damaged = stage.directory / mess.TREE / world.CLASSIFY / mess.WEIGHTS
    damaged.rename(stage.directory / "damaged.safetensors")
    stage.did("by hand: the half downloads are deleted, the damaged file is moved away")
    _edit(stage)
    stage.run("lock", means="the new name, and what had to be left out, are locked")
    stage.hub.reset_log()
    ink, q8 = (stage.directory / path for path in _dropped())
    stage.run("plan", means="two removals to the trash, one download, and a link to the new name")
    stage.run("apply", "--yes", means="all of it is done", ending=12)
    size, came = damaged.stat().st_size, evidence.weights_sent(stage)
    stage.check(f"the hub sent the one damaged file anew, {human_bytes(size)}", size <= came < 1.5 * size)
    right = evidence.print_of(damaged).sha256 == evidence.upstream(stage, world.CLASSIFY)[mess.WEIGHTS].sha256
    stage.check("it has the sha256 that upstream told", right)
    renamed = stage.directory / mess.TREE / world.NEW / mess.WEIGHTS
    right = evidence.print_of(renamed).sha256 == evidence.upstream(stage, world.NEW)[mess.WEIGHTS].sha256
    stage.check(f"{world.OLD} is at {world.NEW}, and nobody sent it", right)
    stage.check("both copies are gone, and what they were copies of is there",
                not ink.exists() and not q8.exists() and all(path.exists() for path in _originals(stage)))  # fmt: skip


def a_clean_machine(stage: Stage) -> None:
    """See that nothing is left to do."""
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do")
    stage.run("verify", "--full", means="every byte was read, and is right")
    stage.run("duplicates", means="nothing is kept twice")
    stage.check("nothing, by its own list", told(stage, "duplicates")["duplicates"] == [])
    stage.run("lock", "--check", means="the lock is what upstream has")
    first, now = _first(stage), _prints(stage.directory)
    alike = [path for path, one in first.items() if now.get(path) == one]
    claim = f"{len(alike)} of the {len(first)} files that were found are the same: bytes, inode and time of change"
    stage.check(claim, not [path for path in first if path not in alike and not _was_touched(path)])


def the_way_back(stage: Stage) -> None:
    """Undo the clean-up; do it again; free the trash."""
    stage.hub.reset_log()
    stage.run("undo", "--yes", means="the clean-up is taken back")
    first, now = _first(stage), _prints(stage.directory)
    other = [path for path, one in first.items() if now.get(path) != one and not _by_hand(stage, path)]
    stage.check(
        "but for what was damaged, every file that was found is back: bytes, inode and time of change", not other
    )
    stage.check("nobody sent any weights", evidence.weights_sent(stage) == 0)
    stage.says("The manifest is yours, and still says what is wanted: the next apply does it again.")
    stage.run("apply", "--yes", means="all of it is done", ending=2)
    stage.run("gc", "--older-than", "0d", "--yes", means="the trash is freed")
    stage.check("nothing waits any more", evidence.trash(stage) == 0)
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do")


def _edit(stage: Stage) -> None:
    text, minus, plus = stage.manifest, "", CLASSIFY
    for name in (_INK, _Q8):
        found = re.search(rf"^  {name}:\n(?:    .*\n)+", text, re.MULTILINE)
        assert found is not None
        minus += found[0]
        text = text.replace(found[0], "")
    text = text.replace("variants:\n", f"variants:\n{CLASSIFY}", 1).replace(f"hf:{world.OLD}", f"hf:{world.NEW}")
    minus += f"    source: hf:{world.OLD}\n"
    plus = f"    source: hf:{world.NEW}\n{plus}"
    stage.edit("the copies go, the new name and what was damaged come", text, minus=minus, plus=plus)


def _prints(home: Path) -> dict[str, evidence.Print]:
    """Return the fingerprints of every file of the five stores; what is ours is not counted."""
    return {
        f"{store}/{path}": one
        for store in _STORES
        for path, one in evidence.prints(home / store).items()
        if not any(part.startswith(".reconciler") for part in Path(path).parts)
    }


def _first(stage: Stage) -> dict[str, evidence.Print]:
    """Return the fingerprints of the stores as they were found."""
    held = json.loads((stage.directory / _FIRST).read_bytes())
    return {path: evidence.Print(*one) for path, one in held.items()}


def _was_touched(path: str) -> bool:
    """Whether the clean-up is about this file: a copy, a half, the damaged one, the rotten one, the renamed ones."""
    renamed = path.startswith((f"{mess.TREE}/{world.OLD}/", f"{mess.TREE}/{world.CLASSIFY}/"))
    return (
        renamed or path in {*_dropped(), *mess.HALVES} or path.startswith(f"{mess.CACHE}/models--acme--TinyLlama-Embed")
    )


def _by_hand(stage: Stage, path: str) -> bool:
    """Whether a person deleted or moved this file, or it rotted and was repaired before the clean-up."""
    rotten = {str(each.relative_to(stage.directory)) for each in (_cached(stage), _cached(stage).resolve())}
    return path in {*mess.HALVES, f"{mess.TREE}/{world.CLASSIFY}/{mess.WEIGHTS}", *rotten}


def _rows(stage: Stage, name: str) -> list[dict[str, str]]:
    with (stage.directory / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _cached(stage: Stage) -> Path:
    """Return the link to the weights in the cache."""
    return next((stage.directory / mess.CACHE).glob(f"*/snapshots/*/{mess.WEIGHTS}"))


def _dropped() -> tuple[str, str]:
    return f"{mess.COMFYUI}/loras/{mess.INK_COPY}", f"{mess.TREE}/{world.GGUF}/{mess.Q8}"


def _originals(stage: Stage) -> tuple[Path, Path]:
    home = stage.directory
    return home / mess.COMFYUI / "loras/ink.safetensors", home / mess.LMSTUDIO / world.GGUF / mess.Q8


CHAPTERS = (
    Chapter(
        "A home of years",
        "Nobody starts with an empty disk: a tree of repositories, the cache of huggingface_hub, LM Studio, an Ollama, "
        "a ComfyUI. `init` looks at all of them, writes a manifest and its lock, and moves and fetches nothing.",
        the_home,
    ),
    Chapter(
        "Nothing to do",
        "What was found is what is wanted: the first plan only adopts, the second is empty, and undo moves nothing.",
        only_adopt,
    ),
    Chapter(
        "An old registry",
        "Another program kept books: double entries, placeholders, records of tests, models that are gone. Each record "
        "is told: known, left out and why, or there twice.",
        an_old_registry,
    ),
    Chapter(
        "What is wrong",
        "A byte rots in a file that was taken over. Copies, halves, the rotten file and a repository with a new name "
        "are found by commands that only look.",
        findings,
    ),
    Chapter(
        "A clean-up",
        "`verify --repair` brings back what is corrupt. The rest is an edit of the manifest, by pull request.",
        a_clean_up,
    ),
    Chapter("A clean machine", "Everything that looks says the same: there is nothing to do.", a_clean_machine),
    Chapter(
        "The way back",
        "What was removed waits in the trash, and `undo` takes all of it back. Then it is done for good.",
        the_way_back,
    ),
)


@contextmanager
def furnish(directory: Path, hub: Hub) -> Iterator[Props]:
    """Fill the hub and the home; start an Ollama, its registry and a Civitai that has nothing."""
    ollama = OllamaServer(directory / mess.OLLAMA)
    with Registry() as registry, ollama, Civitai() as civitai:
        layers = [("model", gguf("Q4_K_M", name="Assistant", seed=1, size=4 << 20)), ("license", b"MIT License\n")]
        registry.add("acme", "assistant", "latest", layers)
        name = f"{registry.host}/acme/assistant:latest"
        Api(ollama.url).pull(name, insecure=True)
        mess.furnish(directory, hub, name)
        (directory / _FIRST).write_text(json.dumps(_prints(directory)), "utf-8")
        # A home of its own: where the tools of the user keep their models is looked for below it.
        variables = {
            "HOME": str(directory), "PYTHONUSERBASE": site.getuserbase() or "", "CIVITAI_ENDPOINT": civitai.url,
            "OLLAMA_HOST": ollama.host, "OLLAMA_MODELS": str(directory / mess.OLLAMA),
        }  # fmt: skip
        yield Props({"registry": registry, "ollama": ollama, "civitai": civitai}, variables)


def serve(hub: Hub, props: Props) -> str:
    """Return the options that bring the hub back."""
    return f"--demo-takeover --token {TOKEN} --port {urlsplit(hub.url).port} --cdn-port {urlsplit(hub.cdn_url).port}"


TOUR = Tour(CHAPTERS, furnish, serve, "The Ollama server has ended with the demo; its store is there.")
