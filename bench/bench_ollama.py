"""Measure a locked download into an Ollama store beside raw aria2c, and a plan of 500 models of a running server.

    python -m bench.bench_ollama --serve DIR        # a registry (and a server) in a process of its own

What is compared with raw aria2c is the apply, by its own receipt: it fetches and verifies every blob, syncs it to the
disk, writes the manifest last and records. The whole command, which also starts Python and plans, stands beside it.
aria2c by itself gets the same signed addresses and options, and verifies and syncs nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.bench_download import MIB, compete, make
from bench.bench_plan import rounds_of, timed
from reconciler.download import Limits, find_aria2c
from reconciler.download.aria2 import connections

_RECONCILER = (sys.executable, "-m", "reconciler")
MODELS = 500
PROMISES = (
    ("ollama download: ratio", 0.97, True),
    ("plan of 500 Ollama models, s", 1.0, False),
)
"""Figure, bound, and whether it is a lower one; `python -m bench` judges."""


class Told(NamedTuple):
    """Where the process beside us listens, and the digests of the model it has."""

    registry: str
    server: str
    digests: list[str]


def serve(directory: Path) -> None:
    """Serve the files of `directory`/layers as one model, and the store `directory`/models, until told to stop."""
    from reconciler.hub.ollama_registry import Registry
    from reconciler.hub.ollama_server import OllamaServer

    layers = [("model", path) for path in sorted((directory / "layers").glob("*"))]
    with Registry() as registry, OllamaServer(directory / "models") as server:
        told = json.loads(registry.add("acme", "bench", "latest", layers, b"{}"))
        digests = [layer["digest"] for layer in (*told["layers"], told["config"])]
        print(json.dumps([registry.host, server.url, digests]), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[Told]:
    """Have the registry and the server in a process of their own."""
    command = [sys.executable, "-m", "bench.bench_ollama", "--serve", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Told(*json.loads(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait()


def signed(host: str, digest: str) -> str:
    """Return the address to which the registry redirects for a blob."""
    connection = http.client.HTTPConnection(host)
    connection.request("GET", f"/v2/acme/bench/blobs/{digest}")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return str(answer.getheader("Location"))


def download(scale: float, rounds: int, work: Path | None) -> dict[str, float]:
    """Two blobs of 1 GiB: `reconciler apply` into an empty store, and aria2c by itself."""
    directory = Path(tempfile.mkdtemp(dir=work, prefix="bench-"))
    try:
        (directory / "layers").mkdir()
        make(directory / "layers", 2, int(1024 * MIB * scale), "model")
        with serving(directory) as told:
            manifest = directory / "bench.yaml"

            def declare(place: Path) -> None:
                manifest.write_text(
                    f"version: 1\nname: bench\nregistry: {place}/registry\n"
                    f"locations:\n  ollama: {{ store: ollama, url: 'http://127.0.0.1:1', models: {place}/models }}\n"
                    f"variants:\n  bench:\n    source: ollama:{told.registry}/acme/bench:latest\n"
                    "    insecure: true\n    served_as: bench\npolicy: { min_free: 0B }\n"
                )

            declare(directory)
            timed([*_RECONCILER, "lock", str(manifest)], cwd=directory)

            receipts: list[float] = []

            def ours(stage: Path) -> None:
                stage.mkdir(parents=True)
                declare(stage)
                receipts.append(applied(manifest, stage))

            found = compete({"whole command": ours, "raw aria2c": lambda at: raw(told, at)}, rounds, directory)
    finally:
        shutil.rmtree(directory)
    found["apply"] = statistics.median(receipts)
    return {f"ollama download: {name}, s": figure for name, figure in found.items()} | {
        "ollama download: ratio": found["raw aria2c"] / found["apply"],
        "ollama download: ratio of the whole command": found["raw aria2c"] / found["whole command"],
    }


def applied(manifest: Path, cwd: Path) -> float:
    """Apply, and return how many seconds that took by the receipt."""
    command = [*_RECONCILER, "apply", str(manifest), "--yes", "--locked", "--json"]
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def raw(told: Told, directory: Path) -> None:
    """aria2c by itself, with the options that we give it."""
    program, limits = find_aria2c(), Limits()
    assert program is not None
    split = connections(limits, len(told.digests))
    lines = "".join(f"{signed(told.registry, digest)}\n  out={digest[7:]}\n" for digest in told.digests)
    settings = [
        f"-j{limits.files}", f"-x{split}", f"-s{split}", f"--piece-length={limits.piece}",
        f"--min-split-size={limits.piece}", "--stream-piece-selector=inorder", "--auto-save-interval=1",
    ]  # fmt: skip
    command = [str(program.path), "--no-conf", "-q", "--file-allocation=none", f"--dir={directory}", "-i", "-"]
    subprocess.run([*command, *settings], input=lines, text=True, check=True)


def plans(work: Path, rounds: int) -> dict[str, float]:
    """Plan 500 models that are all as declared, with the server running and down."""
    from reconciler.hub.ggufs import gguf

    directory = work / "ollama-plan"
    (directory / "layers").mkdir(parents=True)
    store(directory / "models", gguf("Q4_K_M"))
    manifest = directory / "bench.yaml"
    with serving(directory) as told:

        def declare(url: str) -> None:
            text = manifest.read_text() if manifest.exists() else ""
            head = (
                f"version: 1\nname: bench\nregistry: {directory}/registry\n"
                f"locations:\n  ollama: {{ store: ollama, url: '{url}', models: {directory}/models }}\nvariants:"
            )
            manifest.write_text(head + (text.partition("variants:")[2] or " {}\n"))

        declare(told.server)
        command = [*_RECONCILER, "import", "ollama", str(directory / "models"), "--manifest", str(manifest)]
        timed(command, cwd=directory)
        timed([*_RECONCILER, "apply", str(manifest), "--yes"], cwd=directory)

        def plan() -> tuple[float, int]:
            return timed([*_RECONCILER, "plan", str(manifest), "--detailed-exitcode"], cwd=directory)

        up = rounds_of({"plan": plan}, rounds)["plan"]
    declare("http://127.0.0.1:1")
    down = rounds_of({"plan": plan}, rounds)["plan"]
    return {
        f"plan of {MODELS} Ollama models, s": up[0],
        f"plan of {MODELS} Ollama models, MiB": up[1] / MIB,
        f"plan of {MODELS} Ollama models, server down, s": down[0],
    }


def store(models: Path, weights: bytes) -> None:
    """Write 500 models, each with a template of its own, that share their weights."""
    import hashlib

    def blob(data: bytes) -> tuple[str, int]:
        digest = hashlib.sha256(data).hexdigest()
        path = models / "blobs" / f"sha256-{digest}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return f"sha256:{digest}", len(data)

    shared, config = blob(weights), blob(b'{"model_format":"gguf","model_family":"llama","file_type":"Q4_K_M"}\n')
    for number in range(MODELS):
        kinds = {"model": shared, "template": blob(b"{{ .Prompt }} %d" % number)}
        layers = [
            {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest, "size": size}
            for kind, (digest, size) in kinds.items()
        ]
        value = {
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json", "digest": config[0], "size": config[1],
            },
            "layers": layers,
        }  # fmt: skip
        path = models / f"manifests/registry.ollama.ai/library/model-{number}/latest"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(value, separators=(",", ":")))


def measure(work: Path, *, scale: float = 1.0, rounds: int = 3, disk: Path | None = None) -> dict[str, float]:
    """Measure both; `disk` is where the downloads go."""
    return {**plans(work, max(rounds, 5)), **download(scale, rounds, disk)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", type=Path, required=True)
    serve(parser.parse_args().serve)
