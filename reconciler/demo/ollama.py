"""The tour of Ollama: one copy of the bytes, a lock for tags, a bad blob mended, each promise checked."""

from __future__ import annotations

import site
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.demo import blobs, evidence, manifest
from reconciler.demo.stage import TOKEN, Stage
from reconciler.demo.tours import Chapter, Props, Tour
from reconciler.hub import demo_world
from reconciler.hub.ggufs import gguf
from reconciler.hub.ollama_registry import Layers, Registry
from reconciler.hub.ollama_server import OllamaServer
from reconciler.hub.server import Hub
from reconciler.inert import human_bytes
from reconciler.ollama.api import Api

MANIFEST = """\
version: 1
name: demo

locations:
  lmstudio: {{ store: lmstudio, root: {directory}/lmstudio }}
  ollama:   {{ store: ollama, url: {ollama}, models: {directory}/ollama }}

variants:
  tinyllama-lmstudio:
    source: hf:acme/TinyLlama-Chat-GGUF
    files: ["*Q8_0.gguf"]
    location: lmstudio
  tinyllama-ollama:           # the same file: one copy of the bytes for both programs
    source: hf:acme/TinyLlama-Chat-GGUF
    files: ["*Q8_0.gguf"]
    location: ollama
    served_as: tinyllama:q8
    template: "{{{{ .System }}}} {{{{ .Prompt }}}}"
  assistant:
    source: ollama:{registry}/acme/assistant:latest
    insecure: true            # this registry speaks plain http
    location: ollama
    served_as: assistant
  assistant-brief:            # the same weights, and a system text of our own
    source: ollama:{registry}/acme/assistant:latest
    insecure: true
    location: ollama
    served_as: assistant-brief
    system: Answer in one sentence.

roles:
  chat: [assistant, tinyllama-ollama]
"""

FAR = """\
  assistant-far:
    source: ollama:{registry}/acme/assistant:latest
    insecure: true
    location: far
    served_as: assistant
"""

ELSEWHERE = "/root/.ollama/models"
"""What the second server calls its directory, as one in a container does."""

_Q8 = "TinyLlama-Chat-Q8_0.gguf"
_SIZE = 4 << 20


def _release(number: int) -> Layers:
    license_ = b"MIT License\n\nCopyright (c) Acme\n"
    weights = gguf("Q4_K_M", name="Assistant", seed=number, size=_SIZE)
    return [("model", weights), ("template", b"{{ .System }} {{ .Prompt }}"), ("license", license_)]


def a_manifest(stage: Stage) -> None:
    """Show the manifest, validate it and plan."""
    stage.print_manifest()
    stage.run("validate", means="the manifest is sound")
    stage.run("plan", means="each digest that the server will list is known already")
    stage.check("nothing was written, and the server was told nothing", not blobs.listed(stage))


def one_copy(stage: Stage) -> None:
    """Apply, and look for the bytes."""
    stage.run("lock", means="every layer is locked; of a GGUF the head was read, which tells its template and quant")
    stage.hub.reset_log()
    blobs.registry(stage).reset_log()
    stage.run("apply", "--yes", means="all of it is done")
    here = stage.directory / "lmstudio" / demo_world.GGUF / _Q8
    there = blobs.weights(stage, "tinyllama:q8")
    size, came = here.stat().st_size, evidence.weights_sent(stage)
    # What was on its way when aria2c had enough of a connection was sent too, hence not to the byte.
    claim = f"two programs want {human_bytes(size)} each; the hub sent {human_bytes(came)} in all"
    stage.check(claim, size <= came < 1.5 * size)
    if here.samefile(there):
        stage.check(
            f"LM Studio's file and Ollama's blob are inode {here.stat().st_ino}: the bytes are there once", True
        )
    else:  # a file system that clones files: https://man7.org/linux/man-pages/man2/ioctl_ficlonerange.2.html
        same = evidence.print_of(here).sha256 == evidence.print_of(there).sha256
        stage.check("Ollama's blob is a clone of LM Studio's file", same)
    listed = blobs.listed(stage)
    stage.check(f"the running server lists {', '.join(sorted(listed))}", len(listed) == 3)
    right = listed["assistant:latest"] == blobs.locked(stage, "assistant")
    stage.check("assistant is, by the server's own list, the manifest that the lock names", right)
    shared = blobs.weights(stage, "assistant") == blobs.weights(stage, "assistant-brief")
    once = blobs.sent(stage)[blobs.weights(stage, "assistant").name.replace("-", ":")]
    size = blobs.weights(stage, "assistant").stat().st_size
    stage.check(f"both assistants share one blob, and {human_bytes(once)} came for it", shared and once == size)
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do")


