"""The chapters of the demo: what is told, which command runs, and what must be true after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.demo import evidence, manifest
from reconciler.demo.stage import TOKEN, Stage
from reconciler.demo.tours import Chapter, Props, Tour
from reconciler.demo.trouble import a_flipped_byte, a_kill, a_removal, the_trash
from reconciler.hub import demo_world
from reconciler.hub.server import Hub
from reconciler.inert import human_bytes

_Q8 = "TinyLlama-Chat-Q8_0.gguf"


def a_manifest(stage: Stage) -> None:
    """Show the manifest and validate it."""
    stage.print_manifest()
    stage.hub.reset_log()
    stage.run("validate", means="the manifest is sound")
    stage.check("the hub was not asked for anything", evidence.asked(stage) == 0)


def a_plan(stage: Stage) -> None:
    """Plan the first time."""
    stage.hub.reset_log()
    stage.run("plan", means="there is a plan, and nothing blocks it")
    stage.check(
        f"the hub was asked {evidence.asked(stage)} questions and sent no weights", evidence.weights_sent(stage) == 0
    )
    wrote = [
        name for name in ("reconciler.lock.json", "weights", "lmstudio", "hf") if (stage.directory / name).exists()
    ]
    stage.check("no lock, no location and no registry was made", not wrote)


def an_apply(stage: Stage) -> None:
    """Carry the plan out."""
    stage.hub.reset_log()
    stage.run("apply", "--yes", means="all of it is done")
    count, right = evidence.matching(stage)
    stage.check(f"{right} of {count} files hold the bytes that the lock names (hashed by the demo)", right == count > 0)


def nothing_to_do(stage: Stage) -> None:
    """Plan again."""
    stage.hub.reset_log()
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do (changes would be 2)")
    stage.check("the hub was not asked for anything", evidence.asked(stage) == 0)


def lists_and_roles(stage: Stage) -> None:
    """Show what is managed and what serves what."""
    stage.run("list")
    stage.run("roles")
    entries = evidence.registry(stage)
    stage.check("model_registry.json, which serving tools read, has all four", len(entries) == 4)
    first, second = (entries[name]["role_priority"]["chat"] for name in ("tinyllama-chat-q8_0", "tinyllama-chat"))
    stage.check(f"role chat: priority {first} before {second}, as in the manifest", first > second)


def a_new_revision(stage: Stage) -> None:
    """Let upstream move on; follow it when told to."""
    demo_world.new_revision(stage.hub)
    stage.did("upstream publishes new weights of two variants")
    stage.hub.reset_log()
    stage.run("plan", "--detailed-exitcode", means="locked is locked; no changes")
    stage.run("lock", "--check", exit=2, means="upstream has moved")
    before = evidence.locked(stage)
    stage.run("lock", "--upgrade", means="the lock names the new revisions")
    moved = sum(before[name]["revision"] != entry["revision"] for name, entry in evidence.locked(stage).items())
    stage.check(f"{moved} entries of the lock have another revision; git would show the lines", moved == 3)
    stage.says("A saved plan can be reviewed, and applied later as it was reviewed, or not at all.")
    stage.run("plan", "-o", "plan.json", means="what the new lock means for this machine")
    stage.hub.reset_log()
    stage.run("apply", "plan.json", means="all of it is done")
    count, right = evidence.matching(stage)
    stage.check(f"{right} of {count} files hold the bytes that the new lock names", right == count)
    again = any(_Q8 in request.path for request in stage.hub.requests if request.origin == "cdn")
    stage.check(f"{_Q8} is the same in the new revision, and was not fetched", not again)


def the_same_bytes(stage: Stage) -> None:
    """Want in the HF cache what is in LM Studio's folder."""
    stage.declare("one more variant, for the cache", manifest.CACHED)
    stage.hub.reset_log()
    stage.run("plan", means="a link, nothing to download")
    stage.run("apply", "--yes", means="all of it is done")
    stage.check("the hub sent no weights", evidence.weights_sent(stage) == 0)
    here = stage.directory / "lmstudio" / demo_world.GGUF / _Q8
    found, warnings = evidence.snapshot(stage, demo_world.GGUF)
    there = found.get(_Q8)
    stage.check(
        "huggingface_hub finds the file in its cache, and its scan has no warning", bool(there) and not warnings
    )
    assert there is not None
    if here.samefile(there):
        stage.check(f"both names are inode {here.stat().st_ino}: the bytes are there once", True)
    else:  # a file system that clones files: https://man7.org/linux/man-pages/man2/ioctl_ficlonerange.2.html
        same = evidence.print_of(here).sha256 == evidence.print_of(there).sha256
        stage.check("the second file is a clone with the same bytes", same)


