"""The demo's stage: a directory, a hub and an environment of its own, in which the real command line runs."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.demo import manifest
from reconciler.demo.account import Check, Step
from reconciler.demo.telling import Teller
from reconciler.download.staged import read_control
from reconciler.hub.server import Hub
from reconciler.hub.service import Service

TOKEN = "hf_of_the_demo"  # noqa: S105 - it opens nothing but the embedded hub
"""The token that opens the gated repository."""

_KEPT = ("RECONCILER_ARIA2C", "RECONCILER_COLOR")
_FOREIGN = (
    "HF_",
    "HUGGING",
    "RECONCILER_",
    "TRANSFORMERS_OFFLINE",
    "CIVITAI_",
    "OLLAMA_",
    "LLAMA_",
    "IMAGEWORKS_",
    "WSL_",
)


class Broken(Exception):  # noqa: N818 - the end of the tale, told by the account; not an error of its own
    """A check failed; what would come next builds on it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a chapter works with. `steps` grows as commands run."""

    directory: Path
    hub: Hub
    teller: Teller
    environment: Mapping[str, str]
    title: str = ""
    steps: list[Step] = field(default_factory=list)
    servers: Mapping[str, Service] = field(default_factory=dict)
    """What runs beside the hub, by name."""

    def run(
        self,
        *arguments: str,
        exit: int = 0,  # noqa: A002 - what a shell calls it
        means: str = "",
        token: bool = False,
        ending: int = 0,
    ) -> str:
        """Run one command to its end, check its exit code, and return what was kept of its output.

        `means` says what the code tells. With `ending` only so many of the last lines are shown: what stands before was
        shown a moment ago. All of it, warnings included, is then kept.
        """
        begun = time.monotonic()
        with self._started(arguments, token=token, aside=ending > 0) as process:
            output, _ = process.communicate()
        lines = (output or "").splitlines()
        if ending:
            wrong = process.returncode != exit
            self.teller.shows(lines if wrong or len(lines) <= ending else ["[...]", *lines[-ending:]])
        self._note(_typed(arguments, token), process.returncode, time.monotonic() - begun, output)
        self.check(f"exit {exit}" + (f": {means}" if means else ""), process.returncode == exit)
        return output or ""

    def kill(self, *arguments: str, grown: int) -> int:
        """Run one command and kill it (SIGKILL) once `grown` bytes are safe in the stage; return how many were."""
        begun = time.monotonic()
        with self._started(arguments) as process:
            while process.poll() is None and (there := self.staged()) < grown:
                time.sleep(0.01)
            if process.poll() is None:
                process.kill()
            output, _ = process.communicate()
        there = self.staged()
        if self.teller.is_terminal:
            self.teller.raw("\x1b[?25h\n")  # nobody was left to show the cursor again
        self._note(_typed(arguments), process.returncode, time.monotonic() - begun, output)
        self.teller.command(f"kill -9 {process.pid}")
        return there

    def staged(self) -> int:
        """Return how many bytes of files on their way are safe: noted by aria2c, or, without it, on the disk."""
        controls = [*self.directory.glob("**/.reconciler*/stage/*.aria2")]
        if controls:
            return sum(noted.done for control in controls if (noted := read_control(control)))
        total = 0
        for path in self.directory.glob("**/.reconciler*/stage/**/*"):
            with contextlib.suppress(OSError):  # it just got its final name
                facts = path.lstat()
                total += facts.st_blocks * 512 if stat.S_ISREG(facts.st_mode) else 0
        return total

    def check(self, claim: str, holds: bool) -> None:
        """Note and tell whether a promise was kept. Raises Broken when it was not."""
        last = self.steps[-1]
        self.steps[-1] = replace(last, checks=(*last.checks, Check(claim, holds)))
        self.teller.check(claim, holds)
        if not holds:
            raise Broken(claim)

    def says(self, text: str) -> None:
        """Narrate between two commands."""
        self.teller.gap()
        self.teller.says(text)

    def did(self, what: str) -> None:
        """Note and tell what the demo did itself, in the place of a person or of fate."""
        self.steps.append(Step(self.title, what, None, 0.0))
        self.teller.gap()
        self.teller.shows([f"[{what}]"])

    def print_manifest(self) -> None:
        """Show the manifest."""
        self.print_file(manifest.FILE)

    def print_file(self, path: str) -> None:
        """Show a text below the directory."""
        text = (self.directory / path).read_text("utf-8")
        command = shlex.join(("cat", path))
        self.teller.command(command)
        self.teller.shows(text.splitlines())
        self.steps.append(Step(self.title, command, 0, 0.0, output=text))

    @property
    def manifest(self) -> str:
        """The text of the manifest as it stands."""
        return (self.directory / manifest.FILE).read_text("utf-8")

    def edit(self, what: str, text: str, *, minus: str = "", plus: str = "") -> None:
        """Write the manifest anew, and show what went and what came."""
        (self.directory / manifest.FILE).write_text(text, "utf-8")
        self.did(f"{manifest.FILE}: {what}")
        self.teller.shows([*(f"-{line}" for line in minus.splitlines()), *(f"+{line}" for line in plus.splitlines())])

    def declare(self, what: str, variant: str) -> None:
        """Add a variant to the manifest."""
        self.edit(what, manifest.added(self.manifest, variant), plus=variant)

    @contextlib.contextmanager
    def _started(
        self, arguments: tuple[str, ...], *, token: bool = False, aside: bool = False
    ) -> Iterator[subprocess.Popen[str]]:
        self.teller.command(_typed(arguments, token))
        shown = self.teller.stream is not None and not aside
        with subprocess.Popen(
            [sys.executable, "-m", "reconciler", *arguments],
            cwd=self.directory,
            env={**self.environment, **({"HF_TOKEN": TOKEN} if token else {})},
            stdin=subprocess.DEVNULL,
            stdout=self.teller.stream if shown else subprocess.PIPE,
            stderr=None if shown else subprocess.STDOUT,
            encoding="utf-8",
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def _note(self, command: str, code: int, seconds: float, output: str | None) -> None:
        self.steps.append(Step(self.title, command, code, seconds, output=output or ""))


def environment(directory: Path, endpoint: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which nothing of the user's is read or written: no token, cache, registry or proxy."""
    kept = {
        name: value
        for name, value in given.items()
        if name in _KEPT or not (name.startswith(_FOREIGN) or name.lower().endswith("_proxy"))
    }
    package = str(Path(__file__).resolve().parents[2])
    path = [package, *(given["PYTHONPATH"].split(os.pathsep) if given.get("PYTHONPATH") else ())]
    return {**kept, **own(directory, endpoint), "PYTHONPATH": os.pathsep.join(path), "TMPDIR": str(directory / ".tmp")}


def own(directory: Path, endpoint: str) -> dict[str, str]:
    """Return the variables that lead the command line, and huggingface_hub, into the demo's world."""
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(directory / ".cache/huggingface"),
        "XDG_CACHE_HOME": str(directory / ".cache"),
        "XDG_CONFIG_HOME": str(directory / ".config"),
        "XDG_DATA_HOME": str(directory / ".local/share"),
        "XDG_STATE_HOME": str(directory / ".local/state"),
        "no_proxy": "127.0.0.1",
    }


def _typed(arguments: tuple[str, ...], token: bool = False) -> str:
    return ("HF_TOKEN=hf_*** " if token else "") + shlex.join(("reconciler", *arguments))