def a_moved_tag(stage: Stage) -> None:
    """Let the tag be another model; follow it when told to."""
    before, other = blobs.store(stage), blobs.weights(stage, "tinyllama:q8").stat().st_ino
    blobs.registry(stage).move("acme", "assistant", "latest", _release(2))
    stage.did("upstream, assistant:latest becomes another model")
    stage.run("plan", "--detailed-exitcode", means="locked is locked; no changes")
    stage.run("lock", "--check", exit=2, means="the tag has moved: from what, to what, and how much is new")
    stage.check("nothing of the store was touched", blobs.store(stage) == before)
    stage.run("lock", "--upgrade", means="the lock names the new manifest")
    stage.run("plan", means="what that means for this machine")
    stage.run("apply", "--yes", means="all of it is done")
    listed = blobs.listed(stage)
    stage.check("the server lists the new one", listed["assistant:latest"] == blobs.locked(stage, "assistant"))
    left = blobs.weights(stage, "tinyllama:q8").stat().st_ino == other
    stage.check("tinyllama's blob is the very file that it was", left)


def a_bad_blob(stage: Stage) -> None:
    """Spoil the weights of two models; find them; mend that blob and nothing else."""
    before = blobs.store(stage)
    bad = blobs.weights(stage, "assistant")
    offset = evidence.flip(bad)
    spoilt = evidence.print_of(bad).sha256
    stage.did(f"byte {offset} of blobs/{bad.name[:19]}... is flipped")
    name = f"{blobs.registry(stage).host}/acme/assistant"
    Api(blobs.server(stage).url).pull(name, insecure=True)
    stage.did("the server is asked to pull it again: success, it says")
    stage.check(
        "the byte is as wrong as before: the server never reads again what it has",
        evidence.print_of(bad).sha256 == spoilt,
    )
    Api(blobs.server(stage).url).delete(name)
    stage.run("verify", exit=8, means="a blob is corrupt; every model that it breaks is named")
    broken = blobs.verdicts(stage)["variants"]
    stage.check(f"{' and '.join(broken)}, no others", broken == ["assistant", "assistant-brief"])
    blobs.registry(stage).reset_log()
    stage.run("verify", "--repair", means="it was brought back")
    sent = blobs.sent(stage)
    stage.check(f"the registry sent {len(sent)} blob, {human_bytes(sum(sent.values()))}",
                list(sent) == [bad.name.replace("-", ":")])  # fmt: skip
    stage.check("every blob and manifest has the sha256 that it had", blobs.store(stage) == before)


def a_removal(stage: Stage) -> None:
    """Drop a model that shares its weights; undo it."""
    whole, before = stage.manifest, blobs.store(stage)
    begin, end = whole.index("  assistant:\n"), whole.index("  assistant-brief:")
    text = (whole[:begin] + whole[end:]).replace("[assistant, tinyllama-ollama]", "[tinyllama-ollama]")
    stage.edit("assistant is dropped, assistant-brief stays", text, minus=whole[begin:end])
    stage.run("apply", "--yes", means="all of it is done")
    listed = sorted(blobs.listed(stage))
    stage.check(f"the server lists {', '.join(listed)}", listed == ["assistant-brief:latest", "tinyllama:q8"])
    stage.check("the weights that both had are there", blobs.weights(stage, "assistant-brief").exists())
    stage.run("undo", "--yes", means="it is back")
    stage.check("every blob and manifest is there again, byte for byte", blobs.store(stage) == before)
    stage.check("and the running server lists it", "assistant:latest" in blobs.listed(stage))
    stage.edit("as it was before", whole, plus=whole[begin:end])
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do")


def by_api_only(stage: Stage) -> None:
    """Keep a server whose files we cannot reach."""
    far, host = blobs.server(stage, "far"), blobs.registry(stage).host
    place = f"  far:      {{ store: ollama, url: {far.url} }}\n"
    text = stage.manifest.replace("\nvariants:", f"{place}\nvariants:", 1)
    variant = FAR.format(registry=host)
    whole = manifest.added(text, variant)
    stage.edit("a second server, in a container", whole, plus=place + variant)
    stage.run("plan", means="api-only: the server itself will pull, and the lock is checked")
    stage.run("apply", "--yes", means="all of it is done")
    right = blobs.listed(stage, "far") == {"assistant:latest": blobs.locked(stage, "assistant-far")}
    stage.check("it lists the manifest that the lock names, under that name alone", right)
    stage.check("nothing of ours was written into its directory", not (far.models / ".reconciler").exists())
    before = blobs.listed(stage, "far")
    stage.edit("it is dropped again", text, minus=variant)
    stage.run("apply", "--yes", means="removed, by the API")
    (kept,) = blobs.listed(stage, "far")
    stage.check(f"all that it lists is {kept.partition(':')[0]}: the trash of a server", kept.startswith(blobs.TRASH))
    stage.run("undo", "--yes", means="it is back")
    stage.check("it lists what it listed before, and no more", blobs.listed(stage, "far") == before)
    stage.edit("as it was before", whole, plus=variant)
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do")