def a_gated_repository(stage: Stage) -> None:
    """Want what needs a token; give it."""
    stage.declare("a gated model", manifest.GUARDED)
    stage.run("plan", exit=3, means="a step is blocked; it says why, and where to ask for access")
    stage.says("With a token whose owner was given access, the same manifest goes through.")
    stage.hub.reset_log()
    stage.run("apply", "--yes", token=True, means="all of it is done")
    size = (stage.directory / "weights" / demo_world.GATED / "model.safetensors").stat().st_size
    stage.check(f"model.safetensors is here ({human_bytes(size)})", size > 0)
    abroad = [r for r in stage.hub.requests if r.origin == "cdn" and "authorization" in r.headers]
    stage.check("the token went to the hub alone, not to the server that sends the bytes", not abroad)
    stage.check("no file below the demo's directory holds it", not evidence.files_with(stage.directory, TOKEN))


def a_pull_request(stage: Stage) -> None:
    """Print the plan of an edit for its reviewers."""
    text = manifest.added(manifest.without(stage.manifest, manifest.Q4), manifest.IQ4)
    stage.edit("another quant, on a branch", text, minus=manifest.Q4, plus=manifest.IQ4)
    before = evidence.prints(stage.directory / "lmstudio")
    stage.run("plan", "--markdown", means="a comment for the pull request")
    stage.check("no file was touched", evidence.prints(stage.directory / "lmstudio") == before)


CHAPTERS = (
    Chapter(
        "What should be there",
        "A manifest says which models belong on this machine, where they go and what they serve. It is kept in git. "
        "`validate` reads it and tells every mistake at once.",
        a_manifest,
    ),
    Chapter(
        "The plan",
        "`plan` compares the manifest with the machine and says what would change. It writes nothing. Upstream here is "
        "a small hub on loopback; everything else is as it would be with the real one.",
        a_plan,
    ),
    Chapter(
        "The apply",
        "`apply` makes it so: every file is staged, checked against its digest, and only then gets its name. Large "
        "files are moved by aria2c where there is one.",
        an_apply,
    ),
    Chapter("Nothing to do", "The same plan again finds everything as declared.", nothing_to_do),
    Chapter(
        "What is there, what it serves",
        "`list` and `roles` read the record, which is plain JSON that other programs read as well.",
        lists_and_roles,
    ),
    Chapter(
        "A flipped byte",
        "Disks rot. `verify` reads what was placed and compares; with --repair it brings back what is bad.",
        a_flipped_byte,
    ),
    Chapter(
        "A new revision upstream",
        "The lock names exact commits and digests, so upstream may move without anything happening here. Following it "
        "is a decision: `lock --upgrade`, reviewed like any other change.",
        a_new_revision,
    ),
    Chapter(
        "The same bytes in a second place",
        "A build that LM Studio has is wanted in huggingface_hub's cache too. The bytes are on this machine already: "
        "they are linked.",
        the_same_bytes,
    ),
    Chapter(
        "A gated repository",
        "What needs a token that is not there is blocked, with the reason; the other steps are not held up.",
        a_gated_repository,
    ),
    Chapter(
        "kill -9 in the middle of a download",
        "A large file is on its way, slowly, when the process is killed. There is nothing to clean up or unlock: the "
        "next apply goes on, with aria2c in the middle of the file.",
        a_kill,
    ),
    Chapter(
        "Removed, and back",
        "A variant that is no longer declared is removed, and that means: moved to the trash. `undo` brings it back.",
        a_removal,
    ),
    Chapter(
        "The trash",
        "What was replaced and removed waits in the trash, for 14 days by default. `gc` is the only command that frees "
        "bytes.",
        the_trash,
    ),
    Chapter(
        "A pull request",
        "In a team the manifest changes by pull request, and this comment on it is what reviewers read.",
        a_pull_request,
    ),
)


@contextmanager
def furnish(directory: Path, hub: Hub) -> Iterator[Props]:
    """Fill the hub, and write the manifest."""
    demo_world.populate(hub)
    (directory / manifest.FILE).write_text(manifest.MANIFEST.format(directory=directory), "utf-8")
    yield Props(later={"HF_TOKEN": TOKEN})


def serve(hub: Hub, props: Props) -> str:
    """Return the options that bring the hub back, after upstream moved on."""
    ports = f"--port {urlsplit(hub.url).port} --cdn-port {urlsplit(hub.cdn_url).port}"
    return f"--demo-moved --token {TOKEN} {ports}"


TOUR = Tour(CHAPTERS, furnish, serve, "The edit of the last chapter is still in the manifest, not applied.")