def an_import(stage: Stage) -> None:
    """Take over what somebody pulled by hand."""
    server = blobs.server(stage)
    blobs.registry(stage).add("acme", "helper", "v1", _release(3))
    Api(server.url).pull(f"{blobs.registry(stage).host}/acme/helper:v1", insecure=True)
    stage.did(f"somebody runs `ollama pull {blobs.registry(stage).host}/acme/helper:v1`")
    before = blobs.store(stage)
    stage.run("import", "ollama", server.url, "--manifest", manifest.FILE, means="it stands in manifest and lock")
    added = [name for name in evidence.locked(stage) if "helper" in name]
    stage.check(f"as {', '.join(added)}, locked by its manifest", len(added) == 1)
    texts = [(stage.directory / name).read_bytes() for name in (manifest.FILE, "reconciler.lock.json")]
    stage.run("apply", "--yes", means="adopted: the plan has nothing else")
    stage.check("no blob and no manifest of the store was touched", blobs.store(stage) == before)
    stage.run("import", "ollama", server.url, "--manifest", manifest.FILE, means="a second time")
    again = [(stage.directory / name).read_bytes() for name in (manifest.FILE, "reconciler.lock.json")]
    stage.check("changes not a byte of manifest and lock", again == texts)
    stage.run("verify", "--full", means="every managed file is as it should be")


CHAPTERS = (
    Chapter(
        "Two programs, one model",
        "A GGUF is wanted in LM Studio and in Ollama, and a model of a registry under two names, once with a system "
        "text of its own. The Ollama server that runs here is a small one that behaves as the real one does.",
        a_manifest,
    ),
    Chapter(
        "One copy of the bytes",
        "What Ollama stores is files with their digest for a name, and a manifest that lists them. `apply` links or "
        "fetches the blobs, verifies them, and writes the manifest last: the server never sees half a model.",
        one_copy,
    ),
    Chapter(
        "The tag moves",
        "Ollama has no pins: a tag is whatever it names today. The lock holds the manifest's digest and every layer's.",
        a_moved_tag,
    ),
    Chapter(
        "A bad blob",
        "A server believes every blob that is there. `verify` reads them, and knows which models are made of them.",
        a_bad_blob,
    ),
    Chapter(
        "Removed, and back",
        "Blobs that a model shares with others stay when it goes, whoever put the others there.",
        a_removal,
    ),
    Chapter(
        "Only the API",
        "The files of a server in a container or on another machine are out of reach. All goes by its API then: what a "
        "step would replace or remove gets a second name first, and what was pulled must be what is locked.",
        by_api_only,
    ),
    Chapter(
        "What is there already",
        "`import ollama` writes down what is installed; nothing is moved or fetched.",
        an_import,
    ),
)


@contextmanager
def furnish(directory: Path, hub: Hub) -> Iterator[Props]:
    """Fill hub and registry, start two servers, and write the manifest."""
    demo_world.populate(hub)
    near, other = OllamaServer(directory / "ollama"), OllamaServer(directory / "container", shown=ELSEWHERE)
    with Registry() as registry, near, other:
        registry.add("acme", "assistant", "latest", _release(1))
        text = MANIFEST.format(directory=directory, ollama=near.url, registry=registry.host)
        (directory / manifest.FILE).write_text(text, "utf-8")
        # A home of its own: a server that does not say where its models are would be looked for in the user's.
        variables = {"HOME": str(directory), "PYTHONUSERBASE": site.getuserbase() or ""}
        yield Props({"registry": registry, "ollama": near, "far": other}, variables)


def serve(hub: Hub, props: Props) -> str:
    """Return the options that bring the hub back."""
    return f"--demo --token {TOKEN} --port {urlsplit(hub.url).port} --cdn-port {urlsplit(hub.cdn_url).port}"


TOUR = Tour(CHAPTERS, furnish, serve, "The two Ollama servers have ended with the demo; their stores are there.")
